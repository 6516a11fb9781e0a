//! Agents: who there is, who runs, who is paused, and what each may do in words.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Form, Router,
    extract::{Path, State},
    response::{Redirect, Response},
    routing::{get, post},
};
use exeat_ledger::Paused;
use exeat_types::AgentId;
use maud::{Markup, html};

use crate::{
    AgentDeclared,
    layout::{Frame, Tab, Tone, badge, counted, csrf, empty, heading, moment, notice},
    problem::Problem,
    session::Session,
    sign_in::{Confirm, confirmed},
    site::Site,
};

pub(super) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/agents", get(list))
        .route("/agents/{id}/pause", post(pause))
        .route("/agents/{id}/resume", post(resume))
}

async fn list(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
) -> Result<Response, Problem> {
    let mut declared = site.operator.agents().await?;
    let known = site.gate.agents().list();
    let paused: BTreeMap<AgentId, Paused> = known
        .into_iter()
        .filter_map(|one| Some((one.agent, one.paused?)))
        .collect();
    for agent in paused.keys() {
        if declared.iter().all(|one| one.id != *agent) {
            declared.push(AgentDeclared {
                id: agent.clone(),
                groups: Vec::new(),
                sandboxes: 0,
            });
        }
    }
    let content = html! {
        (heading("Agents", "Whoever may come through this gate. Pausing one refuses every call of it, and cuts its open streams within a second."))
        @if declared.is_empty() {
            (empty("No agents are declared", "Add `[agents.NAME]` to exeat.toml, then start one with `exeat run --agent NAME`."))
        }
        div.cards {
            @for one in &declared { (card(&site, one, paused.get(&one.id), &session)) }
        }
    };
    let frame = Frame {
        site: &site,
        session: &session,
        tab: Tab::Agents,
    };
    Ok(frame.scripted("Agents", &["confirm.js"], content))
}

fn card(site: &Site, one: &AgentDeclared, paused: Option<&Paused>, session: &Session) -> Markup {
    let rules = site.gate.rules();
    let limits = rules.policy.limits().of(&one.id).into_owned();
    html! {
        article.card {
            header {
                h3.wrap { (one.id) }
                @match (paused, one.sandboxes) {
                    (Some(_), _) => (badge(Tone::Bad, "paused")),
                    (None, 0) => (badge(Tone::Plain, "not in a sandbox")),
                    (None, count) => (badge(Tone::Good, &counted(u64::try_from(count).unwrap_or(u64::MAX), "sandbox", "sandboxes"))),
                }
            }
            @if let Some(paused) = paused {
                (notice(Tone::Bad, html! { p { "Paused by " b { (paused.by) } ", " (moment(paused.at)) "." } }))
            }
            @if !one.groups.is_empty() { p.small.muted { "In " (one.groups.join(", ")) } }
            div.stack {
                h4 { "Limits" }
                @if limits.is_empty() { p.small.muted { "None but the rules." } }
                @else {
                    ul.tick.small { @for bound in &limits { li { span { (bound.limit) } } } }
                }
            }
            div.actions {
                @if paused.is_some() { (order(one, "resume", "Let it go on", session)) }
                @else { (order(one, "pause", "Pause", session)) }
                a.button href=(format!("/receipts?agent={}", one.id)) { "Receipts" span.unseen { " of " (one.id) } }
            }
        }
    }
}

fn order(one: &AgentDeclared, verb: &str, text: &str, session: &Session) -> Markup {
    let class = if verb == "pause" { "bad" } else { "main" };
    let deed = (verb == "resume").then(|| deed(&one.id));
    html! {
        form method="post" action=(format!("/agents/{}/{verb}", one.id)) data-deed=[deed.as_ref()] {
            (csrf(session))
            button.(class) type="submit" { (text) span.unseen { " " (one.id) } }
            @if deed.is_some() { p.status role="status" aria-live="polite" {} }
        }
    }
}

/// What a passkey signs to let an agent go on.
pub(crate) fn deed(agent: &AgentId) -> String {
    format!("let the agent {agent} go on")
}

fn id_of(text: &str) -> Result<AgentId, Problem> {
    let unknown = |_cause| Problem::not_found(format!("there is no agent `{text}`"));
    text.parse().map_err(unknown)
}

async fn pause(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Path(id): Path<String>,
) -> Result<Redirect, Problem> {
    let paused = site.gate.agents().pause(&id_of(&id)?, &session.user).await;
    paused.map_err(|problem| Problem::failed(problem.to_string()))?;
    Ok(Redirect::to("/agents"))
}

/// SECURITY: whoever stops an agent needs no key, whoever lets it go on does.
async fn resume(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Path(id): Path<String>,
    Form(sent): Form<Confirm>,
) -> Result<Redirect, Problem> {
    let id = id_of(&id)?;
    confirmed(&site, &session, (&deed(&id), sent.word()))?;
    let resumed = site.gate.agents().resume(&id, &session.user).await;
    resumed.map_err(|problem| Problem::failed(problem.to_string()))?;
    Ok(Redirect::to("/agents"))
}
