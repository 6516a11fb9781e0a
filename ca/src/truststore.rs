//! Trust stores for Java: PKCS #12 files that hold certificates and nothing else.
//!
//! Every Java from 8 on reads them, and none reads PEM. Nothing in here is secret, so nothing is encrypted and nothing
//! authenticated: whoever may write the file may write any other.

use crate::Error;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use yasna::{DERWriter, Tag, construct_der, models::ObjectIdentifier};

/// `id-data`, RFC 5652 section 4.
const PLAIN: &[u64] = &[1, 2, 840, 113_549, 1, 7, 1];
/// `certBag`, RFC 7292 section 4.2.3.
const CERTIFICATE_BAG: &[u64] = &[1, 2, 840, 113_549, 1, 12, 10, 1, 3];
/// `x509Certificate`, RFC 7292 section 4.2.3.
const X509: &[u64] = &[1, 2, 840, 113_549, 1, 9, 22, 1];
/// `friendlyName`, RFC 2985 section 5.5.1.
const FRIENDLY_NAME: &[u64] = &[1, 2, 840, 113_549, 1, 9, 20];
/// Oracle's mark of a trusted certificate. Java ignores certificates without it.
const TRUSTED_KEY_USAGE: &[u64] = &[2, 16, 840, 1, 113_894, 746_875, 1, 1];
/// `anyExtendedKeyUsage`, RFC 5280 section 4.2.1.12.
const ANY_USAGE: &[u64] = &[2, 5, 29, 37, 0];

/// A trust store with the certificates of a bundle, readable with any password and without one.
///
/// # Errors
/// When the bundle is no PEM.
///
/// # Spec
/// RFC 7292 sections 4 and 4.2.3, without a `MacData`.
pub fn trust_store(bundle: &str) -> Result<Vec<u8>, Error> {
    let certificates = CertificateDer::pem_slice_iter(bundle.as_bytes());
    let certificates = certificates.collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| Error::Unreadable {
        problem: error.to_string(),
    })?;
    Ok(store(&certificates))
}

fn store(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    let bags = construct_der(|writer| {
        writer.write_sequence(|bags| {
            for (index, certificate) in certificates.iter().enumerate() {
                bag(bags.next(), &format!("exeat-{index}"), certificate);
            }
        });
    });
    let safe = construct_der(|writer| {
        writer.write_sequence(|contents| plain(contents.next(), &bags));
    });
    construct_der(|writer| {
        writer.write_sequence(|file| {
            file.next().write_u8(3);
            plain(file.next(), &safe);
        });
    })
}

/// A `ContentInfo` that is not encrypted.
fn plain(writer: DERWriter<'_>, content: &[u8]) {
    writer.write_sequence(|info| {
        info.next().write_oid(&oid(PLAIN));
        info.next()
            .write_tagged(Tag::context(0), |writer| writer.write_bytes(content));
    });
}

/// A `SafeBag` with one trusted certificate.
fn bag(writer: DERWriter<'_>, name: &str, certificate: &CertificateDer<'_>) {
    writer.write_sequence(|bag| {
        bag.next().write_oid(&oid(CERTIFICATE_BAG));
        bag.next().write_tagged(Tag::context(0), |writer| {
            writer.write_sequence(|value| {
                value.next().write_oid(&oid(X509));
                value
                    .next()
                    .write_tagged(Tag::context(0), |writer| writer.write_bytes(certificate));
            });
        });
        bag.next().write_set_of(|attributes| {
            attribute(attributes.next(), FRIENDLY_NAME, |writer| {
                writer.write_bmp_string(name)
            });
            attribute(attributes.next(), TRUSTED_KEY_USAGE, |writer| {
                writer.write_oid(&oid(ANY_USAGE));
            });
        });
    });
}

fn attribute(writer: DERWriter<'_>, kind: &[u64], value: impl FnOnce(DERWriter<'_>)) {
    writer.write_sequence(|attribute| {
        attribute.next().write_oid(&oid(kind));
        attribute.next().write_set(|values| value(values.next()));
    });
}

fn oid(components: &[u64]) -> ObjectIdentifier {
    ObjectIdentifier::from_slice(components)
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;
    use crate::bundle::{bundle, system_roots};

    #[test]
    fn the_first_bytes_are_those_of_a_pkcs12_file_of_version_3() {
        let store = trust_store("").unwrap();
        assert_eq!(store.get(2..5), Some(&[2, 1, 3][..]), "{store:02x?}");
        let cut = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        assert!(trust_store(cut).is_err());
    }

    #[test]
    fn openssl_finds_every_certificate() {
        let system = system_roots().unwrap().certificates;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("truststore.p12");
        fs::write(&file, trust_store(&bundle(&system, &[])).unwrap()).unwrap();
        let mut openssl = Command::new("openssl");
        let arguments = ["pkcs12", "-nokeys", "-nomacver", "-passin", "pass:", "-in"];
        let output = openssl.args(arguments).arg(&file).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text.matches("BEGIN CERTIFICATE").count(), system.len());
        assert_eq!(text.matches("friendlyName: exeat-").count(), system.len());
    }
}
