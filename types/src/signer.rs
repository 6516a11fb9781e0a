//! The two things a key can do for the rest of Exeat, as traits, so that only custody knows where keys live.

use crate::Secret;

/// A signature algorithm, by its JOSE name (RFC 7518, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519: 32-byte public key, 64-byte signature.
    EdDsa,
    /// ECDSA on P-256 with SHA-256: 65-byte uncompressed public key, 64-byte `r || s`.
    Es256,
    /// RSA with PKCS#1 v1.5 padding and SHA-256: public key as the DER of `RSAPublicKey` (RFC 8017), signature as long as the modulus.
    Rs256,
}

impl Algorithm {
    /// The JOSE name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

/// A device, or the operating system, did not do what was asked of it; the caller refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DeviceFailure(pub &'static str);

/// Signs with a key that never leaves its place.
pub trait Signer: Send + Sync {
    /// The algorithm of the key.
    fn algorithm(&self) -> Algorithm;
    /// The public key, in the form [`Algorithm`] names.
    fn public_key(&self) -> &[u8];
    /// Whether signing may take longer than a moment, as a device or another machine does it; then it is called off the reactor.
    fn blocks(&self) -> bool {
        false
    }
    /// Signs a message.
    ///
    /// # Errors
    /// When the device is gone or refuses. There is no weaker key to fall back to.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, DeviceFailure>;
}

/// Encrypts and decrypts under a key that never leaves its place (AES-256-GCM, associated data binds the place of use).
pub trait Sealer: Send + Sync {
    /// Seals plaintext; `place` is authenticated and must be given again to open it.
    ///
    /// # Errors
    /// When no random nonce can be had or the device refuses.
    fn seal(&self, place: &str, plaintext: &[u8]) -> Result<Vec<u8>, DeviceFailure>;
    /// Opens what [`Sealer::seal`] made for the same place.
    ///
    /// # Errors
    /// When the bytes were changed, come from another place, or were sealed under another key.
    fn open(&self, place: &str, sealed: &[u8]) -> Result<Secret, DeviceFailure>;
}
