//! `/sign-in`: a passkey, and nothing else.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State},
    response::{IntoResponse as _, Redirect, Response},
};
use exeat_ledger::{
    Assertion,
    passkey::{EnrolledKey, SignIn},
};
use exeat_types::Digest;
use http::header;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    SignerOf,
    ceremony::{Ceremony, fresh_nonce},
    sign_options,
};
use crate::{
    layout,
    problem::{Problem, Told},
    session::Session,
    site::Site,
};

/// Where to go afterwards.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Next {
    #[serde(default)]
    next: String,
}

/// The door.
pub(super) async fn page(
    State(site): State<Arc<Site>>,
    session: Option<axum::Extension<Arc<Session>>>,
    Query(query): Query<Next>,
) -> Response {
    let next = inside(&query.next);
    if session.is_some() {
        return Redirect::to(next).into_response();
    }
    let keys = site.gate.ledger().passkeys();
    let elsewhere = keys
        .iter()
        .map(|(_, key)| key.relying.origin.clone())
        .find(|origin| origin != site.origin.text());
    let content = html! {
        h1 { "Sign in" }
        @if keys.never_any() {
            p.lead { "No passkey is enrolled yet." }
            p { "On the machine of the gate, run " code { "exeat console enroll" } " and open the page that it prints." }
        } @else if let Some(origin) = elsewhere {
            (moved(&origin))
        } @else {
            p.lead { "With the passkey that you enrolled. There is no password." }
            div data-sign-in data-next=(next) {
                button.main type="button" { "Sign in with a passkey" }
                p.status role="status" aria-live="polite" {}
            }
        }
        noscript { p { "Passkeys need JavaScript." } }
    };
    layout::bare_scripted("Sign in", &["account.js"], content)
}

/// The passkeys that are there belong to another URL.
fn moved(origin: &str) -> Markup {
    html! {
        p.lead { "The passkeys of this gate belong to " code { (origin) } "." }
        p { "Set " code { "[console] origin" } " back to it. A passkey signs only for the pages it was enrolled on." }
    }
}

/// Begins.
pub(super) async fn begin(State(site): State<Arc<Site>>) -> Result<Json<Value>, Told> {
    let nonce = fresh_nonce().map_err(no_random)?;
    let challenge = challenge(&site, nonce);
    let ceremony = site
        .ceremonies
        .begin(Ceremony::SignIn(nonce), site.now())
        .map_err(no_random)?;
    let options = sign_options(&site, &challenge, SignerOf::Anybody);
    Ok(Json(json!({ "ceremony": ceremony, "publicKey": options })))
}

fn challenge(site: &Site, nonce: exeat_ledger::passkey::Nonce) -> Digest {
    let origin = site.origin.text();
    SignIn { origin, nonce }.digest()
}

/// An answer of an authenticator.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signed {
    pub(super) ceremony: String,
    pub(super) assertion: Assertion,
}

/// Ends: whoever used an enrolled key is in.
pub(super) async fn finish(
    State(site): State<Arc<Site>>,
    Json(signed): Json<Signed>,
) -> Result<Response, Told> {
    let Some(Ceremony::SignIn(nonce)) = site.ceremonies.take(&signed.ceremony, site.now()) else {
        return Err(too_late());
    };
    let key = check(&site, &signed.assertion, &challenge(&site, nonce))?;
    let opened = site
        .sessions
        .open(&key.user, &signed.assertion.key, site.now())
        .map_err(no_random)?;
    Ok(([(header::SET_COOKIE, opened.cookie)], Json(json!({}))).into_response())
}

/// Checks a signature of an enrolled key, and takes it for somebody being there.
pub(super) fn check(
    site: &Site,
    assertion: &Assertion,
    challenge: &Digest,
) -> Result<EnrolledKey, Told> {
    let keys = site.gate.ledger().passkeys();
    let (key, verified) = keys.check(assertion, challenge).map_err(|error| {
        tracing::warn!(%error, "a passkey was refused");
        Told(Problem::bad(format!("the passkey was refused: {error}")))
    })?;
    let ledger = site.gate.ledger();
    ledger.passkey_signed(&assertion.key, &key.user, verified);
    site.gate.presence().touch(site.now());
    Ok(key.clone())
}

/// The ceremony is not there: answered, or five minutes old.
pub(super) fn too_late() -> Told {
    Told(Problem::conflict("it took too long, or was answered already").help("try again"))
}

pub(super) fn no_random(error: exeat_types::DeviceFailure) -> Told {
    tracing::error!(%error, "no random bytes");
    Told(Problem::failed("the machine yields no random bytes"))
}

/// A path of ours, or the first page.
pub(crate) fn inside(next: &str) -> &str {
    let is_ours = next.starts_with('/')
        && !next.starts_with("//")
        && !next.contains(['\\', '\n', '\r', '\t']);
    if is_ours { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::inside;

    #[test]
    fn nobody_is_led_elsewhere() {
        for (next, to) in [
            ("/approvals/apr-1?x=1", "/approvals/apr-1?x=1"),
            ("", "/"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("/\t/evil.example", "/"),
            ("https://evil.example", "/"),
            ("javascript:alert(1)", "/"),
        ] {
            assert_eq!(inside(next), to, "{next}");
        }
    }
}
