//! What a listener is: its mode, whom it stands for, and which authority signs for it.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use exeat_ca::Authority;
use exeat_pipeline::Tally;
use exeat_types::{AgentId, Prefix, Regime, Seal};

/// How clients reach a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Clients know the proxy: CONNECT and absolute-form requests.
    Explicit,
    /// Traffic was redirected here: the TLS server name or the Host field names the target.
    Transparent,
}

/// One listener's terms.
pub struct Door {
    /// The name shown in logs and connection records.
    pub name: String,
    /// How clients reach it.
    pub mode: Mode,
    /// The agent it stands for, when it stands for one.
    pub agent: Option<AgentId>,
    /// Where its clients may come from; from anywhere when it is empty.
    pub clients: Vec<Prefix>,
    /// How well agents behind it are cut off.
    pub seal: Seal,
    /// How agents behind it are held.
    pub regime: Regime,
    /// Where what comes through it is counted, if somebody wants to know.
    pub tally: Option<Arc<Tally>>,
    /// The authority that mints leaves for it.
    pub authority: Arc<Authority>,
    /// TLS towards the client itself, for clients that cross a network; may ask for client certificates.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

impl Door {
    /// Whether a client with this address may come in. It still has to say who it is where the door does not.
    pub(crate) fn admits(&self, client: IpAddr) -> bool {
        self.clients.is_empty() || self.clients.iter().any(|prefix| prefix.contains(client))
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("name", &self.name)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// What a proxy needs beside the gate.
#[derive(Debug, Clone)]
pub struct Options {
    /// A PEM file with every root that upstream certificates may chain to.
    pub upstream_roots: PathBuf,
}
