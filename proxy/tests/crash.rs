//! Killed at any moment: every call that was accepted has exactly one closed receipt when the ledger is opened again, and
//! nothing has reached upstream that the ledger does not know of. A disk that is full means that nothing leaves.
//!
//! The test runs itself again as a child, which kills itself at the given stage.
#![cfg(test)]

mod support;

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use exeat_ledger::{Decision, Filter, Folder, Receipt, Storage, verify};
use exeat_pipeline::{Stage, StageObserver};
use http::Request;
use support::{
    API, Rig,
    client::{Answer, Client, whole},
    world,
};

/// What the child is told: `stage count clients folder`.
const ORDERS: &str = "EXEAT_CRASH_ORDERS";
/// More than any child gets to make before it is killed.
const CALLS_MAX: usize = 400;

const STAGES: [(&str, Stage); 7] = [
    ("decided", Stage::Decided),
    ("recorded", Stage::Recorded),
    ("equipped", Stage::Equipped),
    ("admitted", Stage::Admitted),
    ("answered", Stage::Answered),
    ("delivered", Stage::Delivered),
    ("closed", Stage::Closed),
];

/// Kills this process when a stage, or any stage, has been reached so many times.
struct Killer {
    stage: Option<Stage>,
    left: AtomicU64,
}

impl StageObserver for Killer {
    fn reached(&self, stage: Stage) {
        let counts = self.stage.is_none_or(|wanted| wanted == stage);
        if counts && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
                .unwrap();
        }
    }
}

fn appending(path: &Path) -> File {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap()
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the parent gives its orders in the environment"
)]
fn the_child_of_this_test() {
    let Ok(orders) = std::env::var(ORDERS) else {
        return;
    };
    let [stage, count, clients, folder] = orders.splitn(4, ' ').collect::<Vec<_>>()[..] else {
        panic!("{orders}")
    };
    let stage = STAGES
        .iter()
        .find(|(name, _)| *name == stage)
        .map(|(_, stage)| *stage);
    let killer = Killer {
        stage,
        left: AtomicU64::new(count.parse().unwrap()),
    };
    let (clients, folder) = (clients.parse::<usize>().unwrap(), Path::new(folder));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let rig = Rig::on(folder, world::ledger(folder), Some(Arc::new(killer))).await;
        rig.upstream.log_to(appending(&folder.join("upstream.log")));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..clients {
            tasks.spawn(call_on_and_on(
                rig.client.clone(),
                appending(&folder.join("answered.log")),
            ));
        }
        tasks.join_all().await;
    });
}

/// Makes calls of every kind and writes down the receipts of those that were answered.
async fn call_on_and_on(client: Client, mut answered: File) {
    let mut sender = client.h1(API).await;
    for number in 0..CALLS_MAX {
        let request = match number % 4 {
            1 => Request::delete("/thing")
                .header("host", API)
                .body(whole("")),
            2 => Request::post("/echo")
                .header("host", API)
                .header("content-type", "application/json")
                .body(whole(r#"{"title":"t"}"#)),
            _ => Request::get("/echo").header("host", API).body(whole("")),
        };
        let answer = Answer::read(sender.send_request(request.unwrap()).await.unwrap())
            .await
            .unwrap();
        if answer.status == 200 {
            let receipt = answer.headers["exeat-receipt"].to_str().unwrap();
            answered
                .write_all(format!("{receipt}\n").as_bytes())
                .unwrap();
        }
    }
}

/// Runs the child, which is killed.
fn crash(folder: &Path, stage: &str, count: u64, clients: usize) {
    let orders = format!("{stage} {count} {clients} {}", folder.display());
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["the_child_of_this_test", "--exact", "--nocapture"])
        .env(ORDERS, orders)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(9), "{stage} {count}: {status}");
}

/// Opens the ledger after a crash, checks what must hold after any crash, and gives the receipts and how many requests
/// upstream saw.
fn examine(folder: &Path) -> (Vec<Receipt>, usize) {
    let ledger = world::ledger(folder);
    let receipts = ledger.list(&Filter::default()).unwrap();
    let calls: HashSet<String> = receipts
        .iter()
        .map(|receipt| receipt.call.to_string())
        .collect();
    assert_eq!(calls.len(), receipts.len(), "one receipt for each call");
    for receipt in &receipts {
        assert!(
            receipt.closed.is_some() && receipt.decision != Decision::Open,
            "{receipt:?}"
        );
        assert!(
            receipt.intent.is_some() != receipt.refusal.is_some(),
            "{receipt:?}"
        );
    }
    let seen = std::fs::read(folder.join("upstream.log"))
        .unwrap_or_default()
        .len();
    let left = receipts
        .iter()
        .filter(|receipt| receipt.intent.is_some())
        .count();
    assert!(
        left >= seen,
        "{seen} requests were seen upstream, {left} calls are receipted"
    );
    for answered in std::fs::read_to_string(folder.join("answered.log"))
        .unwrap_or_default()
        .lines()
    {
        assert!(
            calls.contains(answered),
            "{answered} was answered and has no receipt"
        );
    }
    let key = ledger.key().clone();
    drop(ledger);
    let verdict = verify::verify_folder(
        &folder.join("ledger"),
        &key,
        None,
        verify::Signatures::Every,
    );
    assert_eq!(verdict.unwrap().open, 0);
    (receipts, seen)
}

#[test]
fn a_gate_killed_at_any_stage_leaves_one_closed_receipt_for_its_call() {
    for (name, stage) in STAGES {
        let folder = tempfile::tempdir().unwrap();
        crash(folder.path(), name, 1, 1);
        let (receipts, seen) = examine(folder.path());
        let decisions: Vec<Decision> = receipts.iter().map(|receipt| receipt.decision).collect();
        let (calls, requests) = match stage {
            Stage::Decided => (0, 0),
            Stage::Recorded | Stage::Equipped | Stage::Admitted => (1, 0),
            Stage::Answered | Stage::Delivered | Stage::Closed => (1, 1),
        };
        assert_eq!(
            (decisions.len(), seen),
            (calls, requests),
            "{name}: {decisions:?}"
        );
        let is_known =
            |decision: &Decision| stage == Stage::Closed && *decision == Decision::Allowed;
        assert!(
            decisions
                .iter()
                .all(|d| *d == Decision::Unknown || is_known(d)),
            "{name}: {decisions:?}"
        );
    }
}

#[test]
fn a_gate_killed_under_load_loses_no_receipt() {
    let folder = tempfile::tempdir().unwrap();
    let mut seed = 20_261_122u64;
    for round in 0..5 {
        // Any moment, but the same ones every time (the constants are Knuth's).
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        crash(folder.path(), "any", 50 + (seed >> 33) % 1500, 32);
        let (receipts, seen) = examine(folder.path());
        assert!(
            receipts.len() >= seen && seen > round,
            "{round}: {} {seen}",
            receipts.len()
        );
    }
}

/// A disk that can be full, or stand still.
struct Disk {
    folder: Folder,
    full: AtomicBool,
    stands: std::sync::Mutex<()>,
}

impl Disk {
    fn room(&self) -> io::Result<()> {
        match self.full.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

impl Storage for Disk {
    fn segments(&self) -> io::Result<Vec<u32>> {
        self.folder.segments()
    }

    fn length(&self, segment: u32) -> io::Result<u64> {
        self.folder.length(segment)
    }

    fn read(&self, segment: u32, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        self.folder.read(segment, offset, bytes)
    }

    fn prepare(&self, segment: u32, bytes: u64) -> io::Result<()> {
        self.room()?;
        self.folder.prepare(segment, bytes)
    }

    fn write(&self, segment: u32, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.room()?;
        self.folder.write(segment, offset, bytes)
    }

    fn sync(&self, segment: u32) -> io::Result<()> {
        self.room()?;
        drop(self.stands.lock().unwrap());
        self.folder.sync(segment)
    }

    fn set_aside(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.folder.set_aside(name, bytes)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaves_when_the_ledger_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Folder::new(&folder.path().join("ledger").join("journal")).unwrap();
    let disk = Arc::new(Disk {
        folder: journal,
        full: AtomicBool::new(false),
        stands: std::sync::Mutex::default(),
    });
    let storage: Arc<dyn Storage> = Arc::clone(&disk) as _;
    let rig = Rig::on(
        folder.path(),
        world::ledger_on(folder.path(), storage),
        None,
    )
    .await;
    assert_eq!(rig.client.get(API, "/echo").await.status, 200);
    assert_eq!(rig.receipts(1).await.len(), 1);
    disk.full.store(true, Ordering::SeqCst);
    let large = format!(r#"{{"title":"t","text":"{}"}}"#, "x".repeat(100_000));
    let post = || Request::post("/echo").header("content-type", "application/json");
    for answer in [
        rig.client.get(API, "/echo").await,
        rig.client
            .send_body(API, post(), Bytes::from(r#"{"title":"t"}"#))
            .await,
        rig.client.send_body(API, post(), Bytes::from(large)).await,
        rig.client
            .send_body(API, Request::post("/upload"), Bytes::from("bytes"))
            .await,
        rig.client
            .send_h2(
                API,
                Request::get(format!("https://{API}/echo")),
                Bytes::new(),
            )
            .await,
    ] {
        assert_eq!(
            (answer.status.as_u16(), answer.reason().as_str()),
            (503, "ledger-unavailable")
        );
    }
    assert_eq!(rig.upstream.seen().len(), 1, "nothing left the gate");
    assert_eq!(
        rig.client.get(API, "/a/b").await.status,
        403,
        "what is refused anyway is refused as ever"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_stands_still_refuses_and_closes_the_receipt_that_it_writes_later() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Folder::new(&folder.path().join("ledger").join("journal")).unwrap();
    let disk = Arc::new(Disk {
        folder: journal,
        full: AtomicBool::new(false),
        stands: std::sync::Mutex::default(),
    });
    let storage: Arc<dyn Storage> = Arc::clone(&disk) as _;
    let ledger = world::ledger_on(folder.path(), storage);
    let rig = Rig::on(folder.path(), ledger, None).await;
    // Whoever holds it is no task: the disk stands still until the answer is there.
    let (answered, wait) = std::sync::mpsc::channel::<()>();
    let (stands, standing) = tokio::sync::oneshot::channel();
    let still = Arc::clone(&disk);
    let holder = std::thread::spawn(move || {
        let held = still.stands.lock().unwrap();
        stands.send(()).unwrap();
        wait.recv().unwrap();
        drop(held);
    });
    standing.await.unwrap();
    let answer = rig.client.get(API, "/echo").await;
    answered.send(()).unwrap();
    holder.join().unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (503, "ledger-unavailable")
    );
    let receipts = rig.receipts(1).await;
    let (intent, outcome) = (&receipts[0].intent, &receipts[0].outcome);
    assert!(intent.is_some(), "it was written in the end");
    assert_eq!(
        outcome.as_ref().unwrap().result,
        exeat_ledger::Ending::RefusedLate
    );
    assert_eq!(rig.upstream.seen().len(), 0);
}
