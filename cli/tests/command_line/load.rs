//! An upstream, and clients that ask it through a gate without a pause: kept-alive connections, HTTP/1.1 and HTTP/2.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    body::{Body, Frame, Incoming},
    client::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};
use tokio_util::task::TaskTracker;

/// The one host.
pub(crate) const HOST: &str = "notes.example";
/// The secret that upstream wants to see and no client has.
pub(crate) const SECRET: &str = "CANARY-upgrade-1";
/// Pieces of a body that comes in pieces, after the first.
pub(crate) const PIECES: usize = 64;
const PIECE: &[u8] = &[b'x'; 4096];

/// Answers `/notes/..` at once; every other path with a first piece, and the rest when it is let go.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    /// Its root, PEM.
    pub(crate) root_pem: String,
    let_go: watch::Sender<bool>,
}

struct Pieces(mpsc::Receiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.0.poll_recv(cx);
        piece.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let let_go = watch::Sender::new(false);
        let (acceptor, going) = (TlsAcceptor::from(Arc::new(config)), let_go.subscribe());
        spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, going) = (acceptor.clone(), going.clone());
                spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else {
                        return;
                    };
                    let answer = service_fn(move |request| {
                        let response = respond(&request, going.clone());
                        async move { Ok::<_, Infallible>(response) }
                    });
                    // A connection that breaks is the client's to notice.
                    auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(tls), answer)
                        .await
                        .unwrap_or_default();
                });
            }
        });
        Self {
            address,
            root_pem: root.pem(),
            let_go,
        }
    }

    /// Lets every body that waits go on to its end.
    pub(crate) fn let_go(&self) {
        self.let_go.send_replace(true);
    }
}

fn respond(request: &Request<Incoming>, mut going: watch::Receiver<bool>) -> Response<Pieces> {
    let expected = format!("Bearer {SECRET}");
    let known = request
        .headers()
        .get(header::AUTHORIZATION)
        .is_some_and(|value| value.as_bytes() == expected.as_bytes());
    let at_once = request.uri().path().starts_with("/notes/");
    let (pieces, body) = mpsc::channel(1);
    spawn(async move {
        let piece = || pieces.send(Bytes::from_static(PIECE));
        piece().await.unwrap_or_default();
        if at_once || going.wait_for(|going| *going).await.is_err() {
            return;
        }
        for _ in 0..PIECES {
            piece().await.unwrap_or_default();
        }
    });
    let mut response = Response::new(Pieces(body));
    if !known {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    let kind = match request.uri().path() {
        "/events" => "text/event-stream",
        _ => "application/octet-stream",
    };
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A protocol inside the tunnel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http1,
    Http2,
}

/// How to reach the gate, and what to trust there.
#[derive(Clone)]
pub(crate) struct Way {
    gate: SocketAddr,
    roots: Arc<RootCertStore>,
}

enum Sender {
    One(http1::SendRequest<Empty<Bytes>>),
    Two(http2::SendRequest<Empty<Bytes>>),
}

/// A body on its way.
pub(crate) struct Download {
    response: Response<Incoming>,
    bytes: usize,
    _sender: Sender,
}

impl Way {
    /// Through this listener, trusting these roots, PEM.
    pub(crate) fn new(gate: &str, roots_pem: &str) -> Self {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(roots_pem.as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        Self {
            gate: gate.parse().unwrap(),
            roots: Arc::new(roots),
        }
    }

    /// Connects through the gate.
    pub(crate) async fn connect(&self, speaks: Speaks) -> std::io::Result<TlsStream<TcpStream>> {
        let mut tcp = TcpStream::connect(self.gate).await?;
        tcp.write_all(
            format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n").as_bytes(),
        )
        .await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tcp.read_u8().await?);
        }
        assert!(head.starts_with(b"HTTP/1.1 200"), "{head:?}");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = vec![match speaks {
            Speaks::Http1 => b"http/1.1".to_vec(),
            Speaks::Http2 => b"h2".to_vec(),
        }];
        let name = HOST.try_into().unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
    }

    async fn open(&self, speaks: Speaks) -> Result<Sender, String> {
        let stream = self.connect(speaks).await;
        let io = TokioIo::new(stream.map_err(|e| format!("connecting: {e}"))?);
        match speaks {
            Speaks::Http1 => {
                let (sender, connection) = http1::handshake(io).await.map_err(told)?;
                spawn(async move { connection.await.unwrap_or_default() });
                Ok(Sender::One(sender))
            }
            Speaks::Http2 => {
                let opened = http2::handshake(TokioExecutor::new(), io).await;
                let (sender, connection) = opened.map_err(told)?;
                spawn(async move { connection.await.unwrap_or_default() });
                Ok(Sender::Two(sender))
            }
        }
    }

    /// Begins a body that does not end before upstream lets it go, and waits for its first piece.
    pub(crate) async fn download(&self, speaks: Speaks, path: &str) -> Download {
        let mut sender = self.open(speaks).await.unwrap();
        let mut response = sender.send(path).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let first = response.frame().await.unwrap().unwrap();
        Download {
            bytes: first.into_data().unwrap().len(),
            response,
            _sender: sender,
        }
    }

    /// Asks again and again until told to stop. A connection that says it closes is replaced; anything else that goes
    /// wrong is a failure.
    pub(crate) fn keep_asking(&self, speaks: Speaks, load: &Arc<Load>) -> JoinHandle<()> {
        let (way, load) = (self.clone(), Arc::clone(load));
        spawn(async move {
            let mut sender = None;
            while !load.stop.load(Ordering::Acquire) {
                match way.ask(speaks, &mut sender).await {
                    Ok(()) => load.answered(),
                    Err(problem) => load.failures.lock().unwrap().push(problem),
                }
            }
        })
    }

    async fn ask(&self, speaks: Speaks, kept: &mut Option<Sender>) -> Result<(), String> {
        loop {
            let mut sender = match kept.take() {
                Some(sender) => sender,
                None => self.open(speaks).await?,
            };
            if sender.ready().await.is_err() {
                // The gate said before that this connection ends.
                continue;
            }
            let response = match sender.send("/notes/1").await {
                Ok(response) => response,
                // It was never sent, as the end of the connection came first.
                Err(error) if error.is_canceled() => continue,
                Err(error) => return Err(told(error)),
            };
            if response.status() != StatusCode::OK {
                return Err(format!("status {}", response.status()));
            }
            let closes = response
                .headers()
                .get(header::CONNECTION)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
            let body = response.into_body().collect().await.map_err(told)?;
            if body.to_bytes().len() != PIECE.len() {
                return Err("a body of the wrong length".to_owned());
            }
            if !closes {
                *kept = Some(sender);
            }
            return Ok(());
        }
    }
}

fn told(error: hyper::Error) -> String {
    anyhow::Error::new(error).root_cause().to_string()
}

/// A task that ends with the runtime.
fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    TaskTracker::new().spawn(task)
}

impl Sender {
    async fn ready(&mut self) -> hyper::Result<()> {
        match self {
            Self::One(sender) => sender.ready().await,
            Self::Two(sender) => sender.ready().await,
        }
    }

    async fn send(&mut self, path: &str) -> hyper::Result<Response<Incoming>> {
        let request = |target: String| {
            let request = Request::get(target).header(header::HOST, HOST);
            request.body(Empty::new()).unwrap()
        };
        match self {
            Self::One(sender) => sender.send_request(request(path.to_owned())).await,
            Self::Two(sender) => {
                let target = format!("https://{HOST}{path}");
                sender.send_request(request(target)).await
            }
        }
    }
}

impl Download {
    /// Reads to the end; gives how many bytes there were.
    pub(crate) async fn finish(mut self) -> Result<usize, hyper::Error> {
        while let Some(frame) = self.response.frame().await {
            self.bytes += frame?.into_data().map_or(0, |data| data.len());
        }
        Ok(self.bytes)
    }
}

/// How long a body in pieces is.
pub(crate) const fn whole_bytes() -> usize {
    PIECE.len() * (PIECES + 1)
}

/// What clients that keep asking saw.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) stop: AtomicBool,
    pub(crate) failures: std::sync::Mutex<Vec<String>>,
    answers: AtomicUsize,
    more: watch::Sender<usize>,
}

impl Load {
    fn answered(&self) {
        let count = self.answers.fetch_add(1, Ordering::AcqRel) + 1;
        self.more.send_replace(count);
    }

    /// How many answers there were.
    pub(crate) fn answers(&self) -> usize {
        self.answers.load(Ordering::Acquire)
    }

    /// Waits for so many more answers, or for a failure.
    pub(crate) async fn wait_for_more(&self, count: usize) {
        let goal = self.answers() + count;
        let mut more = self.more.subscribe();
        let enough = more.wait_for(|answers| *answers >= goal);
        let waited = tokio::time::timeout(std::time::Duration::from_secs(60), enough).await;
        assert!(
            waited.is_ok(),
            "no answers: {:?}",
            self.failures.lock().unwrap()
        );
    }
}
