//! Passkeys as a verifier sees them (`WebAuthn` Level 3): what is to be signed, what was signed, and whether it holds.
//!
//! INVARIANT: no state but the enrolled keys, no clock, no random numbers. What a key signs is always the digest of one of
//! the questions in `challenge.rs`, so that whoever has the records can check it without us. User verification is always
//! required. Statements of attestation are not believed and not asked for: a key is trusted because of who enrolled it.

mod assertion;
mod authenticator;
mod cbor;
mod challenge;
mod client;
mod counter;
mod key;
mod keys;
mod registration;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use assertion::{Verified, verify};
pub use challenge::{Challenge, Deed, Nonce, SignIn, Vouch};
pub(crate) use counter::Counters;
pub use key::{ALGORITHMS, PublicKey};
pub use keys::{EnrolledKey, Keys, Vouched};
pub use registration::{Registered, Registration, register};

/// What an authenticator signed; each field in base64url without padding, as the browser hands it over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// `authenticatorData`.
    pub authenticator_data: String,
    /// `clientDataJSON`.
    pub client_data: String,
    /// The id of the key.
    pub key: String,
    /// The signature over `authenticatorData` and the SHA-256 of `clientDataJSON`.
    pub signature: String,
}

/// Whom a passkey signs for: the console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Relying {
    /// The host that keys belong to.
    pub rp_id: String,
    /// Scheme, host and port of its pages, exactly as browsers write them.
    pub origin: String,
}

/// Something that was signed, or made, in a way that does not hold.
const fn wrong(problem: &'static str) -> crate::Error {
    crate::Error::NotSigned { problem }
}

/// Reads base64url without padding, of a bounded length.
fn decode(text: &str, bytes_max: usize, problem: &'static str) -> Result<Vec<u8>, crate::Error> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    if text.len() > bytes_max.saturating_mul(4).div_ceil(3) {
        return Err(wrong(problem));
    }
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_cause| wrong(problem))
}

fn encode(bytes: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(bytes)
}
