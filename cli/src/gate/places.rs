//! Every socket of the gate, bound before anything is served.

use anyhow::Context as _;

use super::{
    doors::{self, Bound},
    state::State,
};
use crate::{settings::Settings, socket, telemetry, upgrade::Kept};

/// Every socket the gate listens on.
pub(super) struct Places {
    pub(super) metrics: Option<std::net::TcpListener>,
    pub(super) bound: Bound,
    pub(super) admin: std::os::unix::net::UnixListener,
}

/// Binds what no gate before this one has handed over.
pub(super) fn bind(settings: &Settings, state: &State, kept: &mut Kept) -> anyhow::Result<Places> {
    let metrics = settings.metrics.map(|address| {
        let bound = kept.socket(&format!("metrics {address}"), || {
            telemetry::bind_metrics(address)
        });
        bound.with_context(|| format!("cannot serve metrics on `{address}`"))
    });
    let metrics = metrics.transpose()?;
    let bound = doors::bind(settings, state, kept)?;
    let mut ports = bound.ports();
    if let Some(metrics) = &metrics {
        ports.insert(metrics.local_addr()?.port());
    }
    state.own_ports(ports);
    let admin = kept.socket("admin", || socket::bind(state.folder()));
    Ok(Places {
        metrics,
        bound,
        admin: admin.context("binding the gate's socket")?,
    })
}
