//! Opening a ledger: take the lock, read the journal, refuse damage, start the threads, sweep what a crash left open.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, mpsc},
    thread,
};

use exeat_types::{CallId, Clock, Sealer, Signer};

use crate::{
    Error, Ledger,
    anchor::Anchor,
    call::Outcome,
    capture::Captures,
    event::{Cut, Sweep},
    journal::Journal,
    keeper::Keeper,
    ledger::Inner,
    load::{self, Loaded, Seen},
    lock::FolderLock,
    note::{Head, NoteKey},
    passkey::Counters,
    record::Record,
    shared::{Parts, Shared},
    storage::{Folder, Storage},
    writer::Writer,
};

/// How a ledger is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Its folder.
    pub dir: PathBuf,
    /// The length of a segment of the journal.
    pub segment_bytes: u64,
    /// Who outside is told of the head.
    pub anchor: Option<Anchor>,
    /// How many days captures are kept.
    pub capture_days: u32,
}

impl Options {
    /// Segments of 16 MiB, no anchor, captures for 30 days.
    pub const fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            segment_bytes: 16 * 1024 * 1024,
            anchor: None,
            capture_days: 30,
        }
    }
}

/// What opening found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// How many records there were.
    pub records: u64,
    /// Calls that were open and are `unknown` from here on.
    pub swept: Vec<CallId>,
    /// The unfinished write that was cut off.
    pub cut: Option<Cut>,
}

/// The keys and the clock a ledger works with.
#[derive(Clone)]
pub struct Devices {
    /// Signs checkpoints; Ed25519.
    pub signer: Arc<dyn Signer>,
    /// Seals the keys of captures.
    pub sealer: Arc<dyn Sealer>,
    /// Says what time it is.
    pub clock: Arc<dyn Clock>,
}

impl Ledger {
    /// Opens the ledger in a folder, or begins one. Blocks while it reads the journal.
    ///
    /// # Errors
    /// When another process holds it, the journal is damaged, or the disk or a key fails.
    pub fn open(
        options: Options,
        signer: Arc<dyn Signer>,
        sealer: Arc<dyn Sealer>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Recovery), Error> {
        let wrong = || Error::disk("make the ledger's folder");
        std::fs::create_dir_all(&options.dir).map_err(wrong())?;
        let lock = FolderLock::take(&options.dir)?;
        let storage = Folder::new(&options.dir.join("journal")).map_err(wrong())?;
        let devices = Devices {
            signer,
            sealer,
            clock,
        };
        let place = (Arc::new(storage) as Arc<dyn Storage>, Seen::nothing());
        let (ledger, recovery) = Self::stand(options, devices, place, lock)?;
        ledger.0.begin();
        ledger.sweep(&recovery)?;
        Ok((ledger, recovery))
    }

    /// The same with segments in another place.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn open_on(
        storage: Arc<dyn Storage>,
        options: Options,
        devices: Devices,
    ) -> Result<(Self, Recovery), Error> {
        std::fs::create_dir_all(&options.dir).map_err(Error::disk("make the ledger's folder"))?;
        let lock = FolderLock::take(&options.dir)?;
        let (ledger, recovery) = Self::stand(options, devices, (storage, Seen::nothing()), lock)?;
        ledger.0.begin();
        ledger.sweep(&recovery)?;
        Ok((ledger, recovery))
    }

    /// Reads the journal and starts the threads, which touch nothing before they are told to begin.
    pub(crate) fn stand(
        options: Options,
        devices: Devices,
        (storage, seen): (Arc<dyn Storage>, Seen),
        lock: FolderLock,
    ) -> Result<(Self, Recovery), Error> {
        let key = NoteKey::of(&*devices.signer)?;
        let loaded = load::load(&storage, &devices.signer, &key, options.segment_bytes, seen)?;
        let Loaded {
            journal,
            state,
            note,
            cut,
        } = loaded;
        if let Some(anchor) = &options.anchor {
            check_anchor(anchor, &key, journal.end().seq)?;
        }
        let swept = state.open_calls();
        let recovery = Recovery {
            records: journal.end().seq,
            swept,
            cut,
        };
        let shared = Arc::new(Shared::new(Parts {
            storage,
            clock: devices.clock,
            key,
            segment_bytes: options.segment_bytes,
            end: journal.end(),
            state,
            note,
        }));
        let captures = Captures::new(options.dir.join("captures"), devices.sealer);
        let views = options.dir.join("views.redb");
        let keeper = Keeper::new(
            Arc::clone(&shared),
            views,
            captures,
            options.capture_days,
            options.anchor,
        );
        shared.send_to_rest();
        keeper.views().go_away();
        let ledger = Self::start(shared, Arc::new(keeper), journal, lock)?;
        Ok((ledger, recovery))
    }

    fn start(
        shared: Arc<Shared>,
        keeper: Arc<Keeper>,
        journal: Journal,
        lock: FolderLock,
    ) -> Result<Self, Error> {
        let wrong = || Error::disk("start the ledger");
        let (word, awaited) = mpsc::channel();
        let writing = Arc::clone(&shared);
        let writer = thread::Builder::new()
            .name("ledger-writer".to_owned())
            .spawn(move || {
                let stopped = Stopped(Arc::clone(&writing));
                Writer::new(writing, journal).run_after(&awaited);
                drop(stopped);
            })
            .map_err(wrong())?;
        let keeping = Arc::clone(&keeper);
        let keeping = thread::Builder::new()
            .name("ledger-keeper".to_owned())
            .spawn(move || keeping.run());
        let keeping = match keeping {
            Ok(keeping) => keeping,
            Err(e) => {
                shared.queue.close();
                return Err(wrong()(e));
            }
        };
        let threads = Mutex::new(Some((writer, keeping)));
        Ok(Self(Arc::new(Inner {
            counters: Counters::default(),
            shared,
            keeper,
            threads,
            word: Mutex::new(Some(word)),
            lock: Mutex::new(Some(lock)),
        })))
    }

    /// Closes the calls that a crash left open, and says so.
    fn sweep(&self, recovery: &Recovery) -> Result<(), Error> {
        if recovery.swept.is_empty() && recovery.cut.is_none() {
            return Ok(());
        }
        let outcomes = recovery
            .swept
            .iter()
            .map(|call| self.outcome(Outcome::unknown(*call)));
        let mut promises: Vec<_> = outcomes.collect();
        let calls = u64::try_from(recovery.swept.len()).unwrap_or(u64::MAX);
        promises.push(self.append(&Record::Sweep(Sweep {
            calls,
            cut: recovery.cut,
        })));
        promises
            .into_iter()
            .try_for_each(|promise| promise.wait_blocking().map(drop))
    }
}

/// Says that the writer is gone, however it ended.
struct Stopped(Arc<Shared>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.queue.close();
        self.0.flush_is_done(u64::MAX);
    }
}

/// Refuses a journal that ends before the head it told the outside of.
fn check_anchor(anchor: &Anchor, key: &NoteKey, records: u64) -> Result<(), Error> {
    let last = anchor.last().map_err(Error::disk("read the anchor"))?;
    let Some(note) = last else { return Ok(()) };
    let head = Head::open(&note, key).map_err(|e| Error::Anchored { problem: e.problem })?;
    if head.size > records {
        let problem = format!("{} records were anchored, {records} are left", head.size);
        return Err(Error::Anchored { problem });
    }
    Ok(())
}
