//! The software signer: Ed25519 from a seed that lies sealed in the vault.

use std::fmt;

use exeat_types::{Algorithm, DeviceFailure, Secret, Signer, Timestamp, random_bytes};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use crate::{Error, Vault};

const SEED_LEN: usize = 32;

/// Signs with an Ed25519 key in memory (RFC 8032).
pub struct SoftwareSigner {
    pair: Ed25519KeyPair,
}

impl SoftwareSigner {
    /// A new seed, to be kept sealed.
    ///
    /// # Errors
    /// When the operating system yields no random bytes.
    pub fn new_seed() -> Result<Secret, Error> {
        Ok(Secret::new(random_bytes::<SEED_LEN>()?.to_vec()))
    }

    /// The key of a seed.
    ///
    /// # Errors
    /// When the seed does not have 32 bytes.
    #[expect(clippy::disallowed_methods, reason = "the key is made of the seed")]
    pub fn from_seed(seed: &Secret) -> Result<Self, Error> {
        let rejected = |_rejected: ring::error::KeyRejected| {
            DeviceFailure("a signing seed must have 32 bytes")
        };
        Ok(Self {
            pair: Ed25519KeyPair::from_seed_unchecked(seed.open()).map_err(rejected)?,
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
        Algorithm::EdDsa
    }

    fn public_key(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
        Ok(self.pair.sign(message).as_ref().to_vec())
    }
}

impl fmt::Debug for SoftwareSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = crate::placeholder::hex(self.public_key());
        f.debug_struct("SoftwareSigner")
            .field("public_key", &key)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

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
        UnparsedPublicKey::new(&ED25519, signer.public_key())
            .verify(b"", &signature)
            .unwrap();
        assert_eq!(signature[..4], [0xe5, 0x56, 0x43, 0x00]);
        assert_eq!(signer.algorithm().name(), "EdDSA");
        assert!(SoftwareSigner::from_seed(&Secret::new(b"CANARY-short".to_vec())).is_err());
    }
}
