//! Listeners: bound before anything is served, so that a port that is taken stops the start and nothing else.

use std::{collections::BTreeSet, net::SocketAddr, path::Path, sync::Arc};

use anyhow::Context as _;
use exeat_ca::Authority;
use exeat_proxy::{Door, Mode, Proxy};
use exeat_types::Seal;
use rustls::{
    RootCertStore, ServerConfig,
    server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::state::State;
use crate::settings::{self, ListenerTls, Settings};

/// Bound listeners with their terms.
pub(crate) struct Bound(Vec<(TcpListener, SocketAddr, Arc<Door>)>);

/// Binds every listener of the settings.
pub(crate) async fn bind(settings: &Settings, state: &State) -> anyhow::Result<Bound> {
    let mut bound = Vec::new();
    if settings.listeners.is_empty() {
        return Ok(Bound(bound));
    }
    let store = state.ca_or_init()?;
    let authority = Authority::new(Arc::clone(store.current()), Arc::clone(state.clock()));
    let authority = Arc::new(authority.context("the certificate authority")?);
    for listener in &settings.listeners {
        let socket = TcpListener::bind(listener.address).await;
        let socket = socket.with_context(|| format!("cannot listen on {}", listener.address))?;
        let address = socket.local_addr().context("a listener's address")?;
        let door = Door {
            name: address.to_string(),
            mode: match listener.mode {
                settings::Mode::Explicit => Mode::Explicit,
                settings::Mode::Transparent => Mode::Transparent,
            },
            agent: listener.agent.clone(),
            seal: listener.seal,
            authority: Arc::clone(&authority),
            tls: listener.tls.as_ref().map(client_tls).transpose()?,
        };
        bound.push((socket, address, Arc::new(door)));
    }
    Ok(Bound(bound))
}

impl Bound {
    /// The bound addresses, in the order of the settings.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|(_, address, _)| address.to_string())
            .collect()
    }

    /// The ports that no agent may reach through the gate.
    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        self.0
            .iter()
            .map(|(_, address, _)| address.port())
            .collect()
    }

    /// Serves them all.
    pub(crate) fn serve(self, proxy: &Arc<Proxy>, tasks: &TaskTracker) {
        for (socket, _, door) in self.0 {
            if door.seal == Seal::None {
                tracing::warn!(
                    door = door.name,
                    "agents on this listener are not sealed: they may have other ways out, and receipts say so"
                );
            }
            tasks.spawn(Arc::clone(proxy).serve(socket, door));
        }
    }
}

/// TLS towards clients that cross a network; a client certificate may name the agent.
fn client_tls(tls: &ListenerTls) -> anyhow::Result<Arc<ServerConfig>> {
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
