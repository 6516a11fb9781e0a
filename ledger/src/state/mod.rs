//! What the records add up to: open calls, budgets, approvals, token families. Pure: records in, state out.
//!
//! A change is checked whole before anything moves. The writer applies a record here before it is written, and replays
//! the journal into a new state when a write failed, so memory never says more than the disk.

mod agents;
pub(crate) mod approvals;
mod budgets;
mod grants;

pub(crate) use approvals::Use;

pub use agents::Paused;
pub use approvals::{ApprovalState, Progress, Voted};
pub use budgets::Budget;
pub use grants::{COOL_DOWNS, GrantStanding, GrantState, PENDING_MAX};

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use exeat_types::{AgentId, ApprovalId, CallId, Digest, FamilyId, Timestamp};
use serde::Serialize;

use crate::{
    Error,
    call::Reservation,
    effect::Effect,
    event::{Change, TokenChange},
    passkey::Keys,
    record::Record,
    state::{
        agents::Agents,
        approvals::Approvals,
        budgets::{Budgets, Share},
        grants::Grants,
    },
};

/// Closed calls that are remembered, so that no call gets a second receipt by mistake. Ids are random; an honest gate
/// never repeats one, and `verify` looks at all of them.
const CLOSED_MAX: usize = 65_536;

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
    open: HashMap<CallId, Box<[Share]>>,
    closed: HashSet<CallId>,
    closed_order: VecDeque<CallId>,
    budgets: Budgets,
    approvals: Approvals,
    agents: Agents,
    grants: Grants,
    families: BTreeMap<FamilyId, Family>,
    keys: Keys,
}

impl State {
    /// The calls that have an intent and no outcome, oldest first.
    pub fn open_calls(&self) -> Vec<CallId> {
        let mut calls: Vec<_> = self.open.keys().copied().collect();
        calls.sort_unstable();
        calls
    }

    /// The budgets by name, as they stand at a moment.
    pub fn budgets(&self, now: Timestamp) -> BTreeMap<String, Budget> {
        self.budgets.all(now)
    }

    /// A budget, as it stands at a moment.
    pub fn budget(&self, name: &str, now: Timestamp) -> Option<Budget> {
        self.budgets.one(name, now)
    }

    /// How much more may be reserved of a budget at a moment; the amount asked for does not matter.
    pub fn free(&self, asked: &Reservation, now: Timestamp) -> u64 {
        self.budgets.free(asked, now)
    }

    /// Whether an open call has something set aside.
    pub(crate) fn has_set_aside(&self, call: CallId) -> bool {
        let shares = self.open.get(&call);
        shares.is_some_and(|shares| !shares.is_empty())
    }

    /// The approvals by id.
    pub const fn approvals(&self) -> &BTreeMap<ApprovalId, ApprovalState> {
        self.approvals.all()
    }

    /// The agents that are paused.
    pub const fn paused(&self) -> &BTreeMap<AgentId, Paused> {
        self.agents.paused()
    }

    /// Capability requests by id.
    pub const fn grants(&self) -> &BTreeMap<ApprovalId, GrantState> {
        self.grants.all()
    }

    /// Until when an agent may not ask for capabilities.
    pub fn cool_down(&self, agent: &AgentId, now: Timestamp) -> Option<Timestamp> {
        self.grants.cool_down(agent, now)
    }

    /// The passkeys that may approve.
    pub const fn keys(&self) -> &Keys {
        &self.keys
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
                reservations,
                approval,
            } => self.open_call(*call, reservations, approval.as_ref(), now),
            Effect::Close {
                call,
                ending,
                settled,
            } => {
                let shares = self.open.remove(call).ok_or(Error::NotOpen)?;
                self.remember(*call);
                self.budgets.settle(&shares, *ending, settled, now);
                Ok(())
            }
            Effect::Refuse { call } => {
                self.is_new(*call)?;
                self.remember(*call);
                Ok(())
            }
            Effect::Approve(approval) => self.approvals.take_in(approval, now),
            Effect::Agent(change) => {
                self.agents.take_in(change, now);
                Ok(())
            }
            Effect::Enrol(enrolment) => {
                self.keys.apply(enrolment, now)?;
                if enrolment.public_key.is_none() {
                    self.approvals.end_of_key(&enrolment.key);
                    self.grants.end_of_key(&enrolment.key);
                }
                Ok(())
            }
            Effect::Grant(grant) => self.grants.take_in(grant, now),
            Effect::Token(change) => self.change_family(change),
            Effect::Budget(change) => {
                self.budgets.change(change);
                Ok(())
            }
            Effect::None => Ok(()),
        }
    }

    fn open_call(
        &mut self,
        call: CallId,
        reservations: &[Reservation],
        approval: Option<&Use>,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.is_new(call)?;
        if let Some(wanted) = approval {
            self.approvals.is_usable(wanted, now)?;
        }
        let shares = self.budgets.reserve(reservations, now)?;
        if let Some(wanted) = approval {
            self.approvals.spend(wanted, now);
        }
        self.open.insert(call, shares);
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
