//! Signers on this machine: `software`, `pkcs11`, `tpm`.

use std::sync::Arc;

use exeat_custody::{
    SignerKind, SoftwareKey,
    signer::{Pkcs11Key, Pkcs11Token},
};
use exeat_types::{
    Report,
    config::{Item, Table},
};

use super::reference;

pub(super) fn software(
    table: &Table<'_>,
    _: &Item<'_>,
    report: &mut Report,
) -> Option<Arc<dyn SignerKind>> {
    let key = reference(&table.need("secret", report)?, report)?;
    Some(Arc::new(SoftwareKey { key }))
}

pub(super) fn pkcs11(
    table: &Table<'_>,
    _: &Item<'_>,
    report: &mut Report,
) -> Option<Arc<dyn SignerKind>> {
    let token = token(table, report);
    let key = table
        .need("label", report)
        .and_then(|item| item.text(report));
    Some(Arc::new(Pkcs11Key {
        key: key?.to_owned(),
        token: token?,
    }))
}

/// A token of a PKCS#11 device: `module`, `token-label` and `pin`.
pub(in crate::settings) fn token(table: &Table<'_>, report: &mut Report) -> Option<Pkcs11Token> {
    let module = table.need("module", report);
    let label = table.need("token-label", report);
    let pin = match table.get("pin") {
        Some(pin) => Some(reference(&pin, report)?),
        None => None,
    };
    let module = module?;
    let path = module.text(report)?;
    if !path.starts_with('/') {
        module
            .problem(report, "the library of a device is code that the gate runs")
            .help("name it by its whole path, such as `/usr/lib/softhsm/libsofthsm2.so`");
        return None;
    }
    Some(Pkcs11Token {
        module: path.into(),
        token: label?.text(report)?.to_owned(),
        pin,
    })
}

#[cfg(feature = "tpm")]
pub(super) fn tpm(
    table: &Table<'_>,
    _: &Item<'_>,
    report: &mut Report,
) -> Option<Arc<dyn SignerKind>> {
    use exeat_custody::signer::{Place, TpmKey};

    let tcti = tcti(table, report);
    let auth = match table.get("auth") {
        Some(auth) => Some(reference(&auth, report)?),
        None => None,
    };
    let place = match table.get("handle") {
        Some(handle) => Place::Handle(persistent(&handle, report)?),
        None => Place::File,
    };
    Some(Arc::new(TpmKey {
        tcti: tcti?,
        place,
        auth,
    }))
}

/// A persistent handle (TCG TPM 2.0 Library, Part 2, section 7.4).
#[cfg(feature = "tpm")]
fn persistent(handle: &Item<'_>, report: &mut Report) -> Option<u32> {
    let number = handle.count(report)?;
    let persistent = 0x8100_0000..=0x81ff_ffff;
    let number = u32::try_from(number)
        .ok()
        .filter(|number| persistent.contains(number));
    if number.is_none() {
        handle
            .problem(report, "this is no persistent handle of a TPM")
            .help("expected one from 0x81000000 to 0x81ffffff, as `tpm2_evictcontrol` prints it");
    }
    number
}

/// How a TPM is reached: `tcti`, as the TSS calls it; the kernel's own way when absent.
pub(in crate::settings) fn tcti(table: &Table<'_>, report: &mut Report) -> Option<String> {
    const KERNEL: &str = "device:/dev/tpmrm0";
    let Some(item) = table.get("tcti") else {
        return Some(KERNEL.to_owned());
    };
    let text = item.text(report)?;
    let known = ["device", "swtpm", "mssim", "tabrmd"];
    let kind = text.split_once(':').map_or(text, |(kind, _)| kind);
    // SECURITY: the TSS takes every other word for the name of a library to load, or falls back to another TPM.
    if !known.contains(&kind) || text.contains("path=") {
        item.problem(report, "a TPM is not reached like this")
            .help(format!(
                "expected `{KERNEL}` or `swtpm:host=HOST,port=PORT`"
            ));
        return None;
    }
    Some(text.to_owned())
}

#[cfg(not(feature = "tpm"))]
pub(super) fn tpm(
    _: &Table<'_>,
    kind: &Item<'_>,
    report: &mut Report,
) -> Option<Arc<dyn SignerKind>> {
    kind.problem(report, "this program was built without TPM support")
        .help("build it with `--features tpm`, which needs libtss2-dev");
    None
}
