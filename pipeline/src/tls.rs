//! TLS as a client: which roots are trusted, and which certificate is shown. Every connection that this crate opens by
//! itself goes through here; a certificate that does not chain to the roots of the operator ends it.
//!
//! A key in a device never leaves it: rustls asks for a signature, and the device makes it.

use std::{
    collections::HashMap,
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
};

use exeat_custody::{ClientIdentity, IdentityKey};
use exeat_types::{Algorithm, DeviceFailure, Digest, Host, Origin};
use rustls::{
    ClientConfig, Error as TlsError, OtherError, RootCertStore, SignatureAlgorithm,
    SignatureScheme,
    client::{ResolvesClientCert, Resumption},
    crypto::ring as provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    sign::{CertifiedKey, Signer as TlsSigner, SigningKey},
};

use crate::Roots;

/// How many configurations are kept.
const CONFIGS_MAX: usize = 64;

/// Roots and certificate of a configuration.
type Key = (u64, Option<Digest>);

/// Configurations, made once for each pair of roots and certificate: connections of one of them resume each other.
#[derive(Default)]
pub(crate) struct Tls {
    configs: Mutex<HashMap<Key, Arc<ClientConfig>>>,
}

impl Tls {
    /// The configuration for these roots and this certificate. HTTP/1.1 is all that is offered.
    ///
    /// # Errors
    /// When the certificate and its key cannot be used.
    pub(crate) fn config(
        &self,
        roots: &Roots,
        identity: Option<&Arc<ClientIdentity>>,
    ) -> Result<Arc<ClientConfig>, TlsError> {
        let key = (roots.id, identity.map(|identity| identity.id()));
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = configs.get(&key) {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(build(roots, identity)?);
        if configs.len() >= CONFIGS_MAX {
            configs.clear();
        }
        configs.insert(key, Arc::clone(&made));
        Ok(made)
    }
}

/// Chain and key of a certificate whose key is held, DER, for a door that connects by itself.
#[expect(
    clippy::disallowed_methods,
    reason = "the key of a certificate is handed to TLS"
)]
pub fn held_certificate(identity: &ClientIdentity) -> Option<(Vec<Vec<u8>>, Vec<u8>)> {
    match &identity.key {
        IdentityKey::Held(der) => Some((identity.chain.clone(), der.open().to_vec())),
        IdentityKey::Device(_) => None,
    }
}

/// The name that a certificate is verified for.
pub(crate) fn server_name(origin: &Origin) -> Result<ServerName<'static>, TlsError> {
    Ok(match &origin.host {
        Host::Ip(ip) => ServerName::IpAddress((*ip).into()),
        Host::Name(name) => ServerName::try_from(name.to_string())
            .map_err(|_cause| TlsError::General("the host has no name to verify".to_owned()))?,
    })
}

fn build(roots: &Roots, identity: Option<&Arc<ClientIdentity>>) -> Result<ClientConfig, TlsError> {
    let mut store = RootCertStore::empty();
    // SECURITY: a root that cannot be read is left out; without any nobody is trusted.
    store.add_parsable_certificates(
        roots
            .certificates
            .iter()
            .map(|der| CertificateDer::from_slice(der)),
    );
    let provider = Arc::new(provider::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder.with_client_cert_resolver(Arc::new(Shown(certified(identity)?))),
    };
    if identity.is_some_and(|it| matches!(it.key, IdentityKey::Device(_))) {
        // SECURITY: a session that is resumed needs no signature, so it would outlive its device.
        config.resumption = Resumption::disabled();
    }
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the key of a certificate is handed to TLS"
)]
fn certified(identity: &ClientIdentity) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain: Vec<CertificateDer<'static>> = identity
        .chain
        .iter()
        .map(|der| CertificateDer::from(der.clone()))
        .collect();
    let key: Arc<dyn SigningKey> = match &identity.key {
        IdentityKey::Held(der) => {
            let der = PrivateKeyDer::try_from(der.open())
                .map_err(|problem| TlsError::General(problem.to_owned()))?;
            provider::sign::any_supported_type(&der)?
        }
        IdentityKey::Device(signer) => Arc::new(DeviceKey(Arc::clone(signer))),
    };
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

/// The certificate, for every server that asks: what it is asked for has been decided before.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A key in a device, as rustls sees it.
#[derive(Clone)]
struct DeviceKey(Arc<dyn exeat_types::Signer>);

impl DeviceKey {
    fn tls_scheme(&self) -> SignatureScheme {
        match self.0.algorithm() {
            Algorithm::Es256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            Algorithm::EdDsa => SignatureScheme::ED25519,
            // TLS 1.3 knows no signatures of this padding, so such a key serves in TLS 1.2 only.
            Algorithm::Rs256 => SignatureScheme::RSA_PKCS1_SHA256,
        }
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DeviceKey")
            .field(&self.0.algorithm())
            .finish()
    }
}

impl SigningKey for DeviceKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn TlsSigner>> {
        offered
            .contains(&self.tls_scheme())
            .then(|| Box::new(self.clone()) as Box<dyn TlsSigner>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.0.algorithm() {
            Algorithm::Es256 => SignatureAlgorithm::ECDSA,
            Algorithm::EdDsa => SignatureAlgorithm::ED25519,
            Algorithm::Rs256 => SignatureAlgorithm::RSA,
        }
    }
}

impl TlsSigner for DeviceKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TlsError> {
        let failed = |failure: DeviceFailure| TlsError::Other(OtherError(Arc::new(failure)));
        let signature = self.0.sign(message).map_err(failed)?;
        match self.0.algorithm() {
            Algorithm::Es256 => ecdsa_der(&signature)
                .ok_or_else(|| TlsError::General("the device signed in another form".to_owned())),
            Algorithm::EdDsa | Algorithm::Rs256 => Ok(signature),
        }
    }

    fn scheme(&self) -> SignatureScheme {
        self.tls_scheme()
    }
}

/// Whether a handshake ended as a device did not sign.
pub(crate) fn is_device_failure(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|it| it.downcast_ref::<TlsError>());
    matches!(inner, Some(TlsError::Other(OtherError(cause))) if cause.is::<DeviceFailure>())
}

/// `r || s` as the DER that TLS wants (RFC 3279 section 2.2.3).
fn ecdsa_der(raw: &[u8]) -> Option<Vec<u8>> {
    const HALF: usize = 32;
    let (r, s) = (raw.len() == HALF.saturating_mul(2))
        .then(|| raw.split_at_checked(HALF))
        .flatten()?;
    let body = [integer(r)?, integer(s)?].concat();
    let mut der = vec![0x30, u8::try_from(body.len()).ok()?];
    der.extend_from_slice(&body);
    Some(der)
}

/// A positive DER INTEGER without leading zeros.
fn integer(bytes: &[u8]) -> Option<Vec<u8>> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let value = bytes.get(zeros..).filter(|value| !value.is_empty())?;
    let padded = value.first().is_some_and(|first| *first >= 0x80);
    let length = value.len().saturating_add(usize::from(padded));
    let mut der = vec![0x02, u8::try_from(length).ok()?];
    der.extend(padded.then_some(0));
    der.extend_from_slice(value);
    Some(der)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_signature_becomes_minimal_der() {
        let mut raw = [0_u8; 64];
        raw[31] = 0x7f;
        raw[32] = 0x80;
        let der = ecdsa_der(&raw).unwrap();
        assert_eq!(der[..5], [0x30, 38, 0x02, 1, 0x7f]);
        assert_eq!(der[5..9], [0x02, 33, 0, 0x80]);
        assert_eq!(der.len(), 40);
        assert!(ecdsa_der(&raw[1..]).is_none());
        assert!(ecdsa_der(&[0; 64]).is_none(), "no zero in a signature");
    }

    #[test]
    fn a_configuration_is_made_once_for_each_pair_of_roots_and_certificate() {
        let tls = Tls::default();
        let roots = |id| Roots {
            id,
            certificates: Arc::new([b"no certificate".to_vec()]),
        };
        let one = tls.config(&roots(1), None).unwrap();
        assert!(Arc::ptr_eq(&one, &tls.config(&roots(1), None).unwrap()));
        assert!(!Arc::ptr_eq(&one, &tls.config(&roots(2), None).unwrap()));
        let broken = Arc::new(ClientIdentity {
            chain: vec![b"no certificate".to_vec()],
            key: IdentityKey::Held(exeat_types::Secret::new(b"CANARY-no-key".to_vec())),
        });
        assert!(tls.config(&roots(1), Some(&broken)).is_err());
        assert_eq!(one.alpn_protocols, [b"http/1.1".to_vec()]);
    }

    #[test]
    fn an_address_is_verified_as_an_address() {
        for (origin, expect) in [
            ("https://api.test:8443", "api.test"),
            ("https://192.0.2.1", "192.0.2.1"),
            ("https://[2001:db8::1]", "2001:db8::1"),
        ] {
            let name = server_name(&Origin::parse(origin).unwrap()).unwrap();
            assert_eq!(name.to_str(), expect);
        }
    }
}
