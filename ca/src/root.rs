//! The root: a self-signed P-256 certificate that may sign leaves only, and its key.
//!
//! The key leaves this type in sealed form alone. What is loaded is checked: the key must be the certificate's own.

use std::time::Duration;

use exeat_types::{Digest, Sealer, Secret, Timestamp, random_bytes};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, IsCa, Issuer,
    KeyUsagePurpose, PublicKeyData as _, SerialNumber,
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use time::OffsetDateTime;
use x509_parser::{parse_x509_certificate, time::ASN1Time};

use crate::{
    Error, bundle,
    key::{self, Pair},
};

/// How far back a certificate is dated, for clients whose clock is slow.
const BACKDATE: Duration = Duration::from_secs(60 * 60);

/// A certificate authority that signs leaves.
pub struct Root {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, Pair>,
    key: Secret,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// A root as it is stored.
pub struct Sealed {
    /// The certificate, which is public.
    pub certificate_pem: String,
    /// The key, sealed for the place that the certificate's fingerprint names.
    pub sealed_key: Vec<u8>,
}

impl Root {
    /// Makes a root that is valid from an hour ago until `life` from now.
    ///
    /// # Errors
    /// When no key or serial number can be had, or the dates do not fit a certificate.
    ///
    /// # Spec
    /// RFC 5280 sections 4.2.1.2, 4.2.1.3 and 4.2.1.9: subject key id, key usage, path length 0.
    pub fn generate(common_name: &str, now: Timestamp, life: Duration) -> Result<Self, Error> {
        let (pair, key) = Pair::generate()?;
        let mut params = CertificateParams::default();
        params.not_before = date(backdated(now))?;
        params.not_after = date(now.after(life))?;
        params.serial_number = Some(serial()?);
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&pair).map_err(Error::Root)?;
        Self::join(certificate.into(), pair, key)
    }

    /// Puts the key under the sealer.
    ///
    /// # Errors
    /// When the sealer fails.
    pub fn seal(&self, sealer: &dyn Sealer) -> Result<Sealed, Error> {
        let place = place(&self.fingerprint());
        let sealed_key = sealer
            .seal(&place, key::bytes(&self.key))
            .map_err(Error::Seal)?;
        Ok(Sealed {
            certificate_pem: self.certificate_pem(),
            sealed_key,
        })
    }

    /// Opens a stored root.
    ///
    /// # Errors
    /// When the certificate does not parse, the key does not open, or the two do not belong together.
    pub fn unseal(sealed: &Sealed, sealer: &dyn Sealer) -> Result<Self, Error> {
        let certificate = CertificateDer::from_pem_slice(sealed.certificate_pem.as_bytes())
            .map_err(|error| Error::Unreadable {
                problem: error.to_string(),
            })?;
        let place = place(&Digest::of(&certificate));
        let key = sealer
            .open(&place, &sealed.sealed_key)
            .map_err(Error::Unseal)?;
        let pair = Pair::read(&key)?;
        Self::join(certificate, pair, key)
    }

    /// The certificate in PEM, which is what clients are given to trust.
    pub fn certificate_pem(&self) -> String {
        bundle::pem(&self.certificate)
    }

    /// The certificate in DER.
    pub fn certificate_der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The SHA-256 digest of the certificate.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.certificate)
    }

    /// The first moment at which it is valid.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The last moment at which it is valid.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    pub(crate) fn sign(
        &self,
        params: &CertificateParams,
        subject: &Pair,
    ) -> Result<Certificate, rcgen::Error> {
        params.signed_by(subject, &self.issuer)
    }

    fn join(certificate: CertificateDer<'static>, pair: Pair, key: Secret) -> Result<Self, Error> {
        let facts = read(&certificate)?;
        if facts.public_key != pair.der_bytes() {
            return Err(Error::KeyMismatch {
                fingerprint: Digest::of(&certificate),
            });
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, pair).map_err(Error::Root)?;
        let Facts {
            not_before,
            not_after,
            public_key: _,
        } = facts;
        Ok(Self {
            certificate,
            issuer,
            key,
            not_before,
            not_after,
        })
    }
}

/// What a root certificate says.
pub(crate) struct Facts {
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    public_key: Vec<u8>,
}

/// Reads a root certificate; one that may not sign leaves is an error.
pub(crate) fn read(certificate: &CertificateDer<'_>) -> Result<Facts, Error> {
    let unreadable = |problem: &str| Error::Unreadable {
        problem: problem.to_owned(),
    };
    let (rest, parsed) =
        parse_x509_certificate(certificate).map_err(|error| Error::Unreadable {
            problem: error.to_string(),
        })?;
    if !rest.is_empty() {
        return Err(unreadable("bytes after the certificate"));
    }
    if !parsed.is_ca() {
        return Err(unreadable("not a certificate authority"));
    }
    let moment = |time: ASN1Time| {
        let seconds = u64::try_from(time.timestamp())
            .map_err(|_negative| unreadable("a date before 1970"))?;
        Ok(Timestamp::from_millis(seconds.saturating_mul(1000)))
    };
    Ok(Facts {
        not_before: moment(parsed.validity().not_before)?,
        not_after: moment(parsed.validity().not_after)?,
        public_key: parsed.public_key().subject_public_key.data.to_vec(),
    })
}

/// The place of use that the sealed key is bound to.
pub(crate) fn place(fingerprint: &Digest) -> String {
    format!("ca/root/{}", fingerprint.hex())
}

/// An hour before, so that a client with a slow clock accepts the certificate.
pub(crate) fn backdated(now: Timestamp) -> Timestamp {
    let backdate = u64::try_from(BACKDATE.as_millis()).unwrap_or(0);
    Timestamp::from_millis(now.millis().saturating_sub(backdate))
}

/// A moment as certificates write it, to the second.
pub(crate) fn date(moment: Timestamp) -> Result<OffsetDateTime, Error> {
    let wrong = || Error::Date {
        moment: moment.millis(),
    };
    let seconds = i64::try_from(moment.millis() / 1000).map_err(|_out_of_range| wrong())?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_out_of_range| wrong())
}

/// A serial number that no other certificate of this root has (RFC 5280 section 4.1.2.2: at most 20 bytes).
pub(crate) fn serial() -> Result<SerialNumber, Error> {
    let bytes = random_bytes::<16>().map_err(Error::Random)?;
    Ok(SerialNumber::from_slice(&bytes))
}
