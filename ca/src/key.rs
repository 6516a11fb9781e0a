//! A P-256 key pair that signs certificates. The one place in this crate that opens a secret.

use exeat_types::Secret;
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};

use crate::Error;

/// A P-256 key pair.
pub(crate) struct Pair {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Pair {
    /// Makes a key pair, and hands out its PKCS #8 form.
    pub(crate) fn generate() -> Result<(Self, Secret), Error> {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
            .map_err(|_unspecified| Error::Generate)?;
        let secret = Secret::new(document.as_ref().to_vec());
        Ok((Self::read(&secret)?, secret))
    }

    /// Reads a key pair from its PKCS #8 form.
    pub(crate) fn read(secret: &Secret) -> Result<Self, Error> {
        let random = SystemRandom::new();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, bytes(secret), &random)
                .map_err(|_rejected| Error::Key)?;
        Ok(Self { pair, random })
    }
}

/// The bytes of a key, for sealing it and for handing it to the TLS library.
#[expect(
    clippy::disallowed_methods,
    reason = "the CA signs with these keys; they reach no agent and no upstream"
)]
pub(crate) fn bytes(secret: &Secret) -> &[u8] {
    secret.open()
}

impl PublicKeyData for Pair {
    fn der_bytes(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Pair {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self
            .pair
            .sign(&self.random, message)
            .map_err(|_unspecified| rcgen::Error::RingUnspecified)?;
        Ok(signature.as_ref().to_vec())
    }
}
