//! The network of a tool that asks as an agent: served like that of any sandbox, for as long as the tool runs.

use std::sync::Arc;

use anyhow::Context as _;
use exeat_ca::{Authority, Root};
use exeat_proxy::Mode;
use exeat_sandbox::Listeners;
use exeat_types::{AgentId, Regime};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::sandboxes::{ROOT_LIFE, Sandboxes, Terms};

/// The network of a tool, served until this is dropped.
pub(crate) struct ToolNetwork {
    /// The root of this sandbox, PEM.
    pub(crate) root_pem: String,
    /// The system's roots and this one, PEM.
    pub(crate) bundle_pem: String,
    _ends: DropGuard,
}

impl Sandboxes {
    /// Serves the network of a tool as an agent, under the rules that hold for it, until what is returned is dropped.
    ///
    /// # Errors
    /// When the configuration does not know the agent, or no root can be made.
    pub(crate) fn serve_tool(
        &self,
        agent: &AgentId,
        listeners: Listeners,
    ) -> anyhow::Result<ToolNetwork> {
        let settings = self.state.settings();
        if settings.is_none_or(|settings| !settings.agents.contains_key(agent)) {
            anyhow::bail!("the agent `{agent}` of a tool is not in [agents]");
        }
        let now = self.state.clock().now();
        let root = Root::generate("Exeat tool root", now, ROOT_LIFE).context("making a root")?;
        let root = Arc::new(root);
        let authority = Authority::new(Arc::clone(&root), Arc::clone(self.state.clock()));
        let terms = Terms {
            agent,
            regime: Regime::Declared,
            authority: Arc::new(authority.context("making a root")?),
            tally: Arc::default(),
        };
        let stop = CancellationToken::new();
        let ends = stop.clone().drop_guard();
        let explicit = Arc::new(terms.door(Mode::Explicit));
        self.listen(listeners.explicit.into(), &explicit, &stop)?;
        let transparent = Arc::new(terms.door(Mode::Transparent));
        for socket in listeners.http.into_iter().chain(listeners.https) {
            self.listen(socket.into(), &transparent, &stop)?;
        }
        let names = (listeners.dns_udp.into(), listeners.dns_tcp.into());
        self.names(Regime::Declared, names, &stop);
        let system = exeat_ca::system_roots().context("reading the system's roots")?;
        Ok(ToolNetwork {
            root_pem: root.certificate_pem(),
            bundle_pem: exeat_ca::bundle(&system.certificates, &[root.certificate_der().clone()]),
            _ends: ends,
        })
    }
}
