//! The one thread that writes: takes what waits, writes it as a batch, wakes the waiters. Natural group commit.

use std::{sync::Arc, time::Duration};

use exeat_types::Timestamp;
use tracing::{error, warn};

use crate::{
    Error,
    effect::Effect,
    journal::{Item, Journal},
    load,
    queue::Pending,
    record::Record,
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

pub(crate) struct Writer {
    shared: Arc<Shared>,
    journal: Journal,
    /// The state in memory may hold records that did not reach the disk.
    ahead: bool,
}

impl Writer {
    pub(crate) const fn new(shared: Arc<Shared>, journal: Journal) -> Self {
        Self {
            shared,
            journal,
            ahead: false,
        }
    }

    /// Runs until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        let bytes_max = Journal::batch_bytes_max(self.shared.segment_bytes);
        loop {
            let patience = (!self.shared.tally().is_empty()).then_some(COUNT_INTERVAL);
            let taken = self.shared.queue.take(bytes_max, patience);
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
        let bytes = batch.iter().map(|pending| pending.item.bytes()).sum();
        if let Err(error) = self.make_ready(bytes) {
            warn!(error = %error, "the ledger cannot be written");
            self.refuse(batch, &error, now);
            return;
        }
        let mut accepted = Vec::with_capacity(batch.len());
        {
            let mut state = self.shared.state_mut();
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
                self.shared.moved_on(written.end, written.note);
                for (pending, position) in accepted.into_iter().zip(written.positions) {
                    pending.answer(Ok(position));
                }
                if self.journal.is_half_full() {
                    self.shared.want_segment(self.journal.next_segment());
                }
            }
            Err(error) => {
                error!(error = %error, "a batch of receipts was not written");
                self.ahead = true;
                self.refuse(accepted, &error, now);
            }
        }
    }

    /// Makes room, and brings memory back to what the disk has if a batch failed before.
    fn make_ready(&mut self, bytes: usize) -> Result<(), Error> {
        if !self.journal.has_room(bytes) {
            let _preparing = self.shared.preparing();
            self.journal.make_room(bytes)?;
        }
        if self.ahead {
            *self.shared.state_mut() = load::reload(&*self.shared.storage, self.journal.end())?;
            self.ahead = false;
        }
        Ok(())
    }

    /// Tells every waiter; what nobody waits for is counted and written when the disk works again.
    fn refuse(&self, batch: Vec<Pending>, error: &Error, now: Timestamp) {
        for pending in batch {
            if pending.reply.is_some() {
                pending.answer(Err(error.clone()));
                continue;
            }
            let mut tally = self.shared.tally();
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
}
