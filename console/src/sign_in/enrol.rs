//! `/enroll`: a new passkey. The first is taken in at once; a later one waits until somebody vouches for it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State},
    response::{IntoResponse as _, Response},
};
use exeat_ledger::{
    Enrolment, Record,
    passkey::{Registration, register},
};
use exeat_types::Digest;
use http::header;
use maud::html;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    ceremony::{Ceremony, fresh_nonce},
    enter::{no_random, too_late},
    options::{make_options, relying},
};
use crate::{
    layout,
    problem::{Problem, Told},
    site::Site,
};

/// Letters of the name of a device.
const DEVICE_LETTERS_MAX: usize = 64;

/// What a link brings.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Link {
    #[serde(default)]
    code: String,
}

/// The page.
pub(super) async fn page(Query(link): Query<Link>) -> Response {
    let content = html! {
        h1 { "Enrol a passkey" }
        p.lead { "A passkey on this device, or a security key. It approves what your agents ask for." }
        form data-enrol {
            label for="code" { "One-time code" }
            input #code name="code" value=(link.code) required autocomplete="one-time-code" autocapitalize="none" spellcheck="false";
            p.hint { "Printed by " code { "exeat console enroll" } ", or shown on a device that is enrolled." }
            label for="device" { "Name of this device" }
            input #device name="device" maxlength=(DEVICE_LETTERS_MAX) required placeholder="Laptop";
            button.main type="submit" { "Make a passkey" }
            p.status role="status" aria-live="polite" {}
        }
        noscript { p { "Passkeys need JavaScript." } }
    };
    layout::bare_scripted("Enrol a passkey", &["account.js"], content)
}

/// A code.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Coded {
    code: String,
}

/// Begins, for whom the code is good.
pub(super) async fn begin(
    State(site): State<Arc<Site>>,
    Json(coded): Json<Coded>,
) -> Result<Json<Value>, Told> {
    let user = site
        .codes
        .user(&coded.code, site.now())
        .ok_or_else(bad_code)?;
    let challenge = Digest::of(fresh_nonce().map_err(no_random)?.to_string().as_bytes());
    let ceremony = Ceremony::Make {
        code: coded.code,
        user: user.clone(),
        challenge,
    };
    let ceremony = site.ceremonies.begin(ceremony, site.now());
    let ceremony = ceremony.map_err(no_random)?;
    let options = make_options(&site, &challenge, &user);
    Ok(Json(json!({ "ceremony": ceremony, "publicKey": options })))
}

/// A new key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Made {
    ceremony: String,
    device: String,
    registration: Registration,
}

/// Ends: takes the first key in, and has a later one wait.
pub(super) async fn finish(
    State(site): State<Arc<Site>>,
    Json(made): Json<Made>,
) -> Result<Response, Told> {
    let device = device_name(&made.device)?;
    let ceremony = site.ceremonies.take(&made.ceremony, site.now());
    let Some(Ceremony::Make {
        code,
        user,
        challenge,
    }) = ceremony
    else {
        return Err(too_late());
    };
    let relying = relying(&site);
    let fresh = register(&made.registration, &challenge, &relying)
        .map_err(|error| Told(Problem::bad(format!("the passkey was refused: {error}"))))?;
    if !site.codes.spend(&code, site.now()) {
        return Err(bad_code());
    }
    let enrolment = Enrolment {
        device: Some(device),
        key: fresh.key,
        origin: Some(relying.origin),
        public_key: Some(fresh.public_key.to_string()),
        rp_id: Some(relying.rp_id),
        user,
        vouched: None,
    };
    let fingerprint = fresh.public_key.fingerprint();
    if site.gate.ledger().passkeys().never_any() {
        return first(&site, enrolment).await;
    }
    let waits = site
        .ceremonies
        .wait(enrolment, fingerprint.clone(), site.now())
        .map_err(no_random)?;
    let candidate = waits.ok_or_else(|| Told(Problem::conflict("too many new keys wait")))?;
    let told = json!({ "candidate": candidate, "fingerprint": fingerprint });
    Ok(Json(told).into_response())
}

async fn first(site: &Site, enrolment: Enrolment) -> Result<Response, Told> {
    let (user, key) = (enrolment.user.clone(), enrolment.key.clone());
    write(site, enrolment).await?;
    site.gate.presence().touch(site.now());
    let opened = site.sessions.open(&user, &key, site.now());
    let opened = opened.map_err(no_random)?;
    let told = json!({ "enrolled": true });
    Ok(([(header::SET_COOKIE, opened.cookie)], Json(told)).into_response())
}

/// Keeps a change of keys, or says why not.
pub(super) async fn write(site: &Site, enrolment: Enrolment) -> Result<(), Told> {
    let written = site.gate.ledger().append(&Record::Enrolment(enrolment));
    match written.done().await {
        Ok(_) => Ok(()),
        Err(error @ exeat_ledger::Error::NotSigned { .. }) => {
            Err(Told(Problem::conflict(error.to_string())))
        }
        Err(error) => Err(Told(Problem::from(error))),
    }
}

/// A new key that waits.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Waits {
    candidate: String,
}

/// How it fares: the new device asks until somebody has answered.
pub(super) async fn state(State(site): State<Arc<Site>>, Json(waits): Json<Waits>) -> Json<Value> {
    let known = site.ceremonies.candidate(&waits.candidate, site.now());
    let state = match known.map(|it| it.ending) {
        None => "expired",
        Some(None) => "waiting",
        Some(Some(true)) => "enrolled",
        Some(Some(false)) => "dismissed",
    };
    Json(json!({ "state": state }))
}

pub(super) fn bad_code() -> Told {
    Told(Problem::bad("this code is not good, or not any more").help("make another one"))
}

fn device_name(text: &str) -> Result<String, Told> {
    let name = text.trim();
    let is_plain = !name.is_empty()
        && name.chars().count() <= DEVICE_LETTERS_MAX
        && crate::visible::hidden_in(name) == 0
        && !name.contains('\n');
    if is_plain {
        Ok(name.to_owned())
    } else {
        Err(Told(Problem::bad(
            "the name of a device has 1 to 64 visible letters",
        )))
    }
}
