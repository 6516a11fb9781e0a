//! Credentials: which are declared, whether they can be used, what a person granted. Never a value, and nothing that leads to
//! one.

use std::sync::Arc;

use axum::{
    Extension, Form, Router,
    extract::{Path, State},
    response::{Redirect, Response},
    routing::{get, post},
};
use exeat_types::CredentialId;
use maud::{Markup, html};
use serde::Deserialize;

use crate::{
    CredentialShown, Forget, Visit,
    layout::{Frame, Tab, Tone, badge, csrf, distance, empty, heading},
    problem::Problem,
    session::Session,
    sign_in::{Confirmed, confirmed},
    site::Site,
};

pub(super) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/credentials", get(list))
        .route("/credentials/{id}/connect", post(connect))
        .route("/credentials/{id}/disconnect", post(disconnect))
}

async fn list(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
) -> Result<Response, Problem> {
    let all = site.operator.credentials().await?;
    let content = html! {
        (heading("Credentials", "What the gate holds so that agents do not have to. Values are sealed; no page can show one."))
        @if all.is_empty() {
            (empty("No credentials are declared", "Add `[credentials.NAME]` to exeat.toml, or let `exeat preset add` do it."))
        }
        div.cards { @for one in &all { (card(one, &site, &session)) } }
    };
    let frame = Frame {
        site: &site,
        session: &session,
        tab: Tab::Credentials,
    };
    Ok(frame.scripted("Credentials", &["confirm.js"], content))
}

fn state(word: &str) -> Markup {
    let tone = match word {
        "ready" | "live" => Tone::Good,
        "absent" | "ended" => Tone::Wait,
        _ => Tone::Bad,
    };
    badge(tone, word)
}

fn card(one: &CredentialShown, site: &Site, session: &Session) -> Markup {
    let now = site.now();
    html! {
        article.card {
            header { h3.mono.wrap { (one.id) } (state(&one.state)) }
            dl.facts.small {
                dt { "Kind" } dd { (one.kind) }
                dt { "Only for" }
                dd {
                    @if one.origins.is_empty() { span.muted { "no origin" } }
                    @for origin in &one.origins { div.mono { (origin) } }
                }
                @if let Some(version) = one.version { dt { "Version" } dd { (version) } }
                @if let Some(print) = &one.thumbprint { dt { "Thumbprint" } dd.mono { (print) } }
                @if let Some(granted) = &one.connection {
                    dt { "Granted by" } dd { (granted.issuer) }
                    dt { "Scopes" } dd { @if granted.scopes.is_empty() { span.muted { "none named" } } @else { (granted.scopes.join(" ")) } }
                    @if !granted.wanted.is_empty() { dt { "Also asked for" } dd { (granted.wanted.join(" ")) } }
                    @if let Some(obtained) = granted.obtained { dt { "Obtained" } dd { (distance(obtained, now)) } }
                    @if let Some(expires) = granted.expires {
                        dt { "Ends" } dd { (distance(expires, now)) @if granted.renews { ", renewed by the gate" } }
                    }
                }
            }
            @if one.connects { (connection(one, session)) }
            @else if one.state == "absent" {
                p.small.muted { "Seal its value with " code { "exeat secret set" } " on the gate's machine. It cannot be entered here." }
            }
        }
    }
}

fn connection(one: &CredentialShown, session: &Session) -> Markup {
    let path = |verb: &str| format!("/credentials/{}/{verb}", one.id);
    let sure = format!("Give back what was granted to {}?", one.id);
    html! {
        div.actions {
            form method="post" action=(path("connect")) {
                (csrf(session))
                button type="submit" { @if one.connection.is_some() { "Connect again" } @else { "Connect" } }
            }
            @if one.connection.is_some() {
                form method="post" action=(path("disconnect")) data-confirm=(sure) data-deed=(deed(&one.id)) {
                    (csrf(session))
                    button.bad type="submit" { "Revoke" }
                    p.status role="status" aria-live="polite" {}
                }
            }
        }
    }
}

fn id_of(text: &str) -> Result<CredentialId, Problem> {
    let unknown = |_cause| Problem::not_found(format!("there is no credential `{text}`"));
    text.parse().map_err(unknown)
}

/// Shows where a person has to agree. The gate waits for them meanwhile.
async fn connect(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = id_of(&id)?;
    let Visit { url, code, scopes } = site.operator.connect(id.clone()).await?;
    // SECURITY: the address comes from an issuer; only a page may be opened.
    if !(url.starts_with("https://") || url.starts_with("http://")) {
        return Err(Problem::failed(
            "the issuer gave no address that a browser opens",
        ));
    }
    let content = html! {
        (heading(&format!("Connect {id}"), "Agree at the issuer; this page does not have to stay open."))
        section.card {
            @if let Some(code) = code { p { "Type this code there: " b.mono { (code) } } }
            dl.facts {
                dt { "Asked for" } dd { @if scopes.is_empty() { "what the issuer gives by itself" } @else { (scopes.join(" ")) } }
                dt { "Issuer" } dd.mono { (url) }
            }
            div.actions {
                a.button.main href=(url) target="_blank" rel="noreferrer" { "Open the issuer's page" }
                a.button href="/credentials" { "Back to credentials" }
            }
            p.small.muted { "The issuer sends the browser back to the gate's own machine: open it in a browser there." }
        }
    };
    let frame = Frame {
        site: &site,
        session: &session,
        tab: Tab::Credentials,
    };
    Ok(frame.page("Connect", content))
}

#[derive(Deserialize)]
struct Disconnect {
    #[serde(default)]
    forget: Option<String>,
    #[serde(default)]
    confirmed: Option<String>,
}

/// What a passkey signs to give back what was granted.
pub(crate) fn deed(credential: &CredentialId) -> String {
    format!("give back the credential {credential}")
}

async fn disconnect(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Path(id): Path<String>,
    Form(order): Form<Disconnect>,
) -> Result<Redirect, Problem> {
    let forget = match order.forget.as_deref() {
        Some("yes") => Forget::InAnyCase,
        _ => Forget::WhenTold,
    };
    let id = id_of(&id)?;
    let word = Confirmed::read(order.confirmed.as_deref());
    confirmed(&site, &session, (&deed(&id), word))?;
    site.operator.disconnect(id, forget).await?;
    Ok(Redirect::to("/credentials"))
}
