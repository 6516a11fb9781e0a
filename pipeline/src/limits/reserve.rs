//! What a call sets aside of the budgets that it falls under, before it leaves.
//!
//! What is known before is set aside exactly, and has to fit. What shows only while bytes flow is set aside up to a bound,
//! less where less is left, and the flow is cut there.

use exeat_ledger::{Reservation, Window};
use exeat_policy::limits::{Bound, Budget, Count, Measure, Period};
use exeat_types::{Money, Reason, Timestamp, amount_in_words};

use crate::{
    Gate,
    record::Refused,
    usage::{Meter, Seen},
};

/// Bytes that are set aside when nothing says how many there will be: this part of the smallest budget,
const UNKNOWN_PART: u64 = 16;
/// and at least so many.
const UNKNOWN_BYTES_MIN: u64 = 1024 * 1024;

/// What a call is going to use, as far as it can be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) cost: Cost,
    pub(super) bytes_up: Known,
    pub(super) tokens: Tokens,
}

/// What a call costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cost {
    /// Nothing that is known.
    Nothing,
    /// This much.
    Known(Money),
    /// Whatever upstream asks for, if something pays.
    Asked,
}

/// How many bytes there will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// So many.
    Exactly(u64),
    /// Nobody knows.
    Unknown,
}

/// How many tokens there will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tokens {
    /// It is no language model.
    None,
    /// At most so many.
    AtMost(u64),
    /// The request does not say.
    Unbounded,
}

/// How much is set aside.
enum Amount {
    Nothing,
    /// All of it has to fit.
    Exactly(u64),
    /// Less will do, but not nothing.
    UpTo(u64),
}

/// Sets aside what a call needs of the budgets of one limit.
pub(super) fn reserve(
    gate: &Gate,
    bound: &Bound,
    needs: &Needs,
    meter: &mut Meter,
) -> Result<(), Box<Refused>> {
    let now = gate.clock.now();
    for budget in &bound.limit.budgets {
        let amount = amount(bound, budget, needs)?;
        let counts = bound
            .counts
            .iter()
            .filter(|count| count.measure == budget.measure);
        if flows(budget.measure) {
            let all = counts.clone();
            all.for_each(|count| meter.sees(count.name.to_string(), count.most));
            if let Some(most) = budget.call {
                meter.sees(of_a_call(bound, budget), most);
            }
        }
        let lines: Vec<Reservation> = counts.map(|count| reservation(bound, count, now)).collect();
        let (amount, exact) = match amount {
            Amount::Nothing => continue,
            Amount::Exactly(amount) => (amount, true),
            Amount::UpTo(most) => (most, false),
        };
        let mut least = amount;
        for line in &lines {
            let free = gate.ledger.free(line);
            if free == 0 || (exact && free < amount) {
                return Err(exhausted(line, now));
            }
            least = least.min(free);
        }
        if lines.is_empty() {
            meter.cap(budget.measure, least);
        }
        for mut line in lines {
            line.amount = least;
            meter.reserve(budget.measure, line);
        }
    }
    Ok(())
}

/// Adds up what a day costs, where a human is asked above some of it. Says whether nobody has to be asked.
pub(super) fn add_up(
    gate: &Gate,
    bound: &Bound,
    (cost, most): (&Money, &Money),
    meter: &mut Meter,
) -> bool {
    let now = gate.clock.now();
    let span = Period::Day.span(&bound.limit.zone, now);
    let (Some(name), Some((from, until))) = (&bound.asked, span) else {
        return false;
    };
    let known = gate.ledger.budget(name);
    let today = known.filter(
        |known| matches!(known.window, Some(Window::Fixed { from: first, .. }) if first >= from),
    );
    let used = today.map_or(0, |today| today.used());
    let day = Money::new(used.saturating_add(cost.amount), cost.currency());
    let fits = day.is_ok_and(|day| !is_over(&day, most));
    meter.add_up(Reservation {
        amount: cost.amount,
        budget: name.to_string(),
        // SECURITY: others may be faster. The ledger holds what nobody is asked about to what nobody has to be asked about.
        limit: fits.then_some(most.amount),
        unit: cost.unit(),
        window: Some(Window::Fixed { from, until }),
    });
    fits
}

/// Whether something costs more than this; another currency is always more.
pub(super) fn is_over(cost: &Money, most: &Money) -> bool {
    most.currency() != cost.currency() || cost.amount > most.amount
}

/// What a call may cost at most, if its limit says so.
pub(super) fn most_of_a_call(bound: &Bound) -> Option<Money> {
    let spend = bound.limit.budget(Measure::Spend)?;
    Money::new(spend.call?, spend.unit.trim_end_matches("-6")).ok()
}

/// Whether an open call keeps to the budgets of one limit, as they are by now.
pub(super) fn keeps(gate: &Gate, bound: &Bound, seen: &Seen) -> bool {
    // What it has set aside itself fits; it is too much only once there is less.
    let fits = |count: &Count| {
        gate.ledger.budget(&count.name).is_none_or(|known| {
            let most = known.set.map_or(count.most, |set| set.min(count.most));
            known.used() <= most
        })
    };
    // SECURITY: bytes that nobody counts cannot be held to a budget.
    let is_counted = |count: &Count| !flows(count.measure) || seen.contains_key(&*count.name);
    let is_capped = |budget: &Budget| {
        let Some(most) = budget.call.filter(|_| flows(budget.measure)) else {
            return true;
        };
        let before = seen.get(&of_a_call(bound, budget));
        before.is_some_and(|before| *before <= most)
    };
    let (mut counts, mut budgets) = (bound.counts.iter(), bound.limit.budgets.iter());
    counts.all(|count| fits(count) && is_counted(count)) && budgets.all(is_capped)
}

const fn flows(measure: Measure) -> bool {
    matches!(measure, Measure::BytesUp | Measure::BytesDown)
}

/// The key of what one call may use.
fn of_a_call(bound: &Bound, budget: &Budget) -> String {
    format!("{}/{}/call", bound.scope, budget.measure.name())
}

/// A line with nothing on it yet.
pub(super) fn reservation(bound: &Bound, count: &Count, now: Timestamp) -> Reservation {
    let window = match count.period {
        Period::Rolling(seconds) => Some(Window::Rolling { seconds }),
        period => period
            .span(&bound.limit.zone, now)
            .map(|(from, until)| Window::Fixed { from, until }),
    };
    Reservation {
        amount: 0,
        budget: count.name.to_string(),
        limit: Some(count.most),
        unit: count.unit.to_string(),
        window,
    }
}

fn amount(bound: &Bound, budget: &Budget, needs: &Needs) -> Result<Amount, Box<Refused>> {
    let amount = match budget.measure {
        Measure::Calls => Amount::Exactly(1),
        Measure::Spend => match &needs.cost {
            Cost::Known(cost) if cost.amount > 0 => Amount::Exactly(cost.amount),
            Cost::Known(_) | Cost::Nothing => Amount::Nothing,
            Cost::Asked => Amount::UpTo(budget.call.ok_or_else(|| unpriced(bound))?),
        },
        Measure::BytesUp => match needs.bytes_up {
            Known::Exactly(0) => Amount::Nothing,
            Known::Exactly(bytes) => Amount::Exactly(bytes),
            Known::Unknown => Amount::UpTo(unknown_bytes(budget)),
        },
        Measure::BytesDown => Amount::UpTo(unknown_bytes(budget)),
        Measure::Tokens => match (needs.tokens, budget.call) {
            (Tokens::None, _) => Amount::Nothing,
            (Tokens::AtMost(tokens), _) => Amount::Exactly(tokens),
            (Tokens::Unbounded, Some(call)) => Amount::Exactly(call),
            (Tokens::Unbounded, None) => return Err(unbounded(bound)),
        },
    };
    match (&amount, budget.call) {
        (Amount::Exactly(amount), Some(most)) if *amount > most => {
            Err(too_much(bound, budget, (*amount, most)))
        }
        _ => Ok(amount),
    }
}

fn unknown_bytes(budget: &Budget) -> u64 {
    let smallest = budget.periods.iter().map(|(_, most)| *most).min();
    budget.call.unwrap_or_else(|| {
        let part = smallest.map(|most| most / UNKNOWN_PART);
        part.map_or(u64::MAX, |part| part.max(UNKNOWN_BYTES_MIN))
    })
}

fn exhausted(line: &Reservation, now: Timestamp) -> Box<Refused> {
    let detail = format!("the budget `{}` has no room for this call", line.budget);
    let refused = Refused::early(Reason::BudgetExhausted, detail).within(&line.budget);
    match line.window {
        Some(Window::Fixed { until, .. }) => refused.again_in(until.since(now)),
        Some(Window::Rolling { .. }) | None => refused,
    }
}

fn too_much(bound: &Bound, budget: &Budget, (amount, most): (u64, u64)) -> Box<Refused> {
    let words = |amount| amount_in_words(amount, &budget.unit);
    let needs = match amount {
        u64::MAX => "more than can be told".to_owned(),
        amount => words(amount),
    };
    let detail = format!("this call may use {} and needs {needs}", words(most));
    let limit = of_a_call(bound, budget);
    Refused::early(Reason::BudgetExhausted, detail).within(limit)
}

fn unpriced(bound: &Bound) -> Box<Refused> {
    let detail = "something may pay for it, and its limit does not say what one call may cost";
    let limit = format!("{}/spend", bound.scope);
    Refused::early(Reason::BudgetExhausted, detail).within(limit)
}

fn unbounded(bound: &Bound) -> Box<Refused> {
    let detail =
        "the request has to say how many tokens its answer may have, as its tokens are counted";
    let limit = format!("{}/tokens", bound.scope);
    Refused::early(Reason::BudgetExhausted, detail).within(limit)
}
