//! The limits that hold for a call besides the rules: how often, how many at a time, when, and out of which budgets.
//!
//! INVARIANT: a limit can refuse a call or have a human asked; none can let a call pass that policy does not. What is
//! counted here lives in memory, but for budgets: those the ledger counts, in the record that lets the call leave.

mod counters;
mod gcra;
mod reserve;
mod time;
mod usage;

pub(crate) use counters::{Counters, Turn};
pub use usage::Usage;

use std::{sync::Arc, time::Duration};

use exeat_policy::{
    Approve, Policy, Strategy, Tool,
    limits::{Bound, FirstUse, most_tokens},
};
use exeat_types::{AgentId, Host, Money, Reason, limits as bounds_of_exeat};

use crate::{
    BodyKind, Gate, Run,
    check::{Checked, CheckedBody},
    record::Refused,
    usage::{Meter, Seen},
};
use counters::Full;
use reserve::{Cost, Known, Needs, Tokens};

/// How often an open call that can end by itself is looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a call holds for as long as it lasts, and what it asks of the budgets.
#[derive(Default)]
pub(crate) struct Held {
    /// What is set aside with the intent, and counted until the receipt is closed.
    pub(crate) meter: Meter,
    /// What a human has to agree to first, and why.
    pub(crate) asks: Vec<(Approve, String)>,
    /// Its turn among the calls that are open.
    pub(crate) turn: Option<Turn>,
}

/// Who wants to go where, as limits look at it.
pub(crate) struct Who<'a> {
    pub(crate) agent: &'a AgentId,
    pub(crate) run: &'a Run,
    pub(crate) host: &'a Host,
    /// The tool, or what stands for it.
    pub(crate) name: &'a str,
    pub(crate) category: &'a str,
}

/// Finds room for a call within every limit that it falls under.
pub(crate) fn admit(gate: &Gate, checked: &Checked) -> Result<Held, Box<Refused>> {
    let (who, policy) = (caller(checked), &checked.call.rules.policy);
    find_room(gate, policy, &who, || needs(checked)).map_err(|refused| refused.of(&checked.tool))
}

/// Finds room for a connection that passes unread.
pub(crate) fn admit_unread(
    gate: &Gate,
    policy: &Policy,
    who: &Who<'_>,
) -> Result<Held, Box<Refused>> {
    find_room(gate, policy, who, || Needs {
        cost: Cost::Nothing,
        bytes_up: Known::Unknown,
        tokens: Tokens::None,
    })
}

/// Looks once more, now that a human has approved: time has gone by, others have used what was left, and the rules may
/// be others. The call keeps the turn that it has.
pub(crate) fn admit_again(
    gate: &Gate,
    checked: &Checked,
    turn: Option<Turn>,
) -> Result<Held, Box<Refused>> {
    let who = caller(checked);
    let bounds = covering(&checked.call.rules.policy, &who);
    let mut held = look(gate, &bounds, &who, || needs(checked))
        .map_err(|refused| refused.of(&checked.tool))?;
    held.turn = turn;
    Ok(held)
}

fn caller(checked: &Checked) -> Who<'_> {
    let call = &checked.call;
    Who {
        agent: &call.agent.id,
        run: &call.run,
        host: &call.origin.host,
        name: checked.tool.name.as_str(),
        category: checked.tool.category.as_str(),
    }
}

/// Whether an open call may go on under the limits of these rules. `seen` is what it was found to fall under.
pub(crate) fn holds(
    gate: &Gate,
    policy: &Policy,
    who: &Who<'_>,
    seen: &Seen,
) -> Result<(), Reason> {
    if policy.limits().is_empty() {
        return Ok(());
    }
    let now = gate.clock.now();
    for bound in covering(policy, who) {
        time::look(gate, &bound.limit, who.run, now).map_err(|closed| closed.reason)?;
        if !reserve::keeps(gate, &bound, seen) {
            return Err(Reason::BudgetExhausted);
        }
    }
    Ok(())
}

/// Whether an open call can end by itself, without other rules: then somebody has to look.
pub(crate) fn can_end(policy: &Policy, who: &Who<'_>) -> bool {
    !policy.limits().is_empty()
        && covering(policy, who)
            .iter()
            .any(|bound| bound.limit.is_timed() || !bound.counts.is_empty())
}

/// The limits that a call falls under.
fn covering(policy: &Policy, who: &Who<'_>) -> Vec<Arc<Bound>> {
    let bounds = policy.limits().of(who.agent);
    let covers = |bound: &&Arc<Bound>| bound.limit.covers_name(who.name, who.category);
    bounds.iter().filter(covers).cloned().collect()
}

fn find_room(
    gate: &Gate,
    policy: &Policy,
    who: &Who<'_>,
    needs: impl FnOnce() -> Needs,
) -> Result<Held, Box<Refused>> {
    if policy.limits().is_empty() {
        return Ok(Held::default());
    }
    let bounds = covering(policy, who);
    // Before anything else: whoever is refused has come all the same.
    let turn = gate.counters.take(&bounds, gate.clock.monotonic());
    let turn = turn.map_err(refuse_full)?;
    let mut held = look(gate, &bounds, who, needs)?;
    held.turn = turn;
    Ok(held)
}

/// Everything but the turn.
fn look(
    gate: &Gate,
    bounds: &[Arc<Bound>],
    who: &Who<'_>,
    needs: impl FnOnce() -> Needs,
) -> Result<Held, Box<Refused>> {
    let mut held = Held::default();
    if bounds.is_empty() {
        return Ok(held);
    }
    let now = gate.clock.now();
    for bound in bounds {
        time::look(gate, &bound.limit, who.run, now).map_err(|closed| closed.refuse(bound))?;
        held.asks.extend(first_use(gate, bound, who)?);
    }
    let needs = needs();
    // SECURITY: budgets are only looked at here. The ledger counts them, in the record that lets the call leave.
    for bound in bounds {
        reserve::reserve(gate, bound, &needs, &mut held.meter)?;
        let cost = match &needs.cost {
            Cost::Nothing => continue,
            Cost::Known(cost) => Some(cost.clone()),
            Cost::Asked => reserve::most_of_a_call(bound),
        };
        let asks = thresholds(gate, bound, cost.as_ref(), &mut held.meter);
        held.asks.extend(asks);
    }
    Ok(held)
}

fn needs(checked: &Checked) -> Needs {
    let tool = &checked.tool;
    let pays = || tool.otherwise.contains(&Strategy::Payment);
    Needs {
        cost: match tool.cost_of(&checked.arguments) {
            Some(cost) => Cost::Known(cost),
            None if pays() => Cost::Asked,
            None => Cost::Nothing,
        },
        bytes_up: bytes_up(checked),
        tokens: tokens(tool, checked),
    }
}

fn bytes_up(checked: &Checked) -> Known {
    if checked.call.upgrade {
        return Known::Unknown;
    }
    let in_body = |slot: &exeat_policy::Slot| matches!(slot, exeat_policy::Slot::Body(_));
    let more = match checked.tool.slots.iter().any(in_body) {
        // A secret may be longer than what stands for it.
        true => u64::try_from(bounds_of_exeat::SECRET_BYTES_MAX).unwrap_or(u64::MAX),
        false => 0,
    };
    match (&checked.body, checked.call.body) {
        (CheckedBody::Absent, _) => Known::Exactly(0),
        (CheckedBody::Whole(whole), _) => {
            let length = u64::try_from(whole.bytes.len()).unwrap_or(u64::MAX);
            Known::Exactly(length.saturating_add(more))
        }
        (CheckedBody::Streamed, BodyKind::Length(length)) => Known::Exactly(length),
        (CheckedBody::Streamed, BodyKind::Absent | BodyKind::Unknown) => Known::Unknown,
    }
}

fn tokens(tool: &Tool, checked: &Checked) -> Tokens {
    let Some(rules) = &tool.llm else {
        return Tokens::None;
    };
    let (Some(body), CheckedBody::Whole(whole)) =
        (checked.arguments.value.get("body"), &checked.body)
    else {
        return Tokens::Unbounded;
    };
    let bytes = u64::try_from(whole.bytes.len()).unwrap_or(u64::MAX);
    most_tokens(rules.api, body, bytes).map_or(Tokens::Unbounded, Tokens::AtMost)
}

/// A host that the agent has not used: nothing, a question, or a refusal.
fn first_use(
    gate: &Gate,
    bound: &Bound,
    who: &Who<'_>,
) -> Result<Option<(Approve, String)>, Box<Refused>> {
    let limit = &bound.limit;
    if limit.first_use == FirstUse::Allow
        || limit.known_hosts.contains(who.host)
        || gate.history().knows_host(who.agent, who.host)
    {
        return Ok(None);
    }
    if limit.first_use == FirstUse::Prompt {
        let why = format!("{} was not used by this agent before", who.host);
        return Ok(Some((limit.approve, why)));
    }
    let detail = format!("this agent has not used {} before", who.host);
    let key = format!("{}/first-use-of-host", bound.scope);
    Err(Refused::early(Reason::HostNew, detail).within(key))
}

/// What a human has to agree to, because of what it costs. A cost that nobody knows is more than any.
fn thresholds(
    gate: &Gate,
    bound: &Bound,
    cost: Option<&Money>,
    meter: &mut Meter,
) -> Vec<(Approve, String)> {
    let limit = &bound.limit;
    let mut asks = Vec::new();
    if let Some(most) = &limit.ask_above.call
        && cost.is_none_or(|cost| reserve::is_over(cost, most))
    {
        let why = match cost {
            Some(cost) => format!("it costs {cost}, more than {most} a call"),
            None => format!("nobody knows what it costs; it may be more than {most} a call"),
        };
        asks.push((limit.approve, why));
    }
    if let Some(most) = &limit.ask_above.day
        && cost.is_none_or(|cost| cost.amount > 0)
    {
        // SECURITY: what cannot be added up is too much.
        let fits = cost.is_some_and(|cost| reserve::add_up(gate, bound, (cost, most), meter));
        if !fits {
            let why = format!("with it the day costs more than {most}");
            asks.push((limit.approve, why));
        }
    }
    asks
}

fn refuse_full(full: Full<'_>) -> Box<Refused> {
    match full {
        Full::Fast(bound, wait) => {
            let detail = "this agent calls more often than it may";
            let limit = format!("{}/requests", bound.scope);
            let refused = Refused::early(Reason::RateLimited, detail).within(limit);
            refused.again_in(wait)
        }
        Full::Open(bound) => {
            let detail = "this agent has as many calls open as it may";
            let limit = format!("{}/concurrency", bound.scope);
            let refused = Refused::early(Reason::RateLimited, detail).within(limit);
            refused.again_in(Duration::from_secs(1))
        }
    }
}
