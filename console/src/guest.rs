//! Connections, and how long they may stay: a body arrives in time, an answer is read, and who is not signed in makes room.
//!
//! SECURITY: everybody on this machine may connect. Places are few; whoever has shown no session holds one only until
//! enough others have come, so that nobody keeps people out by sitting there.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    middleware::Next,
    response::Response,
};
use exeat_types::limits;
use hyper::body::{Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::session::Session;

/// Connections of people who are not signed in, at a time; the oldest goes first.
const STRANGERS_MAX: usize = 64;
/// How long an answer may wait to be read.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection.
#[derive(Debug)]
pub(crate) struct Guest {
    /// Told when it has to go.
    pub(crate) gone: CancellationToken,
    lobby: Arc<Lobby>,
}

/// Where connections stand that have shown no session.
#[derive(Debug, Default)]
pub(crate) struct Lobby(Mutex<VecDeque<Arc<Guest>>>);

impl Lobby {
    /// Lets a connection in; the one that has stood here longest goes, if there are too many.
    pub(crate) fn enter(self: &Arc<Self>) -> Arc<Guest> {
        let guest = Arc::new(Guest {
            gone: CancellationToken::new(),
            lobby: Arc::clone(self),
        });
        let mut standing = self.standing();
        standing.push_back(Arc::clone(&guest));
        if standing.len() > STRANGERS_MAX
            && let Some(oldest) = standing.pop_front()
        {
            oldest.gone.cancel();
        }
        guest
    }

    /// Forgets a connection: it is signed in, or over.
    pub(crate) fn leave(&self, guest: &Arc<Guest>) {
        self.standing().retain(|other| !Arc::ptr_eq(other, guest));
    }

    fn standing(&self) -> MutexGuard<'_, VecDeque<Arc<Guest>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Behind the guard: a connection that has shown a session may stay.
pub(crate) async fn welcome(request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    if extensions.get::<Arc<Session>>().is_some()
        && let Some(guest) = extensions.get::<Arc<Guest>>()
    {
        guest.lobby.leave(guest);
    }
    next.run(request).await
}

/// Before the guard: the body has to arrive in time, whoever reads it.
pub(crate) async fn in_time(request: Request, next: Next) -> Response {
    let until = Instant::now() + limits::BODY_TIMEOUT;
    let request = request.map(|body| {
        Body::new(Timed {
            body,
            until: Box::pin(sleep_until(until)),
        })
    });
    next.run(request).await
}

/// A body that has to be there by then.
struct Timed {
    body: Body,
    until: Pin<Box<Sleep>>,
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(self.until.as_mut().poll(context));
        Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::TimedOut).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream whose other side has to read what is written to it.
pub(crate) struct Patient<S> {
    stream: S,
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub(crate) const fn new(stream: S) -> Self {
        Self {
            stream,
            patience: STALL_TIMEOUT,
            stalled: None,
        }
    }

    /// What came of a write; one that waits too long fails.
    fn waited<T>(
        &mut self,
        wrote: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stalled = None;
            return wrote;
        }
        let patience = self.patience;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.waited(wrote, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.waited(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.waited(shut, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.waited(wrote, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[test]
    fn whoever_is_not_signed_in_makes_room_and_whoever_is_stays() {
        let lobby = Arc::new(Lobby::default());
        let signed_in = lobby.enter();
        lobby.leave(&signed_in);
        let sitting: Vec<_> = (0..STRANGERS_MAX).map(|_| lobby.enter()).collect();
        assert!(sitting.iter().all(|guest| !guest.gone.is_cancelled()));
        let new = lobby.enter();
        assert!(sitting[0].gone.is_cancelled() && !sitting[1].gone.is_cancelled());
        assert!(!new.gone.is_cancelled() && !signed_in.gone.is_cancelled());
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_ends() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut stream = Patient::new(ours);
        stream.patience = Duration::from_millis(1);
        stream.write_all(&[0; 16]).await.unwrap();
        let error = stream.write_all(&[0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_ends() {
        let never = futures_util::stream::pending::<Result<Bytes, io::Error>>();
        let body = Timed {
            body: Body::from_stream(never),
            until: Box::pin(sleep(Duration::from_millis(1))),
        };
        let error = body.collect().await.unwrap_err();
        let error = error.downcast::<io::Error>().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
