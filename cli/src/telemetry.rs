//! Logs on standard error and metrics on a loopback address. Neither is evidence; receipts are.

use std::{
    convert::Infallible,
    io::{self, IsTerminal as _},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Encoder as _, Registry, TextEncoder};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Level;
use tracing_subscriber::{
    EnvFilter, filter::filter_fn, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{args::LogFormat, env};
use exeat_types::limits;

/// Most scrapers at one time.
const SCRAPERS_MAX: usize = 16;
/// How long to wait when the operating system has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Starts logging for this process. `EXEAT_LOG` filters as `RUST_LOG` does elsewhere.
///
/// # Errors
/// When the filter does not parse, or logging was started before.
pub(crate) fn start_logging(format: LogFormat) -> anyhow::Result<()> {
    let filter = match env::variable("EXEAT_LOG") {
        Some(text) => EnvFilter::try_new(text.to_string_lossy())?,
        None => EnvFilter::new("info"),
    };
    // SECURITY: libraries may log heads and targets; of them only warnings are shown, whatever the filter says.
    let ours =
        filter_fn(|event| event.target().starts_with("exeat") || *event.level() <= Level::WARN);
    let colours = io::stderr().is_terminal() && env::variable("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(colours);
    let registry = tracing_subscriber::registry().with(filter).with(ours);
    match format {
        LogFormat::Text => registry
            .with(lines.compact().with_target(false))
            .try_init()?,
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init()?,
    }
    Ok(())
}

/// Binds an address of the gate's own.
///
/// # Errors
/// When it cannot be bound.
pub(crate) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves `GET /metrics` until told to stop.
///
/// # Errors
/// When the listener cannot be used.
pub(crate) fn serve_metrics(
    listener: std::net::TcpListener,
    registry: Registry,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener).context("serving metrics")?;
    let (inner, stop) = (tasks.clone(), stop.clone());
    tasks.spawn(async move { accept(listener, registry, &inner, &stop).await });
    Ok(())
}

async fn accept(
    listener: TcpListener,
    registry: Registry,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let room = Arc::new(Semaphore::new(SCRAPERS_MAX));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            continue;
        };
        let (registry, stop) = (registry.clone(), stop.clone());
        tasks.spawn(async move {
            let answer = service_fn(move |request| {
                let response = respond(&request, &registry);
                async move { Ok::<_, Infallible>(response) }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(limits::HEAD_TIMEOUT);
            let connection = builder.serve_connection(TokioIo::new(stream), answer);
            let ended = tokio::select! {
                () = stop.cancelled() => Ok(()),
                ended = connection => ended,
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a scraper went away");
            }
            drop(place);
        });
    }
}

fn respond(request: &Request<Incoming>, registry: &Registry) -> Response<Full<Bytes>> {
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n".into());
    }
    if request.method() != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "expected GET\n".into());
    }
    let mut text = Vec::new();
    match TextEncoder::new().encode(&registry.gather(), &mut text) {
        Ok(()) => plain(StatusCode::OK, text.into()),
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "metrics could not be written\n".into(),
            )
        }
    }
}

fn plain(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    async fn ask(address: SocketAddr, line: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    }

    #[tokio::test]
    async fn metrics_are_served_as_prometheus_text() {
        let registry = Registry::new();
        let calls = prometheus::IntCounter::new("exeat_calls_total", "Calls.").unwrap();
        registry.register(Box::new(calls.clone())).unwrap();
        calls.inc();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        serve_metrics(listener, registry, &tasks, &stop).unwrap();
        let text = ask(address, "GET /metrics").await;
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("exeat_calls_total 1\n"),
            "{text}"
        );
        assert!(ask(address, "GET /").await.starts_with("HTTP/1.1 404"));
        assert!(
            ask(address, "POST /metrics")
                .await
                .starts_with("HTTP/1.1 405")
        );
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }
}
