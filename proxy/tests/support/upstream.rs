//! A real server, HTTP/1.1 and HTTP/2, that does what the path asks for, and no faster than the test lets it. It records
//! what it saw.

use std::{
    fs::File,
    io::{self, Write as _},
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_rustls::TlsAcceptor;

use super::pages::{self, Body};

/// One request as upstream saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) version: http::Version,
    pub(crate) body: Bytes,
}

/// A running upstream.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    /// What pages wait for before they go on; the test hands it out.
    pub(crate) steps: Arc<Semaphore>,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
    sent: Arc<AtomicU64>,
    log: Arc<OnceLock<File>>,
}

impl Upstream {
    /// Starts a server; `tls` is absent for plain HTTP.
    pub(crate) async fn start(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            steps: Arc::new(Semaphore::new(0)),
            seen: Arc::default(),
            connections: Arc::default(),
            received: Arc::default(),
            sent: Arc::default(),
            log: Arc::default(),
        };
        let server = upstream.clone();
        super::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                tcp.set_nodelay(true).unwrap();
                server.connections.fetch_add(1, Ordering::SeqCst);
                let (server, tls) = (server.clone(), tls.clone());
                super::spawn(async move {
                    match tls {
                        Some(config) => {
                            if let Ok(stream) = TlsAcceptor::from(config).accept(tcp).await {
                                server.serve(stream).await;
                            }
                        }
                        None => server.serve(tcp).await,
                    }
                });
            }
        });
        upstream
    }

    async fn serve<S>(self, stream: S)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(move |request| {
            let server = self.clone();
            async move { server.answer(request).await }
        });
        let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        // A client that goes away ends its connection, nothing more.
        drop(
            builder
                .serve_connection_with_upgrades(TokioIo::new(stream), service)
                .await,
        );
    }

    /// Everything seen so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Also writes one byte to a file for each request, which outlives this process.
    pub(crate) fn log_to(&self, file: File) {
        self.log.set(file).unwrap();
    }

    /// How many TCP connections were made.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many bytes of request bodies have arrived.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::SeqCst)
    }

    /// How many bytes of `/flood` have been taken off its hands.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    pub(crate) fn count_sent(&self, bytes: usize) {
        self.sent
            .fetch_add(u64::try_from(bytes).unwrap(), Ordering::SeqCst);
    }

    /// Lets one page go one step on.
    pub(crate) fn step(&self) {
        self.steps.add_permits(1);
    }

    /// Waits to be let on; `false` when the test has closed the steps.
    pub(crate) async fn stepped(&self) -> bool {
        self.steps
            .acquire()
            .await
            .map(tokio::sync::SemaphorePermit::forget)
            .is_ok()
    }

    async fn answer(&self, mut request: Request<Incoming>) -> Result<Response<Body>, io::Error> {
        let upgrade = request
            .headers()
            .contains_key("upgrade")
            .then(|| hyper::upgrade::on(&mut request));
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        if path == "/early" {
            // Answers without reading the body.
            self.note(&parts, Bytes::new(), None);
            return Ok(pages::text(StatusCode::PAYLOAD_TOO_LARGE, "too much"));
        }
        if path == "/stuck" {
            self.note(&parts, Bytes::new(), None);
            self.stepped().await;
            return Ok(pages::text(StatusCode::OK, "late"));
        }
        let (body, trailers) = self.read(body).await;
        self.note(&parts, body.clone(), trailers);
        let authorization = pages::header(&parts.headers, "authorization");
        if parts.method == http::Method::HEAD {
            return Ok(pages::head_of(5));
        }
        Ok(match path.as_str() {
            "/echo" => pages::reflect(&parts, &body),
            "/token" => pages::token(&parts.headers, &body),
            "/free/echo" => pages::reflect(&parts, &body),
            "/redirect" => pages::redirect(&authorization),
            "/error" => {
                let bad = format!("bad token: {authorization}");
                pages::text(StatusCode::INTERNAL_SERVER_ERROR, &bad)
            }
            "/gzip" | "/deflate" | "/br" | "/zstd" => pages::compressed(
                path.trim_start_matches('/'),
                &format!("it is {authorization}"),
            ),
            "/bomb" => pages::bomb(),
            "/coding" => pages::strange_coding(),
            "/split" => pages::split(authorization),
            "/stepped" => pages::stepped(self.clone(), authorization),
            "/gate" => {
                self.stepped().await;
                pages::text(StatusCode::OK, "through")
            }
            "/trailers" => pages::trailers(&authorization),
            "/trailed" | "/trailed-word" | "/trailed-cut" => pages::trailed(&path),
            "/ws" => pages::socket(&parts.headers, upgrade, authorization),
            "/deflated" => pages::deflated_socket(&parts.headers, upgrade, authorization),
            "/ranged" => pages::ranged(&parts.headers, &authorization),
            "/forged" => pages::forged(),
            "/letter" => pages::letter(),
            "/deltas" => pages::deltas(&authorization),
            "/large" => pages::large(),
            "/flood" => pages::flood(self.clone()),
            "/none" => pages::bare(StatusCode::NO_CONTENT),
            "/unchanged" => pages::bare(StatusCode::NOT_MODIFIED),
            "/broken" => pages::broken(),
            "/die" => return Err(io::Error::other("upstream dies")),
            "/slow" => {
                tokio::time::sleep(Duration::from_secs(3)).await;
                pages::text(StatusCode::OK, "late")
            }
            "/json" => pages::json(r#"{"user":{"email":"a@b","name":"n"},"id":1}"#),
            page if page.starts_with("/wants-") => pages::wants(page, &parts.headers),
            _ => pages::text(StatusCode::OK, "hello"),
        })
    }

    async fn read(&self, mut body: Incoming) -> (Bytes, Option<HeaderMap>) {
        let (mut read, mut trailers) = (BytesMut::new(), None);
        while let Some(Ok(frame)) = body.frame().await {
            match frame.into_data() {
                Ok(chunk) => {
                    self.received
                        .fetch_add(u64::try_from(chunk.len()).unwrap(), Ordering::SeqCst);
                    read.extend_from_slice(&chunk);
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        (read.freeze(), trailers)
    }

    fn note(&self, parts: &http::request::Parts, body: Bytes, trailers: Option<HeaderMap>) {
        if let Some(mut log) = self.log.get() {
            log.write_all(b"x").unwrap();
        }
        self.seen.lock().unwrap().push(Seen {
            method: parts.method.to_string(),
            target: parts.uri.path_and_query().unwrap().to_string(),
            headers: parts.headers.clone(),
            trailers,
            version: parts.version,
            body,
        });
    }
}
