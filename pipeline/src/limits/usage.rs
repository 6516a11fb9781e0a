//! What the budgets that policy declares have come to, for people.

use std::collections::{BTreeMap, BTreeSet};

use exeat_ledger::{Budget, Window};
use exeat_policy::limits::{Bound, Count, Measure, Period, Share};
use exeat_types::{AgentId, Timestamp};
use serde::Serialize;

use super::reserve;
use crate::Gate;

/// A budget over one period, and what it has come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// The name of the limit that declares it.
    pub name: String,
    /// Whose it is; nobody's alone if agents have it together.
    pub agent: Option<AgentId>,
    /// Its name in the ledger, such as `claude/spend/day`.
    pub budget: String,
    /// What it counts.
    pub measure: Measure,
    /// Over what time.
    pub period: Period,
    /// The smallest unit, which every amount is in.
    pub unit: String,
    /// The most that policy lets it come to.
    pub limit: u64,
    /// Less than that, if an operator set it.
    pub set: Option<u64>,
    /// Set aside for calls that are open.
    pub reserved: u64,
    /// Used.
    pub spent: u64,
    /// Kept for calls whose end is unknown.
    pub held: u64,
    /// What is left.
    pub free: u64,
    /// When it begins anew; nothing if it rolls.
    pub resets: Option<Timestamp>,
}

impl Gate {
    /// Every budget that the rules in force declare, by its name in the ledger.
    pub fn usage(&self) -> Vec<Usage> {
        let rules = self.rules();
        let (now, known) = (self.clock.now(), self.ledger.budgets());
        let mut seen = BTreeSet::new();
        let mut all = BTreeMap::new();
        for (agent, bounds) in rules.policy.limits().agents() {
            for bound in bounds {
                for count in &bound.counts {
                    if seen.insert(count.name.clone()) {
                        let one = self.used((agent, bound, count), known.get(&*count.name), now);
                        all.insert(one.budget.clone(), one);
                    }
                }
            }
        }
        all.into_values().collect()
    }

    fn used(
        &self,
        (agent, bound, count): (&AgentId, &Bound, &Count),
        known: Option<&Budget>,
        now: Timestamp,
    ) -> Usage {
        let line = reserve::reservation(bound, count, now);
        let budget = known.cloned().unwrap_or_default();
        let resets = match line.window {
            Some(Window::Fixed { until, .. }) => Some(until),
            Some(Window::Rolling { .. }) | None => None,
        };
        Usage {
            name: bound.limit.name.to_string(),
            agent: (bound.limit.share == Share::Each).then(|| agent.clone()),
            budget: count.name.to_string(),
            measure: count.measure,
            period: count.period,
            unit: count.unit.to_string(),
            limit: count.most,
            set: budget.set,
            reserved: budget.reserved,
            spent: budget.spent,
            held: budget.held,
            free: self.ledger.free(&line),
            resets,
        }
    }
}
