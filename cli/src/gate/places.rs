//! Every socket of the gate, bound before anything is served.

use std::sync::Arc;

use anyhow::Context as _;
use tokio_util::task::TaskTracker;

use super::{
    console,
    doors::{self, Bound},
    state::State,
};
use crate::{settings::Settings, socket, telemetry, upgrade::Kept};

/// Every socket the gate listens on.
pub(super) struct Places {
    pub(super) metrics: Option<std::net::TcpListener>,
    pub(super) console: Option<console::Bound>,
    pub(super) bound: Bound,
    pub(super) admin: std::os::unix::net::UnixListener,
}

/// Binds what no gate before this one has handed over.
pub(super) fn bind(
    settings: &Settings,
    state: &Arc<State>,
    kept: &mut Kept,
    tasks: &TaskTracker,
) -> anyhow::Result<Places> {
    let metrics = settings.metrics.map(|address| {
        let bound = kept.socket(&format!("metrics {address}"), || telemetry::bind(address));
        bound.with_context(|| format!("cannot serve metrics on `{address}`"))
    });
    let metrics = metrics.transpose()?;
    let console = console::bind(settings, state, kept, tasks)?;
    let bound = doors::bind(settings, state, kept)?;
    let mut ports = bound.ports();
    if let Some(metrics) = &metrics {
        ports.insert(metrics.local_addr()?.port());
    }
    ports.extend(console.as_ref().map(console::Bound::port));
    state.console_is_at(console.as_ref().and_then(console::Bound::place));
    state.own_ports(ports);
    let admin = kept.socket("admin", || socket::bind(state.folder()));
    Ok(Places {
        metrics,
        console,
        bound,
        admin: admin.context("binding the gate's socket")?,
    })
}
