//! Questions to a human: what waits, what exactly will be sent, and the answers. An answer goes to the pipeline, which
//! checks it; nothing here grants. `approval_page.rs` draws one question.

use std::sync::Arc;

use axum::{
    Extension, Form, Json, Router,
    extract::{Path, State},
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use exeat_ledger::{Assertion, Extent, Progress};
use exeat_pipeline::{Answer, NotAnswered, Pause, Pending};
use exeat_policy::Remember;
use exeat_types::{ApprovalId, Timestamp};
use http::{HeaderValue, header};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::approval_page;
use crate::{
    assets,
    layout::{Frame, Tab, Tone, badge, counted, distance, empty, heading},
    problem::{Problem, Told},
    session::Session,
    site::Site,
    visible::Visible,
};

/// What is sent to sign an answer is good for five minutes; the browser gives up earlier.
const SIGNING_MS: u64 = 120_000;

pub(super) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/approvals", get(list))
        .route("/approvals/{id}", get(one))
        .route("/approvals/{id}/body", get(body))
        .route("/approvals/{id}/challenge", post(challenge))
        .route("/approvals/{id}/grant", post(grant))
        .route("/approvals/{id}/deny", post(deny))
        .route("/approvals/{id}/revoke", post(revoke))
}

/// How many questions wait for an answer, capability requests among them.
pub(crate) fn waiting(site: &Site) -> usize {
    questions(site).saturating_add(super::requests::waiting(site))
}

fn questions(site: &Site) -> usize {
    let all = site.gate.approvals().list();
    let open = all.iter().filter(|one| one.progress == Progress::Pending);
    open.count()
}

/// How far a question has come, in one word.
pub(super) const fn word(progress: Progress) -> &'static str {
    match progress {
        Progress::Pending => "waiting",
        Progress::Granted(_) => "granted",
        Progress::Consumed => "used",
        Progress::Refused => "denied",
        Progress::Expired => "expired",
    }
}

/// The same as a badge.
pub(super) fn state(progress: Progress) -> Markup {
    let tone = match progress {
        Progress::Pending => Tone::Wait,
        Progress::Granted(_) | Progress::Consumed => Tone::Good,
        Progress::Refused => Tone::Bad,
        Progress::Expired => Tone::Plain,
    };
    badge(tone, word(progress))
}

async fn list(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
) -> Response {
    let all = site.gate.approvals().list();
    let now = site.now();
    let (open, closed): (Vec<_>, Vec<_>) = all
        .iter()
        .partition(|one| one.progress == Progress::Pending);
    let content = html! {
        div.row.between data-events data-push-worker=(assets::url("push-worker.js")) {
            (heading("Approvals", "Requests that a rule, a limit or a risk holds back until a human has read them."))
            div.row {
                span.small.muted data-push-said role="status" {}
                button type="button" data-push hidden { "Notify this browser" }
            }
        }
        @let asked = super::requests::waiting(&site);
        p { a href="/requests" { "Capability requests" }
            @if asked > 0 { " " (badge(Tone::Wait, &counted(u64::try_from(asked).unwrap_or(u64::MAX), "waits", "wait"))) }
        }
        section.stack aria-labelledby="waiting" {
            h2 #waiting { "Waiting for you" }
            @if open.is_empty() {
                (empty("Nothing waits", "When an agent asks for something that needs approval, it appears here, and the agent waits up to 25 seconds before it is told to come back."))
            }
            @for one in &open { (card(one, now)) }
        }
        section.stack aria-labelledby="closed" {
            h2 #closed { "Answered or over, last 24 hours" }
            @if closed.is_empty() { p.muted { "None." } }
            @else { (table(&closed, now)) }
        }
    };
    let frame = Frame {
        site: &site,
        session: &session,
        tab: Tab::Approvals,
    };
    frame.scripted("Approvals", &["approvals.js", "push.js"], content)
}

fn card(one: &Pending, now: Timestamp) -> Markup {
    let page = format!("/approvals/{}", one.id);
    let place = one.request.as_ref().map_or_else(
        || one.origin.clone(),
        |request| format!("{}{}", request.origin, request.path),
    );
    html! {
        article.card {
            header {
                h3.wrap { (one.agent) " asks for " (one.tool) }
                (badge(Tone::Plain, &one.category))
                span.muted.small { "asked " (distance(one.asked, now)) ", ends " (distance(one.expires, now)) }
            }
            p.mono.wrap { b { (Visible(&one.method)) } " " (Visible(&place)) }
            div.row.between {
                p.muted.small {
                    @if one.waiting > 0 { (counted(u64::from(one.waiting), "call waits", "calls wait")) " for this answer. " }
                    (needs(one))
                }
                a.button.main href=(page) { "Read and answer" span.unseen { " " (one.agent) " " (one.tool) } }
            }
        }
    }
}

/// What the answer has to look like, in words.
pub(super) fn needs(one: &Pending) -> String {
    let people = counted(
        u64::from(one.approve.approvers),
        "person",
        "different people",
    );
    let keys = match one.approve.devices {
        0 | 1 => String::new(),
        devices => format!(" with {devices} different keys"),
    };
    let reach = match one.approve.remember {
        Remember::Once => "one call".to_owned(),
        Remember::Uses(uses) => format!("up to {uses} equal calls"),
        Remember::Until(time) => {
            format!(
                "equal calls for up to {}",
                crate::layout::span(time.as_secs())
            )
        }
    };
    format!("Needs {people}{keys}; covers {reach}.")
}

fn table(closed: &[&Arc<Pending>], now: Timestamp) -> Markup {
    html! {
        div.card {
            table.table {
                thead { tr { th { "State" } th { "Agent" } th { "Request" } th { "Answered by" } th { "Asked" } } }
                tbody {
                    @for one in closed {
                        tr {
                            td data-of="State" { span { (state(one.progress)) } }
                            td data-of="Agent" { (one.agent) }
                            td data-of="Request" {
                                div {
                                    a href=(format!("/approvals/{}", one.id)) { (one.tool) }
                                    " " span.muted.small.wrap { (Visible(&one.method)) " " (Visible(&one.origin)) }
                                }
                            }
                            td data-of="Answered by" {
                                @if one.given.is_empty() { span.muted { "nobody" } }
                                @for (at, given) in one.given.iter().enumerate() {
                                    @if at > 0 { ", " }
                                    (given.user)
                                }
                            }
                            td data-of="Asked" { (distance(one.asked, now)) }
                        }
                    }
                }
            }
        }
    }
}

fn known(site: &Site, id: &str) -> Result<Arc<Pending>, Problem> {
    let unknown = || {
        Problem::not_found(format!("there is no approval `{id}`"))
            .help("questions are shown for a day; receipts stay")
    };
    let id: ApprovalId = id.parse().map_err(|_cause| unknown())?;
    site.gate.approvals().show(&id).ok_or_else(unknown)
}

async fn one(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let pending = known(&site, &id)?;
    let draw = move || Ok(approval_page::page(&site, &session, &pending));
    super::blocking(draw).await
}

/// The bytes of a body, to be kept and looked at with other tools. Never shown by the browser.
async fn body(State(site): State<Arc<Site>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let pending = known(&site, &id)?;
    let request = pending.request.as_ref();
    let body = request.and_then(|request| request.body.clone());
    let body = body.ok_or_else(|| Problem::not_found("this request has no body any more"))?;
    let kind = HeaderValue::from_static("application/octet-stream");
    let named = format!("attachment; filename=\"{}.body\"", pending.id);
    let named = HeaderValue::from_str(&named).unwrap_or(HeaderValue::from_static("attachment"));
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_DISPOSITION, named),
    ];
    Ok((headers, body).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    /// An extent, or `minutes:N` from now.
    extent: String,
}

/// What the passkey is to sign.
async fn challenge(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Path(id): Path<String>,
    Json(ask): Json<Ask>,
) -> Result<Json<Value>, Told> {
    let pending = known(&site, &id)?;
    let extent = extent_of(&ask.extent, &pending, site.now())?;
    let made = site.gate.approvals().challenge(&pending.id, extent).await;
    let made = made.map_err(|why| refused(&why))?;
    let keys = site.gate.ledger().passkeys();
    let keys = keys.iter().filter(|(_, key)| key.user == session.user);
    let keys: Vec<Value> = keys
        .map(|(id, _)| json!({"type": "public-key", "id": id}))
        .collect();
    Ok(Json(json!({
        "extent": extent,
        "publicKey": {
            "challenge": URL_SAFE_NO_PAD.encode(made.digest().as_bytes()),
            "rpId": site.origin.rp_id(),
            "allowCredentials": keys,
            "userVerification": "required",
            "timeout": SIGNING_MS,
        },
    })))
}

fn extent_of(text: &str, pending: &Pending, now: Timestamp) -> Result<Extent, Problem> {
    if let Some(minutes) = text.strip_prefix("minutes:") {
        let minutes = minutes.parse::<u64>().ok().filter(|minutes| *minutes > 0);
        let minutes = minutes.ok_or_else(|| Problem::bad("expected a number of minutes"))?;
        let asked = std::time::Duration::from_secs(minutes.saturating_mul(60));
        let longest = match pending.approve.remember {
            Remember::Until(longest) => longest,
            Remember::Once | Remember::Uses(_) => {
                return Err(Problem::bad("this approval is not offered for a time"));
            }
        };
        return Ok(Extent::Until(now.after(asked.min(longest))));
    }
    text.parse()
        .map_err(|problem: exeat_types::Malformed| Problem::bad(problem.problem))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Grant {
    extent: String,
    assertion: Assertion,
}

/// An answer that a passkey signed.
async fn grant(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Path(id): Path<String>,
    Json(grant): Json<Grant>,
) -> Result<Json<Value>, Told> {
    let pending = known(&site, &id)?;
    let extent = grant.extent.parse();
    let extent = extent.map_err(|problem: exeat_types::Malformed| Problem::bad(problem.problem))?;
    let answer = Answer {
        user: session.user.clone(),
        extent,
        signed: Some(grant.assertion),
    };
    let granted = site.gate.approvals().grant(&pending.id, answer).await;
    let granted = granted.map_err(|why| refused(&why))?;
    site.gate.presence().touch(site.now());
    Ok(Json(json!({ "state": word(granted.progress) })))
}

#[derive(Deserialize)]
struct Deny {
    #[serde(default)]
    pause: Option<String>,
}

/// A no. It needs no key: whoever may look may refuse.
async fn deny(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Path(id): Path<String>,
    Form(deny): Form<Deny>,
) -> Result<Redirect, Problem> {
    let pending = known(&site, &id)?;
    let pause = match deny.pause.as_deref() {
        Some("agent") => Pause::Agent,
        _ => Pause::No,
    };
    let approvals = site.gate.approvals();
    let denied = approvals.deny(&pending.id, &session.user, pause).await;
    denied.map_err(|why| refused(&why))?;
    Ok(Redirect::to(&format!("/approvals/{}", pending.id)))
}

/// Takes back what is left of a grant.
async fn revoke(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Path(id): Path<String>,
) -> Result<Redirect, Problem> {
    let pending = known(&site, &id)?;
    let approvals = site.gate.approvals();
    let revoked = approvals.revoke(&pending.id, &session.user).await;
    revoked.map_err(|why| refused(&why))?;
    Ok(Redirect::to(&format!("/approvals/{}", pending.id)))
}

fn refused(why: &NotAnswered) -> Problem {
    let text = why.to_string();
    match why {
        NotAnswered::Unknown(_) => Problem::not_found(text),
        NotAnswered::Closed | NotAnswered::SamePerson => Problem::conflict(text),
        NotAnswered::TooFar(_) => Problem::bad(text),
        NotAnswered::NeedsPasskey | NotAnswered::Unsealed | NotAnswered::NotSigned(_) => {
            Problem::forbidden(text)
        }
        NotAnswered::NotKept => Problem::failed(text),
    }
}
