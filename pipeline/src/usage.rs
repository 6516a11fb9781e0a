//! What a call uses of the budgets it falls under: counted while it lasts, settled when its receipt is closed.
//!
//! INVARIANT: what was set aside is the most that may pass. Bytes beyond it break the call off; what cannot be counted
//! in the end is charged whole.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use exeat_ledger::{Reservation, Settlement};
use exeat_policy::{Usage, limits::Measure};
use exeat_types::{Digest, DigestBuilder, Money, Reason};

/// What a call has set aside, and what it has used so far.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    lines: Vec<Line>,
    /// The budgets that were looked at, with the most of each, whether or not something of them was set aside.
    seen: Seen,
    /// What the call costs.
    cost: Option<Money>,
    /// Whether something pays for it.
    paid: Paid,
    up: Flow,
    down: Flow,
}

/// Budgets by name, and the most of each.
pub(crate) type Seen = Arc<BTreeMap<String, u64>>;

#[derive(Debug)]
struct Line {
    measure: Measure,
    reservation: Reservation,
    what: What,
}

/// What a line is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// It holds a budget.
    Budget,
    /// It adds up what nobody was asked about.
    Threshold,
}

/// Whether something pays what upstream asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Paid {
    #[default]
    No,
    Yes,
}

/// Bytes of a body, and their digest.
#[derive(Default)]
pub(crate) struct Counted {
    pub(crate) bytes: u64,
    digest: DigestBuilder,
}

impl Counted {
    pub(crate) fn count(&mut self, chunk: &[u8]) {
        self.bytes = self.with(chunk);
        self.digest.update(chunk);
    }

    /// How many there are with these.
    pub(crate) fn with(&self, chunk: &[u8]) -> u64 {
        let more = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        self.bytes.saturating_add(more)
    }

    pub(crate) fn digest(&self) -> Option<Digest> {
        (self.bytes > 0).then(|| self.digest.clone().finish())
    }
}

/// Bytes in one direction.
#[derive(Debug)]
struct Flow {
    passed: AtomicU64,
    /// The least that any budget leaves.
    most: u64,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            passed: AtomicU64::new(0),
            most: u64::MAX,
        }
    }
}

impl Flow {
    fn count(&self, bytes: usize) -> Result<(), Reason> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let before = self.passed.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.most {
            return Err(Reason::BudgetExhausted);
        }
        Ok(())
    }

    fn reaches(&self, bytes: u64) -> Result<(), Reason> {
        self.passed.fetch_max(bytes, Ordering::Relaxed);
        match bytes > self.most {
            true => Err(Reason::BudgetExhausted),
            false => Ok(()),
        }
    }

    fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }
}

/// Whether anything of a call left the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// It did, or may have.
    Something,
    /// Nothing did.
    Nothing,
}

impl Meter {
    /// Lets no more than this pass, besides what is set aside. Only bytes are seen while they pass.
    pub(crate) fn cap(&mut self, measure: Measure, most: u64) {
        let flow = match measure {
            Measure::BytesUp => &mut self.up,
            Measure::BytesDown => &mut self.down,
            Measure::Calls | Measure::Spend | Measure::Tokens => return,
        };
        flow.most = flow.most.min(most);
    }

    /// Sets something aside.
    pub(crate) fn reserve(&mut self, measure: Measure, reservation: Reservation) {
        self.cap(measure, reservation.amount);
        self.lines.push(Line {
            measure,
            reservation,
            what: What::Budget,
        });
    }

    /// Adds something up that nobody is asked about while it is little.
    pub(crate) fn add_up(&mut self, reservation: Reservation) {
        self.lines.push(Line {
            measure: Measure::Spend,
            reservation,
            what: What::Threshold,
        });
    }

    /// Whether this is where something is added up that a human is asked about.
    pub(crate) fn is_threshold(&self, budget: &str) -> bool {
        let mut lines = self.lines.iter();
        lines.any(|line| line.what == What::Threshold && line.reservation.budget == budget)
    }

    /// A budget that the call falls under.
    pub(crate) fn sees(&mut self, budget: String, most: u64) {
        Arc::make_mut(&mut self.seen).insert(budget, most);
    }

    /// The budgets that the call was found to fall under.
    pub(crate) const fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Something pays what upstream asks for.
    pub(crate) const fn pays(&mut self) {
        self.paid = Paid::Yes;
    }

    /// Says what the call costs.
    pub(crate) fn costs(&mut self, cost: Option<Money>) {
        self.cost = cost;
    }

    /// What the intent says.
    pub(crate) fn reservations(&self) -> Vec<Reservation> {
        let lines = self.lines.iter();
        lines.map(|line| line.reservation.clone()).collect()
    }

    /// The request is sent anew: what was sent of it before is not counted, as in its receipt.
    pub(crate) fn restart(&self) {
        self.up.passed.store(0, Ordering::Relaxed);
    }

    /// Counts bytes on their way to upstream.
    ///
    /// # Errors
    /// `budget-exhausted`: they must not leave.
    pub(crate) fn up(&self, bytes: usize) -> Result<(), Reason> {
        self.up.count(bytes)
    }

    /// Counts bytes on their way to the agent.
    ///
    /// # Errors
    /// `budget-exhausted`: the call must be broken off.
    pub(crate) fn down(&self, bytes: usize) -> Result<(), Reason> {
        self.down.count(bytes)
    }

    /// Counts bytes on their way to the agent by what there is of them by now.
    ///
    /// # Errors
    /// `budget-exhausted`: the call must be broken off.
    pub(crate) fn down_to(&self, bytes: u64) -> Result<(), Reason> {
        self.down.reaches(bytes)
    }

    /// What the outcome says.
    pub(crate) fn settle(&self, left: Left, tokens: Option<Usage>) -> Vec<Settlement> {
        let settlement = |line: &Line| {
            let reserved = &line.reservation;
            let amount = match left {
                Left::Nothing => 0,
                Left::Something => self.amount(line, tokens),
            };
            Settlement {
                amount,
                budget: reserved.budget.clone(),
                unit: reserved.unit.clone(),
            }
        };
        self.lines.iter().map(settlement).collect()
    }

    /// What it cost, by unit: money and tokens, each once however many budgets count them.
    pub(crate) fn paid(&self, left: Left, tokens: Option<Usage>) -> Vec<(String, u64)> {
        if left == Left::Nothing {
            return Vec::new();
        }
        let money = self.cost.iter().map(|cost| (cost.unit(), cost.amount));
        let set_aside = self
            .lines
            .iter()
            .filter(|line| line.measure == Measure::Tokens);
        let set_aside = set_aside.map(|line| line.reservation.amount).max();
        let tokens = tokens.map(Usage::total).or(set_aside);
        money
            .chain(tokens.map(|tokens| ("tokens".to_owned(), tokens)))
            .filter(|(_, amount)| *amount > 0)
            .collect()
    }

    fn amount(&self, line: &Line, tokens: Option<Usage>) -> u64 {
        let whole = line.reservation.amount;
        match line.measure {
            Measure::Calls => 1,
            Measure::Spend => match (&self.cost, self.paid) {
                (Some(cost), _) if cost.unit() == line.reservation.unit => cost.amount,
                (None, Paid::No) => 0,
                (Some(_), _) | (None, Paid::Yes) => whole,
            },
            // What broke a call off did not pass.
            Measure::BytesUp => self.up.passed().min(whole),
            Measure::BytesDown => self.down.passed().min(whole),
            Measure::Tokens => tokens.map_or(whole, Usage::total),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(reserved: &[(Measure, u64, &str)]) -> Meter {
        let mut meter = Meter::default();
        for (measure, amount, unit) in reserved {
            let budget = format!("claude/{}/day", measure.name());
            meter.reserve(
                *measure,
                Reservation {
                    amount: *amount,
                    budget,
                    limit: None,
                    unit: (*unit).to_owned(),
                    window: None,
                },
            );
        }
        meter
    }

    fn settled(meter: &Meter, left: Left, tokens: Option<Usage>) -> Vec<u64> {
        let settled = meter.settle(left, tokens);
        settled.into_iter().map(|one| one.amount).collect()
    }

    #[test]
    fn a_call_is_charged_what_it_used_and_at_most_what_it_set_aside_where_nobody_knows() {
        let mut meter = meter(&[
            (Measure::Calls, 1, "calls"),
            (Measure::Spend, 90_000, "USD-6"),
            (Measure::Spend, 70_000, "EUR-6"),
            (Measure::BytesUp, 100, "bytes"),
            (Measure::BytesDown, 100, "bytes"),
            (Measure::Tokens, 5000, "tokens"),
        ]);
        meter.costs("0.05 USD".parse().ok());
        assert_eq!((meter.up(60), meter.down(70)), (Ok(()), Ok(())));
        meter.restart();
        assert_eq!(meter.up(30), Ok(()));
        let charged = settled(&meter, Left::Something, None);
        assert_eq!(charged, [1, 50_000, 70_000, 30, 70, 5000]);
        let known = Some(Usage::default());
        assert_eq!(settled(&meter, Left::Something, known).last(), Some(&0));
        assert_eq!(settled(&meter, Left::Nothing, None), [0; 6]);
        let mut unknown = self::meter(&[(Measure::Spend, 90_000, "USD-6")]);
        assert_eq!(settled(&unknown, Left::Something, None), [0]);
        unknown.pays();
        assert_eq!(settled(&unknown, Left::Something, None), [90_000]);
        let paid = meter.paid(Left::Something, None);
        assert_eq!(
            paid,
            [("USD-6".to_owned(), 50_000), ("tokens".to_owned(), 5000)]
        );
        assert_eq!(meter.paid(Left::Nothing, None), []);
    }

    #[test]
    fn bytes_beyond_the_smallest_budget_break_a_call_off_and_are_not_charged() {
        let mut meter = meter(&[
            (Measure::BytesDown, 100, "bytes"),
            (Measure::BytesDown, 50, "bytes"),
        ]);
        assert_eq!(meter.down(50), Ok(()));
        assert_eq!(meter.down(1), Err(Reason::BudgetExhausted));
        assert_eq!(settled(&meter, Left::Something, None), [51, 50]);
        assert_eq!(meter.up(usize::MAX), Ok(()));
        meter.cap(Measure::BytesUp, 9);
        assert_eq!(meter.up(1), Err(Reason::BudgetExhausted));
    }
    #[test]
    fn bytes_that_become_more_on_their_way_are_counted_as_they_are_handed_over() {
        let meter = meter(&[(Measure::BytesDown, 100, "bytes")]);
        assert_eq!((meter.down_to(10), meter.down_to(90)), (Ok(()), Ok(())));
        assert_eq!(meter.down_to(20), Ok(()), "the larger of the two counts");
        assert_eq!(settled(&meter, Left::Something, None), [90]);
        assert_eq!(meter.down_to(101), Err(Reason::BudgetExhausted));
    }
}
