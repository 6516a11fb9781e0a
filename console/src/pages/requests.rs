//! Capability requests: what agents ask to be able to do for a time, in words; cut down, granted with a passkey, refused,
//! taken back. An answer goes to the pipeline, which checks it; nothing here grants.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{Path, State},
    response::{Redirect, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use exeat_ledger::{Assertion, GrantStanding};
use exeat_pipeline::{Confirmed, Consent, NotTaken, RequestShown};
use exeat_types::{ApprovalId, Capability, Timestamp};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    layout::{Frame, Tab, Tone, badge, csrf, distance, empty, heading, span},
    problem::{Problem, Told},
    session::Session,
    site::Site,
    visible::Visible,
};

/// What is sent to sign an answer is good for five minutes; the browser gives up earlier.
const SIGNING_MS: u64 = 120_000;
/// Times that a person may cut a grant down to, in seconds.
const SHORTER: [u32; 5] = [5 * 60, 30 * 60, 60 * 60, 8 * 60 * 60, 24 * 60 * 60];

pub(super) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/requests", get(list))
        .route("/requests/{id}/challenge", post(challenge))
        .route("/requests/{id}/grant", post(grant))
        .route("/requests/{id}/deny", post(deny))
        .route("/requests/{id}/revoke", post(revoke))
}

/// How many requests wait for an answer.
pub(super) fn waiting(site: &Site) -> usize {
    let all = site.gate.requests().list();
    all.iter()
        .filter(|one| one.state == GrantStanding::Pending)
        .count()
}

async fn list(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
) -> Response {
    let all = site.gate.requests().list();
    let now = site.now();
    let of = |state: GrantStanding| all.iter().filter(move |one| one.state == state);
    let over = all
        .iter()
        .filter(|one| !matches!(one.state, GrantStanding::Pending | GrantStanding::Approved));
    let over: Vec<&RequestShown> = over.collect();
    let content = html! {
        (heading("Requests", "What agents ask to be able to do for a time, beyond their rules. A grant ends by itself."))
        p #said .said role="status" {}
        section.stack aria-labelledby="waiting" {
            h2 #waiting { "Waiting for you" }
            @if of(GrantStanding::Pending).next().is_none() {
                (empty("Nothing waits", "An agent asks with POST http://exeat.internal/requests, its person with `exeat request`."))
            }
            @for one in of(GrantStanding::Pending) { (open(one, now, &session)) }
        }
        section.stack aria-labelledby="granted" {
            h2 #granted { "In force" }
            @if of(GrantStanding::Approved).next().is_none() { p.muted { "None." } }
            @for one in of(GrantStanding::Approved) { (in_force(one, now, &session)) }
        }
        section.stack aria-labelledby="over" {
            h2 #over { "Over" }
            @if over.is_empty() { p.muted { "None." } }
            @else { (table(&over, now)) }
        }
    };
    let frame = Frame {
        site: &site,
        session: &session,
        tab: Tab::Approvals,
    };
    frame.scripted("Requests", &["requests.js"], content)
}

fn open(one: &RequestShown, now: Timestamp, session: &Session) -> Markup {
    html! {
        article.card {
            header {
                h3.wrap { (one.agent) " asks for " (span(u64::from(one.seconds))) }
                @if one.grave { (badge(Tone::Bad, "grave")) }
                span.muted.small { "asked " (distance(one.asked, now)) ", ends " (distance(one.expires, now)) }
            }
            @if let Some(why) = &one.why { p.wrap { "Why, in its words: " q { (Visible(why)) } } }
            form.stack data-request=(one.id) {
                fieldset {
                    legend { "It may" }
                    @for (index, words) in one.words.iter().enumerate() {
                        label.row {
                            input type="checkbox" name="capability" value=(index) checked;
                            span.wrap { (Visible(words)) }
                        }
                    }
                }
                label { "For "
                    select name="seconds" {
                        option value=(one.seconds) selected { (span(u64::from(one.seconds))) }
                        @for shorter in SHORTER.into_iter().filter(|seconds| *seconds < one.seconds) {
                            option value=(shorter) { (span(u64::from(shorter))) }
                        }
                    }
                }
                @if one.grave {
                    label.row {
                        input type="checkbox" name="confirmed" required;
                        span { "Yes, it may move value or destroy something." }
                    }
                }
                div.actions { button.main type="submit" { "Grant with your passkey" span.unseen { " to " (one.agent) } } }
            }
            (answer(one, "deny", "Deny", session))
        }
    }
}

fn in_force(one: &RequestShown, now: Timestamp, session: &Session) -> Markup {
    html! {
        article.card {
            header {
                h3.wrap { (one.agent) " may" }
                (badge(Tone::Good, "granted"))
                span.muted.small { "ends " (distance(one.expires, now)) }
            }
            ul { @for words in &one.words { li.wrap { (Visible(words)) } } }
            (answer(one, "revoke", "Take back", session))
        }
    }
}

fn answer(one: &RequestShown, verb: &str, text: &str, session: &Session) -> Markup {
    html! {
        form method="post" action=(format!("/requests/{}/{verb}", one.id)) {
            (csrf(session))
            button.bad type="submit" { (text) span.unseen { " " (one.agent) } }
        }
    }
}

fn table(over: &[&RequestShown], now: Timestamp) -> Markup {
    html! {
        div.card {
            table.table {
                thead { tr { th { "State" } th { "Agent" } th { "May" } th { "Asked" } } }
                tbody {
                    @for one in over {
                        tr {
                            td data-of="State" { (word(one.state)) }
                            td data-of="Agent" { (one.agent) }
                            td.wrap data-of="May" { (Visible(&one.words.join("; "))) }
                            td data-of="Asked" { (distance(one.asked, now)) }
                        }
                    }
                }
            }
        }
    }
}

const fn word(state: GrantStanding) -> &'static str {
    match state {
        GrantStanding::Pending => "waiting",
        GrantStanding::Approved => "granted",
        GrantStanding::Denied => "denied",
        GrantStanding::Revoked => "taken back",
        GrantStanding::Expired => "over",
    }
}

/// What is granted of a request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    /// The numbers of its capabilities.
    capabilities: Vec<usize>,
    seconds: u32,
    confirmed: bool,
    #[serde(default)]
    assertion: Option<Assertion>,
}

/// The request, and the consent that somebody gives to a part of it.
fn consent(
    site: &Site,
    session: &Session,
    id: &str,
    part: Part,
) -> Result<(ApprovalId, Consent), Problem> {
    let shown = known(site, id)?;
    let one = |index: usize| shown.capabilities.get(index).cloned();
    let capabilities: Option<Vec<Capability>> = part.capabilities.into_iter().map(one).collect();
    let capabilities = capabilities.ok_or_else(|| Problem::bad("it does not ask for that"))?;
    let consent = Consent {
        user: session.user.clone(),
        capabilities: Some(capabilities),
        seconds: Some(part.seconds),
        confirmed: match part.confirmed {
            true => Confirmed::Yes,
            false => Confirmed::No,
        },
        signed: part.assertion,
    };
    Ok((shown.id, consent))
}

/// What the passkey is to sign.
async fn challenge(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Path(id): Path<String>,
    Json(part): Json<Part>,
) -> Result<Json<Value>, Told> {
    let (id, consent) = consent(&site, &session, &id, part)?;
    let policy = Arc::clone(&site.gate.rules().policy);
    let made = site.gate.requests().challenge(&policy, &id, &consent).await;
    let made = made.map_err(|why| refused(&why))?;
    let keys = site.gate.ledger().passkeys();
    let keys = keys.iter().filter(|(_, key)| key.user == session.user);
    let keys: Vec<Value> = keys
        .map(|(id, _)| json!({"type": "public-key", "id": id}))
        .collect();
    Ok(Json(json!({
        "publicKey": {
            "challenge": URL_SAFE_NO_PAD.encode(made.digest().as_bytes()),
            "rpId": site.origin.rp_id(),
            "allowCredentials": keys,
            "userVerification": "required",
            "timeout": SIGNING_MS,
        },
    })))
}

/// A grant that a passkey signed.
async fn grant(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Path(id): Path<String>,
    Json(part): Json<Part>,
) -> Result<Json<Value>, Told> {
    let (id, consent) = consent(&site, &session, &id, part)?;
    // SECURITY: a page grants with a passkey or not at all.
    if consent.signed.is_none() {
        return Err(refused(&NotTaken::NeedsPasskey).into());
    }
    let policy = Arc::clone(&site.gate.rules().policy);
    let granted = site.gate.requests().grant(&policy, &id, consent).await;
    let granted = granted.map_err(|why| refused(&why))?;
    site.gate.presence().touch(site.now());
    Ok(Json(json!({ "state": word(granted.state) })))
}

/// A no. It needs no key: whoever may look may refuse.
async fn deny(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Path(id): Path<String>,
) -> Result<Redirect, Problem> {
    let shown = known(&site, &id)?;
    let denied = site.gate.requests().deny(&shown.id, &session.user).await;
    denied.map_err(|why| refused(&why))?;
    Ok(Redirect::to("/requests"))
}

async fn revoke(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Path(id): Path<String>,
) -> Result<Redirect, Problem> {
    let shown = known(&site, &id)?;
    let revoked = site.gate.requests().revoke(&shown.id, &session.user).await;
    revoked.map_err(|why| refused(&why))?;
    Ok(Redirect::to("/requests"))
}

fn known(site: &Site, id: &str) -> Result<RequestShown, Problem> {
    let unknown = || Problem::not_found(format!("there is no request `{id}`"));
    let id: ApprovalId = id.parse().map_err(|_cause| unknown())?;
    site.gate.requests().show(&id).ok_or_else(unknown)
}

fn refused(why: &NotTaken) -> Problem {
    let text = why.to_string();
    match why {
        NotTaken::Unknown => Problem::not_found(text),
        NotTaken::Closed(_) | NotTaken::TooSoon(_) | NotTaken::TooOften(_) => {
            Problem::conflict(text)
        }
        NotTaken::Malformed(_)
        | NotTaken::Beyond(_)
        | NotTaken::NotEnforceable(_)
        | NotTaken::TooMuch(_)
        | NotTaken::NotConfirmed => Problem::bad(text),
        NotTaken::NeedsPasskey | NotTaken::NotSigned(_) => Problem::forbidden(text),
        NotTaken::NotKept => Problem::failed(text),
    }
}
