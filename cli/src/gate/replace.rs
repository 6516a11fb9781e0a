//! One gate after another: what a gate does to be replaced, what one does that was, and what one does that took over.
//!
//! `crate::upgrade` has what the two say to each other. A gate that was replaced accepts nothing, but its open calls go on
//! to their end, under the rules of the new one; their receipts are written there.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, anyhow};
use exeat_ledger::{Kind, Record, Upgrade};
use exeat_pipeline::{Gate, Stilled};
use exeat_proxy::Proxy;
use exeat_types::{CallId, limits};
use serde_json::Value;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};
use tokio_util::task::TaskTracker;

use super::{desk::Desk, roll::Roll, state::State};
use crate::{
    folder::FolderLock,
    socket::{Failure, Status, Upgraded},
    upgrade::{self, Channel, Given, Giving, Predecessor, Taken, Terms, Word},
};

/// The lock of the data folder, until another gate has it.
pub(crate) type Lock = Arc<Mutex<Option<FolderLock>>>;

/// What a gate needs to be replaced, and to replace.
pub(crate) struct Replacing {
    terms: Terms,
    lock: Lock,
    /// Copies of every socket the gate listens on.
    sockets: Arc<BTreeMap<String, OwnedFd>>,
    /// The gate before this one, while it ends its calls.
    pub(crate) before: Before,
    /// True while clients of the admin socket wait.
    pub(crate) door: watch::Sender<bool>,
    /// Told when another gate serves.
    replaced: mpsc::Sender<Channel>,
    is_replaced: AtomicBool,
}

/// The gate before this one, as long as there is one.
#[derive(Clone, Default)]
pub(crate) struct Before(Arc<Mutex<Option<(Predecessor, u32)>>>);

impl Before {
    /// Remembers it, with its process.
    pub(crate) fn set(&self, predecessor: Predecessor, pid: u32) {
        *self.get() = Some((predecessor, pid));
    }

    /// Its process, if it is still there.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.get().as_ref().map(|(_, pid)| *pid)
    }

    /// Tells it something, if it is still there.
    pub(crate) fn tell(&self, word: &Word) {
        if let Some((predecessor, _)) = &*self.get()
            && let Err(error) = predecessor.say(word)
        {
            tracing::debug!(%error, "the gate before this one hears nothing any more");
        }
    }

    fn get(&self) -> MutexGuard<'_, Option<(Predecessor, u32)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets clients in again when dropped.
pub(crate) struct Held<'a>(&'a watch::Sender<bool>);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

impl Replacing {
    /// Of a gate that was started like this and listens on these sockets; and where it hears that another gate serves.
    pub(crate) fn new(
        terms: Terms,
        lock: &Lock,
        sockets: BTreeMap<String, OwnedFd>,
    ) -> (Self, mpsc::Receiver<Channel>) {
        let (replaced, heard) = mpsc::channel(1);
        let replacing = Self {
            terms,
            lock: Arc::clone(lock),
            sockets: Arc::new(sockets),
            before: Before::default(),
            door: watch::Sender::new(false),
            replaced,
            is_replaced: AtomicBool::new(false),
        };
        (replacing, heard)
    }

    /// Lets nobody in at the admin socket for a while.
    pub(crate) fn hold_door(&self) -> Held<'_> {
        self.door.send_replace(true);
        Held(&self.door)
    }

    /// Whether another gate serves.
    pub(crate) fn is_replaced(&self) -> bool {
        self.is_replaced.load(Ordering::Acquire)
    }

    /// Tells the gate before this one, if there is one.
    pub(crate) fn tell(&self, word: &Word) {
        self.before.tell(word);
    }

    /// Hands everything to another program.
    ///
    /// # Errors
    /// When that fails; everything is as it was then.
    pub(crate) async fn replace(
        &self,
        program: PathBuf,
        (gate, state): (&Arc<Gate>, &Arc<State>),
        roll: &Arc<Roll>,
    ) -> Result<Upgraded, Failure> {
        if let Some(pid) = self.before.pid() {
            let message = format!("the gate before this one (process {pid}) still has open calls");
            return Err(Failure::new(message)
                .help(format!("try again later, or end them with `kill {pid}`")));
        }
        let (terms, lock) = (self.terms.clone(), Arc::clone(&self.lock));
        let sockets = Arc::clone(&self.sockets);
        let (from, rolled) = (Arc::clone(state), Arc::clone(roll));
        let gate = Arc::clone(gate);
        let giving = tokio::task::spawn_blocking(move || {
            let program = upgrade::absolute(&program)?;
            let mut lock = lock.lock().unwrap_or_else(PoisonError::into_inner);
            let given = upgrade::give(&Giving {
                program: &program,
                terms: &terms,
                lock: lock.as_ref().context("another gate has the data folder")?,
                ledger: from.ledger(),
                clock: &**from.clock(),
                sockets: &sockets,
                issuers: &|| still(&gate),
                sandboxes: &|| rolled.moved(&from),
            })?;
            // The other process holds the folder by its own copy; this one must not keep it taken.
            lock.take();
            rolled.give();
            anyhow::Ok(given)
        });
        let Given {
            channel,
            status,
            stood,
        } = giving.await.context("handing over")??;
        self.is_replaced.store(true, Ordering::Release);
        tracing::info!(pid = status.pid, waited = ?stood, "another gate has taken over");
        if self.replaced.send(channel).await.is_err() {
            tracing::debug!("this gate is ending already");
        }
        Ok(Upgraded {
            before: std::process::id(),
            now: status,
            waited_ms: u64::try_from(stood.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

/// Waits until nobody asks an issuer, and has nobody ask. Blocks.
fn still(gate: &Gate) -> anyhow::Result<Stilled> {
    let waiting = async { tokio::time::timeout(limits::TOKEN_TIMEOUT, gate.still_issuers()).await };
    let stilled = Handle::current().block_on(waiting);
    stilled.map_err(|_late| anyhow!("a token is still asked for; try again later"))
}

/// What is left of what the gate before this one handed over, once state, sockets and sandboxes are in place.
pub(crate) struct Heritage {
    pub(crate) predecessor: Predecessor,
    pub(crate) open: Vec<CallId>,
    pub(crate) records: std::os::unix::net::UnixStream,
    pub(crate) pid: u32,
    pub(crate) version: String,
}

/// Reads what the gate before this one hands over.
///
/// # Errors
/// When it cannot be taken over.
pub(crate) async fn take(
    predecessor: Predecessor,
    folder: &crate::folder::DataFolder,
    settings: &crate::settings::Settings,
) -> anyhow::Result<(Taken, Predecessor)> {
    let (folder, settings) = (folder.clone(), settings.clone());
    tokio::task::spawn_blocking(move || {
        let taken = predecessor.take(&folder, &settings)?;
        Ok((taken, predecessor))
    })
    .await
    .context("taking over")?
}

/// Waits for the word to begin, and begins: from here on this process has folder and journal.
///
/// # Errors
/// When the other gate has changed its mind or is gone; nobody was served then.
pub(crate) async fn begin(
    heritage: Heritage,
    state: &Arc<State>,
    lock: &Lock,
    status: Status,
) -> anyhow::Result<Heritage> {
    let (state, lock) = (Arc::clone(state), Arc::clone(lock));
    let beginning = move || {
        heritage.predecessor.ready()?;
        // What issuers have noted since this process read it.
        state.reopen_vault()?;
        if let Some(lock) = &mut *lock.lock().unwrap_or_else(PoisonError::into_inner) {
            lock.sign()?;
        }
        state.ledger().sign()?;
        let taken = state.ledger().append(&Record::Upgrade(Upgrade {
            calls: u64::try_from(heritage.open.len()).unwrap_or(u64::MAX),
            from: heritage.version.clone(),
            to: env!("CARGO_PKG_VERSION").to_owned(),
        }));
        taken.wait_blocking()?;
        heritage.predecessor.say(&Word::Serving(status))?;
        anyhow::Ok(heritage)
    };
    tokio::task::spawn_blocking(beginning)
        .await
        .context("taking over")?
}

/// Writes the receipts that the gate before this one still has to close, and tells it what changes, until it has ended.
pub(crate) async fn follow(heritage: Heritage, state: Arc<State>, before: Before) {
    let Heritage {
        predecessor,
        open,
        records,
        pid,
        version: _,
    } = heritage;
    before.set(predecessor, pid);
    let ledger = state.ledger().clone();
    let followed = tokio::task::spawn_blocking(move || ledger.follow(&records, open));
    let telling = tell_changes(&state, &before);
    let followed = tokio::select! {
        followed = followed => followed,
        () = telling => return,
    };
    *before.get() = None;
    match followed {
        Ok(Ok(left)) if left.is_empty() => {
            tracing::info!(pid, "the gate before this one has ended");
        }
        Ok(Ok(left)) => {
            let calls = left.len();
            tracing::warn!(
                pid,
                calls,
                "the gate before this one left calls open; their end is unknown"
            );
        }
        Ok(Err(error)) => tracing::error!(
            error = &error as &dyn std::error::Error,
            "calls that the gate before this one left open could not be closed"
        ),
        Err(error) => tracing::error!(%error, "the gate before this one could not be followed"),
    }
}

/// Tells the gate before this one of every token that changes: its open streams are held against them too. Never ends.
async fn tell_changes(state: &State, before: &Before) {
    let mut records = state.ledger().tail();
    loop {
        let entries = match records.next().await {
            Ok(entries) if !entries.is_empty() => entries,
            Ok(_) => break,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the gate before this one is not told of changed tokens"
                );
                break;
            }
        };
        for entry in entries {
            if entry.kind != Kind::TokenChange {
                continue;
            }
            let record: Value = serde_json::from_str(&entry.text).unwrap_or_default();
            before.tell(&Word::Changed(
                record.get("body").cloned().unwrap_or_default(),
            ));
        }
    }
    std::future::pending().await
}

/// Ends what this gate, which was replaced, still has open. Returns when that is done, or must be.
pub(crate) async fn retire(
    channel: Channel,
    desk: &Arc<Desk>,
    (proxy, state): (&Arc<Proxy>, &Arc<State>),
    asked: impl Future<Output = ()>,
) {
    let (sender, mut words) = mpsc::channel(16);
    let hearing = channel.again();
    let listening = tokio::task::spawn_blocking(move || {
        let Ok(channel) = hearing else { return };
        while let Ok(Some((word, _))) = channel.hear() {
            if sender.blocking_send(word).is_err() {
                return;
            }
        }
    });
    let heed = async {
        while let Some(word) = words.recv().await {
            match word {
                Word::Reload {} => desk.follow().await,
                Word::Changed(body) => mirror(state, body),
                Word::End {} => return,
                other => tracing::warn!(?other, "the new gate says something unexpected"),
            }
        }
        tracing::error!("the gate that took over is gone");
        proxy.shutdown_within(std::time::Duration::ZERO).await;
    };
    let ended = tokio::select! {
        () = proxy.retire() => "every call has ended",
        () = heed => "the gate that took over ends",
        () = asked => "asked to end",
        () = tokio::time::sleep(limits::REPLACED_DRAIN_TIMEOUT) => "calls were open for too long",
    };
    tracing::info!(cause = ended, "this gate ends");
    proxy.shutdown().await;
    channel.close();
    if let Err(error) = listening.await {
        tracing::debug!(%error, "listening to the new gate ended early");
    }
}

fn mirror(state: &State, body: Value) {
    let mirrored = serde_json::from_value(body)
        .map_err(anyhow::Error::new)
        .and_then(|change| Ok(state.ledger().mirror(&Record::TokenChange(change))?));
    if let Err(error) = mirrored {
        tracing::warn!(%error, "a change of tokens was not understood");
    }
}

/// Waits until the gate before this one, which was told to, has ended; within reason.
pub(crate) async fn ended(before: &Before, following: &TaskTracker) {
    if tokio::time::timeout(limits::DRAIN_TIMEOUT, following.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            pid = before.pid(),
            "the gate before this one did not end in time"
        );
    }
}
