//! What browsers are told to ask of an authenticator (`WebAuthn` Level 3, 5.4 and 5.5), as JSON with base64url in it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use exeat_ledger::passkey::{ALGORITHMS, Keys, Relying};
use exeat_types::Digest;
use serde_json::{Value, json};

use super::ceremony::CEREMONY_LIFE;
use crate::site::Site;

/// Whose keys may sign.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SignerOf<'a> {
    /// Any that is enrolled.
    Anybody,
    /// Those of one person.
    User(&'a str),
}

/// The `publicKey` of a request for a signature.
pub(crate) fn sign_options(site: &Site, challenge: &Digest, of: SignerOf<'_>) -> Value {
    json!({
        "challenge": encoded(challenge),
        "rpId": site.origin.rp_id(),
        "timeout": CEREMONY_LIFE.as_secs() * 1000,
        "userVerification": "required",
        "allowCredentials": descriptors(&site.gate.ledger().passkeys(), of),
    })
}

/// The `publicKey` of a request for a new key.
pub(super) fn make_options(site: &Site, challenge: &Digest, user: &str) -> Value {
    let parameters = ALGORITHMS.map(|alg| json!({ "type": "public-key", "alg": alg }));
    // An authenticator keeps one key for a person; the id says which, and nothing about who it is.
    let whole = Digest::of(format!("{} {user}", site.origin.rp_id()).as_bytes());
    let keys = site.gate.ledger().passkeys();
    json!({
        "challenge": encoded(challenge),
        "rp": { "id": site.origin.rp_id(), "name": "Exeat" },
        "user": { "id": encoded(&whole), "name": user, "displayName": user },
        "pubKeyCredParams": parameters,
        "timeout": CEREMONY_LIFE.as_secs() * 1000,
        "attestation": "none",
        "authenticatorSelection": { "residentKey": "preferred", "userVerification": "required" },
        "excludeCredentials": descriptors(&keys, SignerOf::User(user)),
    })
}

/// Whom passkeys of this console sign for.
pub(super) fn relying(site: &Site) -> Relying {
    Relying {
        rp_id: site.origin.rp_id().to_owned(),
        origin: site.origin.text().to_owned(),
    }
}

fn descriptors(keys: &Keys, of: SignerOf<'_>) -> Vec<Value> {
    let fits = |user: &str| match of {
        SignerOf::Anybody => true,
        SignerOf::User(wanted) => user == wanted,
    };
    keys.iter()
        .filter(|(_, key)| fits(&key.user))
        .map(|(id, _)| json!({ "type": "public-key", "id": id }))
        .collect()
}

fn encoded(digest: &Digest) -> String {
    URL_SAFE_NO_PAD.encode(digest.as_bytes())
}
