//! Whether an assertion holds (`WebAuthn` Level 3, 7.2). What is not required there and cannot be checked by a third party
//! later, such as a counter that only grows, is told and not judged.

use exeat_types::Digest;
use serde::Serialize;

use super::{
    Assertion, Relying, authenticator,
    client::{self, Ceremony},
    decode,
    key::PublicKey,
    wrong,
};
use crate::Error;

/// Bytes of `authenticatorData` that count; without extensions there are 37.
const AUTHENTICATOR_BYTES_MAX: usize = 4096;
/// An RSA signature of 8,192 bits.
const SIGNATURE_BYTES_MAX: usize = 1024;

/// What an assertion that holds says besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// How often the key has signed; zero for keys that do not count, as synchronised ones.
    pub sign_count: u32,
    /// Whether the key is kept elsewhere too.
    pub backed_up: bool,
}

/// Checks that a key signed a challenge, on a page of ours, its user verified.
///
/// # Errors
/// What does not hold.
pub fn verify(
    key: &PublicKey,
    assertion: &Assertion,
    challenge: &Digest,
    relying: &Relying,
) -> Result<Verified, Error> {
    let client_data = decode(
        &assertion.client_data,
        client::BYTES_MAX,
        "the client data is not base64url",
    )?;
    client::check(&client_data, Ceremony::Sign, challenge, relying)?;
    let mut message = decode(
        &assertion.authenticator_data,
        AUTHENTICATOR_BYTES_MAX,
        "the authenticator's words are not base64url",
    )?;
    let said = authenticator::read(&message, relying)?;
    if said.key.is_some() {
        return Err(wrong("a signature came with a new key"));
    }
    let signature = decode(
        &assertion.signature,
        SIGNATURE_BYTES_MAX,
        "the signature is not base64url",
    )?;
    message.extend_from_slice(Digest::of(&client_data).as_bytes());
    if !key.verifies(&message, &signature) {
        return Err(wrong("the signature is not by this key"));
    }
    Ok(Verified {
        sign_count: said.sign_count,
        backed_up: said.backed_up,
    })
}
