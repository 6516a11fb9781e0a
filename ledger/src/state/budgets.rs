//! Budgets as the records have them: reserved, spent and held, each over the window that its reservations name.
//!
//! Time is the time of a record, so every replay adds up to the same. Where two windows do not fit together, what was
//! counted goes along: a budget is never wider than one of them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use exeat_types::{Malformed, Timestamp};
use serde::Serialize;

use crate::{
    Error,
    call::{Ending, Reservation, Settlement, Window},
    event::BudgetChange,
};

/// A rolling window is counted in so many pieces. What is in a piece counts until all of it is out of the window.
const PIECES: u64 = 60;
/// A window that is over is remembered this long: an intent may still wait for the disk that was drawn up within it.
const AFTERWARDS_MS: u64 = 60 * 60 * 1000;
/// So many budgets are kept before the first look for those that are over.
const LOOK_AT: usize = 256;

/// A budget, as it stands at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// The most that policy let it come to when something was reserved last.
    pub limit: Option<u64>,
    /// The most that an operator set.
    pub set: Option<u64>,
    /// The unit of every amount.
    pub unit: String,
    /// The time that it is counted over; without one, for ever.
    pub window: Option<Window>,
    /// Set aside for calls that are open.
    pub reserved: u64,
    /// Used.
    pub spent: u64,
    /// Kept for calls whose end is unknown.
    pub held: u64,
}

impl Budget {
    /// Everything that is not free any more.
    pub const fn used(&self) -> u64 {
        self.reserved
            .saturating_add(self.spent)
            .saturating_add(self.held)
    }

    /// The most that it may come to: the smaller of what policy and an operator say.
    pub const fn most(&self) -> Option<u64> {
        match (self.limit, self.set) {
            (Some(limit), Some(set)) if set < limit => Some(set),
            (Some(limit), _) => Some(limit),
            (None, set) => set,
        }
    }

    /// What is left of it; nothing if there is no limit.
    pub fn free(&self) -> Option<u64> {
        self.most().map(|most| most.saturating_sub(self.used()))
    }
}

/// What an open call has set aside of one budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    budget: Arc<str>,
    amount: u64,
    /// The period that it belongs to; once that is over it is settled into nothing.
    period: u64,
}

/// Every budget.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Budgets {
    counts: BTreeMap<Arc<str>, Count>,
    set: BTreeMap<Arc<str>, Set>,
    periods: u64,
    look_at: usize,
}

/// What an operator said.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Set {
    limit: u64,
    unit: String,
}

/// What one budget has come to in one period.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Count {
    unit: Arc<str>,
    limit: Option<u64>,
    window: Option<Window>,
    period: u64,
    reserved: u64,
    /// Oldest first. A window that does not roll has one.
    pieces: VecDeque<Piece>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Piece {
    /// Its number, counted from the epoch.
    at: u64,
    spent: u64,
    held: u64,
}

impl Budgets {
    /// Every budget at a moment, by name.
    pub(super) fn all(&self, now: Timestamp) -> BTreeMap<String, Budget> {
        let names = self.counts.keys().chain(self.set.keys());
        names
            .filter_map(|name| Some((name.to_string(), self.one(name, now)?)))
            .collect()
    }

    /// One budget at a moment.
    pub(super) fn one(&self, name: &str, now: Timestamp) -> Option<Budget> {
        let (count, set) = (self.counts.get(name), self.set.get(name));
        let mut budget = Budget {
            set: set.map(|set| set.limit),
            unit: set.map(|set| set.unit.clone()).unwrap_or_default(),
            ..Budget::default()
        };
        if let Some(count) = count {
            budget.unit = count.unit.to_string();
            budget.limit = count.limit;
            if !count.is_over(now) {
                let (spent, held) = count.settled(now);
                (budget.spent, budget.held) = (spent, held);
                (budget.reserved, budget.window) = (count.reserved, count.window);
            }
        }
        (count.is_some() || set.is_some()).then_some(budget)
    }

    /// How much more may be reserved of a budget at a moment. The amount asked for does not matter.
    pub(super) fn free(&self, asked: &Reservation, now: Timestamp) -> u64 {
        let used = match self.counts.get(&*asked.budget) {
            Some(count) if !count.ends_for(asked, now) => count.used(now),
            Some(_) | None => 0,
        };
        let set = self.set.get(&*asked.budget).map(|set| {
            // SECURITY: an amount of another unit says nothing of this one, so nothing fits under it.
            if set.unit == asked.unit { set.limit } else { 0 }
        });
        let limits = [asked.limit, set].into_iter().flatten();
        limits.min().unwrap_or(u64::MAX).saturating_sub(used)
    }

    /// Sets aside what a call asks for: all of it or nothing.
    ///
    /// # Errors
    /// `BudgetExhausted` for the first budget that has no room; `Malformed` for one that is named twice.
    pub(super) fn reserve(
        &mut self,
        asked: &[Reservation],
        now: Timestamp,
    ) -> Result<Box<[Share]>, Error> {
        for (position, one) in asked.iter().enumerate() {
            let mut before = asked.iter().take(position);
            if before.any(|other| other.budget == one.budget) {
                let problem = format!("the budget `{}` is named twice", one.budget);
                return Err(Error::Malformed(Malformed::new("reservations", problem)));
            }
            if one.amount > self.free(one, now) {
                return Err(Error::BudgetExhausted {
                    budget: one.budget.clone(),
                });
            }
        }
        self.look(now);
        Ok(asked.iter().map(|one| self.set_aside(one, now)).collect())
    }

    fn set_aside(&mut self, asked: &Reservation, now: Timestamp) -> Share {
        let known = self.counts.get_key_value(&*asked.budget);
        let budget = known.map_or_else(|| Arc::from(&*asked.budget), |(name, _)| Arc::clone(name));
        let ends = known.is_none_or(|(_, count)| count.ends_for(asked, now));
        if ends {
            self.periods = self.periods.saturating_add(1);
            let fresh = Count::new(asked, self.periods);
            self.counts.insert(Arc::clone(&budget), fresh);
        }
        let period = match self.counts.get_mut(&budget) {
            Some(count) => {
                count.turn(asked.window, now);
                count.limit = asked.limit;
                count.reserved = count.reserved.saturating_add(asked.amount);
                count.period
            }
            None => 0,
        };
        Share {
            budget,
            amount: asked.amount,
            period,
        }
    }

    /// Takes back what a call had set aside, and counts what it used.
    pub(super) fn settle(
        &mut self,
        shares: &[Share],
        ending: Ending,
        settled: &[Settlement],
        now: Timestamp,
    ) {
        for share in shares {
            let count = self.counts.get_mut(&share.budget);
            let Some(count) = count.filter(|count| count.period == share.period) else {
                continue;
            };
            count.reserved = count.reserved.saturating_sub(share.amount);
            // What has no name is of the only budget there was.
            let mut named = settled.iter();
            let used = named.find(|one| one.budget.is_empty() || *one.budget == *share.budget);
            let used = used.map(|one| one.amount);
            match ending {
                Ending::Unknown => count.add(0, share.amount, now),
                Ending::RefusedLate => count.add(used.unwrap_or(0), 0, now),
                Ending::Completed | Ending::UpstreamFailed | Ending::Cut => {
                    count.add(used.unwrap_or(share.amount), 0, now);
                }
            }
        }
    }

    /// An operator sets a limit, or takes it away.
    pub(super) fn change(&mut self, change: &BudgetChange) {
        match change.limit {
            Some(limit) => {
                let unit = change.unit.clone();
                self.set
                    .insert(Arc::from(&*change.budget), Set { limit, unit });
            }
            None => drop(self.set.remove(&*change.budget)),
        }
    }

    /// Drops what is over and holds nothing, each time there is twice as much as was left by the last look.
    fn look(&mut self, now: Timestamp) {
        if self.counts.len() < self.look_at.max(LOOK_AT) {
            return;
        }
        let before = Timestamp::from_millis(now.millis().saturating_sub(AFTERWARDS_MS));
        self.counts.retain(|_, count| {
            count.reserved > 0 || !(count.is_over(before) || count.is_empty(before))
        });
        self.look_at = self.counts.len().saturating_mul(2);
    }
}

impl Count {
    fn new(asked: &Reservation, period: u64) -> Self {
        Self {
            unit: Arc::from(&*asked.unit),
            limit: asked.limit,
            window: asked.window,
            period,
            reserved: 0,
            pieces: VecDeque::new(),
        }
    }

    /// Whether its piece of the calendar has passed.
    fn is_over(&self, now: Timestamp) -> bool {
        matches!(self.window, Some(Window::Fixed { until, .. }) if until <= now)
    }

    /// Whether nothing is counted in it that matters at a moment.
    fn is_empty(&self, now: Timestamp) -> bool {
        self.settled(now) == (0, 0)
    }

    /// Whether a reservation begins another period, in which nothing of this one counts.
    fn ends_for(&self, asked: &Reservation, now: Timestamp) -> bool {
        if *self.unit != *asked.unit {
            return true;
        }
        match (self.window, asked.window) {
            (Some(Window::Fixed { from: known, until }), Some(Window::Fixed { from, .. })) => {
                from >= until || (from > known && until <= now)
            }
            (Some(Window::Fixed { until, .. }), _) => until <= now,
            (Some(Window::Rolling { .. }) | None, _) => false,
        }
    }

    /// Goes over to the window of a reservation in the same period. An earlier one counts into this: it was drawn up
    /// before the hour struck, and comes after.
    fn turn(&mut self, asked: Option<Window>, now: Timestamp) {
        let is_stale = match (self.window, asked) {
            (Some(Window::Fixed { from: known, .. }), Some(Window::Fixed { from, .. })) => {
                from < known
            }
            _ => false,
        };
        if self.window == asked || is_stale {
            return;
        }
        let (spent, held) = self.settled(now);
        self.window = asked;
        self.pieces.clear();
        self.add(spent, held, now);
    }

    fn used(&self, now: Timestamp) -> u64 {
        let (spent, held) = self.settled(now);
        self.reserved.saturating_add(spent).saturating_add(held)
    }

    /// What is spent and held, as far as it counts at a moment.
    fn settled(&self, now: Timestamp) -> (u64, u64) {
        let first = self.first(now);
        let counting = self.pieces.iter().filter(|piece| piece.at >= first);
        counting.fold((0u64, 0u64), |(spent, held), piece| {
            (
                spent.saturating_add(piece.spent),
                held.saturating_add(piece.held),
            )
        })
    }

    /// The first piece that is still within the window at a moment, in part at least.
    fn first(&self, now: Timestamp) -> u64 {
        match self.window {
            Some(Window::Rolling { seconds }) => {
                let begin = now.millis().saturating_sub(millis(seconds));
                begin / width(seconds)
            }
            Some(Window::Fixed { .. }) | None => 0,
        }
    }

    fn add(&mut self, spent: u64, held: u64, now: Timestamp) {
        let first = self.first(now);
        while self.pieces.front().is_some_and(|piece| piece.at < first) {
            self.pieces.pop_front();
        }
        if spent == 0 && held == 0 {
            return;
        }
        let at = match self.window {
            Some(Window::Rolling { seconds }) => now.millis() / width(seconds),
            Some(Window::Fixed { .. }) | None => 0,
        };
        // A clock that went back adds to the newest piece: it counts for longer, never for shorter.
        match self.pieces.back_mut() {
            Some(piece) if piece.at >= at => {
                piece.spent = piece.spent.saturating_add(spent);
                piece.held = piece.held.saturating_add(held);
            }
            Some(_) | None => self.pieces.push_back(Piece { at, spent, held }),
        }
    }
}

fn millis(seconds: u32) -> u64 {
    u64::from(seconds).saturating_mul(1000)
}

/// How long a piece of a rolling window is, in milliseconds.
fn width(seconds: u32) -> u64 {
    millis(seconds).div_ceil(PIECES).max(1)
}
