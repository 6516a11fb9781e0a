//! Sandboxes that `exeat run` attached: each gets a root of its own, and is served until its client goes.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use async_trait::async_trait;
use exeat_ca::{Authority, Root, Sealed};
use exeat_pipeline::{Count, Gate, Run, Tally};
use exeat_proxy::{Door, Mode, Proxy};
use exeat_sandbox::Resolver;
use exeat_types::{AgentId, Host, Regime, Seal, Timestamp};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Life, observation, programs,
    roll::{self, Entry, Roll},
    rules,
    state::State,
};
use crate::{
    settings::Settings,
    socket::{Attach, Attached, Attachment, Failure, Handed, Hold, Served, Summary},
    upgrade::Moved,
};

/// A sandbox's root outlives no run of an agent.
pub(super) const ROOT_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long calls of a sandbox that has ended may take to end too, before they are told as open.
const CLOSING: Duration = Duration::from_secs(2);
/// How often the clock is looked at while somebody is observed.
const CLOCK_LOOK: Duration = Duration::from_secs(60);

/// Serves sandboxes.
#[derive(Clone)]
pub(crate) struct Sandboxes {
    pub(super) state: Arc<State>,
    pub(super) gate: Arc<Gate>,
    proxy: Arc<Proxy>,
    tasks: TaskTracker,
    life: Life,
    count: Arc<watch::Sender<usize>>,
    /// Held while it is looked up when observing began.
    observing: Arc<Mutex<()>>,
    roll: Arc<Roll>,
}

/// A sandbox of the gate before this one, about to be served here.
pub(crate) struct Restored {
    attach: Attach,
    regime: Regime,
    root: Arc<Root>,
    authority: Arc<Authority>,
    tally: Arc<Tally>,
    handed: Handed,
}

/// Ends the service of one sandbox when dropped.
struct Sandbox {
    stop: CancellationToken,
    count: Arc<watch::Sender<usize>>,
    tally: Arc<Tally>,
    roll: Arc<Roll>,
    number: u64,
}

#[async_trait]
impl Served for Sandbox {
    async fn summary(&self) -> Option<Summary> {
        if self.roll.is_given() {
            return None;
        }
        self.tally.settled(CLOSING).await;
        Some(roll::summary(&self.tally))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
        self.roll.leave(self.number);
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
        life: Life,
    ) -> Self {
        Self {
            state,
            gate,
            proxy,
            tasks,
            life,
            count: Arc::new(watch::Sender::new(0)),
            observing: Arc::default(),
            roll: Arc::default(),
        }
    }

    /// How many are served.
    pub(crate) fn count(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    /// Serves one sandbox.
    ///
    /// # Errors
    /// When the configuration does not know its agent, its client takes other rules to be in force, or it may not be held
    /// as it wants.
    pub(crate) fn attach(
        &self,
        attach: &Attach,
        handed: Handed,
    ) -> Result<(Attached, Attachment), Failure> {
        let settings = self
            .state
            .settings()
            .context("the gate has no configuration")?;
        if !settings.agents.contains_key(&attach.agent) {
            let message = format!("the agent `{}` is not in [agents]", attach.agent);
            return Err(Failure::new(message));
        }
        same_rules(&settings, attach)?;
        let regime = self.regime(attach)?;
        let now = self.state.clock().now();
        let root = Root::generate("Exeat sandbox root", now, ROOT_LIFE).context("making a root")?;
        let root = Arc::new(root);
        let authority = Authority::new(Arc::clone(&root), Arc::clone(self.state.clock()));
        let restored = Restored {
            attach: attach.clone(),
            regime,
            root: Arc::clone(&root),
            authority: Arc::new(authority.context("making a root")?),
            tally: Arc::default(),
            handed,
        };
        let (_, attachment) = self.serve(restored)?;
        let custody = &self.gate.rules().custody;
        let system = exeat_ca::system_roots().context("reading the system's roots")?;
        let attached = Attached {
            root_pem: root.certificate_pem(),
            bundle_pem: exeat_ca::bundle(&system.certificates, &[root.certificate_der().clone()]),
            variables: rules::placeholders(&settings, custody, &attach.agent),
            observed_until: match regime {
                Regime::Observed { until } => Some(until),
                Regime::Declared | Regime::Strict => None,
            },
            signing: programs::signing(&self.gate),
        };
        Ok((attached, attachment))
    }

    /// Those that are served, for another gate to go on with.
    pub(crate) const fn roll(&self) -> &Arc<Roll> {
        &self.roll
    }

    /// Makes a sandbox of the gate before this one ready to be served here.
    ///
    /// # Errors
    /// When its agent is unknown here, or it is not whole.
    pub(crate) fn restore(
        &self,
        (moved, descriptors): (Moved, Vec<OwnedFd>),
    ) -> anyhow::Result<Restored> {
        let agent = &moved.attach.agent;
        let settings = self.state.settings();
        if settings.is_none_or(|settings| !settings.agents.contains_key(agent)) {
            anyhow::bail!("the agent `{agent}` of a sandbox is not in [agents]");
        }
        let mut descriptors = descriptors.into_iter();
        let client = descriptors.next().context("a sandbox has no client")?;
        let handed = Handed::sort(&moved.attach, client, descriptors.collect())
            .context("a sandbox has the wrong number of listeners")?;
        let root = Arc::new(self.state.unseal_root(&Sealed {
            certificate_pem: moved.certificate_pem,
            sealed_key: moved.sealed_key,
        })?);
        let authority = Authority::new(Arc::clone(&root), Arc::clone(self.state.clock()))?;
        let hosts = moved.hosts.iter().flat_map(|host| Host::parse(host));
        let hosts = hosts.collect();
        let count = Count {
            hosts: 0,
            requests: moved.summary.requests,
            refused: moved.summary.refused,
            open: 0,
            spent: moved.summary.spent,
        };
        let run = moved.run.map(|run| Run::resume(run.into()));
        Ok(Restored {
            regime: held_until(moved.attach.hold, moved.until),
            attach: moved.attach,
            root,
            authority: Arc::new(authority),
            tally: Arc::new(Tally::resume(hosts, count, run.unwrap_or_default())),
            handed,
        })
    }

    /// Serves a sandbox; gives the client's end of the conversation with it.
    pub(crate) fn serve(&self, restored: Restored) -> anyhow::Result<(OwnedFd, Attachment)> {
        let Restored {
            attach,
            regime,
            root,
            authority,
            tally,
            handed,
        } = restored;
        let descriptors = roll::copies(&handed.all())?;
        let terms = Terms {
            agent: &attach.agent,
            regime,
            authority,
            tally: Arc::clone(&tally),
        };
        let stop = CancellationToken::new();
        let explicit = Arc::new(terms.door(Mode::Explicit));
        self.listen(handed.explicit, &explicit, &stop)?;
        let transparent = Arc::new(terms.door(Mode::Transparent));
        for socket in handed.http.into_iter().chain(handed.https) {
            self.listen(socket, &transparent, &stop)?;
        }
        self.names(regime, (handed.dns_udp, handed.dns_tcp), &stop);
        if let Regime::Observed { until } = regime {
            self.end_observing(until, &stop);
        }
        self.count
            .send_modify(|count| *count = count.saturating_add(1));
        let number = self.roll.enter(Entry {
            attach,
            regime,
            root,
            tally: Arc::clone(&tally),
            descriptors,
        });
        let sandbox = Sandbox {
            stop,
            count: Arc::clone(&self.count),
            tally,
            roll: Arc::clone(&self.roll),
            number,
        };
        Ok((handed.client, Box::new(sandbox)))
    }

    /// How the agent is held. That it is observed has an end which no client can move.
    fn regime(&self, attach: &Attach) -> Result<Regime, Failure> {
        match attach.hold {
            Hold::Declared => Ok(Regime::Declared),
            Hold::Strict => Ok(Regime::Strict),
            Hold::Observed if self.life == Life::UntilStopped => Err(Failure::new(
                "nobody is observed on a gate that `exeat serve` runs",
            )
            .help("write rules, or stop that gate and run the command again")),
            Hold::Observed => {
                let _turn = self
                    .observing
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                let now = self.state.clock().now();
                let until = observation::begin(self.state.folder().path(), &attach.agent, now)?;
                Ok(Regime::Observed { until })
            }
        }
    }

    /// Cuts what is still on its way when observing ends; new requests are judged by the clock.
    fn end_observing(&self, until: Timestamp, stop: &CancellationToken) {
        let (gate, stop) = (Arc::clone(&self.gate), stop.clone());
        self.tasks.spawn(async move {
            // A timer stands still while the machine sleeps, and knows nothing of a clock that is set.
            while gate.clock().now() < until {
                let left = until.since(gate.clock().now()).min(CLOCK_LOOK);
                tokio::select! {
                    () = tokio::time::sleep(left) => {}
                    () = stop.cancelled() => return,
                }
            }
            gate.reconsider();
        });
    }

    pub(super) fn listen(
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

    /// Answers names inside: only those that may be reached get an address, and it is a synthetic one.
    pub(super) fn names(
        &self,
        regime: Regime,
        (udp, tcp): (OwnedFd, OwnedFd),
        stop: &CancellationToken,
    ) {
        let gate = Arc::clone(&self.gate);
        let allowed = move |host: &Host| gate.reaches(regime, host, 0);
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

/// What the doors of one sandbox have in common.
pub(super) struct Terms<'a> {
    pub(super) agent: &'a AgentId,
    pub(super) regime: Regime,
    pub(super) authority: Arc<Authority>,
    pub(super) tally: Arc<Tally>,
}

impl Terms<'_> {
    pub(super) fn door(&self, mode: Mode) -> Door {
        let word = match mode {
            Mode::Explicit => "proxy",
            Mode::Transparent => "redirected",
        };
        Door {
            name: format!("sandbox of {}, {word}", self.agent),
            mode,
            agent: Some(self.agent.clone()),
            clients: Vec::new(),
            seal: Seal::Sandbox,
            regime: self.regime,
            tally: Some(Arc::clone(&self.tally)),
            authority: Arc::clone(&self.authority),
            tls: None,
        }
    }
}

/// How an agent is held that was attached at the gate before this one. A week that is over stays over, and ends nothing
/// else.
fn held_until(hold: Hold, until: Option<Timestamp>) -> Regime {
    match (hold, until) {
        (Hold::Strict, _) => Regime::Strict,
        (Hold::Observed, Some(until)) => Regime::Observed { until },
        (Hold::Observed, None) | (Hold::Declared, _) => Regime::Declared,
    }
}

/// A client that names other rules than those in force would be misled about what is allowed.
fn same_rules(settings: &Settings, attach: &Attach) -> Result<(), Failure> {
    let ours = settings.policy.file.canonicalize();
    let theirs = attach.policy.canonicalize();
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) if ours == theirs => Ok(()),
        _ => Err(Failure::new(format!(
            "the gate that runs decides by `{}`, not by `{}`",
            settings.policy.file.display(),
            attach.policy.display()
        ))
        .help("wait until its sandboxes have ended, stop it, or give this run a data folder of its own with `--data`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_that_is_over_moves_with_its_sandbox_and_opens_nothing() {
        let until = Timestamp::from_millis(10);
        let regime = held_until(Hold::Observed, Some(until));
        assert_eq!(regime, Regime::Observed { until });
        assert!(!regime.observes(until));
        assert_eq!(held_until(Hold::Observed, None), Regime::Declared);
        assert_eq!(held_until(Hold::Declared, Some(until)), Regime::Declared);
        assert_eq!(held_until(Hold::Strict, Some(until)), Regime::Strict);
    }
}
