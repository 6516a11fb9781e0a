//! The software signer: a key in memory, that lies sealed in the vault or in another store.

use std::{fmt, sync::Arc};

use exeat_types::{Algorithm, DeviceFailure, Secret, Signer, Timestamp, random_bytes};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use zeroize::Zeroizing;

use super::{
    NewKey, Opening, SignerKind,
    encoding::{PrivateKey, private_key},
};
use crate::{Error, SecretRef, Vault, placeholder::hex};

const SEED_LEN: usize = 32;
/// How long keys for RS256 are made: what RFC 7518 section 3.3 asks at least, and half as much again.
const RSA_BITS: u32 = 3072;

/// A key in memory: Ed25519 (RFC 8032), ECDSA on P-256 or RSA.
pub struct SoftwareSigner {
    key: Key,
}

enum Key {
    EdDsa(Ed25519KeyPair),
    Es256(EcdsaKeyPair),
    Rs256(Box<RsaKeyPair>),
}

/// A key that lies in a store of secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoftwareKey {
    /// Where: PKCS#8, PKCS#1 or SEC1, as PEM or DER.
    pub key: SecretRef,
}

impl SignerKind for SoftwareKey {
    fn word(&self) -> &'static str {
        "software"
    }

    fn secrets(&self) -> Vec<&SecretRef> {
        vec![&self.key]
    }

    fn open(&self, with: &Opening<'_>) -> Result<Arc<dyn Signer>, Error> {
        let absent = || with.failed("has no key");
        let signer = SoftwareSigner::from_key(with.secrets.first().ok_or_else(absent)?);
        Ok(Arc::new(signer.map_err(|problem| with.failed(problem))?))
    }

    fn create(&self, with: &Opening<'_>, algorithm: Algorithm) -> Result<NewKey, Error> {
        let SecretRef::Sealed(name) = &self.key else {
            return Err(with.failed("has its key in a store that Exeat does not write to"));
        };
        if !with.secrets.is_empty() {
            return Err(with.failed("has a key already"));
        }
        let key = SoftwareSigner::new_key(algorithm).map_err(|problem| with.failed(problem))?;
        let signer = SoftwareSigner::from_key(&key).map_err(|problem| with.failed(problem))?;
        Ok(NewKey {
            signer: Arc::new(signer),
            keep: Some((name.clone(), key)),
        })
    }
}

impl SoftwareSigner {
    /// A new key, PKCS#8 in DER, to be kept sealed.
    ///
    /// # Errors
    /// When the operating system yields no random bytes.
    pub fn new_key(algorithm: Algorithm) -> Result<Secret, &'static str> {
        let unmade = |_unspecified| "got no key from the random numbers of the system";
        let random = SystemRandom::new();
        let document = match algorithm {
            Algorithm::EdDsa => Ed25519KeyPair::generate_pkcs8(&random).map_err(unmade)?,
            Algorithm::Es256 => {
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
                    .map_err(unmade)?
            }
            // ring makes no RSA keys; OpenSSL, which JOSE objects bring along, does.
            Algorithm::Rs256 => {
                let pair = josekit::jwk::alg::rsa::RsaKeyPair::generate(RSA_BITS);
                let pair = pair.map_err(|_openssl| "got no RSA key from OpenSSL")?;
                return Ok(Secret::new(pair.to_der_private_key()));
            }
        };
        Ok(Secret::new(document.as_ref().to_vec()))
    }

    /// The signer of a private key: PKCS#8, PKCS#1 or SEC1, as PEM or DER.
    ///
    /// # Errors
    /// When it is none of these, or a kind of key that signs nothing here, as a phrase that follows a name.
    #[expect(clippy::disallowed_methods, reason = "the key is made of it")]
    pub fn from_key(key: &Secret) -> Result<Self, &'static str> {
        const UNKNOWN: &str =
            "has a key that is neither PKCS#8, PKCS#1 nor SEC1, or of no kind that signs here";
        let der = match key.open() {
            text if text.first() == Some(&b'-') => {
                unarmoured(text).ok_or("has a key in PEM that is damaged, or encrypted")?
            }
            der => Zeroizing::new(der.to_vec()),
        };
        let rejected =
            |_rejected| "has a key that is damaged, too weak, or without its public half";
        let key = match private_key(&der).ok_or(UNKNOWN)? {
            PrivateKey::Pkcs8(algorithm, der) => {
                let der = Zeroizing::new(der);
                match algorithm {
                    Algorithm::EdDsa => Key::EdDsa(
                        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(rejected)?,
                    ),
                    Algorithm::Es256 => {
                        let random = SystemRandom::new();
                        let pair = EcdsaKeyPair::from_pkcs8(
                            &ECDSA_P256_SHA256_FIXED_SIGNING,
                            &der,
                            &random,
                        );
                        Key::Es256(pair.map_err(rejected)?)
                    }
                    Algorithm::Rs256 => {
                        Key::Rs256(Box::new(RsaKeyPair::from_pkcs8(&der).map_err(rejected)?))
                    }
                }
            }
            PrivateKey::Pkcs1(der) => {
                let der = Zeroizing::new(der);
                Key::Rs256(Box::new(RsaKeyPair::from_der(&der).map_err(rejected)?))
            }
        };
        Ok(Self { key })
    }

    /// A new seed, to be kept sealed.
    ///
    /// # Errors
    /// When the operating system yields no random bytes.
    pub fn new_seed() -> Result<Secret, Error> {
        Ok(Secret::new(random_bytes::<SEED_LEN>()?.to_vec()))
    }

    /// The Ed25519 key of a seed.
    ///
    /// # Errors
    /// When the seed does not have 32 bytes.
    #[expect(clippy::disallowed_methods, reason = "the key is made of the seed")]
    pub fn from_seed(seed: &Secret) -> Result<Self, Error> {
        let rejected = |_rejected| DeviceFailure("a signing seed must have 32 bytes");
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.open()).map_err(rejected)?;
        Ok(Self {
            key: Key::EdDsa(pair),
        })
    }

    /// The key whose seed the vault keeps under this name; the seed is made when there is none yet.
    ///
    /// # Errors
    /// When the vault cannot be read or written, or holds something else under the name.
    pub fn kept_in(vault: &mut Vault, name: &str, now: Timestamp) -> Result<Self, Error> {
        if !vault.versions().contains_key(name) {
            vault.set(name, &Self::new_seed()?, now)?;
        }
        let (seed, _version) = vault.get(name)?;
        Self::from_seed(&seed)
    }
}

impl Signer for SoftwareSigner {
    fn algorithm(&self) -> Algorithm {
        match &self.key {
            Key::EdDsa(_) => Algorithm::EdDsa,
            Key::Es256(_) => Algorithm::Es256,
            Key::Rs256(_) => Algorithm::Rs256,
        }
    }

    fn public_key(&self) -> &[u8] {
        match &self.key {
            Key::EdDsa(pair) => pair.public_key().as_ref(),
            Key::Es256(pair) => pair.public_key().as_ref(),
            Key::Rs256(pair) => pair.public_key().as_ref(),
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
        let failed = |_unspecified| DeviceFailure("the key in memory did not sign");
        match &self.key {
            Key::EdDsa(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Key::Es256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
            Key::Rs256(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    message,
                    &mut signature,
                )
                .map_err(failed)?;
                Ok(signature)
            }
        }
    }
}

impl fmt::Debug for SoftwareSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftwareSigner")
            .field("public_key", &hex(self.public_key()))
            .finish_non_exhaustive()
    }
}

/// The DER of a private key that [`SoftwareSigner::from_key`] takes, with its algorithm named in it.
#[expect(clippy::disallowed_methods, reason = "the key takes another form")]
pub(crate) fn key_der(key: &Secret) -> Result<Secret, &'static str> {
    const UNKNOWN: &str = "has a key that is neither PKCS#8, PKCS#1 nor SEC1";
    let der = match key.open() {
        text if text.first() == Some(&b'-') => unarmoured(text).ok_or(UNKNOWN)?,
        der => Zeroizing::new(der.to_vec()),
    };
    match private_key(&der).ok_or(UNKNOWN)? {
        PrivateKey::Pkcs8(_, der) | PrivateKey::Pkcs1(der) => Ok(Secret::new(der)),
    }
}

/// The DER in a PEM text with exactly one private key (RFC 7468).
fn unarmoured(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let (label, rest) = text.strip_prefix("-----BEGIN ")?.split_once("-----")?;
    if !matches!(label, "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY") {
        return None;
    }
    let body = rest.strip_suffix(&format!("-----END {label}-----"))?;
    let mut letters = Zeroizing::new(String::with_capacity(body.len()));
    letters.extend(body.chars().filter(|letter| !letter.is_ascii_whitespace()));
    base64::Engine::decode(&base64::prelude::BASE64_STANDARD, letters.as_bytes())
        .ok()
        .map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signer::encoding::{
        public_key, public_pem, public_ssh, rsa_numbers, spki, verifies,
    };

    #[test]
    fn the_signature_is_that_of_rfc_8032_and_verifies() {
        // proves RFC 8032 section 7.1, TEST 1
        let seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec,
            0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03,
            0x1c, 0xae, 0x7f, 0x60,
        ];
        let signer = SoftwareSigner::from_seed(&Secret::new(seed.to_vec())).unwrap();
        assert_eq!(
            format!("{signer:?}"),
            "SoftwareSigner { public_key: \"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\", .. }"
        );
        let signature = signer.sign(b"").unwrap();
        assert!(verifies(
            Algorithm::EdDsa,
            signer.public_key(),
            b"",
            &signature
        ));
        assert_eq!(signature[..4], [0xe5, 0x56, 0x43, 0x00]);
        assert_eq!(signer.algorithm().name(), "EdDSA");
        assert!(SoftwareSigner::from_seed(&Secret::new(b"CANARY-short".to_vec())).is_err());
    }

    #[test]
    fn every_algorithm_has_new_keys_that_sign_and_read_back_their_public_half() {
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256] {
            let key = SoftwareSigner::new_key(algorithm).unwrap();
            let signer = SoftwareSigner::from_key(&key).unwrap();
            assert_eq!(signer.algorithm(), algorithm);
            let signature = signer.sign(b"message").unwrap();
            assert!(verifies(
                algorithm,
                signer.public_key(),
                b"message",
                &signature
            ));
            assert!(!verifies(
                algorithm,
                signer.public_key(),
                b"another",
                &signature
            ));
            let read = public_key(&spki(&signer)).unwrap();
            assert_eq!(read, (algorithm, signer.public_key().to_vec()));
            assert!(public_pem(&signer).ends_with("\n-----END PUBLIC KEY-----"));
            assert!(!public_ssh(&signer).is_empty());
            assert_eq!(
                rsa_numbers(signer.public_key()).is_some(),
                algorithm == Algorithm::Rs256
            );
        }
    }

    #[test]
    fn what_is_no_private_key_is_refused_without_repeating_it() {
        for wrong in [
            &b"CANARY-not-a-key"[..],
            b"-----BEGIN PRIVATE KEY-----\nCANARY\n-----END PRIVATE KEY-----",
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----",
            b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----",
            b"",
        ] {
            let problem = SoftwareSigner::from_key(&Secret::new(wrong.to_vec())).unwrap_err();
            assert!(
                problem.starts_with("has a key") && !problem.contains("CANARY"),
                "{problem}"
            );
        }
    }
}
