//! Stage 1: accept connections, within a bound, until told to stop; then let open ones drain.

use std::{sync::Arc, time::Duration};

use exeat_pipeline::Gate;
use exeat_types::{Reason, limits};
use pingora::{
    apps::{HttpServerApp as _, HttpServerOptions, ServerApp as _},
    protocols::http::v2::server::default_h2_options,
    proxy::http_proxy,
    server::configuration::ServerConf,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use tokio_util::task::TaskTracker;

use crate::{
    Door, Error, Mode, Options, destination, drive::Driven, hooks::Hooks, identify, sniff,
    stream::Down,
};

/// The HTTP front door: one Pingora proxy, with its own pool, behind any number of listeners.
pub struct Proxy {
    pub(crate) gate: Arc<Gate>,
    driven: Arc<Driven>,
    stop: watch::Sender<bool>,
    cut: watch::Sender<bool>,
    connections: Arc<Semaphore>,
    tracker: TaskTracker,
}

/// Attempts at upstream for one call: the first, and one more when a pooled connection turns out dead.
const ATTEMPTS_MAX: usize = 2;
/// What a client may send on an HTTP/2 connection before it is read. It is more than any body that is held whole, as curl
/// 7.88 (Debian 12, so git there) asks for more input after its end when an upload had to wait, and then hangs.
const H2_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

impl Proxy {
    /// Sets up the proxy.
    pub fn new(gate: Arc<Gate>, options: &Options) -> Arc<Self> {
        let conf = ServerConf {
            ca_file: Some(options.upstream_roots.to_string_lossy().into_owned()),
            upstream_keepalive_pool_size: limits::UPSTREAM_POOL_MAX,
            max_retries: ATTEMPTS_MAX,
            ..ServerConf::default()
        };
        let mut http = http_proxy(&Arc::new(conf), Hooks::new(Arc::clone(&gate)));
        let mut server = HttpServerOptions::default();
        server.h2c = false;
        server.h2_idle_timeout = Some(limits::KEEPALIVE_TIMEOUT);
        http.server_options = Some(server);
        let mut http2 = default_h2_options();
        http2
            .initial_window_size(H2_WINDOW_BYTES)
            .initial_connection_window_size(H2_WINDOW_BYTES);
        http.h2_options = Some(http2);
        let driven = Arc::new(Driven::new(Arc::new(http), Arc::clone(&gate)));
        Arc::new(Self {
            gate,
            driven,
            stop: watch::Sender::new(false),
            cut: watch::Sender::new(false),
            connections: Arc::new(Semaphore::new(limits::CONNECTIONS_MAX)),
            tracker: TaskTracker::new(),
        })
    }

    /// Serves one listener until [`Proxy::shutdown`].
    ///
    /// # Cancel safety
    /// Dropping the future stops accepting; open connections go on.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, door: Arc<Door>) {
        let mut stopped = self.stop.subscribe();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopped.wait_for(|stopped| *stopped) => return,
            };
            let (tcp, client) = match accepted {
                Ok((tcp, client)) => (tcp, client.ip()),
                Err(error) => {
                    // Out of descriptors or memory: let the open connections end before trying again.
                    tracing::warn!(
                        door = door.name,
                        error = &error as &dyn std::error::Error,
                        "accept failed"
                    );
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            if !door.admits(client) {
                tracing::debug!(door = door.name, %client, "a client from elsewhere was dropped");
                self.gate.count_refusal(Reason::AgentUnknown);
                self.gate
                    .record_connection(&door.name, None, Reason::AgentUnknown);
                continue;
            }
            let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
                tracing::warn!(door = door.name, "too many connections; one was dropped");
                continue;
            };
            let (proxy, door) = (Arc::clone(&self), Arc::clone(&door));
            self.tracker.spawn(async move {
                proxy.connection(tcp, door).await;
                drop(permit);
            });
        }
    }

    async fn connection(self: Arc<Self>, tcp: TcpStream, door: Arc<Door>) {
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "setting TCP_NODELAY"
            );
        }
        if door.mode == Mode::Transparent {
            tracing::debug!(
                door = door.name,
                destination = destination::of(&tcp).map(tracing::field::display),
                "a redirected connection"
            );
        }
        let mut cut = self.cut.subscribe();
        let ended = tokio::select! {
            ended = sniff::connection(&self, tcp, Arc::clone(&door)) => ended,
            _ = cut.wait_for(|cut| *cut) => return,
        };
        let Err(error) = ended else { return };
        tracing::debug!(
            door = door.name,
            error = &error as &dyn std::error::Error,
            "connection ended early"
        );
        if matches!(error, Error::Handshake(_) | Error::Slow) {
            identify::record(&self.gate, &door, None, Reason::MalformedRequest);
        }
    }

    /// Hands a stream to Pingora until it ends.
    pub(crate) async fn drive(&self, stream: Down) {
        let mut stopped = self.stop.subscribe();
        if *stopped.borrow() {
            // Pingora waits for a change; a connection that comes after it must hear of it all the same.
            stopped.mark_changed();
        }
        self.driven.process_new(Box::new(stream), &stopped).await;
    }

    /// Stops accepting, as another process accepts from here on, and waits until every connection has ended by itself.
    /// One that is kept alive ends with its next answer, or when it has been idle too long: a client that sends a request
    /// at this very moment must not find its connection closed.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing; [`Proxy::shutdown`] ends what is left.
    pub async fn retire(&self) {
        self.stop.send_replace(true);
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Stops accepting, tells kept-alive connections to end, and waits for open calls, at most the drain time.
    pub async fn shutdown(&self) {
        self.shutdown_within(limits::DRAIN_TIMEOUT).await;
    }

    /// The same with another drain time. What has not ended by then is cut off, and its receipts are closed as cut.
    pub async fn shutdown_within(&self, drain: Duration) {
        self.stop.send_replace(true);
        self.driven.http_cleanup().await;
        self.tracker.close();
        if tokio::time::timeout(drain, self.tracker.wait())
            .await
            .is_err()
        {
            tracing::warn!("some connections did not end within the drain time and were cut");
            self.cut.send_replace(true);
            self.tracker.wait().await;
        }
    }
}
