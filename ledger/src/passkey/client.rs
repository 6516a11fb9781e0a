//! What the browser says it was asked: `clientDataJSON` (`WebAuthn` Level 3, 5.8.1).

use exeat_types::{Digest, unique_json};
use serde_json::Value;

use super::{Relying, encode, wrong};
use crate::Error;

/// The longest that counts; real ones have some two hundred bytes.
pub(super) const BYTES_MAX: usize = 4096;

/// What the browser was asked to do.
#[derive(Clone, Copy)]
pub(super) enum Ceremony {
    Create,
    Sign,
}

/// Checks that it was asked exactly this, by a page of ours, and not from within a page of somebody else.
pub(super) fn check(
    bytes: &[u8],
    ceremony: Ceremony,
    challenge: &Digest,
    relying: &Relying,
) -> Result<(), Error> {
    let client = unique_json(bytes).map_err(|_cause| wrong("the client data is not JSON"))?;
    let text = |name: &str| client.get(name).and_then(Value::as_str);
    let asked = match ceremony {
        Ceremony::Create => "webauthn.create",
        Ceremony::Sign => "webauthn.get",
    };
    if text("type") != Some(asked) {
        return Err(wrong("it was made for another purpose"));
    }
    if text("challenge") != Some(encode(challenge.as_bytes()).as_str()) {
        return Err(wrong("it was made for another challenge"));
    }
    if text("origin") != Some(relying.origin.as_str()) {
        return Err(wrong("it was made on a page of another origin"));
    }
    match client.get("crossOrigin") {
        None | Some(Value::Bool(false)) => {}
        Some(_) => return Err(wrong("it was made within a page of another origin")),
    }
    if client.get("topOrigin").is_some() {
        return Err(wrong("it was made within a page of another origin"));
    }
    Ok(())
}
