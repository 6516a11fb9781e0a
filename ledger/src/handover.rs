//! Handing an open ledger to another process, at a record boundary and without a moment in which nobody has it.
//!
//! The old process parks its writer: records wait in the queue, nothing is written. The new one opens the same journal
//! under a copy of the same lock and finds as many records as it was told. Then the old one turns its writer into a
//! relay (`relay.rs`): what it still has to record goes to the new process, which writes it, so calls that the old one
//! began end as they would have. INVARIANT: at every moment at most one process writes the journal; a hand-over that is
//! dropped half way leaves the old process writing as if nothing had happened. The new one touches nothing, neither the
//! journal nor the index nor the anchor, before it is told to begin (`Ledger::sign`).

use std::{
    collections::HashSet,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    sync::{Arc, PoisonError, mpsc},
};

use exeat_types::{CallId, Signer, limits::JOURNAL_TIMEOUT};

use crate::{
    Devices, Error, Ledger, Options,
    call::Outcome,
    event::Sweep,
    ledger::Inner,
    load::Seen,
    lock::FolderLock,
    note::NoteKey,
    record::Record,
    relay,
    scan::Position,
    storage::{Folder, Storage},
};

/// A journal that was read while another process was still writing it, up to a place that was durable then.
pub struct Ahead {
    storage: Arc<dyn Storage>,
    seen: Seen,
}

impl Ahead {
    /// Reads it, so that not much is left to read while nobody writes. Blocks.
    ///
    /// # Errors
    /// When the journal is damaged, or the disk or the key fails.
    pub fn read(dir: &Path, signer: &dyn Signer, end: Position) -> Result<Self, Error> {
        let storage =
            Folder::new(&dir.join("journal")).map_err(Error::disk("open the ledger's folder"))?;
        let seen = Seen::up_to(&storage, &NoteKey::of(signer)?, end)?;
        Ok(Self {
            storage: Arc::new(storage),
            seen,
        })
    }
}

/// What a process that takes over is given.
#[derive(Debug)]
pub struct Held {
    /// A copy of the descriptor that holds the lock.
    pub lock: OwnedFd,
    /// How many records the journal has.
    pub records: u64,
}

/// Asks the writer to stand still: it says where, and waits to be told how to go on. Told nothing, it goes on writing.
pub(crate) struct Park {
    pub(crate) parked: mpsc::Sender<Position>,
    pub(crate) decision: mpsc::Receiver<Decision>,
}

/// How a parked writer goes on.
pub(crate) enum Decision {
    /// Read the journal again, as another process may have written, then write.
    Reopen,
    /// Send everything to the process that took over.
    Relay(UnixStream),
}

/// A ledger whose writer stands still. Dropping it lets the writer go on, which is right as long as no other process has
/// written.
#[must_use = "dropping it takes the ledger back"]
pub struct HandOver {
    inner: Arc<Inner>,
    /// Dropped, the writer goes on.
    decision: Option<mpsc::Sender<Decision>>,
    records: u64,
    is_given: bool,
}

impl Ledger {
    /// Stops writing at a record boundary. Records wait until it is decided how to go on. May block.
    ///
    /// # Errors
    /// When the ledger is closed, handed over already, or its disk is failing.
    pub fn hand_over(&self) -> Result<HandOver, Error> {
        let (parked, standing) = mpsc::channel();
        let (decision, awaited) = mpsc::channel();
        let shared = &self.0.shared;
        shared.queue.park(Park {
            parked,
            decision: awaited,
        });
        let end = standing
            .recv_timeout(JOURNAL_TIMEOUT)
            .map_err(|_cause| Error::Closed)?;
        shared.send_to_rest();
        self.0.keeper.views().go_away();
        Ok(HandOver {
            inner: Arc::clone(&self.0),
            decision: Some(decision),
            records: end.seq,
            is_given: false,
        })
    }

    /// Opens a ledger that another process hands over. Nothing is swept: the calls that are open, which come back with
    /// it, are those of that process. Nothing is written before [`Ledger::sign`] either; records wait until then, and
    /// are refused if it never comes. Blocks while it reads the rest of the journal.
    ///
    /// # Errors
    /// When what is there is not what was handed over, or as [`Ledger::open`].
    pub fn adopt(
        options: Options,
        devices: Devices,
        ahead: Ahead,
        held: Held,
    ) -> Result<(Self, Vec<CallId>), Error> {
        let lock = FolderLock::adopt(&options.dir, held.lock)?;
        let place = (ahead.storage, ahead.seen);
        let (ledger, recovery) = Self::stand(options, devices, place, lock)?;
        if recovery.records != held.records || recovery.cut.is_some() {
            let problem = format!("it has {} records, not {}", recovery.records, held.records);
            return Err(Error::NotHandedOver { problem });
        }
        Ok((ledger, recovery.swept))
    }

    /// Writes down that this process holds the ledger, once it does, and begins to write.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn sign(&self) -> Result<(), Error> {
        {
            let lock = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
            lock.as_ref().map_or(Err(Error::Closed), FolderLock::sign)?;
        }
        self.0.begin();
        Ok(())
    }

    /// Writes what the process that handed over still has to record, until it ends. Calls that it leaves open are
    /// `unknown` then, and come back. Blocks for as long as that process lives.
    ///
    /// # Errors
    /// When the calls it left open could not be closed.
    pub fn follow(
        &self,
        predecessor: &UnixStream,
        open: Vec<CallId>,
    ) -> Result<Vec<CallId>, Error> {
        let mut open: HashSet<CallId> = open.into_iter().collect();
        if let Err(problem) = relay::write_for(self, predecessor, &mut open) {
            tracing::warn!(error = %problem, "the gate before this one broke off");
        }
        let mut left: Vec<CallId> = open.into_iter().collect();
        left.sort_unstable();
        if left.is_empty() {
            return Ok(left);
        }
        let outcomes = left
            .iter()
            .map(|call| self.outcome(Outcome::unknown(*call)));
        let promises: Vec<_> = outcomes.collect();
        let calls = u64::try_from(left.len()).unwrap_or(u64::MAX);
        let sweep = self.append(&Record::Sweep(Sweep { calls, cut: None }));
        for promise in promises {
            match promise.wait_blocking() {
                // An intent that came too late to be written leaves nothing to close.
                Ok(_) | Err(Error::NotOpen) => {}
                Err(error) => return Err(error),
            }
        }
        sweep.wait_blocking()?;
        Ok(left)
    }

    /// Takes a change of state in that the process which took over has recorded; nothing is written.
    ///
    /// # Errors
    /// When it does not follow from what is known here.
    pub fn mirror(&self, record: &Record) -> Result<(), Error> {
        let now = self.0.shared.clock.now();
        self.0.shared.state_mut().apply(record, now)
    }
}

impl HandOver {
    /// How many records the journal has.
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// A copy of the lock.
    ///
    /// # Errors
    /// When the ledger is closed, or no descriptor is to be had.
    pub fn lock(&self) -> Result<OwnedFd, Error> {
        let lock = self
            .inner
            .lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        lock.as_ref().map_or(Err(Error::Closed), FolderLock::copy)
    }

    /// The other process has it: from here on everything is sent there.
    ///
    /// # Errors
    /// When the writer is gone.
    pub fn complete(mut self, successor: UnixStream) -> Result<(), Error> {
        let lock = self
            .inner
            .lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(lock) = lock {
            lock.give();
        }
        self.is_given = true;
        self.decide(Decision::Relay(successor))
    }

    /// The other process is gone, and may have written before that.
    ///
    /// # Errors
    /// When the writer is gone.
    pub fn reopen(mut self) -> Result<(), Error> {
        self.decide(Decision::Reopen)
    }

    fn decide(&mut self, decision: Decision) -> Result<(), Error> {
        let decided = self.decision.take().ok_or(Error::Closed)?;
        decided.send(decision).map_err(|_unsent| Error::Closed)
    }
}

impl Drop for HandOver {
    fn drop(&mut self) {
        if !self.is_given {
            self.inner.keeper.views().come_back();
            self.inner.shared.wake_up();
        }
    }
}
