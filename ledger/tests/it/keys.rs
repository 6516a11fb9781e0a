//! Keys of the tests: they stand for the devices that custody hands in.

use std::sync::Arc;

use exeat_types::{Algorithm, DeviceFailure, Sealer, Secret, Signer};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    signature::{Ed25519KeyPair, KeyPair as _},
};

/// Signs with an Ed25519 key made from a seed of the test.
pub(crate) struct TestSigner(Ed25519KeyPair);

impl TestSigner {
    pub(crate) fn new(seed: u8) -> Arc<Self> {
        Arc::new(Self(
            Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap(),
        ))
    }
}

impl Signer for TestSigner {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDsa
    }

    fn public_key(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

/// Seals with a fixed key; the nonce is random as in the real one.
pub(crate) struct TestSealer;

fn sealing_key() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap())
}

impl Sealer for TestSealer {
    fn seal(&self, place: &str, plaintext: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
        let nonce: [u8; 12] = exeat_types::random_bytes()?;
        let mut body = plaintext.to_vec();
        let aad = Aad::from(place.as_bytes());
        let unique = Nonce::assume_unique_for_key(nonce);
        sealing_key()
            .seal_in_place_append_tag(unique, aad, &mut body)
            .unwrap();
        Ok([&nonce[..], &body].concat())
    }

    fn open(&self, place: &str, sealed: &[u8]) -> Result<Secret, DeviceFailure> {
        let (nonce, body) = sealed
            .split_at_checked(12)
            .ok_or(DeviceFailure("too short"))?;
        let mut body = body.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).unwrap();
        let plain = sealing_key()
            .open_in_place(nonce, Aad::from(place.as_bytes()), &mut body)
            .map_err(|_cause| DeviceFailure("not sealed here"))?;
        Ok(Secret::new(plain.to_vec()))
    }
}
