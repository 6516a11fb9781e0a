//! The desk where questions lie until a human answers. Console, API and command line see them here; `answer.rs` takes the
//! answers, `ask.rs` is the side of the calls, `tend.rs` keeps it all in line with the ledger.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use exeat_ledger::{Ledger, Progress, Record};
use exeat_types::{ApprovalId, Clock, Reason, Timestamp, limits};
use tokio::sync::{Notify, Semaphore, broadcast};

use super::{Pending, Shown, book::Book};
use crate::{Metrics, agents::Agents};

/// Steps that a slow listener may be behind.
const CHANGES_MAX: usize = 1024;

/// Every question, and the answers.
pub struct Approvals {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ledger: Ledger,
    pub(super) agents: Arc<Agents>,
    pub(super) metrics: Metrics,
    book: Mutex<Book>,
    changes: broadcast::Sender<Arc<Pending>>,
    notices: broadcast::Sender<Arc<Pending>>,
    /// Room for calls that wait.
    pub(super) waits: Arc<Semaphore>,
    /// Says that there is something to tend.
    pub(super) work: Notify,
    console: OnceLock<String>,
}

impl Approvals {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        ledger: Ledger,
        agents: Arc<Agents>,
        metrics: Metrics,
    ) -> Arc<Self> {
        let desk = Arc::new(Self {
            clock,
            ledger,
            agents,
            metrics,
            book: Mutex::default(),
            changes: broadcast::Sender::new(CHANGES_MAX),
            notices: broadcast::Sender::new(CHANGES_MAX),
            waits: Arc::new(Semaphore::new(limits::APPROVAL_WAITS_MAX)),
            work: Notify::new(),
            console: OnceLock::new(),
        });
        desk.restore();
        desk
    }

    /// Every question of the last day: open ones first, newest first.
    pub fn list(&self) -> Vec<Arc<Pending>> {
        self.book().list(self.now())
    }

    /// One question.
    pub fn show(&self, id: &ApprovalId) -> Option<Arc<Pending>> {
        self.book().show(id, self.now())
    }

    /// The request that was approved last for the same agent and tool, to compare with.
    pub fn last_approved(&self, pending: &Pending) -> Option<Arc<Shown>> {
        self.book().last_approved(pending)
    }

    /// Brings every open question in line with the ledger: a key was taken away, and its answers with it.
    pub fn keys_changed(&self) {
        let all = self.list();
        for open in all.iter().filter(|one| one.progress.is_open()) {
            self.follow(&open.id);
        }
    }

    /// Every step of every question from here on.
    pub fn changes(&self) -> broadcast::Receiver<Arc<Pending>> {
        self.changes.subscribe()
    }

    /// New questions from here on that people should be told of: of each agent and tool at most one in half a minute.
    pub fn notices(&self) -> broadcast::Receiver<Arc<Pending>> {
        self.notices.subscribe()
    }

    /// Says where people see questions, as scheme, host and port; the first word stands.
    pub fn shown_at(&self, console: &str) {
        self.console
            .get_or_init(|| console.trim_end_matches('/').to_owned());
    }

    /// Where people see a question, if there is a console.
    pub fn url(&self, id: &ApprovalId) -> Option<String> {
        let console = self.console.get()?;
        Some(format!("{console}/approvals/{id}"))
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Puts a new question before people, once the ledger has it.
    pub(super) fn present(&self, id: &ApprovalId) {
        let now = self.now();
        let mut book = self.book();
        let Some(entry) = book.entry_to_keep(id) else {
            return;
        };
        entry.is_kept = true;
        let pending = Arc::new(entry.pending.clone());
        let is_told = book.quiet.notices(&pending, now);
        let waiting = book.pending_count(now);
        drop(book);
        self.metrics.approvals_pending(waiting);
        tracing::info!(
            approval = %pending.id, agent = %pending.agent, tool = %pending.tool, rules = ?pending.rules,
            "a human is asked"
        );
        if is_told {
            tell(&self.notices, &pending);
        }
        tell(&self.changes, &pending);
        self.work.notify_one();
    }

    /// Brings a question in line with the ledger, and tells everybody if that changed something.
    pub(super) fn follow(&self, id: &ApprovalId) {
        let Some(known) = self.ledger.approval(id) else {
            return;
        };
        let now = self.now();
        let mut book = self.book();
        let changed = book.follow(id, &known, now);
        let waiting = book.pending_count(now);
        drop(book);
        let Some(pending) = changed else { return };
        self.metrics.approvals_pending(waiting);
        if !pending.progress.is_open() {
            self.work.notify_one();
        }
        tracing::info!(
            approval = %pending.id, agent = %pending.agent, tool = %pending.tool, progress = ?pending.progress,
            "an approval took a step"
        );
        tell(&self.changes, &pending);
    }

    /// Writes a step, waits until it is durable, and follows it.
    pub(super) async fn write(
        &self,
        step: exeat_ledger::Approval,
    ) -> Result<(), exeat_ledger::Error> {
        let id = step.approval.clone();
        let durable = self.ledger.append(&Record::Approval(step));
        let written = durable.done().await;
        self.follow(&id);
        written.map(drop)
    }

    /// Why a call may not go on whose question came to this.
    pub(super) fn reason_of(progress: Progress) -> Reason {
        match progress {
            Progress::Refused => Reason::ApprovalRefused,
            Progress::Pending | Progress::Granted(_) | Progress::Consumed | Progress::Expired => {
                Reason::ApprovalRequired
            }
        }
    }
}

/// Nobody may be listening.
fn tell(to: &broadcast::Sender<Arc<Pending>>, pending: &Arc<Pending>) {
    if to.send(Arc::clone(pending)).is_err() {
        tracing::trace!("nobody listens for approvals");
    }
}

impl std::fmt::Debug for Approvals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Approvals").finish_non_exhaustive()
    }
}
