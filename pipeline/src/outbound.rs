//! Requests of Exeat's own: to authorization servers, token endpoints, key services and stores. The world that custody
//! asks through [`Outside`].
//!
//! They go the way that calls go: names are judged, the operator's proxy is asked, certificates are verified. They reach
//! only origins that a declaration names, follow no redirection, and are never an agent's: nothing that an agent sends
//! chooses where they go.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, mpsc::sync_channel},
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use exeat_custody::{
    ClientIdentity, Custody, IdentityKey, NoReply, Outside, OwnRequest, Reply, Waiting,
};
use exeat_types::{AgentId, Clock, Origin, Reason, Scheme, Secret, limits};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Body, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, runtime::Handle, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::task::TaskTracker;

use crate::{
    Network, Roots, Route,
    egress::{Resolver, Way},
    tls::{self, Tls},
};

/// Room for a reply whose length is not said.
const REPLY_BYTES_FIRST: usize = 16 * 1024;

/// Sends requests of Exeat's own, and connects for the lane of device keys. One for each process.
pub struct Outbound {
    inner: Arc<Inner>,
    /// A world that is tried out, in place of the one in force.
    tried: ArcSwapOption<World>,
}

/// Tries a world out, until it is dropped. What was opened over it goes over the world in force from then on.
pub struct Trial(Arc<Outbound>);

impl Trial {
    /// The way into the world that is tried.
    pub fn outside(&self) -> Arc<dyn Outside> {
        Arc::clone(&self.0) as Arc<dyn Outside>
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.0.tried.store(None);
    }
}

struct Inner {
    world: ArcSwap<World>,
    resolver: Resolver,
    clock: Arc<dyn Clock>,
    handle: Handle,
    tasks: TaskTracker,
    tls: Tls,
}

/// Where requests may go.
#[derive(Default)]
struct World {
    network: Network,
    custody: Option<Arc<Custody>>,
    origins: BTreeSet<Origin>,
}

/// A connection to an upstream, verified where it is TLS.
pub(crate) enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Outbound {
    /// Begins with a world in which nothing may be reached.
    pub fn new(clock: Arc<dyn Clock>, handle: Handle) -> Arc<Self> {
        let inner = Arc::new(Inner {
            world: ArcSwap::default(),
            resolver: Resolver::new(),
            clock,
            handle,
            tasks: TaskTracker::new(),
            tls: Tls::default(),
        });
        let tried = ArcSwapOption::empty();
        Arc::new(Self { inner, tried })
    }

    /// Tries out a network and origins that may yet be refused, with the custody in force. Nobody else is affected.
    pub fn try_out(&self, network: &Network, origins: BTreeSet<Origin>) -> Trial {
        let tried = World {
            network: network.clone(),
            custody: self.inner.world.load().custody.clone(),
            origins,
        };
        let inner = Arc::clone(&self.inner);
        let tried = ArcSwapOption::from_pointee(tried);
        Trial(Arc::new(Self { inner, tried }))
    }

    /// Says over which network, with what for a proxy that wants a credential, and to which origins requests may go.
    pub fn admit(
        &self,
        network: &Network,
        custody: Option<Arc<Custody>>,
        origins: BTreeSet<Origin>,
    ) {
        self.inner.world.store(Arc::new(World {
            network: network.clone(),
            custody,
            origins,
        }));
    }

    /// The runtime that connections live on.
    pub(crate) fn handle(&self) -> &Handle {
        &self.inner.handle
    }

    /// Tasks that must come to their end before the process does.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.inner.tasks
    }

    /// Connects to an upstream over a route that was judged for it.
    ///
    /// # Errors
    /// When there is no connection, or TLS failed.
    pub(crate) async fn connect(
        &self,
        origin: &Origin,
        route: &Route,
        roots: &Roots,
        identity: Option<&Arc<ClientIdentity>>,
    ) -> io::Result<Connection> {
        self.inner.connect(origin, route, roots, identity).await
    }

    fn world(&self) -> Arc<World> {
        let tried = self.tried.load_full();
        tried.unwrap_or_else(|| self.inner.world.load_full())
    }
}

impl Outside for Outbound {
    fn send(&self, request: OwnRequest) -> Waiting<'_, Result<Reply, NoReply>> {
        Box::pin(self.inner.exchange(self.world(), request))
    }

    fn send_and_wait(&self, request: OwnRequest) -> Result<Reply, NoReply> {
        let (tell, told) = sync_channel(1);
        let (inner, world) = (Arc::clone(&self.inner), self.world());
        self.inner.tasks.spawn_on(
            async move {
                let reply = inner.exchange(world, request).await;
                if tell.send(reply).is_err() {
                    tracing::debug!("nobody waits for a reply any more");
                }
            },
            &self.inner.handle,
        );
        // The exchange ends by itself before this does.
        let patience = limits::OWN_REQUEST_TIMEOUT.saturating_mul(2);
        told.recv_timeout(patience)
            .unwrap_or_else(|_cause| Err(NoReply::Late))
    }

    fn pause(&self, time: Duration) -> Waiting<'_, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}

impl Inner {
    async fn exchange(&self, world: Arc<World>, request: OwnRequest) -> Result<Reply, NoReply> {
        let origin = request.origin.clone();
        let ended = timeout(limits::OWN_REQUEST_TIMEOUT, self.ask(&world, request)).await;
        let reply = ended.unwrap_or(Err(NoReply::Late));
        if let Err(problem) = &reply {
            tracing::warn!(%origin, %problem, "a request of our own has no reply");
        }
        reply
    }

    async fn ask(&self, world: &World, request: OwnRequest) -> Result<Reply, NoReply> {
        // SECURITY: what was not declared is not asked, whatever an issuer's metadata names.
        if !world.origins.contains(&request.origin) {
            return Err(NoReply::Forbidden);
        }
        let agent = AgentId::new("exeat").ok();
        let way = Way {
            network: &world.network,
            custody: world.custody.as_deref(),
            agent: agent.as_ref(),
        };
        let located = self.resolver.locate(&way, &request.origin, &*self.clock);
        let route = located.await.map_err(|reason| match reason {
            Reason::TargetForbidden => NoReply::Forbidden,
            _ => NoReply::Unreachable,
        })?;
        let connected = self.connect(
            &request.origin,
            &route,
            &world.network.roots,
            request.identity.as_ref(),
        );
        let connected = connected.await.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => NoReply::Late,
            _ => NoReply::Unreachable,
        })?;
        let request = head(request)?;
        match connected {
            Connection::Plain(stream) => one_request(stream, request).await,
            Connection::Tls(stream) => one_request(*stream, request).await,
        }
    }

    async fn connect(
        &self,
        origin: &Origin,
        route: &Route,
        roots: &Roots,
        identity: Option<&Arc<ClientIdentity>>,
    ) -> io::Result<Connection> {
        if origin.scheme == Scheme::Http {
            return Ok(Connection::Plain(route.connect().await?));
        }
        let config = self.tls.config(roots, identity).map_err(io::Error::other)?;
        let name = tls::server_name(origin).map_err(io::Error::other)?;
        let tcp = route.connect().await?;
        let opening = async move { TlsConnector::from(config).connect(name, tcp).await };
        let opening = timeout(limits::HANDSHAKE_TIMEOUT, opening);
        let opened = if signs_slowly(identity) {
            // The device is asked in the middle of the handshake; the reactor must not wait for it.
            let handle = self.handle.clone();
            let opening = self
                .tasks
                .spawn_blocking_on(move || handle.block_on(opening), &self.handle);
            opening.await.map_err(io::Error::other)?
        } else {
            opening.await
        };
        let stream = opened.map_err(|_cause| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(Connection::Tls(Box::new(stream)))
    }
}

fn signs_slowly(identity: Option<&Arc<ClientIdentity>>) -> bool {
    identity.is_some_and(|identity| match &identity.key {
        IdentityKey::Held(_) => false,
        IdentityKey::Device(signer) => signer.blocks(),
    })
}

/// A secret as the body of a request; it is overwritten when the body is dropped.
struct SecretBody(Secret);

impl AsRef<[u8]> for SecretBody {
    #[expect(clippy::disallowed_methods, reason = "the body is written to the wire")]
    fn as_ref(&self) -> &[u8] {
        self.0.open()
    }
}

fn head(own: OwnRequest) -> Result<Request<Full<Bytes>>, NoReply> {
    let OwnRequest {
        method,
        origin,
        target,
        mut headers,
        body,
        identity: _,
    } = own;
    let authority =
        HeaderValue::from_str(&origin.authority()).map_err(|_cause| NoReply::Forbidden)?;
    headers.insert(header::HOST, authority);
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    headers
        .entry(header::USER_AGENT)
        .or_insert(HeaderValue::from_static("exeat"));
    let mut request = Request::new(Full::new(Bytes::from_owner(SecretBody(body))));
    *request.method_mut() = method;
    *request.uri_mut() = target.parse().map_err(|_cause| NoReply::Forbidden)?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// One request on one connection, which is closed behind it: a request that is not sent twice by itself never changes
/// twice what it asks for, such as a refresh token.
async fn one_request<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Reply, NoReply>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(limits::HEAD_BYTES_MAX)
        .max_headers(limits::HEADER_FIELDS_MAX);
    let (mut sender, connection) = builder
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_cause| NoReply::Broken)?;
    let exchange = async {
        let sent = sender.send_request(request).await;
        read(sent.map_err(|_cause| NoReply::Broken)?).await
    };
    tokio::pin!(connection, exchange);
    tokio::select! {
        biased;
        reply = &mut exchange => reply,
        ended = &mut connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection of our own ended");
            }
            // What it had read is still there for the exchange.
            exchange.await
        }
    }
}

async fn read(response: Response<Incoming>) -> Result<Reply, NoReply> {
    let (parts, mut body) = response.into_parts();
    if is_coded(&parts.headers) {
        return Err(NoReply::Broken);
    }
    let expected = body.size_hint().exact();
    let expected = expected.map_or(Ok(REPLY_BYTES_FIRST), usize::try_from);
    let expected = expected.map_err(|_cause| NoReply::TooLarge)?;
    if expected > limits::OWN_REPLY_BYTES_MAX {
        return Err(NoReply::TooLarge);
    }
    let mut read = Vec::with_capacity(expected);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_cause| NoReply::Broken)?;
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        if read.len().saturating_add(piece.len()) > limits::OWN_REPLY_BYTES_MAX {
            return Err(NoReply::TooLarge);
        }
        read.extend_from_slice(&piece);
    }
    Ok(Reply {
        status: parts.status,
        headers: parts.headers,
        body: Secret::new(read),
    })
}

/// Whether the reply is compressed, although nobody asked for that.
fn is_coded(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|coding| coding != "identity")
}
