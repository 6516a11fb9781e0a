//! Whether a new key was made for us (`WebAuthn` Level 3, 7.1). The statement about who built the authenticator is not read.

use exeat_types::Digest;
use serde::{Deserialize, Serialize};

use super::{
    Relying, authenticator, cbor,
    client::{self, Ceremony},
    decode, encode,
    key::PublicKey,
    wrong,
};
use crate::Error;

/// An attestation object with a chain of certificates in it.
const ATTESTATION_BYTES_MAX: usize = 32_768;

/// What a browser hands over when a key was made; each field in base64url without padding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// `attestationObject`.
    pub attestation: String,
    /// `clientDataJSON`.
    pub client_data: String,
}

/// A key that was made for us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Its id, base64url.
    pub key: String,
    /// The key.
    pub public_key: PublicKey,
    /// How often it has signed.
    pub sign_count: u32,
    /// Whether it is kept elsewhere too.
    pub backed_up: bool,
}

/// Checks that a key was made for a challenge, on a page of ours, its user verified.
///
/// # Errors
/// What does not hold.
pub fn register(
    registration: &Registration,
    challenge: &Digest,
    relying: &Relying,
) -> Result<Registered, Error> {
    let client_data = decode(
        &registration.client_data,
        client::BYTES_MAX,
        "the client data is not base64url",
    )?;
    client::check(&client_data, Ceremony::Create, challenge, relying)?;
    let object = decode(
        &registration.attestation,
        ATTESTATION_BYTES_MAX,
        "the attestation is not base64url",
    )?;
    let mut rest = object.as_slice();
    let object = cbor::map(&mut rest)?;
    if !rest.is_empty() {
        return Err(wrong("something stands behind the attestation"));
    }
    let words = object
        .named("authData")
        .ok_or_else(|| wrong("the attestation lacks the authenticator's words"))?;
    let said = authenticator::read(words, relying)?;
    let (id, public_key) = said
        .key
        .ok_or_else(|| wrong("the attestation brings no key"))?;
    Ok(Registered {
        key: encode(&id),
        public_key,
        sign_count: said.sign_count,
        backed_up: said.backed_up,
    })
}
