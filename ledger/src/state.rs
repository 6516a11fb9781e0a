//! What the records add up to: open calls, budgets, approvals, token families. Pure: records in, state out.
//!
//! A change is checked whole before anything moves. The writer applies a record here before it is written, and replays
//! the journal into a new state when a write failed, so memory never says more than the disk.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use exeat_types::{AgentId, CallId, Digest, FamilyId, Timestamp};
use serde::Serialize;

use crate::{
    Error,
    call::{Ending, Reservation},
    effect::Effect,
    event::{Approval, ApprovalEvent, Change, TokenChange},
    record::Record,
};

/// Closed calls that are remembered, so that no call gets a second receipt by mistake. Ids are random; an honest gate
/// never repeats one, and `verify` looks at all of them.
const CLOSED_MAX: usize = 65_536;

/// Money under one name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// The most that reserved, spent and held may come to.
    pub limit: Option<u64>,
    /// Set aside for calls that are open.
    pub reserved: u64,
    /// Paid.
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

    fn holds(&self, amount: u64) -> bool {
        let after = self.used().checked_add(amount);
        after.is_some_and(|after| self.limit.is_none_or(|limit| after <= limit))
    }
}

/// How far an approval has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "uses")]
pub enum Progress {
    /// Nobody has answered.
    Pending,
    /// It may be used this many times more.
    Granted(u32),
    /// Every use is used.
    Consumed,
    /// Somebody said no.
    Refused,
    /// Too late.
    Expired,
}

/// An approval as its records have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApprovalState {
    /// The agent that asked.
    pub agent: AgentId,
    /// The digest of what is to be approved.
    pub digest: Digest,
    /// When it ends.
    pub expires: Timestamp,
    /// How far it has come.
    pub progress: Progress,
}

/// A family of agent tokens as its records have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Family {
    /// The family.
    pub id: FamilyId,
    /// The agent its tokens speak for.
    pub agent: AgentId,
    /// The generation that is good.
    pub generation: u32,
    /// The digest of that generation's secret part.
    pub digest: Digest,
    /// When it ends.
    pub expires: Timestamp,
    /// The listener it is bound to.
    pub listener: Option<String>,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// Everything the records add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    open: HashMap<CallId, Option<Reservation>>,
    closed: HashSet<CallId>,
    closed_order: VecDeque<CallId>,
    budgets: BTreeMap<String, Budget>,
    approvals: BTreeMap<String, ApprovalState>,
    families: BTreeMap<FamilyId, Family>,
}

impl State {
    /// The calls that have an intent and no outcome, oldest first.
    pub fn open_calls(&self) -> Vec<CallId> {
        let mut calls: Vec<_> = self.open.keys().copied().collect();
        calls.sort_unstable();
        calls
    }

    /// The budgets by name.
    pub const fn budgets(&self) -> &BTreeMap<String, Budget> {
        &self.budgets
    }

    /// The approvals by id.
    pub const fn approvals(&self) -> &BTreeMap<String, ApprovalState> {
        &self.approvals
    }

    /// The token families by id.
    pub const fn families(&self) -> &BTreeMap<FamilyId, Family> {
        &self.families
    }

    /// Takes a record in, or refuses it and stays as it was.
    ///
    /// # Errors
    /// When the record does not follow from the ones before it.
    pub fn apply(&mut self, record: &Record, now: Timestamp) -> Result<(), Error> {
        self.apply_effect(&Effect::of(record), now)
    }

    pub(crate) fn apply_effect(&mut self, effect: &Effect, now: Timestamp) -> Result<(), Error> {
        match effect {
            Effect::Open {
                call,
                reservation,
                approval,
            } => self.open_call(*call, reservation.as_ref(), approval.as_deref(), now),
            Effect::Close {
                call,
                ending,
                settled,
            } => self.close_call(*call, *ending, *settled),
            Effect::Refuse { call } => {
                self.is_new(*call)?;
                self.remember(*call);
                Ok(())
            }
            Effect::Approve(approval) => self.approve(approval),
            Effect::Token(change) => self.change_family(change),
            Effect::Budget(change) => {
                self.budgets.entry(change.budget.clone()).or_default().limit = change.limit;
                Ok(())
            }
            Effect::None => Ok(()),
        }
    }

    fn open_call(
        &mut self,
        call: CallId,
        reservation: Option<&Reservation>,
        approval: Option<&str>,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.is_new(call)?;
        let uses = match approval {
            None => None,
            Some(id) => Some((id, self.uses_left(id, now).ok_or(Error::ApprovalUnusable)?)),
        };
        if let Some(Reservation { amount, budget, .. }) = reservation {
            let fits = self
                .budgets
                .get(budget)
                .is_none_or(|known| known.holds(*amount));
            if !fits {
                return Err(Error::BudgetExhausted {
                    budget: budget.clone(),
                });
            }
            let known = self.budgets.entry(budget.clone()).or_default();
            known.reserved = known.reserved.saturating_add(*amount);
        }
        if let Some((id, uses)) = uses
            && let Some(known) = self.approvals.get_mut(id)
        {
            known.progress = if uses > 1 {
                Progress::Granted(uses - 1)
            } else {
                Progress::Consumed
            };
        }
        self.open.insert(call, reservation.cloned());
        Ok(())
    }

    /// Whether a call has no receipt yet, as far back as closed calls are remembered.
    fn is_new(&self, call: CallId) -> Result<(), Error> {
        if self.open.contains_key(&call) || self.closed.contains(&call) {
            return Err(Error::AlreadyKnown);
        }
        Ok(())
    }

    fn remember(&mut self, call: CallId) {
        self.closed.insert(call);
        self.closed_order.push_back(call);
        if self.closed_order.len() > CLOSED_MAX
            && let Some(oldest) = self.closed_order.pop_front()
        {
            self.closed.remove(&oldest);
        }
    }

    fn uses_left(&self, id: &str, now: Timestamp) -> Option<u32> {
        let known = self.approvals.get(id).filter(|known| now < known.expires)?;
        match known.progress {
            Progress::Granted(uses) if uses > 0 => Some(uses),
            Progress::Granted(_)
            | Progress::Pending
            | Progress::Consumed
            | Progress::Refused
            | Progress::Expired => None,
        }
    }

    fn close_call(
        &mut self,
        call: CallId,
        ending: Ending,
        settled: Option<u64>,
    ) -> Result<(), Error> {
        let reservation = self.open.remove(&call).ok_or(Error::NotOpen)?;
        self.remember(call);
        let Some(Reservation { amount, budget, .. }) = reservation else {
            return Ok(());
        };
        let known = self.budgets.entry(budget).or_default();
        known.reserved = known.reserved.saturating_sub(amount);
        match ending {
            Ending::Unknown => known.held = known.held.saturating_add(amount),
            Ending::RefusedLate => {
                known.spent = known.spent.saturating_add(settled.unwrap_or(0));
            }
            Ending::Completed | Ending::UpstreamFailed | Ending::Cut => {
                known.spent = known.spent.saturating_add(settled.unwrap_or(amount));
            }
        }
        Ok(())
    }

    fn approve(&mut self, approval: &Approval) -> Result<(), Error> {
        let known = self.approvals.get_mut(&approval.approval);
        match (approval.event, known) {
            (ApprovalEvent::Requested, None) => {
                let fresh = ApprovalState {
                    agent: approval.agent.clone(),
                    digest: approval.digest,
                    expires: approval.expires,
                    progress: Progress::Pending,
                };
                self.approvals.insert(approval.approval.clone(), fresh);
                Ok(())
            }
            (ApprovalEvent::Granted, Some(known))
                if known.progress == Progress::Pending
                    && known.digest == approval.digest
                    && approval.uses > 0 =>
            {
                known.progress = Progress::Granted(approval.uses);
                known.expires = approval.expires;
                Ok(())
            }
            (ApprovalEvent::Refused, Some(known)) if known.progress == Progress::Pending => {
                known.progress = Progress::Refused;
                Ok(())
            }
            (ApprovalEvent::Expired, Some(known))
                if matches!(known.progress, Progress::Pending | Progress::Granted(_)) =>
            {
                known.progress = Progress::Expired;
                Ok(())
            }
            _ => Err(Error::ApprovalUnusable),
        }
    }

    fn change_family(&mut self, change: &TokenChange) -> Result<(), Error> {
        let known = self.families.get_mut(&change.family);
        match (change.change, known) {
            (Change::Created, None) => {}
            (Change::Rotated, Some(known))
                if !known.revoked
                    && known.agent == change.agent
                    && change.generation > known.generation => {}
            (Change::Modified, Some(known))
                if !known.revoked
                    && known.agent == change.agent
                    && change.generation == known.generation => {}
            (Change::Revoked, Some(known)) => {
                known.revoked = true;
                return Ok(());
            }
            _ => return Err(Error::FamilyConflict),
        }
        let family = Family {
            id: change.family.clone(),
            agent: change.agent.clone(),
            generation: change.generation,
            digest: change.digest,
            expires: change.expires,
            listener: change.listener.clone(),
            revoked: false,
        };
        self.families.insert(change.family.clone(), family);
        Ok(())
    }
}
