//! Drives Pingora, call by call, and cuts the call that no longer holds when the rules change.
//!
//! A call may be silent for long: a WebSocket, an event stream, a tunnel of gRPC. So the rules are not looked at when bytes
//! pass, but when they change. To cut a call is to drop everything that serves it: both sides see their
//! connection, or their HTTP/2 stream, break off, and the receipt closes with the reason.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use exeat_pipeline::{Gate, Standing};
use exeat_types::Reason;
use pingora::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream},
    protocols::http::{ServerSession, v2::server::H2Options},
    proxy::HttpProxy,
    server::ShutdownWatch,
};
use tokio::sync::Notify;

use crate::hooks::Hooks;

tokio::task_local! {
    /// The call that the running task serves. Pingora has no place to hand a hook something for one stream of HTTP/2.
    static CURRENT: Current;
}

#[derive(Clone, Default)]
struct Current(Arc<Noted>);

#[derive(Default)]
struct Noted {
    standing: Mutex<Option<Arc<Standing>>>,
    fresh: Notify,
}

/// Pingora's proxy, watched.
pub(crate) struct Driven {
    http: Arc<HttpProxy<Hooks>>,
    gate: Arc<Gate>,
}

/// Notes that the running task serves this call from here on.
///
/// # Errors
/// When the rules have changed since the call was decided, and it does not hold any more.
pub(crate) fn stand(gate: &Gate, standing: &Arc<Standing>) -> Result<(), Reason> {
    // A subrequest runs in a task of its own: its parent was noted before, and it ends when its parent is cut.
    let noted = CURRENT.try_with(|current| current.set(Arc::clone(standing)));
    if noted.is_err() {
        tracing::trace!("a subrequest takes over a call");
    }
    // INVARIANT: noted first and asked then, while rules are replaced first and announced then, so no change is missed.
    standing.holds(gate)
}

impl Current {
    fn set(&self, standing: Arc<Standing>) {
        *self.standing() = Some(standing);
        self.0.fresh.notify_one();
    }

    fn holds(&self, gate: &Gate) -> bool {
        let standing = self.standing().clone();
        standing.is_none_or(|call| call.holds(gate).is_ok())
    }

    /// Waits until a call is noted, or the one that was may have ended by itself.
    async fn stirs(&self, gate: &Gate) {
        let standing = self.standing().clone();
        let fresh = self.0.fresh.notified();
        match standing.and_then(|call| call.ask_again_in(gate)) {
            Some(wait) => drop(tokio::time::timeout(wait, fresh).await),
            None => fresh.await,
        }
    }

    fn standing(&self) -> MutexGuard<'_, Option<Arc<Standing>>> {
        let noted = self.0.standing.lock();
        noted.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Driven {
    pub(crate) const fn new(http: Arc<HttpProxy<Hooks>>, gate: Arc<Gate>) -> Self {
        Self { http, gate }
    }
}

#[async_trait]
impl HttpServerApp for Driven {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let current = Current::default();
        let mut changes = self.gate.changes();
        let serving = self.http.process_new_http(session, shutdown);
        let serving = CURRENT.scope(current.clone(), serving);
        tokio::pin!(serving);
        loop {
            tokio::select! {
                biased;
                changed = changes.changed() => {
                    if changed.is_err() || !current.holds(&self.gate) {
                        return None;
                    }
                }
                () = current.stirs(&self.gate) => {
                    if !current.holds(&self.gate) {
                        return None;
                    }
                }
                served = &mut serving => return served,
            }
        }
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.http.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.http.server_options()
    }

    async fn http_cleanup(&self) {
        self.http.http_cleanup().await;
    }
}
