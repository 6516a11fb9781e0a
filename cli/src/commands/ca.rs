//! `exeat ca`: the stored root of `exeat serve`. Its key stays sealed; only certificates are printed.

use std::path::Path;

use anyhow::{Context as _, bail};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::json;

use super::Place;
use crate::{
    args::Ca,
    socket::Request,
    ui::{self, Ending},
};

pub(super) fn ca(place: &Place, order: &Ca) -> anyhow::Result<Ending> {
    let pem = match order {
        Ca::Init => place.gate()?.one::<String>(&Request::CaInit {}, &[])?,
        Ca::Rotate => {
            let pem = place.gate()?.one::<String>(&Request::CaRotate {}, &[])?;
            ui::say(
                "a gate that runs signs with it from here on; the old root stays in the bundle for an overlap",
            );
            pem
        }
        Ca::Export => exeat_ca::bundle(&[], &stored(place)?),
        Ca::Bundle => {
            let roots = stored(place)?;
            let system = exeat_ca::system_roots()?;
            for problem in &system.problems {
                ui::say(format_args!("warning: {problem}"));
            }
            exeat_ca::bundle(&system.certificates, &roots)
        }
    };
    place.print(&json!({ "pem": pem }), || pem.trim_end().to_owned())?;
    Ok(Ending::Done)
}

/// The stored root and, during an overlap, the one before it. Both are public, so no gate is needed.
fn stored(place: &Place) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let folder = place
        .folder(place.settings_if_any()?.as_ref())?
        .path()
        .join("ca");
    if !folder.join("root.pem").exists() {
        bail!("there is no root yet; make one with `exeat ca init`");
    }
    let mut roots = Vec::new();
    for name in ["root.pem", "previous.pem"] {
        let path = folder.join(name);
        if path.exists() {
            roots.extend(read(&path)?);
        }
    }
    Ok(roots)
}

fn read(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let wrong = || format!("cannot read `{}`", path.display());
    let certificates = CertificateDer::pem_file_iter(path).with_context(wrong)?;
    certificates.collect::<Result<_, _>>().with_context(wrong)
}
