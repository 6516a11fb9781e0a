//! Reads `[custody]`: where the master key is kept, and the devices that can keep it.

use exeat_custody::{SecretRef, signer::Pkcs11Key};
use exeat_types::{Report, config::Table};

use super::{Master, MasterDevices, signers};

/// Reads the section. Devices are read whichever way is chosen, so that a key can be moved from one to another.
pub(super) fn read(table: &Table<'_>, report: &mut Report) -> (Option<Master>, MasterDevices) {
    let mut devices = MasterDevices::default();
    if let Some(tpm) = table.get("tpm").and_then(|item| item.table(report)) {
        if let Some(tcti) = signers::tcti(&tpm, report) {
            devices.tcti = tcti;
        }
        tpm.finish(report);
    }
    let pkcs11 = table.get("pkcs11");
    if let Some(token) = pkcs11.and_then(|item| item.table(report)) {
        devices.token = self::token(&token, report);
        token.finish(report);
    }
    let words = [
        ("key-file", Master::KeyFile),
        ("passphrase", Master::Passphrase),
        ("keyring", Master::Keyring),
        ("tpm", Master::Tpm),
        ("pkcs11", Master::Pkcs11),
    ];
    let item = table.get("master");
    let master = item.and_then(|item| item.word(report, &words));
    if let Some(item) = item {
        match master {
            Some(Master::Pkcs11) if pkcs11.is_none() => {
                item.problem(report, "the token that keeps the master key is not named")
                    .help("add `[custody.pkcs11]` with `module`, `token-label`, `label` and `pin`");
            }
            Some(Master::Tpm) if !cfg!(feature = "tpm") => {
                item.problem(report, "this program was built without TPM support")
                    .help("build it with `--features tpm`, which needs libtss2-dev");
            }
            _ => {}
        }
    }
    table.finish(report);
    (master, devices)
}

fn token(table: &Table<'_>, report: &mut Report) -> Option<Pkcs11Key> {
    let token = signers::token(table, report);
    let label = table
        .need("label", report)
        .and_then(|item| item.text(report));
    let token = token?;
    if let (Some(SecretRef::Sealed(_)), Some(pin)) = (&token.pin, table.get("pin")) {
        pin.problem(
            report,
            "what is sealed under the master key cannot open the master key",
        )
        .help("keep the PIN elsewhere: `keyring:NAME`, `cmd:PROGRAM` or `env:NAME`");
    }
    Some(Pkcs11Key {
        token,
        key: label?.to_owned(),
    })
}
