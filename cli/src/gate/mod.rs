//! The gate: settings wired to custody, ledger, policy, certificate authority and front door.
//!
//! `state.rs` opens what a data folder holds, `rules.rs` builds what a reload replaces, `desk.rs` answers the socket,
//! `sandboxes.rs` serves attached sandboxes, `doors.rs` binds listeners. One process per folder does this; the caller
//! holds the lock.

mod desk;
mod doors;
mod rules;
mod sandboxes;
mod state;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use exeat_pipeline::{Gate, Parts};
use exeat_proxy::{Options, Proxy};
use tokio::{net::UnixListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    folder::{DataFolder, FolderLock},
    settings::Settings,
    shutdown, socket,
    socket::{Answer, Status},
    telemetry, watch as files,
};
use desk::{Desk, Running};
use sandboxes::Sandboxes;
use state::State;

/// What a gate needs to start.
pub(crate) struct Start {
    /// The checked configuration.
    pub(crate) settings: Settings,
    /// Where its state is.
    pub(crate) folder: DataFolder,
    /// Held until the gate has ended.
    pub(crate) lock: FolderLock,
    /// How long it runs.
    pub(crate) life: Life,
    /// Called once, when every listener and the socket accept.
    pub(crate) ready: Ready,
}

/// Told once that the gate serves.
type Ready = Box<dyn FnOnce(&Status) -> anyhow::Result<()> + Send>;

/// How long a gate runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// Until a signal ends it.
    UntilStopped,
    /// Started by `exeat run`: until the last sandbox has been gone for a while.
    WhileUsed,
}

/// How long a gate that `exeat run` started waits for the next sandbox.
const IDLE: Duration = Duration::from_secs(5);

/// Runs a gate to its end.
///
/// # Errors
/// When something cannot be opened, bound or read; nothing was served then.
pub(crate) fn serve(start: Start) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let lock = start.lock;
    let ended = runtime.block_on(run(start.settings, start.folder, start.life, start.ready));
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

async fn run(
    settings: Settings,
    folder: DataFolder,
    life: Life,
    ready: Ready,
) -> anyhow::Result<()> {
    let state = Arc::new(State::open(folder, Some(settings.clone())).await?);
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let registry = prometheus::Registry::new();
    let metrics =
        telemetry::serve_metrics(settings.metrics, registry.clone(), &tasks, &stop).await?;
    let bound = doors::bind(&settings, &state).await?;
    state.own_ports(
        bound
            .ports()
            .into_iter()
            .chain(metrics.map(|address| address.port()))
            .collect(),
    );
    let gate = Gate::new(Parts {
        rules: state.rules(&settings).await?,
        ledger: state.ledger().clone(),
        clock: Arc::clone(state.clock()),
        tokens: state.tokens(),
        registry,
        observer: None,
    })?;
    state.record_policy(&gate);
    let proxy = Proxy::new(
        Arc::clone(&gate),
        &Options {
            upstream_roots: state.write_roots(&settings)?,
        },
    );
    let sandboxes = Sandboxes::new(
        Arc::clone(&state),
        Arc::clone(&gate),
        Arc::clone(&proxy),
        tasks.clone(),
    );
    let addresses = bound.addresses();
    bound.serve(&proxy, &tasks);
    let running = Running {
        gate: Arc::clone(&gate),
        sandboxes: sandboxes.clone(),
        listeners: addresses,
        metrics: metrics.map(|address| address.to_string()),
    };
    let desk = Arc::new(Desk::new(Arc::clone(&state), Some(running)));
    let listener = socket::bind(state.folder()).context("binding the gate's socket")?;
    attend(&desk, listener, &settings, (&tasks, &stop));
    let status = desk.status().await.map_err(anyhow::Error::new)?;
    let asked = shutdown::asked();
    ready(&status)?;
    tokio::select! {
        () = asked => {}
        () = unused(life, sandboxes.count()) => {}
    }
    tracing::info!("shutting down");
    stop.cancel();
    proxy.shutdown().await;
    tasks.close();
    if tokio::time::timeout(Duration::from_secs(5), tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!("some tasks did not end in time");
    }
    state.close().await
}

/// Answers the socket and reads the configuration again when it changes, until told to stop.
fn attend(
    desk: &Arc<Desk>,
    listener: UnixListener,
    settings: &Settings,
    (tasks, stop): (&TaskTracker, &CancellationToken),
) {
    let answer: Arc<dyn Answer> = Arc::clone(desk) as Arc<dyn Answer>;
    let (conversations, until) = (tasks.clone(), stop.clone());
    tasks.spawn(async move { socket::serve(listener, answer, &conversations, &until).await });
    let desk = Arc::clone(desk);
    tasks.spawn(files::watch(
        settings.watched().to_vec(),
        stop.clone(),
        move || {
            let desk = Arc::clone(&desk);
            async move { desk.reload().await }
        },
    ));
}

/// Ends when a gate that lives for sandboxes has had none for a while; never otherwise.
async fn unused(life: Life, mut count: watch::Receiver<usize>) {
    if life == Life::UntilStopped {
        std::future::pending::<()>().await;
    }
    loop {
        let idle = *count.borrow_and_update() == 0;
        let wait = if idle { IDLE } else { Duration::MAX };
        tokio::select! {
            () = tokio::time::sleep(wait) => return,
            changed = count.changed() => if changed.is_err() { return },
        }
    }
}
