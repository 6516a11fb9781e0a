//! Budgets: what was spent, set aside and kept of each, and how much an operator leaves of what policy allows.

use std::sync::Arc;

use axum::{
    Extension, Form, Router,
    extract::State,
    response::{Redirect, Response},
    routing::{get, post},
};
use exeat_pipeline::Usage;
use exeat_types::{Timestamp, amount_in_words};
use maud::{Markup, html};
use serde::Deserialize;

use super::chart;
use crate::{
    layout::{Frame, Tab, Tone, badge, csrf, distance, empty, heading},
    problem::Problem,
    session::Session,
    sign_in::{Confirmed, confirmed},
    site::Site,
};

pub(super) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/budgets", get(page))
        .route("/budgets/set", post(set))
}

async fn page(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
) -> Response {
    let budgets = site.gate.usage();
    let rules = site.gate.rules();
    let limits = rules.policy.limits();
    let now = site.now();
    let content = html! {
        (heading("Budgets", "What agents may spend, call, send and receive. Each call sets its part aside before it leaves, and settles when it ends."))
        @if budgets.is_empty() {
            (empty("No budgets are declared", "Declare one in policy.toml, such as `spend = { day = \"3.00 USD\" }` under `[limits.claude]`."))
        } @else {
            p.key aria-hidden="true" {
                span { "used" } span.held { "kept, end unknown" } span.wait { "set aside" }
            }
            div.cards { @for one in &budgets { (card(one, now, &session)) } }
        }
        section.card aria-labelledby="declared" {
            h2 #declared { "Limits, as policy declares them" }
            @if limits.is_empty() { p.muted { "None. Agents are held by rules alone." } }
            @else {
                dl.facts {
                    @for limit in limits.all() { dt { code { (limit.name) } } dd { (limit) } }
                }
            }
        }
    };
    let frame = Frame {
        site: &site,
        session: &session,
        tab: Tab::Budgets,
    };
    frame.scripted("Budgets", &["confirm.js"], content)
}

fn card(one: &Usage, now: Timestamp, session: &Session) -> Markup {
    let words = |amount: u64| amount_in_words(amount, &one.unit);
    let most = one.set.map_or(one.limit, |set| set.min(one.limit));
    let used = one
        .spent
        .saturating_add(one.held)
        .saturating_add(one.reserved);
    html! {
        article.card {
            header {
                h3.mono.wrap { (one.budget) }
                @if one.free == 0 { (badge(Tone::Bad, "used up")) }
                @else if one.set.is_some() { (badge(Tone::Wait, "tightened")) }
            }
            p { b { (words(used)) } " of " (words(most)) }
            (chart::meter(&chart::Parts {
                spent: one.spent,
                reserved: one.reserved,
                held: one.held,
                limit: most,
            }))
            dl.facts.small {
                dt { "For" }
                dd {
                    @match &one.agent {
                        Some(agent) => (agent),
                        None => "several agents together",
                    }
                }
                dt { "Used" } dd { (words(one.spent)) }
                @if one.reserved > 0 { dt { "Set aside" } dd { (words(one.reserved)) } }
                @if one.held > 0 { dt { "Kept" } dd { (words(one.held)) ", for calls whose end is unknown" } }
                dt { "Free" } dd { (words(one.free)) }
                dt { "Starts anew" }
                dd {
                    @match one.resets {
                        Some(then) => (distance(then, now)),
                        None => "little by little",
                    }
                }
                @if one.set.is_some() { dt { "Policy allows" } dd { (words(one.limit)) } }
            }
            details {
                summary.small { "Tighten" span.unseen { " " (one.budget) } }
                (tighten(one, most, session))
            }
        }
    }
}

fn tighten(one: &Usage, most: u64, session: &Session) -> Markup {
    let words = |amount: u64| amount_in_words(amount, &one.unit);
    html! {
        form.stack method="post" action="/budgets/set" data-deed=[one.set.map(|_| deed(&one.budget, ""))] {
            (csrf(session))
            input type="hidden" name="budget" value=(one.budget);
            label {
                "At most"
                input name="limit" value=(one.set.map(words).unwrap_or_default()) placeholder=(words(most)) autocomplete="off";
            }
            p.small.muted { "Only below what policy allows. Leave it empty to go back to that." }
            @if one.set.is_some() { p.status role="status" aria-live="polite" {} }
            div { button type="submit" { "Set" span.unseen { " the limit of " (one.budget) } } }
        }
    }
}

#[derive(Deserialize)]
struct Set {
    budget: String,
    #[serde(default)]
    limit: String,
    #[serde(default)]
    confirmed: Option<String>,
}

/// What a passkey signs to change a limit that an operator has set.
pub(crate) fn deed(budget: &str, limit: &str) -> String {
    format!("set the budget {budget} to {limit}")
}

/// Whether somebody has tightened it: only then can a change loosen anything, as policy stays the most.
pub(crate) fn is_tightened(site: &Site, budget: &str) -> bool {
    let known = site.gate.ledger().budget(budget);
    known.is_some_and(|known| known.set.is_some())
}

/// SECURITY: whoever tightens needs no key, whoever changes that again does.
async fn set(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Form(set): Form<Set>,
) -> Result<Redirect, Problem> {
    let limit = set.limit.trim();
    if is_tightened(&site, &set.budget) {
        let word = Confirmed::read(set.confirmed.as_deref());
        confirmed(&site, &session, (&deed(&set.budget, limit), word))?;
    }
    let limit = (!limit.is_empty()).then(|| limit.to_owned());
    let operator = &site.operator;
    operator
        .set_budget(set.budget, limit, &session.user)
        .await?;
    Ok(Redirect::to("/budgets"))
}
