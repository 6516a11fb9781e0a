//! The console of this gate: its socket, its one URL, and what it is given of the rest.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    sync::Arc,
};

use anyhow::Context as _;
use exeat_console::{Codes, News, Notifier, PublicOrigin};
use exeat_pipeline::Gate;
use exeat_types::Host;
use rustls::ServerConfig;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    carrier::NoticeCarrier,
    desk::{Desk, Door},
    doors, operator,
    state::State,
};
use crate::{
    settings::{Console, Settings},
    telemetry,
    upgrade::Kept,
};

/// A console whose socket is bound.
pub(super) struct Bound {
    listeners: Vec<TcpListener>,
    address: SocketAddr,
    origin: PublicOrigin,
    tls: Option<Arc<ServerConfig>>,
    codes: Arc<Codes>,
    notifier: Arc<Notifier>,
}

/// Binds the console of the settings, or takes the socket of the gate before this one.
pub(super) fn bind(
    settings: &Settings,
    state: &Arc<State>,
    kept: &mut Kept,
    tasks: &TaskTracker,
) -> anyhow::Result<Option<Bound>> {
    let Some(Console {
        address,
        origin,
        tls,
    }) = &settings.console
    else {
        return Ok(None);
    };
    let listener = kept.socket(&format!("console {address}"), || telemetry::bind(*address));
    let listener = listener.with_context(|| format!("cannot serve the console on `{address}`"))?;
    let address = listener.local_addr().context("the console's address")?;
    let origin = origin.clone();
    let origin = origin.unwrap_or_else(|| PublicOrigin::local(address.port()));
    let mut listeners = vec![listener];
    for twin in twins(address, &origin) {
        let bound = kept.socket(&format!("console {twin}"), || telemetry::bind(twin));
        match bound {
            Ok(bound) => listeners.push(bound),
            // A machine without IPv6 has nobody there.
            Err(error) if is_nowhere(&error) => {
                tracing::debug!(%twin, %error, "no such address here")
            }
            Err(error) => {
                let problem =
                    format!("cannot serve the console on `{twin}`, where browsers look for it too");
                return Err(anyhow::Error::new(error).context(problem));
            }
        }
    }
    let notifier = Notifier::new(
        Arc::new(NoticeCarrier(Arc::clone(state))),
        Arc::clone(state.clock()),
        origin.clone(),
        tasks.clone(),
    );
    notifier.use_channels(settings.notify.clone());
    Ok(Some(Bound {
        listeners,
        address,
        origin,
        tls: tls.as_ref().map(doors::client_tls).transpose()?,
        codes: Arc::default(),
        notifier,
    }))
}

/// The other addresses at which browsers look for a console on `localhost`.
///
/// SECURITY: whoever holds one of them is the console's origin for a browser that tries it first, cookie and passkeys
/// included. So the gate holds them all, or does not start.
fn twins(address: SocketAddr, origin: &PublicOrigin) -> Vec<SocketAddr> {
    let name = origin.rp_id();
    let is_here = name == "localhost" || name.ends_with(".localhost");
    if !is_here || origin.port() != address.port() {
        return Vec::new();
    }
    let both = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    let covers = |ip: IpAddr| match address.ip() {
        IpAddr::V4(own) => IpAddr::V4(own) == ip || (own.is_unspecified() && ip.is_ipv4()),
        IpAddr::V6(own) => IpAddr::V6(own) == ip || own.is_unspecified(),
    };
    let others = both.into_iter().filter(|ip| !covers(*ip));
    others
        .map(|ip| SocketAddr::new(ip, address.port()))
        .collect()
}

/// Whether this machine has no such address.
fn is_nowhere(error: &io::Error) -> bool {
    let without_family = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(without_family)
}

impl Bound {
    /// Where people reach it, which no agent may.
    pub(super) fn place(&self) -> Option<(Host, u16)> {
        let host = Host::parse(self.origin.rp_id()).ok()?;
        Some((host, self.origin.port()))
    }

    /// The port, which no agent reaches.
    pub(super) const fn port(&self) -> u16 {
        self.address.port()
    }

    /// What commands need of it.
    pub(super) fn door(&self) -> Door {
        Door {
            origin: self.origin.clone(),
            port: self.port(),
            codes: Arc::clone(&self.codes),
            notifier: Arc::clone(&self.notifier),
        }
    }

    /// Lets browsers in.
    pub(super) fn serve(
        self,
        gate: &Arc<Gate>,
        desk: &Arc<Desk>,
        (tasks, stop): (&TaskTracker, &CancellationToken),
    ) -> anyhow::Result<()> {
        gate.approvals().shown_at(self.origin.text());
        let news = News {
            questions: gate.approvals().notices(),
            requests: gate.requests().notices(),
        };
        tasks.spawn(Arc::clone(&self.notifier).follow(news, stop.clone()));
        let parts = exeat_console::Parts {
            gate: Arc::clone(gate),
            operator: Arc::new(operator::Seen::new(Arc::clone(desk), tasks.clone())),
            notifier: self.notifier,
            origin: self.origin,
            listeners: self.listeners,
            tls: self.tls,
            codes: self.codes,
        };
        exeat_console::serve(parts, tasks, stop).context("serving the console")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, origin: &str, expected: &[&str]) {
        let origin = PublicOrigin::new(&origin.parse().unwrap()).unwrap();
        let found = twins(address.parse().unwrap(), &origin);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{address} {origin:?}");
    }

    #[test]
    fn a_console_on_localhost_holds_every_address_that_the_name_leads_to() {
        let usual = "http://localhost:8089";
        check("127.0.0.1:8089", usual, &["[::1]:8089"]);
        check("[::1]:8089", usual, &["127.0.0.1:8089"]);
        check("0.0.0.0:8089", usual, &["[::1]:8089"]);
        check("[::]:8089", usual, &[]);
        check("127.0.0.2:8089", usual, &["127.0.0.1:8089", "[::1]:8089"]);
        check(
            "127.0.0.1:8089",
            "http://gate.localhost:8089",
            &["[::1]:8089"],
        );
        check("127.0.0.1:8089", "https://gate.example.com:8089", &[]);
        check("127.0.0.1:8089", "https://localhost", &[]);
    }
}
