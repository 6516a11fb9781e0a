//! The gate: settings wired to custody, ledger, policy, certificate authority and front door.
//!
//! `stores.rs` and `state.rs` open what a data folder holds, `rules.rs` builds what a reload replaces, `desk.rs` answers the
//! socket, `sandboxes.rs` serves attached sandboxes, `doors.rs` binds listeners, `attend.rs` keeps going what goes on beside
//! the calls. One process per folder does this; the caller holds the lock.

mod attend;
mod carrier;
mod console;
mod desk;
mod doors;
mod health;
mod master;
mod notes;
mod observation;
mod operator;
mod places;
mod program_walls;
mod programs;
mod replace;
mod roll;
mod rules;
mod sandboxes;
mod signers;
mod sockets;
mod state;
mod stores;
mod tool_network;
mod turns;

use std::{
    os::fd::OwnedFd,
    sync::{Arc, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use exeat_pipeline::{Gate, Parts};
use exeat_proxy::{Options, Proxy};
use serde::{Deserialize, Serialize};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    args::LogFormat,
    folder::{DataFolder, FolderLock},
    settings::Settings,
    shutdown, socket,
    socket::{Answer, Status},
    telemetry,
    upgrade::{Kept, Moved, Predecessor, Terms, Word},
};
use attend::{attend, unused};
use desk::{Desk, Running};
use places::{Places, bind};
use programs::Programs;
use replace::{Before, Heritage, Lock, Replacing};
use sandboxes::{Restored, Sandboxes};

pub(crate) use master::Places as MasterPlaces;
pub(crate) use state::State;
pub(crate) use stores::Stores;

/// What a gate needs to start.
pub(crate) struct Start {
    /// The checked configuration.
    pub(crate) settings: Settings,
    /// Where its state is.
    pub(crate) folder: DataFolder,
    /// Who had the folder before.
    pub(crate) begin: Begin,
    /// How its log lines look.
    pub(crate) log: LogFormat,
    /// Called once, when every listener and the socket accept.
    pub(crate) ready: Ready,
}

/// How a gate comes to have its folder.
pub(crate) enum Begin {
    /// Nobody had it. The lock is held until the gate has ended.
    Alone(FolderLock, Life),
    /// Another gate hands it over.
    After(Predecessor),
}

/// Told once that the gate serves.
type Ready = Box<dyn FnOnce(&Status) -> anyhow::Result<()> + Send>;

/// How long a gate runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Life {
    /// Until a signal ends it.
    UntilStopped,
    /// Started by `exeat run`: until the last sandbox has been gone for a while.
    WhileUsed,
}

/// Runs a gate to its end.
///
/// # Errors
/// When something cannot be opened, bound or read; nothing was served then.
pub(crate) fn serve(start: Start) -> anyhow::Result<()> {
    match exeat_sandbox::lock_memory() {
        Ok(true) => {}
        Ok(false) => tracing::debug!("the memory of this process may be written to swap"),
        Err(error) => tracing::warn!(
            problem = %error,
            "the memory of this process may be written to swap"
        ),
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    // Held until every task has ended, unless another gate has it by then.
    let lock = Lock::default();
    let ended = runtime.block_on(run(start, Arc::clone(&lock)));
    runtime.shutdown_timeout(Duration::from_secs(5));
    drop(lock);
    ended
}

/// Opens the state of a folder for one command, without listeners; the caller holds the lock.
///
/// # Errors
/// When the state cannot be opened.
pub(crate) async fn open(
    folder: &DataFolder,
    settings: Option<&Settings>,
) -> anyhow::Result<Arc<dyn Answer>> {
    let state = State::open(folder.clone(), settings.cloned()).await?;
    Ok(Arc::new(Desk::new(Arc::new(state), None)))
}

/// A folder that was opened, with what the gate before this one left there.
struct Opened {
    state: Arc<State>,
    life: Life,
    kept: Kept,
    sandboxes: Vec<(Moved, Vec<OwnedFd>)>,
    heritage: Option<Heritage>,
}

async fn opened(
    folder: &DataFolder,
    settings: &Settings,
    begin: Begin,
    held: &Lock,
) -> anyhow::Result<Opened> {
    let hold = |lock| *held.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
    match begin {
        Begin::Alone(lock, life) => {
            hold(lock);
            let state = State::open(folder.clone(), Some(settings.clone())).await?;
            Ok(Opened {
                state: Arc::new(state),
                life,
                kept: Kept::default(),
                sandboxes: Vec::new(),
                heritage: None,
            })
        }
        Begin::After(predecessor) => {
            let (taken, predecessor) = replace::take(predecessor, folder, settings).await?;
            hold(taken.lock);
            Ok(Opened {
                state: Arc::new(taken.state),
                life: taken.life,
                kept: Kept::inherit(taken.sockets),
                sandboxes: taken.sandboxes,
                heritage: Some(Heritage {
                    predecessor,
                    open: taken.open,
                    records: taken.records,
                    pid: taken.pid,
                    version: taken.version,
                }),
            })
        }
    }
}

/// What does the work.
struct Works {
    state: Arc<State>,
    gate: Arc<Gate>,
    proxy: Arc<Proxy>,
    sandboxes: Sandboxes,
    registry: prometheus::Registry,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Works {
    async fn build(
        state: &Arc<State>,
        settings: &Settings,
        life: Life,
        tasks: TaskTracker,
    ) -> anyhow::Result<Self> {
        let registry = prometheus::Registry::new();
        let gate = Gate::new(Parts {
            rules: state.rules(settings).await?,
            ledger: state.ledger().clone(),
            clock: Arc::clone(state.clock()),
            tokens: state.tokens(),
            registry: registry.clone(),
            observer: None,
            outbound: Arc::clone(state.outbound()),
            keep: state.notes(),
        })?;
        let proxy = Proxy::new(
            Arc::clone(&gate),
            &Options {
                upstream_roots: state.write_roots(settings)?,
            },
        );
        let sandboxes = Sandboxes::new(
            Arc::clone(state),
            Arc::clone(&gate),
            Arc::clone(&proxy),
            tasks.clone(),
            life,
        );
        let programs = Programs::new(sandboxes.clone());
        gate.runs_with(Arc::new(programs));
        Ok(Self {
            state: Arc::clone(state),
            gate,
            proxy,
            sandboxes,
            registry,
            tasks,
            stop: CancellationToken::new(),
        })
    }

    /// Lets clients in, everywhere.
    fn serve(
        &self,
        places: Places,
        restored: Vec<Restored>,
        desk: &Arc<Desk>,
        settings: &Settings,
    ) -> anyhow::Result<()> {
        self.state.record_policy(&self.gate);
        let until = (&self.tasks, &self.stop);
        places.bound.serve(&self.proxy, &self.gate, until)?;
        let (approvals, stop) = (Arc::clone(self.gate.approvals()), self.stop.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = approvals.tend() => {}
                () = stop.cancelled() => {}
            }
        });
        if let Some(metrics) = places.metrics {
            telemetry::serve_metrics(metrics, self.registry.clone(), &self.tasks, &self.stop)?;
        }
        if let Some(console) = places.console {
            console.serve(&self.gate, desk, until)?;
        }
        for sandbox in restored {
            let (client, attachment) = self.sandboxes.serve(sandbox)?;
            let stop = self.stop.clone();
            self.tasks.spawn(async move {
                if let Err(error) = socket::hold(client, attachment, &stop).await {
                    tracing::debug!(%error, "the client of a sandbox went away");
                }
            });
        }
        attend(desk, places.admin, settings, until)
    }

    /// Ends what is open, writes what waits.
    async fn end(&self, before: &Before, following: &TaskTracker) -> anyhow::Result<()> {
        self.stop.cancel();
        before.tell(&Word::End {});
        self.proxy.shutdown().await;
        self.tasks.close();
        let rest = async {
            self.tasks.wait().await;
            self.gate.settled().await;
        };
        if tokio::time::timeout(Duration::from_secs(5), rest)
            .await
            .is_err()
        {
            tracing::warn!("some tasks did not end in time");
        }
        replace::ended(before, following).await;
        self.state.close().await
    }
}

async fn run(start: Start, lock: Lock) -> anyhow::Result<()> {
    let Start {
        settings,
        folder,
        begin,
        log,
        ready,
    } = start;
    let mut opened = opened(&folder, &settings, begin, &lock).await?;
    let tasks = TaskTracker::new();
    let places = bind(&settings, &opened.state, &mut opened.kept, &tasks)?;
    let works = Works::build(&opened.state, &settings, opened.life, tasks).await?;
    let restored = opened.sandboxes.into_iter();
    let restored: anyhow::Result<Vec<Restored>> = restored
        .map(|moved| works.sandboxes.restore(moved))
        .collect();
    let restored = restored?;
    let terms = Terms {
        config: std::path::absolute(&settings.file)?,
        rules: settings.rules_named.clone(),
        data: folder.path().to_path_buf(),
        log,
        life: opened.life,
    };
    let (replacing, mut replaced) = Replacing::new(terms, &lock, opened.kept.into_copies());
    let before = replacing.before.clone();
    let running = Running {
        gate: Arc::clone(&works.gate),
        sandboxes: works.sandboxes.clone(),
        listeners: places.bound.addresses(),
        metrics: match &places.metrics {
            Some(metrics) => Some(metrics.local_addr()?.to_string()),
            None => None,
        },
        console: places.console.as_ref().map(console::Bound::door),
        replacing,
    };
    let desk = Arc::new(Desk::new(Arc::clone(&works.state), Some(running)));
    let status = desk.status().await.map_err(anyhow::Error::new)?;
    let mut asked = std::pin::pin!(shutdown::asked());
    let following = TaskTracker::new();
    if let Some(heritage) = opened.heritage {
        let heritage = replace::begin(heritage, &works.state, &lock, status.clone()).await?;
        let state = Arc::clone(&works.state);
        following.spawn(replace::follow(heritage, state, before.clone()));
    }
    following.close();
    state::remember(&works.gate).await;
    // Everything is in place, and ours.
    works.serve(places, restored, &desk, &settings)?;
    if !following.is_empty() {
        // What was changed while this process took over was seen by nobody.
        desk.reload().await;
    }
    ready(&status)?;
    tokio::select! {
        () = &mut asked => {}
        () = unused(opened.life, works.sandboxes.count()) => {}
        Some(channel) = replaced.recv() => {
            works.stop.cancel();
            replace::retire(channel, &desk, (&works.proxy, &works.state), asked).await;
        }
    }
    tracing::info!("shutting down");
    works.end(&before, &following).await
}
