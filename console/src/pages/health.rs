//! How the gate is: what was looked at and found, where it listens, which policy is in force.

use std::sync::Arc;

use axum::{Extension, Router, extract::State, response::Response, routing::get};
use maud::{Markup, html};

use super::calls::digest;
use crate::{
    Check, CheckState, Health,
    layout::{Frame, Tab, Tone, badge, distance, heading, marked, notice},
    problem::{Problem, sentence},
    session::Session,
    site::Site,
};

pub(super) fn routes() -> Router<Arc<Site>> {
    Router::new().route("/health", get(page))
}

async fn page(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
) -> Result<Response, Problem> {
    let health = site.operator.health().await?;
    let rules = site.gate.rules();
    let ledger = site.gate.ledger();
    let records = ledger.end().seq;
    let content = html! {
        (heading("Health", "What the gate finds when it looks at itself. `exeat doctor` looks from outside, too."))
        (verdict(&health))
        section.card aria-labelledby="checks" {
            h2 #checks { "Checks" }
            table.table {
                thead { tr { th { "State" } th { "What" } th { "Found" } } }
                tbody { @for check in &health.checks { (row(check)) } }
            }
        }
        div.cards {
            section.card aria-labelledby="gate" {
                h2 #gate { "Gate" }
                dl.facts {
                    dt { "Version" } dd { (health.version) }
                    dt { "Process" } dd { (health.pid) }
                    dt { "Began" } dd { (distance(health.since, site.now())) }
                    dt { "Console" } dd.mono { (site.origin.text()) }
                    @for listener in &health.listeners { dt { (listener.purpose) } dd.mono { (listener.address) } }
                }
            }
            section.card aria-labelledby="ledger" {
                h2 #ledger { "Ledger" }
                dl.facts {
                    dt { "Records" } dd { (records) }
                    dt { "Public key" } dd.mono.small { (ledger.key()) }
                    dt { "Checkpoint" } dd { @match ledger.checkpoint() {
                        Some(note) => { pre.text tabindex="0" aria-label="Checkpoint" { (note) } }
                        None => "none yet",
                    } }
                }
            }
            section.card aria-labelledby="policy" {
                h2 #policy { "Policy" }
                dl.facts {
                    dt { "Digest" } dd { (digest(&rules.policy.digest())) }
                    dt { "Rules" } dd { (rules.policy.rule_count()) }
                    dt { "Tools" } dd { (rules.policy.tools().count()) }
                }
            }
        }
    };
    let frame = Frame {
        site: &site,
        session: &session,
        tab: Tab::Health,
    };
    Ok(frame.page("Health", content))
}

fn verdict(health: &Health) -> Markup {
    let count = |state: CheckState| {
        health
            .checks
            .iter()
            .filter(|one| one.state == state)
            .count()
    };
    let (broken, weak) = (count(CheckState::Broken), count(CheckState::Weak));
    let (tone, text) = match (broken, weak) {
        (0, 0) => (Tone::Good, "Everything is as it should be.".to_owned()),
        (0, weak) => (
            Tone::Wait,
            format!("Nothing is broken; {weak} of the checks could be stronger."),
        ),
        (broken, _) => (Tone::Bad, format!("{broken} of the checks need you.")),
    };
    notice(tone, html! { p { b { (text) } } })
}

fn row(check: &Check) -> Markup {
    let (tone, word) = match check.state {
        CheckState::Fine => (Tone::Good, "fine"),
        CheckState::Weak => (Tone::Wait, "weak"),
        CheckState::Broken => (Tone::Bad, "broken"),
    };
    html! {
        tr {
            td data-of="State" { span { (badge(tone, word)) } }
            td data-of="What" { (check.name) }
            td data-of="Found" {
                div.stack {
                    span { (marked(&sentence(&check.found))) }
                    @if let Some(help) = &check.help { span.small.muted { (marked(&sentence(help))) } }
                }
            }
        }
    }
}
