//! Trust bundles: PEM files for clients that replace their roots instead of adding one.

use std::collections::HashSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls_pki_types::CertificateDer;

use crate::Error;

/// What the machine trusts.
pub struct SystemRoots {
    /// The certificates that were found.
    pub certificates: Vec<CertificateDer<'static>>,
    /// What could not be read, for the operator.
    pub problems: Vec<String>,
}

/// Reads the roots that this machine trusts.
///
/// # Errors
/// When none is found.
pub fn system_roots() -> Result<SystemRoots, Error> {
    let found = rustls_native_certs::load_native_certs();
    let problems: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
    if found.certs.is_empty() {
        return Err(Error::NoSystemRoots {
            problems: problems.join("; "),
        });
    }
    Ok(SystemRoots {
        certificates: found.certs,
        problems,
    })
}

/// One PEM text with every certificate once: ours first, then the system's.
pub fn bundle(system: &[CertificateDer<'_>], roots: &[CertificateDer<'_>]) -> String {
    let mut seen: HashSet<&[u8]> = HashSet::new();
    let all = roots.iter().chain(system);
    all.filter(|&certificate| seen.insert(certificate))
        .map(pem)
        .collect()
}

/// One certificate in PEM (RFC 7468 section 5).
pub(crate) fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(certificate);
    let mut out = String::with_capacity(text.len() + text.len() / 64 + 64);
    out.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while let Some((line, tail)) = rest.split_at_checked(64) {
        out.push_str(line);
        out.push('\n');
        rest = tail;
    }
    if !rest.is_empty() {
        out.push_str(rest);
        out.push('\n');
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::pem::PemObject as _;

    use super::*;

    #[test]
    fn every_certificate_comes_back_once_and_ours_first() {
        let certificate = |length: u8| CertificateDer::from((0..length).collect::<Vec<u8>>());
        let system: Vec<_> = [47, 48, 49, 96, 200].map(certificate).into();
        let ours = [certificate(12), certificate(48)];
        let text = bundle(&system, &ours);
        let back: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
            .map(Result::unwrap)
            .collect();
        let expect = [12, 48, 47, 49, 96, 200].map(certificate);
        assert_eq!(back, expect);
        assert!(text.lines().all(|line| line.len() <= 64));
    }

    #[test]
    fn the_system_has_roots() {
        assert!(!system_roots().unwrap().certificates.is_empty());
    }
}
