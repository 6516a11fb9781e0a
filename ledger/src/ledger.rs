//! The ledger as the rest of Exeat sees it: hand in a record, get a promise; ask for receipts. Opened in `open.rs`.

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
};

use exeat_types::{AgentId, ApprovalId, CallId, Digest, FamilyId, Timestamp};

use crate::{
    Error,
    call::{Intent, Outcome, Refusal, Reservation},
    effect::Effect,
    event::{Alarm, Connection},
    export::{self, Shown},
    history::{Hour, Past},
    journal::{Item, Journal},
    keeper::Keeper,
    lock::FolderLock,
    note::NoteKey,
    passkey::{Counters, EnrolledKey, Keys, Verified},
    queue::Durable,
    receipt::{Filter, Receipt, millis_of},
    record::Record,
    scan::Position,
    shared::Shared,
    state::{ApprovalState, Budget, Family, GrantState, Paused, State},
    tail::Tail,
};

/// An open ledger. Clones share it; it is closed when the last one is dropped.
#[derive(Clone)]
pub struct Ledger(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    /// How often passkeys have signed.
    pub(crate) counters: Counters,
    pub(crate) shared: Arc<Shared>,
    pub(crate) keeper: Arc<Keeper>,
    /// The writer and the keeper.
    pub(crate) threads: Mutex<Option<(JoinHandle<()>, JoinHandle<()>)>>,
    /// Tells the writer to begin; gone once it was told, or never will be.
    pub(crate) word: Mutex<Option<mpsc::Sender<()>>>,
    /// Gone once another process has it.
    pub(crate) lock: Mutex<Option<FolderLock>>,
}

impl Ledger {
    /// Records that a call is about to leave. Nothing may leave before the promise is kept.
    pub fn intent(&self, intent: Intent) -> Durable {
        self.append(&Record::Intent(intent))
    }

    /// Records how a call ended.
    pub fn outcome(&self, outcome: Outcome) -> Durable {
        self.append(&Record::Outcome(outcome))
    }

    /// Records any kind but a checkpoint, which only the writer makes.
    pub fn append(&self, record: &Record) -> Durable {
        if matches!(record, Record::Checkpoint(_)) {
            return Durable::refused(Error::NotOpen);
        }
        let body = match record.body() {
            Ok(body) => body,
            Err(error) => return Durable::refused(error),
        };
        let bytes_max = Journal::body_bytes_max(self.0.shared.segment_bytes);
        if body.len() > bytes_max {
            return Durable::refused(Error::TooLarge {
                bytes: body.len(),
                bytes_max,
            });
        }
        let item = Item {
            kind: record.kind(),
            body,
        };
        self.0.shared.queue.push(item, Effect::of(record))
    }

    /// Records a refusal, in the next batch. Beyond the limit of a second, or when the queue is half full, equal ones
    /// are counted in one record.
    pub fn refusal(&self, refusal: Refusal) {
        let shared = &self.0.shared;
        let now = shared.clock.now();
        let admitted = shared.tally().admits(&refusal.agent, now);
        let record = Record::Refusal(refusal);
        if admitted
            && let Ok(body) = record.body()
            && shared.queue.push_if_roomy(
                Item {
                    kind: record.kind(),
                    body,
                },
                Effect::of(&record),
            )
        {
            return;
        }
        let Record::Refusal(refusal) = record else {
            return;
        };
        let is_first = shared.tally().count_refusal(refusal, now);
        if is_first {
            shared.queue.nudge();
        }
    }

    /// Counts connections that never became a call; written once a second.
    pub fn connection(&self, connection: Connection) {
        let shared = &self.0.shared;
        let is_first = shared
            .tally()
            .count_connection(connection, shared.clock.now());
        if is_first {
            shared.queue.nudge();
        }
    }

    /// Records an alarm.
    pub fn alarm(&self, alarm: Alarm) -> Durable {
        self.append(&Record::Alarm(alarm))
    }

    /// Writes what is counted, and waits for it. May block.
    pub fn flush(&self) {
        self.0.shared.flush();
    }

    /// Does now what the keeper does every second: index, captures, anchor. May block.
    pub fn tend(&self) {
        self.0.keeper.round();
    }

    /// Keeps the declared arguments of a call, sealed, and gives the digest for its intent. May block.
    ///
    /// # Errors
    /// When the disk or a key fails; the caller refuses.
    pub fn capture(&self, call: CallId, arguments: &[u8]) -> Result<Digest, Error> {
        let at = Timestamp::from_millis(millis_of(call));
        self.0.keeper.captures.keep(call, at, arguments)
    }

    /// Opens the capture that belongs to a receipt; nothing if it is gone or is not what the receipt says. May block.
    ///
    /// # Errors
    /// When the disk or a key fails.
    pub fn captured(&self, call: CallId, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let at = Timestamp::from_millis(millis_of(call));
        self.0.keeper.captures.open(call, at, digest)
    }

    /// Erases the capture of a call; the receipt stays as it is. True if there was one. May block.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn erase_capture(&self, call: CallId) -> Result<bool, Error> {
        let at = Timestamp::from_millis(millis_of(call));
        self.0.keeper.captures.erase(call, at)
    }

    /// The receipts that pass a filter, newest first. May block.
    ///
    /// # Errors
    /// When the index or the disk fails.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Receipt>, Error> {
        let mut views = self.0.keeper.views();
        views.catch_up(self.0.shared.end())?;
        views.list(filter)
    }

    /// The receipt of a call, if there is one. May block.
    ///
    /// # Errors
    /// When the index or the disk fails.
    pub fn show(&self, call: CallId) -> Result<Option<Receipt>, Error> {
        let mut views = self.0.keeper.views();
        views.catch_up(self.0.shared.end())?;
        views.show(call)
    }

    /// What every agent has done: at most `names_max` tools and hosts each, and its hours from `since` on. May block.
    ///
    /// # Errors
    /// When the index or the disk fails.
    pub fn history(&self, since: Timestamp, names_max: usize) -> Result<Vec<Past>, Error> {
        let mut views = self.0.keeper.views();
        views.catch_up(self.0.shared.end())?;
        views.history(Hour::of(since), names_max)
    }

    /// Writes an export; what a filter leaves out stays as a hash. Gives the number of records. May block.
    ///
    /// # Errors
    /// When the index, the disk or the output fails.
    pub fn export(&self, out: &mut dyn Write, filter: &Filter) -> Result<u64, Error> {
        let shared = &self.0.shared;
        let end = shared.end();
        let shown = if filter.is_open() {
            Shown::Everything
        } else {
            Shown::Calls(
                self.list(filter)?
                    .into_iter()
                    .map(|receipt| receipt.call)
                    .collect(),
            )
        };
        export::export(&*shared.storage, &shared.key, end, &shown, out)
    }

    /// Every record from here on, as it becomes durable.
    pub fn tail(&self) -> Tail {
        Tail::new(
            Arc::clone(&self.0.shared.storage),
            self.0.shared.end.subscribe(),
        )
    }

    /// The place behind the last durable record.
    pub fn end(&self) -> Position {
        self.0.shared.end()
    }

    /// The public key that verifies this ledger, in its printed form `name+hash+key`.
    pub fn key(&self) -> &NoteKey {
        &self.0.shared.key
    }

    /// The last checkpoint, a signed note.
    pub fn checkpoint(&self) -> Option<String> {
        self.0.shared.note()
    }

    /// Every token family.
    pub fn families(&self) -> Vec<Family> {
        self.0.shared.state().families().values().cloned().collect()
    }

    /// A token family.
    pub fn family(&self, id: &FamilyId) -> Option<Family> {
        self.0.shared.state().families().get(id).cloned()
    }

    /// A budget, as it stands at this moment.
    pub fn budget(&self, name: &str) -> Option<Budget> {
        let now = self.0.shared.clock.now();
        self.0.shared.state().budget(name, now)
    }

    /// Every budget, as it stands at this moment, by name.
    pub fn budgets(&self) -> BTreeMap<String, Budget> {
        let now = self.0.shared.clock.now();
        self.0.shared.state().budgets(now)
    }

    /// How much more fits into a budget at this moment; the amount asked for does not matter. Another call may be faster:
    /// only the record of the intent sets anything aside.
    pub fn free(&self, asked: &Reservation) -> u64 {
        let now = self.0.shared.clock.now();
        self.0.shared.state().free(asked, now)
    }

    /// Every approval that is open, or was a day ago.
    pub fn approvals(&self) -> BTreeMap<ApprovalId, ApprovalState> {
        self.0.shared.state().approvals().clone()
    }

    /// An approval.
    pub fn approval(&self, id: &ApprovalId) -> Option<ApprovalState> {
        self.0.shared.state().approvals().get(id).cloned()
    }

    /// Every capability request that is remembered.
    pub fn grants(&self) -> Vec<GrantState> {
        self.0.shared.state().grants().values().cloned().collect()
    }

    /// A capability request.
    pub fn grant(&self, id: &ApprovalId) -> Option<GrantState> {
        self.0.shared.state().grants().get(id).cloned()
    }

    /// Until when an agent may not ask for capabilities.
    pub fn cool_down(&self, agent: &AgentId) -> Option<Timestamp> {
        let now = self.0.shared.clock.now();
        self.0.shared.state().cool_down(agent, now)
    }

    /// The agents that are paused.
    pub fn paused(&self) -> BTreeMap<AgentId, Paused> {
        self.0.shared.state().paused().clone()
    }

    /// Everything the records add up to, as it is at this moment.
    pub fn state(&self) -> State {
        self.0.shared.state().clone()
    }

    /// A passkey that may approve.
    pub fn passkey(&self, key: &str) -> Option<EnrolledKey> {
        self.0.shared.state().keys().key(key).cloned()
    }

    /// Every passkey that may approve.
    pub fn passkeys(&self) -> Keys {
        self.0.shared.state().keys().clone()
    }

    /// A passkey of somebody has just signed. If it counts, and its count went back, there is an alarm, as it may have
    /// been copied.
    pub fn passkey_signed(&self, key: &str, user: &str, verified: Verified) {
        if !self.0.counters.went_back(key, verified) {
            return;
        }
        let detail = format!(
            "the passkey `{key}` of `{user}` has signed less often than before: it may have been copied"
        );
        tracing::warn!("{detail}");
        let written = self.alarm(Alarm {
            agent: None,
            alarm: "passkey-counter".to_owned(),
            call: None,
            detail,
        });
        drop(written);
    }

    /// Writes what waits and ends. Later records are refused. May block.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Inner {
    /// Lets the threads begin: from here on this process writes.
    pub(crate) fn begin(&self) {
        let word = self
            .word
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(word) = word else { return };
        self.keeper.views().come_back();
        self.shared.wake_up();
        if word.send(()).is_err() {
            tracing::error!("the writer of the ledger died");
        }
    }

    fn close(&self) {
        self.shared.queue.close();
        drop(
            self.word
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let threads = self
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some((writer, keeper)) = threads else {
            return;
        };
        let writer_ended = writer.join().is_ok();
        self.shared.stop_keeper();
        let keeper_ended = keeper.join().is_ok();
        if !writer_ended || !keeper_ended {
            tracing::error!("a thread of the ledger died");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}
