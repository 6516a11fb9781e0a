//! The questions in memory: what is open, who waits, what was used, what has to cool down. Pure but for the wake-ups.
//!
//! INVARIANT: the ledger's word stands. What is here is brought in line with it after every step ([`Book::follow`]), and a
//! use that is taken here still has to be taken there, in the intent.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use exeat_ledger::{ApprovalState, Progress, passkey::Challenge};
use exeat_types::{AgentId, ApprovalId, Digest, Timestamp, limits};
use tokio::sync::watch;

use super::{
    Given, Pending, Shown,
    last::Last,
    quiet::Quiet,
    worth::{Answered, Wanted},
};

/// One question.
pub(super) struct Entry {
    pub(super) pending: Pending,
    /// Whether the ledger has it; before that nobody is shown it.
    pub(super) is_kept: bool,
    /// Whether the kept request is still to be erased.
    pub(super) is_captured: bool,
    /// Uses that calls hold which have no intent yet.
    claimed: u32,
    pub(super) challenges: Vec<(Timestamp, Challenge)>,
    turn: watch::Sender<()>,
}

/// What a call finds that needs an approval.
pub(super) enum Found {
    /// One that is granted; a use of it is claimed.
    Usable(ApprovalId, Answered),
    /// One that waits for an answer, and a way to hear of it.
    Waiting(ApprovalId, watch::Receiver<()>),
    /// None: somebody has to be asked.
    Nothing,
}

/// Why nobody may be asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotAsked {
    /// Somebody said no a short while ago.
    Cooling(Duration),
    /// The agent has asked enough.
    TooMany,
}

/// Every question.
#[derive(Default)]
pub(super) struct Book {
    entries: BTreeMap<ApprovalId, Entry>,
    /// The open questions of an agent about a digest, the newest last: of different strictness.
    open: HashMap<(AgentId, Digest), Vec<ApprovalId>>,
    pub(super) quiet: Quiet,
    last: Last,
}

impl Entry {
    pub(super) fn new(pending: Pending) -> Self {
        Self {
            pending,
            is_kept: false,
            is_captured: false,
            claimed: 0,
            challenges: Vec::new(),
            turn: watch::Sender::new(()),
        }
    }

    /// A way to hear of its steps.
    pub(super) fn turn(&self) -> watch::Receiver<()> {
        self.turn.subscribe()
    }

    fn is_open(&self, now: Timestamp) -> bool {
        self.pending.progress.is_open() && now < self.pending.expires
    }

    /// As people see it at this moment.
    fn seen(&self, now: Timestamp) -> Arc<Pending> {
        let mut seen = self.pending.clone();
        if seen.progress.is_open() && !self.is_open(now) {
            seen.progress = Progress::Expired;
        }
        Arc::new(seen)
    }
}

impl Book {
    /// Finds what there is for this very request, and claims a use where there is one.
    pub(super) fn find(&mut self, wanted: &Wanted<'_>, now: Timestamp) -> Found {
        let key = (wanted.agent.clone(), *wanted.digest);
        let ids = self.open.get(&key).cloned().unwrap_or_default();
        let mut found = Found::Nothing;
        for id in ids.into_iter().rev() {
            let serves = |entry: &&Entry| entry.is_open(now) && entry.serves(wanted);
            let Some(entry) = self.entries.get(&id).filter(serves) else {
                continue;
            };
            let turn = entry.turn();
            if let Some(answered) = self.claim(&id, now) {
                return Found::Usable(id, answered);
            }
            // Where every use is held by calls that are about to leave, it shows in a moment whether one is left.
            if matches!(found, Found::Nothing) {
                found = Found::Waiting(id, turn);
            }
        }
        found
    }

    /// Takes a use, if there is one left.
    pub(super) fn claim(&mut self, id: &ApprovalId, now: Timestamp) -> Option<Answered> {
        let entry = self
            .entries
            .get_mut(id)
            .filter(|entry| entry.is_open(now))?;
        let Progress::Granted(uses) = entry.pending.progress else {
            return None;
        };
        if entry.claimed >= uses {
            return None;
        }
        entry.claimed = entry.claimed.saturating_add(1);
        Some(entry.answered())
    }

    /// Gives a use back, or says that it is taken for good: the ledger's word decides which.
    pub(super) fn release(&mut self, id: &ApprovalId) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.claimed = entry.claimed.saturating_sub(1);
            entry.turn.send_replace(());
        }
    }

    /// Counts a call that begins to wait.
    pub(super) fn waits(&mut self, id: &ApprovalId) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.pending.waiting = entry.pending.waiting.saturating_add(1);
        }
    }

    /// Counts a call that waits no more.
    pub(super) fn leaves(&mut self, id: &ApprovalId) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.pending.waiting = entry.pending.waiting.saturating_sub(1);
        }
    }

    /// The calls of an agent that wait.
    pub(super) fn waiting_of(&self, agent: &AgentId) -> u32 {
        let of_agent = self.entries.values().filter(|e| e.pending.agent == *agent);
        of_agent.map(|entry| entry.pending.waiting).sum()
    }

    /// Whether this may be asked, as far as the agent and earlier answers go.
    pub(super) fn may_ask(&self, pending: &Pending, now: Timestamp) -> Result<(), NotAsked> {
        if let Some(wait) = self.quiet.cools(pending, now) {
            return Err(NotAsked::Cooling(wait));
        }
        let (mut questions, mut bytes, mut bytes_all) = (0_usize, 0_usize, 0_usize);
        for entry in self.entries.values().filter(|entry| entry.is_open(now)) {
            let size = entry
                .pending
                .request
                .as_ref()
                .map_or(0, |shown| shown.size());
            bytes_all = bytes_all.saturating_add(size);
            if entry.pending.agent == pending.agent {
                bytes = bytes.saturating_add(size);
                let is_question = entry.pending.progress == Progress::Pending;
                questions = questions.saturating_add(usize::from(is_question));
            }
        }
        let size = pending.request.as_ref().map_or(0, |shown| shown.size());
        let has_room = questions < limits::APPROVALS_PER_AGENT_MAX
            && bytes.saturating_add(size) <= limits::APPROVAL_BYTES_PER_AGENT_MAX
            && bytes_all.saturating_add(size) <= limits::APPROVAL_BYTES_MAX
            && (self.entries.len() < limits::APPROVALS_KEPT_MAX || self.has_closed());
        has_room.then_some(()).ok_or(NotAsked::TooMany)
    }

    fn has_closed(&self) -> bool {
        let mut entries = self.entries.values();
        entries.any(|entry| !entry.pending.progress.is_open())
    }

    /// Takes a question in.
    pub(super) fn insert(&mut self, entry: Entry) {
        if self.entries.len() >= limits::APPROVALS_KEPT_MAX {
            let closed = |(id, entry): (&ApprovalId, &Entry)| {
                (!entry.pending.progress.is_open()).then(|| id.clone())
            };
            if let Some(oldest) = self.entries.iter().find_map(closed) {
                self.entries.remove(&oldest);
            }
        }
        let pending = &entry.pending;
        if pending.progress.is_open() {
            let key = (pending.agent.clone(), pending.digest);
            self.open.entry(key).or_default().push(pending.id.clone());
        }
        self.entries.insert(pending.id.clone(), entry);
    }

    /// Takes a question out that never came to be.
    pub(super) fn remove(&mut self, id: &ApprovalId) {
        if let Some(entry) = self.entries.remove(id) {
            self.close_key(&entry.pending);
        }
    }

    fn close_key(&mut self, pending: &Pending) {
        let key = (pending.agent.clone(), pending.digest);
        if let Some(ids) = self.open.get_mut(&key) {
            ids.retain(|id| *id != pending.id);
            if ids.is_empty() {
                self.open.remove(&key);
            }
        }
    }

    pub(super) fn entry(&mut self, id: &ApprovalId) -> Option<&mut Entry> {
        self.entries.get_mut(id).filter(|entry| entry.is_kept)
    }

    /// One that is being put down and may not be kept yet.
    pub(super) fn entry_to_keep(&mut self, id: &ApprovalId) -> Option<&mut Entry> {
        self.entries.get_mut(id)
    }

    /// How far one has come at this moment.
    pub(super) fn progress(&self, id: &ApprovalId, now: Timestamp) -> Option<Progress> {
        let entry = self.entries.get(id)?;
        Some(entry.seen(now).progress)
    }

    pub(super) fn knows(&self, id: &ApprovalId) -> bool {
        self.entries.contains_key(id)
    }

    /// One question as people see it.
    pub(super) fn show(&self, id: &ApprovalId, now: Timestamp) -> Option<Arc<Pending>> {
        let entry = self.entries.get(id).filter(|entry| entry.is_kept)?;
        Some(entry.seen(now))
    }

    /// Every question as people see it: open ones first, newest first.
    pub(super) fn list(&self, now: Timestamp) -> Vec<Arc<Pending>> {
        let kept = self.entries.values().rev().filter(|entry| entry.is_kept);
        let mut list: Vec<Arc<Pending>> = kept.map(|entry| entry.seen(now)).collect();
        // Ids begin with their time.
        list.sort_by_key(|pending| {
            (
                !pending.progress.is_open(),
                std::cmp::Reverse(pending.id.clone()),
            )
        });
        list
    }

    /// Brings a question in line with what its records say; gives it back if something changed.
    pub(super) fn follow(
        &mut self,
        id: &ApprovalId,
        known: &ApprovalState,
        now: Timestamp,
    ) -> Option<Arc<Pending>> {
        let entry = self.entries.get_mut(id)?;
        let before = entry.pending.clone();
        let pending = &mut entry.pending;
        pending.progress = known.progress;
        pending.expires = known.expires;
        pending.given = given(known);
        if !pending.progress.is_open() {
            entry.challenges.clear();
        }
        let changed =
            before.progress != pending.progress || before.given.len() != pending.given.len();
        if !changed {
            return None;
        }
        entry.turn.send_replace(());
        let after = entry.pending.clone();
        match after.progress {
            Progress::Granted(_) if before.progress == Progress::Pending => {
                self.quiet.warm(&after);
                self.last.keep(&after, now);
            }
            Progress::Refused => self.quiet.cool(&after, now),
            Progress::Pending | Progress::Granted(_) | Progress::Consumed | Progress::Expired => {}
        }
        if !after.progress.is_open() {
            self.close_key(&after);
        }
        Some(Arc::new(after))
    }

    pub(super) fn last_approved(&self, pending: &Pending) -> Option<Arc<Shown>> {
        self.last.of(pending)
    }

    /// The questions whose time is over.
    pub(super) fn overdue(&self, now: Timestamp) -> Vec<ApprovalId> {
        let late = |entry: &&Entry| {
            entry.is_kept && entry.pending.progress.is_open() && now >= entry.pending.expires
        };
        let late = self.entries.values().filter(late);
        late.map(|entry| entry.pending.id.clone()).collect()
    }

    /// When the next question's time is over.
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        let open = self
            .entries
            .values()
            .filter(|entry| entry.pending.progress.is_open());
        open.map(|entry| entry.pending.expires).min()
    }

    /// The closed questions whose request is still kept; it is forgotten here.
    pub(super) fn erasable(&mut self, now: Timestamp) -> Vec<ApprovalId> {
        let day = Duration::from_secs(24 * 60 * 60);
        self.last.expire(now);
        self.entries.retain(|_, entry| {
            entry.pending.progress.is_open() || now.since(entry.pending.expires) < day
        });
        let mut ids = Vec::new();
        for (id, entry) in &mut self.entries {
            if entry.pending.progress.is_open() {
                continue;
            }
            entry.pending.request = None;
            if std::mem::take(&mut entry.is_captured) {
                ids.push(id.clone());
            }
        }
        ids
    }

    /// How many questions wait for an answer.
    pub(super) fn pending_count(&self, now: Timestamp) -> usize {
        let waits =
            |entry: &&Entry| entry.is_open(now) && entry.pending.progress == Progress::Pending;
        self.entries.values().filter(waits).count()
    }
}

pub(super) fn given(known: &ApprovalState) -> Vec<Given> {
    let votes = known.votes.iter();
    votes
        .map(|vote| Given {
            user: vote.user.clone(),
            by: vote.by,
            key: vote.key.clone(),
            extent: vote.extent,
            at: vote.at,
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests;
