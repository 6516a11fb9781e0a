//! Says to a push service who sends, by a key that the browser was told when it subscribed.
//!
//! # Spec
//! RFC 8292 sections 2 and 3: a JWT with ES256, its audience the origin of the push service.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use exeat_types::{Algorithm, Origin, Signer, Timestamp};
use serde_json::{Map, Value, json};

/// How long a proof is good; RFC 8292 section 2 allows a day.
const GOOD: Duration = Duration::from_secs(60 * 60);

/// What a proof says besides its audience.
pub(in crate::notify) struct Claims<'a> {
    /// Whom the push service may write to.
    pub(in crate::notify) contact: Option<&'a str>,
    /// The time.
    pub(in crate::notify) now: Timestamp,
}

/// The public key as browsers and push services want it: an uncompressed point in base64url.
pub(in crate::notify) fn public(signer: &dyn Signer) -> String {
    URL_SAFE_NO_PAD.encode(signer.public_key())
}

/// The value of `Authorization`; nothing if the key is of another kind or does not sign.
pub(super) fn proof(audience: &Origin, signer: &dyn Signer, claims: &Claims<'_>) -> Option<String> {
    if signer.algorithm() != Algorithm::Es256 {
        return None;
    }
    let until = claims.now.after(GOOD).millis() / 1000;
    let mut body = Map::from_iter([
        ("aud".to_owned(), json!(audience.to_string())),
        ("exp".to_owned(), json!(until)),
    ]);
    if let Some(contact) = claims.contact {
        body.insert("sub".to_owned(), json!(contact));
    }
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({"typ": "JWT", "alg": "ES256"}));
    let signed = format!("{head}.{}", part(Value::Object(body)));
    let signature = signer.sign(signed.as_bytes()).ok()?;
    let signature = URL_SAFE_NO_PAD.encode(signature);
    Some(format!(
        "vapid t={signed}.{signature}, k={}",
        public(signer)
    ))
}
