//! Listeners: bound before anything is served, so that a port that is taken stops the start and nothing else.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, UdpSocket},
    path::Path,
    sync::Arc,
};

use anyhow::Context as _;
use exeat_ca::Authority;
use exeat_pipeline::Gate;
use exeat_proxy::{Door, Mode, Proxy};
use exeat_sandbox::Resolver;
use exeat_types::{Host, Regime, Seal};
use rustls::{
    RootCertStore, ServerConfig,
    server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    sockets::{self, Sockets},
    state::State,
};
use crate::{
    settings::{self, Capture, Listener, ListenerTls, Settings},
    upgrade::Kept,
};

/// Bound listeners with their terms, in the order of the settings.
pub(crate) struct Bound(Vec<Placed>);

struct Placed {
    address: SocketAddr,
    sockets: Sockets,
    purpose: Purpose,
}

enum Purpose {
    /// Agents come in here.
    Traffic(Arc<Door>),
    /// Names are answered here.
    Names(Listener),
}

/// Binds every listener of the settings.
pub(crate) fn bind(settings: &Settings, state: &State, kept: &mut Kept) -> anyhow::Result<Bound> {
    let mut bound = Vec::new();
    if settings.listeners.is_empty() {
        return Ok(Bound(bound));
    }
    let store = state.ca_or_init()?;
    let authority = Authority::new(Arc::clone(store.current()), Arc::clone(state.clock()));
    let authority = Arc::new(authority.context("the certificate authority")?);
    state.keep_authority(&authority);
    for listener in &settings.listeners {
        let sockets = sockets::bind(listener, kept);
        let sockets = sockets.with_context(|| unbound(listener))?;
        let address = sockets.tcp.local_addr().context("a listener's address")?;
        bound.push(Placed {
            address,
            sockets,
            purpose: purpose(listener, address, &authority)?,
        });
    }
    Ok(Bound(bound))
}

fn unbound(listener: &Listener) -> String {
    let needs = match listener.capture {
        Capture::Redirect => "",
        Capture::Tproxy => "; `capture = \"tproxy\"` needs CAP_NET_ADMIN",
    };
    format!("cannot listen on {}{needs}", listener.address)
}

fn purpose(
    listener: &Listener,
    address: SocketAddr,
    authority: &Arc<Authority>,
) -> anyhow::Result<Purpose> {
    let mode = match listener.mode {
        settings::Mode::Explicit => Mode::Explicit,
        settings::Mode::Transparent => Mode::Transparent,
        settings::Mode::Dns => return Ok(Purpose::Names(listener.clone())),
    };
    Ok(Purpose::Traffic(Arc::new(Door {
        name: address.to_string(),
        mode,
        agent: listener.agent.clone(),
        clients: listener.clients.clone(),
        seal: listener.seal,
        regime: Regime::Declared,
        tally: None,
        authority: Arc::clone(authority),
        tls: listener.tls.as_ref().map(client_tls).transpose()?,
    })))
}

impl Bound {
    /// The bound addresses, in the order of the settings.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|placed| placed.address.to_string())
            .collect()
    }

    /// The ports that no agent may reach through the gate.
    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        self.0.iter().map(|placed| placed.address.port()).collect()
    }

    /// Serves them all.
    pub(crate) fn serve(
        self,
        proxy: &Arc<Proxy>,
        gate: &Arc<Gate>,
        (tasks, stop): (&TaskTracker, &CancellationToken),
    ) -> anyhow::Result<()> {
        for placed in self.0 {
            match placed.purpose {
                Purpose::Traffic(door) => {
                    let listener = tokio::net::TcpListener::from_std(placed.sockets.tcp);
                    let listener = listener.context("serving a listener")?;
                    warn_of_ways_out(&door);
                    tasks.spawn(Arc::clone(proxy).serve(listener, door));
                }
                Purpose::Names(terms) => {
                    let (names, stop) = (names(gate, terms), stop.clone());
                    tasks.spawn(answer_names(names, placed.sockets, stop));
                }
            }
        }
        Ok(())
    }
}

fn warn_of_ways_out(door: &Door) {
    if door.seal == Seal::None {
        tracing::warn!(
            door = door.name,
            "agents on this listener are not sealed: they may have other ways out, and receipts say so"
        );
    }
}

/// Policy before resolving: only names that may be reached get an address, and it leads back here.
fn names(gate: &Arc<Gate>, terms: Listener) -> Resolver {
    let gate = Arc::clone(gate);
    let allowed = move |host: &Host| gate.reaches(Regime::Declared, host, 0);
    Resolver::of_network(allowed, &terms.answers, terms.clients)
}

async fn answer_names(names: Resolver, sockets: Sockets, stop: CancellationToken) {
    let Sockets { tcp, udp } = sockets;
    let ended = tokio::select! {
        ended = names.serve_tcp(tcp) => ended,
        ended = datagrams(&names, udp) => ended,
        () = stop.cancelled() => Ok(()),
    };
    if let Err(error) = ended {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "names are not answered any more"
        );
    }
}

async fn datagrams(names: &Resolver, udp: Option<UdpSocket>) -> Result<(), exeat_sandbox::Error> {
    match udp {
        Some(socket) => names.serve_udp(socket).await,
        None => std::future::pending().await,
    }
}

/// TLS towards clients that cross a network; a client certificate may name the agent.
pub(super) fn client_tls(tls: &ListenerTls) -> anyhow::Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ClientCertVerifier> = match &tls.client_ca {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for root in certificates(path)? {
                roots
                    .add(root)
                    .with_context(|| format!("a certificate in `{}`", path.display()))?;
            }
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .context("the roots of client certificates")?
        }
        None => Arc::new(NoClientAuth),
    };
    let key = PrivateKeyDer::from_pem_file(&tls.key);
    let key = key.with_context(|| format!("the private key in `{}`", tls.key.display()))?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS versions")?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&tls.cert)?, key)
        .with_context(|| format!("the certificate in `{}`", tls.cert.display()))?;
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    read.with_context(|| format!("certificates in `{}`", path.display()))
}
