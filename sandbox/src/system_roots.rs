//! The system's own list of trusted roots, replaced inside by the list of the gate: `GnuTLS` (wget) knows no variable for it,
//! and a program that was started with an empty environment reads none.

use std::{fs, path::Path};

use rustix::mount::mount_bind;

use crate::error::{Error, path as at};

/// The file given to [`crate::Prepared::go`] that holds the gate's root and those of the system, in PEM.
pub const BUNDLE: &str = "/run/exeat/bundle.pem";

/// Where systems keep their list: Debian, Fedora, `openSUSE`, Alpine and OpenSSL's own place.
const PLACES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Puts the bundle, if the caller gave one, in every place that exists.
pub(crate) fn replace() -> Result<(), Error> {
    if !Path::new(BUNDLE).exists() {
        return Ok(());
    }
    let mut targets: Vec<_> = PLACES
        .iter()
        .filter_map(|at| fs::canonicalize(at).ok())
        .collect();
    targets.sort();
    targets.dedup();
    targets
        .iter()
        .try_for_each(|target| mount_bind(BUNDLE, target).map_err(at("cover", target)))
}
