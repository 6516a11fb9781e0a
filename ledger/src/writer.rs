//! The one thread that writes: takes what waits, writes it as a batch, wakes the waiters. Natural group commit.
//!
//! Where to is an [`Outlet`]: the journal; or, once another process has that, the relay to it.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use exeat_types::Timestamp;
use tracing::{error, warn};

use crate::{
    Error,
    effect::Effect,
    handover::{Decision, Park},
    journal::{Item, Journal},
    load,
    queue::Pending,
    record::Record,
    relay::Relay,
    shared::Shared,
};

/// How often counted refusals become records.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// When what was counted is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Now,
    Due,
}

/// Where records go.
enum Outlet {
    Journal(Pen),
    Relay(Relay),
    /// The journal is another process's, or came back from one and cannot be read: nothing is written here.
    Lost(Error),
}

/// The journal and whether memory agrees with it.
struct Pen {
    journal: Box<Journal>,
    /// The state in memory may hold records that did not reach the disk.
    ahead: bool,
}

/// Comes when a writer may begin; closed without that, it never may.
pub(crate) type Word = mpsc::Receiver<()>;

pub(crate) struct Writer {
    shared: Arc<Shared>,
    outlet: Outlet,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, journal: Journal) -> Self {
        let outlet = Outlet::Journal(Pen {
            journal: Box::new(journal),
            ahead: false,
        });
        Self { shared, outlet }
    }

    /// Runs until the queue is closed and empty. Until the word comes, another process may write: nothing is touched.
    pub(crate) fn run_after(mut self, word: &Word) {
        if word.recv().is_err() {
            self.outlet = Outlet::Lost(Error::Closed);
        }
        self.run();
    }

    fn run(mut self) {
        let bytes_max = Journal::batch_bytes_max(self.shared.segment_bytes);
        loop {
            let patience = (!self.shared.tally().is_empty()).then_some(COUNT_INTERVAL);
            let taken = self.shared.queue.take(bytes_max, patience);
            if let Some(park) = taken.park {
                self.park(&park);
                continue;
            }
            let now = self.shared.clock.now();
            if !taken.batch.is_empty() {
                self.write(taken.batch, now);
            }
            let flush = taken
                .flush
                .filter(|number| self.shared.wants_flush(*number));
            let when = if taken.last || flush.is_some() {
                When::Now
            } else {
                When::Due
            };
            self.write_counts(now, when);
            if let Some(number) = flush {
                self.shared.flush_is_done(number);
            }
            if taken.last {
                break;
            }
        }
    }

    /// Stands still until it is decided who writes from here on. A journal that is not in order is not given away.
    fn park(&mut self, park: &Park) {
        let Outlet::Journal(pen) = &mut self.outlet else {
            return;
        };
        if let Err(error) = pen.make_ready(&self.shared, 0) {
            warn!(error = %error, "the ledger cannot be handed over");
            return;
        }
        if park.parked.send(pen.journal.end()).is_err() {
            return;
        }
        match park.decision.recv() {
            // Nobody decided: nothing has changed.
            Err(_) => {}
            Ok(Decision::Relay(successor)) => self.outlet = Outlet::Relay(Relay::new(successor)),
            Ok(Decision::Reopen) => match pen.reopen(&self.shared) {
                Ok(()) => {}
                Err(error) => {
                    error!(error = %error, "the journal that came back cannot be read");
                    self.outlet = Outlet::Lost(error);
                }
            },
        }
    }

    /// Turns what was counted into records, when a second has passed or it has to be.
    fn write_counts(&mut self, now: Timestamp, when: When) {
        let records = {
            let mut tally = self.shared.tally();
            if when == When::Now || tally.is_due(now) {
                tally.take()
            } else {
                Vec::new()
            }
        };
        let bytes_max = Journal::batch_bytes_max(self.shared.segment_bytes);
        let mut batch = Vec::new();
        let mut room = bytes_max;
        for record in records {
            let Ok(body) = record.body() else { continue };
            let item = Item {
                kind: record.kind(),
                body,
            };
            if item.bytes() > room {
                self.write(std::mem::take(&mut batch), now);
                room = bytes_max;
            }
            room = room.saturating_sub(item.bytes());
            batch.push(Pending {
                item,
                effect: Effect::of(&record),
                reply: None,
            });
        }
        if !batch.is_empty() {
            self.write(batch, now);
        }
    }

    /// Writes one batch and answers every waiter.
    fn write(&mut self, batch: Vec<Pending>, now: Timestamp) {
        match &mut self.outlet {
            Outlet::Journal(pen) => pen.write(&self.shared, batch, now),
            Outlet::Relay(relay) => relay.forward(batch),
            Outlet::Lost(error) => {
                for pending in batch {
                    pending.answer(Err(error.clone()));
                }
            }
        }
    }
}

impl Pen {
    fn write(&mut self, shared: &Shared, batch: Vec<Pending>, now: Timestamp) {
        let bytes = batch.iter().map(|pending| pending.item.bytes()).sum();
        if let Err(error) = self.make_ready(shared, bytes) {
            warn!(error = %error, "the ledger cannot be written");
            refuse(shared, batch, &error, now);
            return;
        }
        let mut accepted = Vec::with_capacity(batch.len());
        {
            let mut state = shared.state_mut();
            for pending in batch {
                match state.apply_effect(&pending.effect, now) {
                    Ok(()) => accepted.push(pending),
                    Err(error) => {
                        if pending.reply.is_none() {
                            warn!(error = %error, "a refusal was not recorded");
                        }
                        pending.answer(Err(error));
                    }
                }
            }
        }
        if accepted.is_empty() {
            return;
        }
        let items: Vec<_> = accepted.iter().map(|pending| &pending.item).collect();
        match self.journal.append(&items, now) {
            Ok(written) => {
                shared.moved_on(written.end, written.note);
                for (pending, position) in accepted.into_iter().zip(written.positions) {
                    pending.answer(Ok(position));
                }
                if self.journal.is_half_full() {
                    shared.want_segment(self.journal.next_segment());
                }
            }
            Err(error) => {
                error!(error = %error, "a batch of receipts was not written");
                self.ahead = true;
                refuse(shared, accepted, &error, now);
            }
        }
    }

    /// Makes room, and brings memory back to what the disk has if a batch failed before.
    fn make_ready(&mut self, shared: &Shared, bytes: usize) -> Result<(), Error> {
        if !self.journal.has_room(bytes) {
            let _preparing = shared.preparing();
            self.journal.make_room(bytes)?;
        }
        if self.ahead {
            *shared.state_mut() = load::reload(&*shared.storage, self.journal.end())?;
            self.ahead = false;
        }
        Ok(())
    }

    /// Reads journal and state from the disk, after another process may have written there.
    fn reopen(&mut self, shared: &Shared) -> Result<(), Error> {
        let loaded = self.journal.reload()?;
        *shared.state_mut() = loaded.state;
        if let Some(note) = loaded.note {
            shared.moved_on(loaded.journal.end(), note);
        }
        *self.journal = loaded.journal;
        self.ahead = false;
        Ok(())
    }
}

/// Tells every waiter; what nobody waits for is counted and written when the disk works again.
fn refuse(shared: &Shared, batch: Vec<Pending>, error: &Error, now: Timestamp) {
    for pending in batch {
        if pending.reply.is_some() {
            pending.answer(Err(error.clone()));
            continue;
        }
        let mut tally = shared.tally();
        match Record::read(pending.item.kind, &pending.item.body) {
            Ok(Record::Refusal(refusal)) => {
                tally.count_refusal(refusal, now);
            }
            Ok(Record::Connection(connection)) => {
                tally.count_connection(connection, now);
            }
            Ok(_) => {}
            Err(problem) => error!(error = %problem, "a record was lost"),
        }
    }
}
