//! The way from the callers to the one writer: a bounded queue, and a promise for each record.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use exeat_types::limits::{JOURNAL_QUEUE_MAX, JOURNAL_TIMEOUT};
use tokio::sync::oneshot;

use crate::{Error, effect::Effect, handover::Park, journal::Item, scan::Position};

/// All bodies that may wait at one moment.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A record on its way to the disk.
#[must_use = "a record that nobody waits for may not be durable"]
pub struct Durable(Way);

enum Way {
    Refused(Error),
    Queued(oneshot::Receiver<Result<Position, Error>>),
}

impl Durable {
    pub(crate) const fn refused(error: Error) -> Self {
        Self(Way::Refused(error))
    }

    /// Waits until the record is durable.
    ///
    /// # Errors
    /// When it is not, or was not in time. After [`Error::Late`] it may still become durable, so the call has to be
    /// closed.
    ///
    /// # Cancel safety
    /// The record stays in the queue when this future is dropped.
    pub async fn done(self) -> Result<Position, Error> {
        match self.0 {
            Way::Refused(error) => Err(error),
            Way::Queued(receiver) => match tokio::time::timeout(JOURNAL_TIMEOUT, receiver).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(Error::Closed),
                Err(_) => Err(Error::Late),
            },
        }
    }

    /// The same for a thread that may block.
    ///
    /// # Errors
    /// As [`Durable::done`].
    pub fn wait_blocking(self) -> Result<Position, Error> {
        let mut receiver = match self.0 {
            Way::Refused(error) => return Err(error),
            Way::Queued(receiver) => receiver,
        };
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        let step = Duration::from_secs(1);
        let mut waited = Duration::ZERO;
        while waited < JOURNAL_TIMEOUT {
            match std::pin::Pin::new(&mut receiver).poll(&mut context) {
                Poll::Ready(Ok(result)) => return result,
                Poll::Ready(Err(_)) => return Err(Error::Closed),
                Poll::Pending => thread::park_timeout(step),
            }
            waited += step;
        }
        Err(Error::Late)
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A record that waits to be written.
pub(crate) struct Pending {
    pub(crate) item: Item,
    pub(crate) effect: Effect,
    pub(crate) reply: Option<oneshot::Sender<Result<Position, Error>>>,
}

impl Pending {
    pub(crate) fn answer(self, result: Result<Position, Error>) {
        if let Some(reply) = self.reply {
            // Whoever asked may have gone away; the record is written all the same.
            drop(reply.send(result));
        }
    }
}

#[derive(Default)]
struct Waiting {
    pending: VecDeque<Pending>,
    bytes: usize,
    closing: bool,
    /// How often the writer was asked to look around.
    nudges: u64,
    /// The last flush that was asked for.
    flush: u64,
    /// Somebody wants the writer to stand still.
    park: Option<Park>,
    writer_sleeps: bool,
}

/// What the writer takes at a time.
pub(crate) struct Taken {
    pub(crate) batch: Vec<Pending>,
    /// The last flush that was asked for, once everything that was in the queue before it is taken.
    pub(crate) flush: Option<u64>,
    /// No more will come, and nothing is left.
    pub(crate) last: bool,
    /// The writer is to stand still first; what waits goes on waiting.
    pub(crate) park: Option<Park>,
}

#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a record in the queue and gives the promise for it.
    pub(crate) fn push(&self, item: Item, effect: Effect) -> Durable {
        let (reply, receiver) = oneshot::channel();
        let pending = Pending {
            item,
            effect,
            reply: Some(reply),
        };
        match self.put(pending) {
            Ok(()) => Durable(Way::Queued(receiver)),
            Err(error) => Durable(Way::Refused(error)),
        }
    }

    /// Puts a record in the queue that nobody waits for, unless half the room is taken.
    pub(crate) fn push_if_roomy(&self, item: Item, effect: Effect) -> bool {
        let is_roomy = {
            let waiting = self.lock();
            waiting.pending.len() < JOURNAL_QUEUE_MAX / 2 && waiting.bytes < QUEUE_BYTES_MAX / 2
        };
        is_roomy
            && self
                .put(Pending {
                    item,
                    effect,
                    reply: None,
                })
                .is_ok()
    }

    fn put(&self, pending: Pending) -> Result<(), Error> {
        let wake = {
            let mut waiting = self.lock();
            if waiting.closing {
                return Err(Error::Closed);
            }
            let bytes = pending.item.bytes();
            if waiting.pending.len() >= JOURNAL_QUEUE_MAX || waiting.bytes + bytes > QUEUE_BYTES_MAX
            {
                return Err(Error::Busy);
            }
            waiting.bytes += bytes;
            waiting.pending.push_back(pending);
            std::mem::take(&mut waiting.writer_sleeps)
        };
        if wake {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Wakes the writer although nothing is in the queue.
    pub(crate) fn nudge(&self) {
        self.lock().nudges += 1;
        self.wake.notify_one();
    }

    /// Asks for a flush; gives its number.
    pub(crate) fn ask_flush(&self) -> u64 {
        let number = {
            let mut waiting = self.lock();
            waiting.nudges += 1;
            waiting.flush += 1;
            waiting.flush
        };
        self.wake.notify_one();
        number
    }

    /// Asks the writer to stand still once it has written what it holds.
    pub(crate) fn park(&self, park: Park) {
        self.lock().park = Some(park);
        self.wake.notify_one();
    }

    /// Lets nothing in any more.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_one();
    }

    /// Waits for records, and takes as many as fit; waits at most `patience`, if given.
    pub(crate) fn take(&self, bytes_max: usize, patience: Option<Duration>) -> Taken {
        let mut waiting = self.lock();
        while waiting.pending.is_empty()
            && !waiting.closing
            && waiting.nudges == 0
            && waiting.park.is_none()
        {
            waiting.writer_sleeps = true;
            if let Some(patience) = patience {
                let waited = self.wake.wait_timeout(waiting, patience);
                let (back, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                waiting = back;
                if timeout.timed_out() {
                    break;
                }
            } else {
                waiting = self
                    .wake
                    .wait(waiting)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
        waiting.writer_sleeps = false;
        if let Some(park) = waiting.park.take() {
            return Taken {
                batch: Vec::new(),
                flush: None,
                last: false,
                park: Some(park),
            };
        }
        waiting.nudges = 0;
        let mut batch = Vec::new();
        let mut room = bytes_max;
        while let Some(bytes) = waiting.pending.front().map(|next| next.item.bytes()) {
            if bytes > room && !batch.is_empty() {
                break;
            }
            room = room.saturating_sub(bytes);
            waiting.bytes = waiting.bytes.saturating_sub(bytes);
            batch.extend(waiting.pending.pop_front());
        }
        let is_empty = waiting.pending.is_empty();
        Taken {
            batch,
            flush: is_empty.then_some(waiting.flush),
            last: waiting.closing && is_empty,
            park: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Kind;

    fn item() -> Item {
        Item {
            kind: Kind::Alarm,
            body: b"{}".to_vec(),
        }
    }

    #[test]
    fn refusals_never_take_the_second_half_of_the_room() {
        let queue = Queue::default();
        let mut unwaited = 0;
        while queue.push_if_roomy(item(), Effect::None) {
            unwaited += 1;
        }
        assert_eq!(unwaited, JOURNAL_QUEUE_MAX / 2);
        let promises: Vec<_> = (unwaited..JOURNAL_QUEUE_MAX)
            .map(|_| queue.push(item(), Effect::None))
            .collect();
        assert!(
            promises
                .iter()
                .all(|promise| matches!(promise.0, Way::Queued(_)))
        );
        let refused = queue.push(item(), Effect::None).wait_blocking();
        assert!(matches!(refused, Err(Error::Busy)));

        let taken = queue.take(usize::MAX, None);
        assert_eq!((taken.batch.len(), taken.last), (JOURNAL_QUEUE_MAX, false));
        drop(taken);
        let lost = promises.into_iter().next().map(Durable::wait_blocking);
        assert!(
            matches!(lost, Some(Err(Error::Closed))),
            "nobody is left to answer"
        );
        queue.close();
        assert!(queue.take(usize::MAX, None).last);
    }

    #[test]
    fn a_batch_holds_what_fits_and_at_least_one() {
        let queue = Queue::default();
        for _ in 0..5 {
            assert!(queue.push_if_roomy(item(), Effect::None));
        }
        let bytes = item().bytes();
        assert_eq!(queue.take(bytes * 2 + 1, None).batch.len(), 2);
        let small = queue.take(1, None);
        assert_eq!((small.batch.len(), small.flush), (1, None));
        assert_eq!(queue.take(usize::MAX, None).flush, Some(0));
    }
}
