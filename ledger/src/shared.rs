//! What the writer, the keeper and every handle of a ledger share.

use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

use exeat_types::Clock;
use tokio::sync::watch;

use crate::{
    note::NoteKey, queue::Queue, scan::Position, state::State, storage::Storage, tally::Tally,
};

pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) key: NoteKey,
    pub(crate) segment_bytes: u64,
    /// The place behind the last durable record.
    pub(crate) end: watch::Sender<Position>,
    state: RwLock<State>,
    tally: Mutex<Tally>,
    note: Mutex<Option<String>>,
    /// The last flush that is done.
    flushed: Mutex<u64>,
    flush_done: Condvar,
    /// Held while a segment is being prepared.
    preparing: Mutex<()>,
    wishes: Mutex<Wishes>,
    wish: Condvar,
}

/// What the keeper should do.
#[derive(Default, Clone, Copy)]
pub(crate) struct Wishes {
    pub(crate) segment: Option<u32>,
    /// Another process has the journal, or is about to.
    pub(crate) rest: bool,
    pub(crate) stop: bool,
}

/// What [`Shared::new`] takes.
pub(crate) struct Parts {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) key: NoteKey,
    pub(crate) segment_bytes: u64,
    pub(crate) end: Position,
    pub(crate) state: State,
    pub(crate) note: Option<String>,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            queue: Queue::default(),
            storage: parts.storage,
            clock: parts.clock,
            key: parts.key,
            segment_bytes: parts.segment_bytes,
            end: watch::Sender::new(parts.end),
            state: RwLock::new(parts.state),
            tally: Mutex::default(),
            note: Mutex::new(parts.note),
            flushed: Mutex::new(0),
            flush_done: Condvar::new(),
            preparing: Mutex::default(),
            wishes: Mutex::default(),
            wish: Condvar::new(),
        }
    }

    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn preparing(&self) -> MutexGuard<'_, ()> {
        self.preparing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The note of the last durable checkpoint.
    pub(crate) fn note(&self) -> Option<String> {
        self.note
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A batch is durable.
    pub(crate) fn moved_on(&self, end: Position, note: String) {
        *self.note.lock().unwrap_or_else(PoisonError::into_inner) = Some(note);
        self.end.send_replace(end);
    }

    pub(crate) fn end(&self) -> Position {
        *self.end.borrow()
    }

    /// Asks the writer to write what is counted, and waits until it has tried.
    pub(crate) fn flush(&self) {
        let number = self.queue.ask_flush();
        let mut flushed = self.flushed();
        while *flushed < number {
            flushed = self
                .flush_done
                .wait(flushed)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether this flush is still to be done.
    pub(crate) fn wants_flush(&self, number: u64) -> bool {
        *self.flushed() < number
    }

    /// The writer has done a flush; at its end it has done them all.
    pub(crate) fn flush_is_done(&self, number: u64) {
        let mut flushed = self.flushed();
        *flushed = number.max(*flushed);
        self.flush_done.notify_all();
    }

    fn flushed(&self) -> MutexGuard<'_, u64> {
        self.flushed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the keeper that a segment will be needed.
    pub(crate) fn want_segment(&self, segment: u32) {
        let mut wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        if wishes.segment.is_none_or(|known| known < segment) {
            wishes.segment = Some(segment);
            self.wish.notify_one();
        }
    }

    /// Tells the keeper to leave everything alone that another process will look after. When this returns no segment is
    /// being prepared.
    pub(crate) fn send_to_rest(&self) {
        self.wishes().rest = true;
        drop(self.preparing());
    }

    /// Tells the keeper to look after everything again.
    pub(crate) fn wake_up(&self) {
        self.wishes().rest = false;
    }

    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the keeper rests.
    pub(crate) fn is_resting(&self) -> bool {
        self.wishes().rest
    }

    /// Tells the keeper to end.
    pub(crate) fn stop_keeper(&self) {
        self.wishes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .stop = true;
        self.wish.notify_one();
    }

    /// Waits for a wish or for the time of a round; `done` is the segment that was prepared last.
    pub(crate) fn next_wish(&self, done: Option<u32>, round: std::time::Duration) -> Wishes {
        let wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |wishes: &mut Wishes| !wishes.stop && wishes.segment <= done;
        let waited = self.wish.wait_timeout_while(wishes, round, idle);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
