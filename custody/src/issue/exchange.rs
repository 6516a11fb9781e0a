//! What issuers have to do with any server: ask in a form, wait, and read a small JSON object.
//!
//! Texts of a server go nowhere: what it did not do is said in our words.

use std::time::Duration;

use exeat_types::{Secret, Timestamp};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde::{Deserialize, Deserializer};

use super::{NotIssued, Url};
use crate::{NoReply, Outside, OwnRequest, Reply};

/// Longest a token is taken to live, whatever its issuer says.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A string of JSON that goes nowhere but into a secret.
pub(crate) struct Hidden(pub(crate) Secret);

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Self(Secret::new(text.into_bytes())))
    }
}

/// A request without a body that takes JSON.
pub(crate) fn get(from: &Url) -> OwnRequest {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    OwnRequest {
        method: Method::GET,
        origin: from.origin.clone(),
        target: from.target.clone(),
        headers,
        body: Secret::new(Vec::new()),
        identity: None,
    }
}

/// A request with these fields as a form.
pub(crate) fn form(to: &Url, fields: &[(&str, &str)]) -> OwnRequest {
    let mut request = get(to);
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.method = Method::POST;
    request.headers.insert(CONTENT_TYPE, form);
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    request.body = Secret::new(body.into_bytes());
    request
}

/// Sends it, and waits for the reply.
pub(crate) async fn ask(outside: &dyn Outside, request: OwnRequest) -> Result<Reply, NotIssued> {
    outside.send(request).await.map_err(no_reply)
}

/// What an issuer that did not answer means.
pub(crate) const fn no_reply(why: NoReply) -> NotIssued {
    NotIssued::Unavailable(match why {
        NoReply::Forbidden => "its address may not be reached",
        NoReply::Unreachable => "it could not be reached",
        NoReply::Late => "it did not answer in time",
        NoReply::Broken => "its reply broke off",
        NoReply::TooLarge => "its reply is too large",
    })
}

/// The body as a JSON object of this form.
#[expect(
    clippy::disallowed_methods,
    reason = "the reply of an issuer holds the token"
)]
pub(crate) fn read<T: for<'de> Deserialize<'de>>(reply: &Reply) -> Result<T, NotIssued> {
    serde_json::from_slice(reply.body.open())
        .map_err(|_cause| NotIssued::Unavailable("its reply is not what was expected"))
}

/// What a status that is no success means, where refusal is for good.
pub(crate) fn refused(status: StatusCode, why: &'static str) -> NotIssued {
    match status {
        StatusCode::TOO_MANY_REQUESTS => NotIssued::Unavailable("it was asked too often"),
        // RFC 9110 section 15.5.9 and RFC 8470 section 5.2: the same request may be sent again.
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => {
            NotIssued::Unavailable("it asks for patience")
        }
        status if status.is_client_error() => NotIssued::Dead(why),
        _ => NotIssued::Unavailable("it failed"),
    }
}

/// What of a private key in PEM is secret: its lines without the armour, which is the same for every key.
#[expect(
    clippy::disallowed_methods,
    reason = "what is looked for in responses is a part of the key"
)]
pub(crate) fn telling_lines(pem: &Secret) -> Secret {
    let lines = pem.open().split(|byte| *byte == b'\n');
    let inside = lines.filter(|line| !line.starts_with(b"-----"));
    Secret::new(inside.collect::<Vec<_>>().join(&b'\n'))
}

/// When something ends that lives for so many seconds from now.
pub(crate) fn ends(now: Timestamp, seconds: u64) -> Timestamp {
    now.after(Duration::from_secs(seconds).min(LIFETIME_MAX))
}

/// The seconds since the epoch that JWTs are written in.
pub(crate) const fn seconds(now: Timestamp) -> u64 {
    now.millis() / 1000
}
