//! Public keys as JSON Web Keys (RFC 7517): of our own signers, and of issuers whose signatures are checked.
//!
//! A private member is refused, so that a key file is never published or configured as a public key by mistake.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use exeat_types::{Algorithm, DeviceFailure, Digest, Signer};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde_json::{Value, json};

use super::{Members, members};
use crate::signer::rsa_numbers;

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwk {
    key: Key,
    kid: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Ed25519(Vec<u8>),
    P256 { x: Vec<u8>, y: Vec<u8> },
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

impl Jwk {
    /// The public key of a signer.
    ///
    /// # Errors
    /// When the signer yields a public key that is not in the form its algorithm names.
    pub fn of(signer: &dyn Signer) -> Result<Self, DeviceFailure> {
        let wrong = DeviceFailure("the public key of the signer is in an unknown form");
        let public = signer.public_key();
        let key = match signer.algorithm() {
            Algorithm::EdDsa => Key::Ed25519(exactly(public, 32).ok_or(wrong)?),
            Algorithm::Es256 => match public.split_first() {
                Some((4, point)) if point.len() == 64 => {
                    let (x, y) = point.split_at_checked(32).ok_or(wrong)?;
                    Key::P256 {
                        x: x.to_vec(),
                        y: y.to_vec(),
                    }
                }
                Some(_) | None => return Err(wrong),
            },
            Algorithm::Rs256 => {
                let (n, e) = rsa_numbers(public).ok_or(wrong)?;
                Key::Rsa {
                    n: n.to_vec(),
                    e: e.to_vec(),
                }
            }
        };
        Ok(Self { key, kid: None })
    }

    /// Reads a public key.
    ///
    /// # Errors
    /// When it is private, of another type or curve, or malformed.
    pub fn read(value: &Value) -> Result<Self, &'static str> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        if ["d", "k", "p", "q"]
            .iter()
            .any(|name| value.get(name).is_some())
        {
            return Err("expected a public key, this one is private");
        }
        let number = |name: &str| text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let point = |name: &str| number(name).filter(|bytes| bytes.len() == 32);
        let key = match (text("kty"), text("crv")) {
            (Some("OKP"), Some("Ed25519")) => point("x").map(Key::Ed25519),
            (Some("EC"), Some("P-256")) => {
                let point = point("x").zip(point("y"));
                point.map(|(x, y)| Key::P256 { x, y })
            }
            (Some("RSA"), None) => {
                let numbers = number("n").zip(number("e"));
                numbers.map(|(n, e)| Key::Rsa { n, e })
            }
            _ => {
                return Err("expected a key of type `RSA`, `EC` on `P-256`, or `OKP` on `Ed25519`");
            }
        };
        Ok(Self {
            key: key.ok_or("expected a whole key, with its numbers in base64url")?,
            kid: text("kid").map(str::to_owned),
        })
    }

    /// Reads one key, an array of keys, or a set (RFC 7517 section 5).
    ///
    /// # Errors
    /// When a key in it is malformed, or there is none.
    pub fn read_all(value: &Value) -> Result<Vec<Self>, &'static str> {
        let set = value.get("keys").unwrap_or(value);
        let keys: Vec<Self> = match set {
            Value::Array(keys) => keys.iter().map(Self::read).collect::<Result<_, _>>()?,
            one => vec![Self::read(one)?],
        };
        if keys.is_empty() {
            return Err("expected at least one key");
        }
        Ok(keys)
    }

    /// The name it was given.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The one algorithm it is used with.
    pub const fn algorithm(&self) -> Algorithm {
        match self.key {
            Key::Ed25519(_) => Algorithm::EdDsa,
            Key::P256 { .. } => Algorithm::Es256,
            Key::Rsa { .. } => Algorithm::Rs256,
        }
    }

    /// The members that make the key, in the order of RFC 7638 section 3.2.
    pub fn members(&self) -> Members {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        members(match &self.key {
            Key::Ed25519(x) => json!({ "crv": "Ed25519", "kty": "OKP", "x": text(x) }),
            Key::P256 { x, y } => {
                json!({ "crv": "P-256", "kty": "EC", "x": text(x), "y": text(y) })
            }
            Key::Rsa { n, e } => json!({ "e": text(e), "kty": "RSA", "n": text(n) }),
        })
    }

    /// Its thumbprint with SHA-256 (RFC 7638), in base64url.
    pub fn thumbprint(&self) -> String {
        let text = Value::Object(self.members()).to_string();
        URL_SAFE_NO_PAD.encode(Digest::of(text.as_bytes()).as_bytes())
    }

    /// Whether this key made the signature.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            Key::Ed25519(x) => UnparsedPublicKey::new(&ED25519, x).verify(message, signature),
            Key::P256 { x, y } => {
                let point = [&[4][..], x, y].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Key::Rsa { n, e } => {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
        }
        .is_ok()
    }
}

fn exactly(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    (bytes.len() == length).then(|| bytes.to_vec())
}
