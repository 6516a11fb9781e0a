//! The tour's API: a TLS server on loopback, of our own making, that repeats what it was sent.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use exeat_ca::{Authority, Root};
use exeat_types::{Clock, Host, SystemClock, random_bytes};
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What a request looked like when it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Method and path.
    pub(crate) line: String,
    /// The Authorization field.
    pub(crate) authorization: String,
}

/// The running server.
pub(crate) struct Upstream {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The root that its certificate chains to.
    pub(crate) root_pem: String,
    /// The token that it expects, made for this tour.
    pub(crate) token: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Upstream {
    /// Starts the server on a thread of its own.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let root = Root::generate(
            "Exeat demo upstream",
            clock.now(),
            Duration::from_secs(86_400),
        )?;
        let root_pem = root.certificate_pem();
        let authority = Authority::new(Arc::new(root), clock)?;
        let acceptor = TlsAcceptor::from(authority.server_config(&Host::parse("api.demo.test")?)?);
        let noise: [u8; 16] = random_bytes()?;
        let token = format!(
            "demo-{}",
            noise
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        );
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .context("listening on loopback")?;
        let address = listener.local_addr()?;
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        runtime.spawn(serve(listener, acceptor, Arc::clone(&seen)));
        Ok(Self {
            address,
            root_pem,
            token,
            seen,
            _runtime: runtime,
        })
    }

    /// The last request.
    pub(crate) fn last(&self) -> Option<Seen> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .last()
            .cloned()
    }

    /// How many requests came.
    pub(crate) fn count(&self) -> usize {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, seen: Arc<Mutex<Vec<Seen>>>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(tcp).await else {
                return;
            };
            let answer = service_fn(|request| {
                let response = answer(&request, &seen);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = Builder::new(TokioExecutor::new());
            if let Err(error) = connection
                .serve_connection(TokioIo::new(stream), answer)
                .await
            {
                tracing::debug!(%error, "a connection to the tour's API ended");
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

fn answer(request: &Request<Incoming>, seen: &Mutex<Vec<Seen>>) -> Response<Full<Bytes>> {
    let field = request.headers().get(header::AUTHORIZATION);
    let authorization = field
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let line = format!("{} {}", request.method(), request.uri().path());
    let body =
        serde_json::json!({ "note": "buy milk", "you_sent": { "authorization": authorization } });
    seen.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Seen {
            line,
            authorization,
        });
    Response::new(Full::new(Bytes::from(format!("{body}\n"))))
}
