//! Sandboxes that `exeat run` attached: each gets a root of its own, and is served until its client goes.

use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use anyhow::Context as _;
use exeat_ca::{Authority, Root};
use exeat_pipeline::Gate;
use exeat_proxy::{Door, Mode, Proxy};
use exeat_sandbox::Resolver;
use exeat_types::{AgentId, Host, Seal};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{rules, state::State};
use crate::socket::{Attach, Attached, Attachment, Handed};

/// A sandbox's root outlives no run of an agent.
const ROOT_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Serves sandboxes.
#[derive(Clone)]
pub(crate) struct Sandboxes {
    state: Arc<State>,
    gate: Arc<Gate>,
    proxy: Arc<Proxy>,
    tasks: TaskTracker,
    count: Arc<watch::Sender<usize>>,
}

/// Ends the service of one sandbox when dropped.
struct Served {
    stop: CancellationToken,
    count: Arc<watch::Sender<usize>>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
        self.count
            .send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl Sandboxes {
    pub(crate) fn new(
        state: Arc<State>,
        gate: Arc<Gate>,
        proxy: Arc<Proxy>,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            state,
            gate,
            proxy,
            tasks,
            count: Arc::new(watch::Sender::new(0)),
        }
    }

    /// How many are served.
    pub(crate) fn count(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    /// Serves one sandbox.
    pub(crate) fn attach(
        &self,
        attach: &Attach,
        handed: Handed,
    ) -> anyhow::Result<(Attached, Attachment)> {
        let settings = self
            .state
            .settings()
            .context("the gate has no configuration")?;
        if !settings.agents.contains_key(&attach.agent) {
            anyhow::bail!("the agent `{}` is not in [agents]", attach.agent);
        }
        let now = self.state.clock().now();
        let root = Arc::new(Root::generate("Exeat sandbox root", now, ROOT_LIFE)?);
        let authority = Arc::new(Authority::new(
            Arc::clone(&root),
            Arc::clone(self.state.clock()),
        )?);
        let stop = CancellationToken::new();
        let doors = |mode| Arc::new(door(&attach.agent, mode, &authority));
        self.listen(handed.explicit, &doors(Mode::Explicit), &stop)?;
        let transparent = doors(Mode::Transparent);
        for socket in handed.http.into_iter().chain(handed.https) {
            self.listen(socket, &transparent, &stop)?;
        }
        self.names(handed.dns_udp, handed.dns_tcp, &stop);
        self.count
            .send_modify(|count| *count = count.saturating_add(1));
        let custody = &self.gate.rules().custody;
        let system = exeat_ca::system_roots()?;
        let attached = Attached {
            root_pem: root.certificate_pem(),
            bundle_pem: exeat_ca::bundle(&system.certificates, &[root.certificate_der().clone()]),
            variables: rules::placeholders(&settings, custody, &attach.agent),
        };
        Ok((
            attached,
            Box::new(Served {
                stop,
                count: Arc::clone(&self.count),
            }),
        ))
    }

    fn listen(
        &self,
        socket: OwnedFd,
        door: &Arc<Door>,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let listener = std::net::TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let serve = Arc::clone(&self.proxy).serve(listener, Arc::clone(door));
        let stop = stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = serve => {}
                () = stop.cancelled() => {}
            }
        });
        Ok(())
    }

    /// Answers names inside: only those that some tool names get an address, and it is a synthetic one.
    fn names(&self, udp: OwnedFd, tcp: OwnedFd, stop: &CancellationToken) {
        let gate = Arc::clone(&self.gate);
        let allowed = move |host: &Host| gate.rules().policy.knows_host(host, 0);
        let resolver = Resolver::new(allowed);
        let stop = stop.clone();
        self.tasks.spawn(async move {
            let ended = tokio::select! {
                ended = resolver.serve_udp(udp.into()) => ended,
                ended = resolver.serve_tcp(tcp.into()) => ended,
                () = stop.cancelled() => Ok(()),
            };
            if let Err(error) = ended {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "names are not answered in a sandbox"
                );
            }
        });
    }
}

fn door(agent: &AgentId, mode: Mode, authority: &Arc<Authority>) -> Door {
    let word = match mode {
        Mode::Explicit => "proxy",
        Mode::Transparent => "redirected",
    };
    Door {
        name: format!("sandbox of {agent}, {word}"),
        mode,
        agent: Some(agent.clone()),
        seal: Seal::Sandbox,
        authority: Arc::clone(authority),
        tls: None,
    }
}
