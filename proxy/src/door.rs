//! What a listener is: its mode, whom it stands for, and which authority signs for it.

use std::{path::PathBuf, sync::Arc};

use exeat_ca::Authority;
use exeat_types::{AgentId, Seal};

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
    /// How well agents behind it are cut off.
    pub seal: Seal,
    /// The authority that mints leaves for it.
    pub authority: Arc<Authority>,
    /// TLS towards the client itself, for clients that cross a network; may ask for client certificates.
    pub tls: Option<Arc<rustls::ServerConfig>>,
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
