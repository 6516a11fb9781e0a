//! Following the journal as it grows: the reader keeps its own place, so it misses nothing and slows nobody down.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    Error,
    envelope::Envelope,
    receipt::Entry,
    scan::{self, Position, damaged},
    storage::Storage,
};

/// Records handed out at a time.
const STEP: u64 = 256;

/// Every record that becomes durable after this was made.
pub struct Tail {
    storage: Arc<dyn Storage>,
    next: Position,
    end: watch::Receiver<Position>,
}

impl Tail {
    pub(crate) fn new(storage: Arc<dyn Storage>, end: watch::Receiver<Position>) -> Self {
        let mut next = *end.borrow();
        if next.segment == 0 {
            next = scan::start();
        }
        Self { storage, next, end }
    }

    /// The next records, at least one; nothing more once the ledger is closed.
    ///
    /// # Errors
    /// When the journal cannot be read.
    ///
    /// # Cancel safety
    /// Nothing is lost when this future is dropped.
    pub async fn next(&mut self) -> Result<Vec<Entry>, Error> {
        let end = {
            let next = self.next.seq;
            match self.end.wait_for(|end| end.seq > next).await {
                Ok(end) => *end,
                Err(_) => return Ok(Vec::new()),
            }
        };
        let (storage, from) = (Arc::clone(&self.storage), self.next);
        let reading = tokio::task::spawn_blocking(move || read(&*storage, from, end));
        let (entries, next) = reading.await.map_err(|_cause| Error::Closed)??;
        self.next = next;
        Ok(entries)
    }
}

fn read(
    storage: &dyn Storage,
    from: Position,
    end: Position,
) -> Result<(Vec<Entry>, Position), Error> {
    let stop = Position {
        seq: end.seq.min(from.seq + STEP),
        ..end
    };
    let mut entries = Vec::new();
    let mut next = from;
    scan::frames(storage, from, stop, &mut |payload, position| {
        let bad = |problem: &str| damaged(position.segment, position.offset, problem);
        let envelope = Envelope::parse(payload).map_err(|e| bad(&e.problem))?;
        let text = std::str::from_utf8(payload)
            .map_err(|_cause| bad("not UTF-8"))?
            .to_owned();
        next = scan::after(position, payload);
        entries.push(Entry {
            position,
            kind: envelope.kind,
            text,
        });
        Ok(())
    })?;
    Ok((entries, next))
}
