//! Calls as they pass, newest first.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{Extension, extract::State, response::Response};
use exeat_ledger::{Decision, Filter, Receipt};
use exeat_types::{AgentId, Timestamp, limits};
use maud::{Markup, html};

use super::{blocking, calls, chart};
use crate::{
    layout::{Frame, Tab, counted, empty, heading},
    problem::Problem,
    session::Session,
    site::Site,
};

/// Calls that are there when the page comes.
const ROWS: usize = 60;
/// Calls of the last hour that the chart counts at most.
const CHARTED_MAX: usize = 5_000;
const HOUR: Duration = Duration::from_secs(3600);

/// The page.
pub(super) async fn page(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
) -> Result<Response, Problem> {
    let now = site.now();
    let ledger = site.gate.ledger().clone();
    let filter = Filter {
        since: Some(Timestamp::from_millis(
            now.millis()
                .saturating_sub(u64::try_from(HOUR.as_millis()).unwrap_or(0)),
        )),
        limit: Some(CHARTED_MAX),
        ..Filter::default()
    };
    let (newest, hour) = blocking(move || {
        let newest = ledger.list(&Filter {
            limit: Some(ROWS),
            ..Filter::default()
        })?;
        Ok((newest, ledger.list(&filter)?))
    })
    .await?;
    let declared = site.operator.agents().await?;
    let seen = newest.iter().filter_map(Receipt::agent).cloned();
    let agents: BTreeSet<_> = declared.into_iter().map(|one| one.id).chain(seen).collect();
    let content = html! {
        div.row.between {
            (heading("Live", "Every call that agents make through this gate, as it passes."))
            div.row {
                span #pulse.pulse role="status" { "Not connected" }
                button #hold type="button" aria-pressed="false" { "Pause" }
            }
        }
        (last_hour(&hour, now))
        (filter_form(&agents))
        div #calls.calls data-events hidden[newest.is_empty()] {
            @for receipt in &newest { (calls::row(receipt)) }
        }
        div #no-calls hidden[!newest.is_empty()] {
            (empty("No calls yet", "Start an agent with `exeat run`, or point one at a listener. What it asks for shows up here at once."))
        }
        div #nothing-left hidden {
            (empty("Nothing matches", "Calls came through, but none that this filter shows."))
        }
    };
    let frame = Frame {
        site: &site,
        session: &session,
        tab: Tab::Live,
    };
    Ok(frame.scripted("Live", &["live.js"], content))
}

/// What the script filters by.
fn filter_form(agents: &BTreeSet<AgentId>) -> Markup {
    html! {
        form #filter.filters role="search" aria-label="Filter calls" {
            label.wide {
                "Words"
                input type="search" name="text" placeholder="host, path, tool or reason" autocomplete="off";
            }
            label {
                "Agent"
                select name="agent" {
                    option value="" { "All agents" }
                    @for agent in agents { option value=(agent) { (agent) } }
                }
            }
            label {
                "Decision"
                select name="decision" {
                    option value="" { "All" }
                    @for (value, name) in [("allowed", "Allowed"), ("refused", "Refused"), ("open", "Open"),
                        ("unknown", "Unknown"), ("alarm", "Alarms")] {
                        option value=(value) { (name) }
                    }
                }
            }
        }
    }
}

/// The last hour, a bar for each two minutes.
fn last_hour(receipts: &[Receipt], now: Timestamp) -> Markup {
    let (mut allowed, mut refused) = ([0_u64; chart::BARS], [0_u64; chart::BARS]);
    let width = HOUR.as_millis() / chart::BARS as u128;
    for receipt in receipts {
        let ago = now.since(receipt.opened).as_millis() / width.max(1);
        let at = usize::try_from(ago).ok();
        let at = at.and_then(|ago| chart::BARS.checked_sub(ago.saturating_add(1)));
        let row = match receipt.decision {
            Decision::Refused => &mut refused,
            Decision::Allowed | Decision::Open | Decision::Unknown => &mut allowed,
        };
        let count = receipt.refusal.as_ref().map_or(1, |refusal| refusal.count);
        if let Some(bar) = at.and_then(|at| row.get_mut(at)) {
            *bar = bar.saturating_add(count);
        }
    }
    let (passed, stopped) = (allowed.iter().sum::<u64>(), refused.iter().sum::<u64>());
    let alarms = if stopped > u64::from(limits::REFUSALS_PER_SECOND_MAX) {
        " Many refusals are counted in one receipt."
    } else {
        ""
    };
    let text = format!(
        "In the last hour {} passed and {} refused.{alarms}",
        counted(passed, "call", "calls"),
        if stopped == 1 {
            "1 was".to_owned()
        } else {
            format!("{stopped} were")
        },
    );
    html! {
        figure.card {
            figcaption.row.between {
                span { (text) }
                span.key aria-hidden="true" { span.good { "passed" } span.bad { "refused" } }
            }
            (chart::bars(&allowed, &refused))
        }
    }
}
