//! Exports of the ledger, written to the reader as fast as it reads and kept nowhere on the way.
//!
//! INVARIANT: one export is under way at a time, holds a few pieces in memory whatever the ledger's size, and ends when its
//! reader stops reading. One that breaks off ends with an error, so that nobody takes it for whole.

use std::{
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use exeat_ledger::Filter;
use futures_util::{StreamExt as _, stream};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_util::task::TaskTracker;

use crate::{problem::Problem, site::Site};

/// Bytes that are sent at a time.
const PIECE: usize = 64 * 1024;
/// Pieces that wait for the reader.
const PIECES: usize = 4;
/// How long a reader may read nothing.
const STALL: Duration = Duration::from_secs(30);
/// How long the next one waits for an export that is under way.
const PATIENCE: Duration = Duration::from_secs(10);

/// The place for the one export that is under way.
pub(crate) struct Exports(Arc<Semaphore>);

impl Default for Exports {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

/// The receipts that fit, as lines of JSON.
pub(crate) async fn receipts(site: &Site, filter: Filter) -> Result<Body, Problem> {
    let ledger = site.gate.ledger().clone();
    let work = move |out: &mut dyn Write| ledger.export(out, &filter).map(drop);
    sent(&site.exports, &site.tasks, work).await
}

/// Streams what `work` writes. What goes wrong before the first piece is the answer.
async fn sent(
    exports: &Exports,
    tasks: &TaskTracker,
    work: impl FnOnce(&mut dyn Write) -> Result<(), exeat_ledger::Error> + Send + 'static,
) -> Result<Body, Problem> {
    let place = timeout(PATIENCE, Arc::clone(&exports.0).acquire_owned()).await;
    let Ok(Ok(place)) = place else {
        return Err(Problem::conflict("another export is under way"));
    };
    let (sender, mut pieces) = mpsc::channel(PIECES);
    let out = Pieces {
        sender: sender.clone(),
        reactor: Handle::current(),
    };
    tasks.spawn_blocking(move || {
        let mut out = io::BufWriter::with_capacity(PIECE, out);
        let done = work(&mut out);
        let (out, _rest) = out.into_parts();
        // The place is free before the reader hears that this is the end.
        drop(place);
        let told = match done {
            Ok(()) => out.put(Ok(None)),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "an export broke off"
                );
                out.put(Err(error))
            }
        };
        if told.is_err() {
            tracing::debug!("nobody reads the export any more");
        }
    });
    let first = match pieces.recv().await {
        Some(Ok(first)) => first.unwrap_or_default(),
        Some(Err(error)) => return Err(Problem::from(error)),
        None => return Err(Problem::failed("the ledger could not be read")),
    };
    let rest = stream::unfold(Some(pieces), |pieces| async move {
        let mut pieces = pieces?;
        match pieces.recv().await {
            Some(Ok(Some(piece))) => Some((Ok(piece), Some(pieces))),
            Some(Ok(None)) => None,
            Some(Err(_)) | None => Some((Err(io::Error::other("the export broke off")), None)),
        }
    });
    Ok(Body::from_stream(stream::iter([Ok(first)]).chain(rest)))
}

/// A piece, that there are no more, or why it breaks off. Without the second nothing is whole.
type Piece = Result<Option<Bytes>, exeat_ledger::Error>;

/// What is written goes to the reader.
struct Pieces {
    sender: mpsc::Sender<Piece>,
    reactor: Handle,
}

impl Pieces {
    fn put(&self, piece: Piece) -> io::Result<()> {
        match self
            .reactor
            .block_on(timeout(STALL, self.sender.send(piece)))
        {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_gone)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_stalled) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Write for Pieces {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.put(Ok(Some(Bytes::copy_from_slice(piece))))?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const LINES: usize = 1000;
    const LINE: usize = 10_000;

    fn many(
        written: Arc<AtomicUsize>,
    ) -> impl FnOnce(&mut dyn Write) -> Result<(), exeat_ledger::Error> {
        move |out| {
            let gone = |error: io::Error| {
                drop(error);
                exeat_ledger::Error::GrantUnusable("gone")
            };
            for _ in 0..LINES {
                out.write_all(&[b'x'; LINE]).map_err(gone)?;
                written.fetch_add(LINE, Ordering::SeqCst);
            }
            out.flush().map_err(gone)
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_export_is_written_as_it_is_read_and_one_at_a_time() {
        let (exports, tasks) = (Exports::default(), TaskTracker::new());
        let written = Arc::new(AtomicUsize::new(0));
        let body = sent(&exports, &tasks, many(Arc::clone(&written))).await;
        let mut body = body.ok().unwrap().into_data_stream();
        assert_eq!(exports.0.available_permits(), 0);
        let mut read = 0;
        while let Some(piece) = body.next().await {
            read += piece.unwrap().len();
            let ahead = written.load(Ordering::SeqCst).saturating_sub(read);
            assert!(
                ahead <= (PIECES + 2) * (PIECE + LINE),
                "{ahead} bytes ahead"
            );
        }
        assert_eq!(read, LINES * LINE);
        assert_eq!(exports.0.available_permits(), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_export_whose_reader_went_away_ends_and_makes_room() {
        let (exports, tasks) = (Exports::default(), TaskTracker::new());
        let written = Arc::new(AtomicUsize::new(0));
        let body = sent(&exports, &tasks, many(Arc::clone(&written))).await;
        drop(body.ok().unwrap());
        tasks.close();
        tasks.wait().await;
        assert!(written.load(Ordering::SeqCst) < LINES * LINE);
        assert_eq!(exports.0.available_permits(), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_export_that_fails_is_an_answer_at_its_beginning_and_an_error_later() {
        let (exports, tasks) = (Exports::default(), TaskTracker::new());
        let wrong = || exeat_ledger::Error::GrantUnusable("wrong");
        let early = sent(&exports, &tasks, move |_out| Err(wrong())).await;
        assert!(early.is_err());
        let late = sent(&exports, &tasks, move |out| {
            out.write_all(&[b'x'; 2 * PIECE]).unwrap();
            Err(wrong())
        });
        let pieces: Vec<_> = late.await.ok().unwrap().into_data_stream().collect().await;
        assert!(pieces.last().unwrap().is_err());
    }
}
