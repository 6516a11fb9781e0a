//! A stream that lets through nothing but well-framed HTTP/1 requests, one at a time.
//!
//! Stands between the decrypted stream and Pingora. Bytes go straight into the reader's buffer; they are held here only
//! while a head is incomplete or the response before it unfinished. Must never let a part of a head through.

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf as _, BytesMut};
use exeat_types::limits;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};
use tokio_util::io::poll_read_buf;

use super::{
    Limits, Violation,
    exchange::{Broken, Exchange},
};

/// Told of the violation that ends a connection; gives the body of the `400`, a problem document.
pub type Refuse = dyn Fn(&Violation) -> Vec<u8> + Send + Sync;

/// The guarding stream. Reads of the inner stream that break a rule become a `400` and the end of the stream, or, inside
/// a body, an error of kind `InvalidData` whose source is the [`Violation`].
pub struct Guard<S> {
    inner: S,
    exchange: Exchange,
    /// Bytes from the client that have not been let through, or not been taken yet.
    held: BytesMut,
    /// How many of the held bytes may pass.
    clear: usize,
    phase: Phase,
    /// Ends the time that a head which has begun, or the end of a refused client, may take.
    patience: Option<Pin<Box<Sleep>>>,
    /// The reader that waits for the response in progress.
    waiting: Option<Waker>,
    refuse: Arc<Refuse>,
}

enum Phase {
    Open,
    Answering(BytesMut),
    Closing,
    Draining(usize),
    Ended,
    Broken(Violation),
}

/// How much is read at once while a head is incomplete.
const READ_BYTES: usize = 4096;
/// How much is read and dropped behind a refused head, so that the client reads the answer before a reset.
const DRAIN_BYTES_MAX: usize = 64 * 1024;

impl<S> Guard<S> {
    /// Guards a stream of which `prefix` has been read already.
    pub fn new(inner: S, prefix: BytesMut, refuse: Arc<Refuse>) -> Self {
        let exchange = Exchange::new(Limits::STANDARD);
        Self {
            inner,
            exchange,
            held: prefix,
            clear: 0,
            phase: Phase::Open,
            patience: None,
            waiting: None,
            refuse,
        }
    }

    /// The guarded stream.
    pub const fn inner(&self) -> &S {
        &self.inner
    }

    /// The guarded stream, for its own settings; what is read or written here passes the guard by.
    pub const fn inner_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Judges the bytes in the reader's buffer behind `before` where they lie; what may not pass yet is taken back out.
    /// `true` when something is left for the reader.
    fn pass_through(&mut self, before: usize, buf: &mut ReadBuf<'_>) -> bool {
        let fresh = buf.filled().get(before..).unwrap_or_default();
        let passed = match self.exchange.read(fresh) {
            Ok(count) => {
                self.held
                    .extend_from_slice(fresh.get(count..).unwrap_or_default());
                count
            }
            Err(broken) => {
                self.stop(broken);
                0
            }
        };
        buf.set_filled(before + passed);
        passed > 0
    }

    /// Judges the held bytes; `true` when that changed something, so that no more need be read now.
    fn judge(&mut self) -> bool {
        match self.exchange.read(&self.held) {
            Ok(count) => self.clear = count,
            Err(broken) => self.stop(broken),
        }
        self.clear > 0 || !matches!(self.phase, Phase::Open)
    }

    /// Whether the head that has begun takes too long; wakes the reader when it will have.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        self.exchange.reads_head() && self.poll_patience(cx).is_ready()
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let patience = self
            .patience
            .get_or_insert_with(|| Box::pin(sleep(limits::HEAD_TIMEOUT)));
        patience.as_mut().poll(cx)
    }

    fn stop(&mut self, broken: Broken) {
        self.held = BytesMut::new();
        self.patience = None;
        self.phase = match broken {
            Broken::Head(violation) => Phase::Answering(answer(&(self.refuse)(&violation))),
            Broken::Body(violation) => Phase::Broken(violation),
        };
    }

    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) {
        self.patience = None;
        let count = self.clear.min(buf.remaining());
        buf.put_slice(self.held.get(..count).unwrap_or_default());
        self.held.advance(count);
        self.clear -= count;
        if self.held.is_empty() {
            // An idle connection keeps no buffer.
            self.held = BytesMut::new();
        }
    }

    /// Follows what the inner stream has taken, and wakes the reader that waited for it.
    fn follow(&mut self, written: &[u8]) {
        if self.exchange.wrote(written)
            && let Some(waker) = self.waiting.take()
        {
            waker.wake();
        }
    }

    fn may_write(&self) -> io::Result<()> {
        match self.phase {
            Phase::Open | Phase::Broken(_) => Ok(()),
            Phase::Answering(_) | Phase::Closing | Phase::Draining(_) | Phase::Ended => Err(
                io::Error::new(io::ErrorKind::BrokenPipe, "the connection has been refused"),
            ),
        }
    }
}

fn answer(body: &[u8]) -> BytesMut {
    let head = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json; charset=utf-8\r\ncache-control: no-store\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let mut bytes = BytesMut::from(head.as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guard<S> {
    /// The road while nothing is wrong.
    fn poll_open(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.clear > 0 {
                self.hand_out(buf);
                return Poll::Ready(Ok(()));
            }
            if self.exchange.is_over() {
                self.phase = Phase::Ended;
            }
            if !matches!(self.phase, Phase::Open) {
                return self.poll_closed(cx);
            }
            if self.held.is_empty() {
                let before = buf.filled().len();
                ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
                if buf.filled().len() == before || self.pass_through(before, buf) {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            if !self.exchange.waits() && self.judge() {
                continue;
            }
            if self.exchange.waits() {
                self.waiting = Some(cx.waker().clone());
                return Poll::Pending;
            }
            self.held.reserve(READ_BYTES);
            match poll_read_buf(Pin::new(&mut self.inner), cx, &mut self.held)? {
                Poll::Ready(0) => {
                    self.held = BytesMut::new();
                    self.phase = Phase::Ended;
                }
                Poll::Ready(_) => {}
                Poll::Pending if self.is_late(cx) => {
                    self.stop(Broken::Head(Violation::new(
                        "slow-head",
                        "the request head took too long",
                    )));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The road behind a violation: answer, close, drain, end.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let inner = Pin::new(&mut self.inner);
            let next = match &mut self.phase {
                Phase::Answering(bytes) if bytes.is_empty() => match ready!(inner.poll_flush(cx)) {
                    Ok(()) => Some(Phase::Closing),
                    Err(_) => Some(Phase::Ended),
                },
                Phase::Answering(bytes) => match ready!(inner.poll_write(cx, bytes)) {
                    Ok(count) if count > 0 => {
                        bytes.advance(count);
                        None
                    }
                    Ok(_) | Err(_) => Some(Phase::Ended),
                },
                Phase::Closing => match ready!(inner.poll_shutdown(cx)) {
                    Ok(()) => Some(Phase::Draining(0)),
                    Err(_) => Some(Phase::Ended),
                },
                Phase::Draining(drained) => {
                    let mut scratch = [0; 2048];
                    let mut scratch = ReadBuf::new(&mut scratch);
                    let read = match inner.poll_read(cx, &mut scratch) {
                        Poll::Ready(read) => read,
                        Poll::Pending => {
                            ready!(self.poll_patience(cx));
                            self.phase = Phase::Ended;
                            return Poll::Ready(Ok(()));
                        }
                    };
                    *drained += scratch.filled().len();
                    let more =
                        read.is_ok() && !scratch.filled().is_empty() && *drained < DRAIN_BYTES_MAX;
                    (!more).then_some(Phase::Ended)
                }
                Phase::Broken(violation) => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        violation.clone(),
                    )));
                }
                Phase::Open | Phase::Ended => return Poll::Ready(Ok(())),
            };
            if let Some(next) = next {
                self.phase = next;
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.get_mut().poll_open(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.may_write()?;
        let count = ready!(Pin::new(&mut this.inner).poll_write(cx, bytes))?;
        this.follow(bytes.get(..count).unwrap_or(bytes));
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.may_write()?;
        let count = ready!(Pin::new(&mut this.inner).poll_write_vectored(cx, slices))?;
        let mut left = count;
        for slice in slices {
            let part = slice.get(..left.min(slice.len())).unwrap_or(slice);
            this.follow(part);
            left -= part.len();
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

impl<S: fmt::Debug> fmt::Debug for Guard<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("inner", &self.inner)
            .field("held_bytes", &self.held.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod splits;
#[cfg(test)]
mod tests;
