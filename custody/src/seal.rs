//! Sealing: AES-256-GCM with the place of use as associated data, so that what is sealed opens nowhere else.

use exeat_types::{DeviceFailure, Sealer, Secret, random_bytes};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

const SEALED_FORMAT: u8 = 1;

/// AES-256-GCM under one derived key: a version byte, a random nonce, the ciphertext and its tag.
pub(crate) struct AesSealer {
    key: Secret,
    /// Keys that seal nothing any more, and open what they sealed.
    earlier: Vec<Self>,
}

impl AesSealer {
    /// Seals under this key, which must have 32 bytes.
    pub(crate) fn new(key: Secret) -> Self {
        Self {
            key,
            earlier: Vec::new(),
        }
    }

    /// Opens what was sealed under these keys, too.
    pub(crate) fn after(mut self, earlier: impl Iterator<Item = Secret>) -> Self {
        self.earlier = earlier.map(Self::new).collect();
        self
    }

    #[expect(clippy::disallowed_methods, reason = "the cipher is keyed with it")]
    fn cipher(&self) -> Result<LessSafeKey, DeviceFailure> {
        let key = UnboundKey::new(&AES_256_GCM, self.key.open());
        Ok(LessSafeKey::new(key.map_err(|_unspecified| {
            DeviceFailure("a sealing key has the wrong length")
        })?))
    }

    fn aad(place: &str) -> Aad<Vec<u8>> {
        Aad::from([b"exeat sealed 1|", place.as_bytes()].concat())
    }
}

impl Sealer for AesSealer {
    fn seal(&self, place: &str, plaintext: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
        let nonce = random_bytes::<NONCE_LEN>()?;
        let overhead = NONCE_LEN
            .saturating_add(AES_256_GCM.tag_len())
            .saturating_add(1);
        let mut sealed = Vec::with_capacity(plaintext.len().saturating_add(overhead));
        sealed.push(SEALED_FORMAT);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plaintext);
        let (_, text) = sealed
            .split_at_mut_checked(NONCE_LEN.saturating_add(1))
            .unwrap_or_default();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .cipher()?
            .seal_in_place_separate_tag(nonce, Self::aad(place), text);
        let tag = tag.map_err(|_unspecified| DeviceFailure("sealing failed"))?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    fn open(&self, place: &str, sealed: &[u8]) -> Result<Secret, DeviceFailure> {
        let opened = self.open_own(place, sealed);
        let earlier = || {
            self.earlier
                .iter()
                .find_map(|one| one.open(place, sealed).ok())
        };
        opened.or_else(|refused| earlier().ok_or(refused))
    }
}

impl AesSealer {
    fn open_own(&self, place: &str, sealed: &[u8]) -> Result<Secret, DeviceFailure> {
        let refused =
            DeviceFailure("sealed bytes were changed, belong elsewhere, or have another key");
        let (version, rest) = sealed.split_first().ok_or(refused)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>().ok_or(refused)?;
        if *version != SEALED_FORMAT {
            return Err(DeviceFailure(
                "sealed bytes have a format that is not known",
            ));
        }
        let mut text = Zeroizing::new(text.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self
            .cipher()?
            .open_in_place(nonce, Self::aad(place), &mut text);
        let opened = opened.map_err(|_unspecified| refused)?;
        Ok(Secret::new(opened.to_vec()))
    }
}
