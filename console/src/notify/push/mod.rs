//! Web Push: messages that only the browser reads, to push services that only carry them.
//!
//! # Spec
//! RFC 8030 (the protocol), RFC 8188 and 8291 (`encrypt.rs`), RFC 8292 (`vapid.rs`).

mod encrypt;
mod subscription;
mod vapid;

use bytes::Bytes;
use exeat_types::{Signer, random_bytes};
use http::{HeaderMap, HeaderValue, header};

pub use subscription::{Subscription, Unusable};
pub(super) use vapid::{Claims, public};

use super::{Letter, Undelivered};

/// How long a push service keeps a message for a browser that sleeps, in seconds.
const KEPT: &str = "300";

/// A message to one browser.
pub(super) fn letter(
    to: &Subscription,
    payload: &[u8],
    topic: &str,
    signer: &dyn Signer,
    claims: &Claims<'_>,
) -> Result<Letter, Undelivered> {
    let unfit = || Undelivered::Unfit;
    let salt = random_bytes::<16>().map_err(|_cause| unfit())?;
    let body = encrypt::sealed(to, payload, &salt).ok_or_else(unfit)?;
    let proof = vapid::proof(to.origin(), signer, claims).ok_or_else(unfit)?;
    let mut proof = HeaderValue::from_str(&proof).map_err(|_cause| unfit())?;
    proof.set_sensitive(true);
    let topic = HeaderValue::from_str(topic).map_err(|_cause| unfit())?;
    let headers = HeaderMap::from_iter([
        (header::AUTHORIZATION, proof),
        (
            header::CONTENT_ENCODING,
            HeaderValue::from_static("aes128gcm"),
        ),
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        ),
        (
            http::HeaderName::from_static("ttl"),
            HeaderValue::from_static(KEPT),
        ),
        (
            http::HeaderName::from_static("urgency"),
            HeaderValue::from_static("high"),
        ),
        (http::HeaderName::from_static("topic"), topic),
    ]);
    Ok(Letter {
        origin: to.origin().clone(),
        target: to.target().to_owned(),
        headers,
        body: Bytes::from(body),
        secret: None,
    })
}
