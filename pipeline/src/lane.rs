//! A lane of our own to upstream, for what a front door's own client cannot do: show a certificate whose key is in a
//! device, or send a large body a second time. HTTP/1.1, one connection for each attempt, both directions at once.
//!
//! It does what a door does with an [`Exchange`], in the same order.

use std::{
    convert::Infallible,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use exeat_custody::IdentityKey;
use exeat_types::{Reason, limits};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use tokio::{sync::mpsc, time::timeout};

use crate::{
    Admitted, Exchange, Gate, Head, Last, Next, Outgoing, OutgoingBody, attempt,
    outbound::Connection, settle, tls::is_device_failure,
};

/// The agent's side of a call.
pub trait Downstream: Send {
    /// How long the body is, if the agent said so.
    fn length(&self) -> Option<u64>;

    /// The next piece of the request body, `None` at its end. After the end it waits, and fails when the agent goes away.
    ///
    /// # Errors
    /// When the agent broke off or is too slow.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    fn piece(&mut self) -> impl Future<Output = Result<Option<Bytes>, Reason>> + Send;

    /// Writes the head of the answer; `last` says that nothing follows it.
    ///
    /// # Errors
    /// When the agent is gone.
    fn head(
        &mut self,
        status: StatusCode,
        headers: HeaderMap,
        last: Last,
    ) -> impl Future<Output = Result<(), Reason>> + Send;

    /// Writes a piece of the answer.
    ///
    /// # Errors
    /// When the agent is gone.
    fn body(&mut self, piece: Bytes, last: Last)
    -> impl Future<Output = Result<(), Reason>> + Send;

    /// Ends the answer with trailers.
    ///
    /// # Errors
    /// When the agent is gone.
    fn trailers(&mut self, trailers: HeaderMap) -> impl Future<Output = Result<(), Reason>> + Send;
}

impl Outgoing {
    /// Whether the request has to take this lane; `large` says that the door could not send its body twice.
    pub fn needs_lane(&self, large: Large) -> bool {
        let identity = self.upstream.identity.as_ref();
        let device = identity.is_some_and(|it| matches!(it.key, IdentityKey::Device(_)));
        device || (large == Large::Yes && self.may_repeat())
    }
}

/// Whether a body is larger than a door repeats by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Large {
    /// It is.
    Yes,
    /// It is not, or there is none.
    No,
}

/// Carries an admitted call to upstream and its answer back.
///
/// # Errors
/// Why it broke off. What was written of the answer until then is all that the agent gets.
///
/// # Cancel safety
/// Dropping the future breaks both sides off.
pub async fn carry(
    gate: &Gate,
    admitted: &mut Admitted,
    agent: &mut impl Downstream,
) -> Result<(), Reason> {
    let Admitted { outgoing, exchange } = admitted;
    if outgoing.upgrade {
        // A connection that becomes another protocol does not fit here.
        return Err(Reason::UpstreamUnreachable);
    }
    loop {
        let left = exchange.left();
        let head = attempt(gate, outgoing, exchange).await?;
        let connected = gate.mint.outbound().connect(
            &outgoing.upstream.origin,
            &outgoing.upstream.route,
            &outgoing.upstream.roots,
            outgoing.upstream.identity.as_ref(),
        );
        let connected = connected.await.map_err(|error| {
            tracing::debug!(%error, "no connection to upstream");
            exchange.unconnected(left);
            match error.kind() {
                _ if is_device_failure(&error) => Reason::SignerUnavailable,
                io::ErrorKind::TimedOut => Reason::UpstreamTimeout,
                _ => Reason::UpstreamUnreachable,
            }
        })?;
        let mut passing = Passing {
            gate,
            exchange,
            agent,
            feed: None,
            held: None,
            ended: false,
        };
        let next = match connected {
            Connection::Plain(stream) => passing.over(stream, outgoing, head).await?,
            Connection::Tls(stream) => passing.over(*stream, outgoing, head).await?,
        };
        if next == Next::Deliver {
            return Ok(());
        }
    }
}

/// One attempt under way.
struct Passing<'a, D> {
    gate: &'a Gate,
    exchange: &'a mut Exchange,
    agent: &'a mut D,
    /// Where pieces of the request go, until its end.
    feed: Option<mpsc::Sender<Bytes>>,
    /// A piece for which there is no room yet.
    held: Option<Bytes>,
    /// Whether the agent has sent all of it.
    ended: bool,
}

/// What happened first.
enum Event {
    Closed,
    Sent,
    NobodyReads,
    Piece(Option<Bytes>),
}

impl<D: Downstream> Passing<'_, D> {
    async fn over<S>(
        &mut self,
        stream: S,
        outgoing: &mut Outgoing,
        head: Head,
    ) -> Result<Next, Reason>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let request = self.request(outgoing, head)?;
        let mut builder = http1::Builder::new();
        builder.max_headers(limits::HEADER_FIELDS_MAX.saturating_mul(2));
        let (mut sender, connection) = builder
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        let connection = async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to upstream ended");
            }
        };
        tokio::pin!(connection);
        let mut connection = Some(connection.as_mut());
        let answer = sender.send_request(request);
        let answer = self.while_sending(answer, &mut connection).await?;
        let (parts, body) = answer.map_err(|error| broken(&error))?.into_parts();
        match settle(self.gate, outgoing, parts.status, &parts.headers).await? {
            Next::Again => return Ok(Next::Again),
            Next::Deliver => {}
        }
        let mut headers = parts.headers;
        for name in HOP_FIELDS {
            headers.remove(name);
        }
        self.exchange.answer(parts.status, &mut headers)?;
        let bodiless = body.is_end_stream() && !headers.contains_key(header::TRAILER);
        let last = if bodiless { Last::Yes } else { Last::No };
        self.agent.head(parts.status, headers, last).await?;
        if last == Last::Yes {
            self.exchange.response_chunk(&[], Last::Yes)?;
            return Ok(Next::Deliver);
        }
        self.deliver(body, &mut connection).await?;
        Ok(Next::Deliver)
    }

    /// The request as hyper sends it, framed anew.
    fn request(&mut self, outgoing: &Outgoing, head: Head) -> Result<Request<Sent>, Reason> {
        let internal = |_| Reason::Internal;
        let Head {
            target,
            mut headers,
        } = head;
        for name in Outgoing::MANAGED {
            headers.remove(name);
        }
        let authority = HeaderValue::from_str(&outgoing.upstream.origin.authority());
        headers.insert(header::HOST, authority.map_err(|_cause| Reason::Internal)?);
        let body = match &outgoing.body {
            OutgoingBody::Absent => Sent::Whole(Bytes::new()),
            OutgoingBody::Whole(bytes) => Sent::Whole(self.exchange.whole_piece(bytes)?),
            OutgoingBody::Streamed => {
                let (feed, fed) = mpsc::channel(1);
                self.feed = Some(feed);
                if let Some(length) = self.agent.length() {
                    headers.insert(header::CONTENT_LENGTH, length.into());
                }
                Sent::Streamed(fed, self.agent.length())
            }
        };
        let mut request = Request::new(body);
        *request.method_mut() = outgoing.method.clone();
        *request.uri_mut() = target.parse().map_err(internal)?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Waits for something of upstream, while the connection is driven and the request body passes.
    async fn while_sending<T>(
        &mut self,
        wanted: impl Future<Output = T>,
        connection: &mut Option<Pin<&mut impl Future<Output = ()>>>,
    ) -> Result<T, Reason> {
        let wanted = timeout(limits::UPSTREAM_READ_TIMEOUT, wanted);
        tokio::pin!(wanted);
        loop {
            let waits = self.held.is_some();
            let room = room(self.feed.as_ref().filter(|_| waits));
            let event = tokio::select! {
                biased;
                got = &mut wanted => return got.map_err(|_late| Reason::UpstreamTimeout),
                () = driven(connection) => Event::Closed,
                room = room => match (room, self.held.take()) {
                    (Some(room), Some(piece)) => {
                        room.send(piece);
                        Event::Sent
                    }
                    (_, _) => Event::NobodyReads,
                },
                piece = self.agent.piece(), if !waits => Event::Piece(piece?),
            };
            match event {
                Event::Closed => *connection = None,
                Event::Sent if self.ended => self.feed = None,
                Event::Sent => {}
                // The answer of upstream says why.
                Event::NobodyReads => self.feed = None,
                Event::Piece(piece) => self.took(piece)?,
            }
        }
    }

    /// A piece of the request body came, or its end.
    fn took(&mut self, piece: Option<Bytes>) -> Result<(), Reason> {
        if self.feed.is_none() {
            return Ok(());
        }
        let last = if piece.is_none() { Last::Yes } else { Last::No };
        let piece = self.exchange.request_piece(piece, last)?;
        // A piece that is held back until the next is no end.
        self.held = piece.filter(|piece| !piece.is_empty());
        self.ended = last == Last::Yes;
        if self.ended && self.held.is_none() {
            self.feed = None;
        }
        Ok(())
    }

    /// Cleans the answer and hands it over.
    async fn deliver(
        &mut self,
        mut body: Incoming,
        connection: &mut Option<Pin<&mut impl Future<Output = ()>>>,
    ) -> Result<(), Reason> {
        loop {
            let frame = self.while_sending(body.frame(), connection).await?;
            let Some(frame) = frame else { break };
            match frame.map_err(|error| broken(&error))?.into_data() {
                Ok(piece) => {
                    let cleaned = self.exchange.response_chunk(&piece, Last::No)?;
                    if !cleaned.is_empty() {
                        self.agent.body(cleaned, Last::No).await?;
                    }
                }
                Err(frame) => {
                    let mut trailers = frame.into_trailers().unwrap_or_default();
                    let rest = self.exchange.response_chunk(&[], Last::Yes)?;
                    if !rest.is_empty() {
                        self.agent.body(rest, Last::No).await?;
                    }
                    self.exchange.trailers(&mut trailers);
                    return self.agent.trailers(trailers).await;
                }
            }
        }
        let rest = self.exchange.response_chunk(&[], Last::Yes)?;
        self.agent.body(rest, Last::Yes).await
    }
}

/// Fields of a response that speak of the connection to upstream.
const HOP_FIELDS: [header::HeaderName; 4] = [
    header::CONNECTION,
    header::HeaderName::from_static("keep-alive"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Drives the connection until it ends; after that it is not asked again.
async fn driven(connection: &mut Option<Pin<&mut impl Future<Output = ()>>>) {
    match connection {
        Some(connection) => connection.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Room for a piece, when there is one; `None` when nobody reads any more.
async fn room(feed: Option<&mpsc::Sender<Bytes>>) -> Option<mpsc::Permit<'_, Bytes>> {
    match feed {
        Some(feed) => feed.reserve().await.ok(),
        None => std::future::pending().await,
    }
}

fn broken(error: &hyper::Error) -> Reason {
    tracing::debug!(%error, "upstream broke off");
    Reason::UpstreamBroken
}

/// A request body: known from the start, or fed piece by piece.
enum Sent {
    Whole(Bytes),
    Streamed(mpsc::Receiver<Bytes>, Option<u64>),
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Streamed(fed, _) => fed
                .poll_recv(cx)
                .map(|piece| piece.map(|piece| Ok(Frame::data(piece)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Self::Streamed(_, Some(length)) => SizeHint::with_exact(*length),
            Self::Streamed(_, None) => SizeHint::default(),
        }
    }
}
