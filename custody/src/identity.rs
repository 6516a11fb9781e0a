//! A client certificate and its key, presented in TLS (RFC 8446 section 4.4.2, RFC 8705): read, checked to belong together,
//! and the kind of credential that is nothing else.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use exeat_types::{Digest, DigestBuilder, Secret, Signer};

use crate::{
    Made, Make, Material, SoftwareSigner,
    signer::{element, key_der},
};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// Most certificates of one chain.
const CHAIN_MAX: usize = 16;
/// The DER tag of a certificate.
const SEQUENCE: u8 = 0x30;

/// Who Exeat is towards one server, in TLS.
pub struct ClientIdentity {
    /// The certificate and what it chains to, DER, leaf first.
    pub chain: Vec<Vec<u8>>,
    /// The key of the leaf.
    pub key: IdentityKey,
}

/// Where the key of a client certificate lies.
pub enum IdentityKey {
    /// In memory: PKCS#8 or PKCS#1, DER.
    Held(Secret),
    /// In a device or a service.
    Device(Arc<dyn Signer>),
}

impl IdentityKey {
    /// A key that is held: PKCS#8, PKCS#1 or SEC1, as PEM or DER.
    ///
    /// # Errors
    /// When it is none of these, as a phrase that follows a name.
    pub fn from_pem(key: &Secret) -> Result<Self, &'static str> {
        key_der(key).map(Self::Held)
    }

    /// The public half, in the form of [`Signer::public_key`].
    fn public(&self) -> Result<Vec<u8>, &'static str> {
        match self {
            Self::Held(der) => Ok(SoftwareSigner::from_key(der)?.public_key().to_vec()),
            Self::Device(signer) => Ok(signer.public_key().to_vec()),
        }
    }
}

impl ClientIdentity {
    /// Puts a chain in PEM, leaf first, and the key of its leaf together.
    ///
    /// # Errors
    /// When there is no certificate, or the key is not that of the first, as a phrase that follows a name.
    pub fn from_pem(chain: &[u8], key: IdentityKey) -> Result<Self, &'static str> {
        let chain = certificates(chain).ok_or("has a certificate file that is no PEM")?;
        let leaf = chain.first().ok_or("has no certificate in its file")?;
        // The public key stands in its certificate as it is (RFC 5280 section 4.1.2.7).
        let public = key.public()?;
        if memchr::memmem::find(leaf, &public).is_none() {
            return Err("has a key that is not that of its certificate");
        }
        Ok(Self { chain, key })
    }

    /// Differs for each chain and each place of a key: connections are never shared between two, and what was changed
    /// is taken.
    pub fn id(&self) -> Digest {
        let mut all = DigestBuilder::new();
        match &self.key {
            IdentityKey::Held(_) => all.update(b"held"),
            IdentityKey::Device(signer) => {
                all.update(b"device");
                all.update(&Arc::as_ptr(signer).addr().to_ne_bytes());
            }
        }
        // A certificate says its own length, being DER.
        for certificate in &self.chain {
            all.update(certificate);
        }
        all.finish()
    }
}

impl std::fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientIdentity")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

/// Every certificate of a PEM text (RFC 7468), DER.
fn certificates(pem: &[u8]) -> Option<Vec<Vec<u8>>> {
    let text = std::str::from_utf8(pem).ok()?;
    let mut chain = Vec::new();
    for block in text.split(BEGIN).skip(1) {
        let (body, _) = block.split_once(END)?;
        let body: String = body.split_ascii_whitespace().collect();
        let der = STANDARD.decode(body).ok()?;
        let (_, []) = element(&der, SEQUENCE)? else {
            return None;
        };
        chain.push(der);
    }
    (chain.len() <= CHAIN_MAX).then_some(chain)
}

/// A credential that is a client certificate and nothing else.
#[derive(Debug, Clone)]
pub struct Mtls {
    /// The certificate and what it chains to, PEM, leaf first.
    pub certificate: Vec<u8>,
}

impl Make for Mtls {
    fn name(&self) -> &'static str {
        "mtls"
    }

    fn make(&self, material: Material<'_>) -> Result<Made, &'static str> {
        let key = match (material.signer, material.secret) {
            (Some(signer), None) => IdentityKey::Device(Arc::clone(signer)),
            (None, Some(pem)) => IdentityKey::from_pem(pem)?,
            (None, None) => {
                return Err("needs `secret` or `signer` for the key of its certificate");
            }
            (Some(_), Some(_)) => return Err("has two keys for one certificate"),
        };
        let identity = ClientIdentity::from_pem(&self.certificate, key)?;
        Ok(Made {
            identity: Some(Arc::new(identity)),
            ..Made::default()
        })
    }
}
