//! A disk that is really full, and a clock that jumps: nothing leaves without a receipt, and nothing is lost.
//!
//! The test of the disk runs itself again as a child in a mount namespace of its own, with a small tmpfs.
#![cfg(test)]

mod support;

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use exeat_ledger::{Options, verify};
use exeat_types::{Clock, SystemClock, Timestamp};
use support::{API, PATIENCE, Rig, clock, world};

/// Where the child finds its disk.
const DISK: &str = "EXEAT_FAULTS_DISK";
/// Small enough to be full soon, with room for two segments.
const DISK_BYTES: &str = "mode=0700,size=6m";
const SEGMENT_BYTES: u64 = 1024 * 1024;

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the parent gives its orders in the environment"
)]
fn the_child_of_this_test() {
    let Ok(folder) = std::env::var(DISK) else {
        return;
    };
    let folder = Path::new(&folder);
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", DISK_BYTES, "tmpfs"])
        .arg(folder)
        .status()
        .unwrap();
    assert!(mounted.success());
    tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(fill_up_and_go_on(folder));
}

async fn fill_up_and_go_on(folder: &Path) {
    let options = || {
        let mut options = Options::new(folder.join("ledger"));
        options.segment_bytes = SEGMENT_BYTES;
        options
    };
    let rig = Rig::on(folder, world::ledger_with(folder, options(), clock()), None).await;
    assert_eq!(rig.client.get(API, "/hello").await.status, 200);
    let filler = folder.join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    // The segment that is open still has room; when it is full, there is none for the next.
    let (mut sender, mut allowed) = (rig.client.h1(API).await, 1usize);
    let deadline = tokio::time::Instant::now() + 3 * PATIENCE;
    let refused = loop {
        let request = http::Request::get("/hello").header("host", API);
        let request = request.body(support::client::whole("")).unwrap();
        sender.ready().await.unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let answer = support::client::Answer::read(answer).await.unwrap();
        if answer.status != 200 {
            break answer;
        }
        allowed += 1;
        assert!(
            tokio::time::Instant::now() < deadline,
            "the disk is never full"
        );
    };
    assert_eq!(
        (refused.status.as_u16(), refused.reason().as_str()),
        (503, "ledger-unavailable")
    );
    let seen = rig.upstream.seen().len();
    assert_eq!(seen, allowed, "what was refused did not leave");
    fs::remove_file(&filler).unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while rig.client.get(API, "/hello").await.status != 200 {
        assert!(tokio::time::Instant::now() < deadline, "it never goes on");
    }
    rig.ledger.flush();
    let receipts = rig.receipts(allowed + 1).await;
    let answered = receipts
        .iter()
        .filter(|receipt| receipt.outcome.as_ref().and_then(|outcome| outcome.status) == Some(200))
        .count();
    assert_eq!(answered, allowed + 1, "every answered call has its receipt");
    let key = rig.ledger.key().clone();
    drop(rig);
    let verdict = verify::verify_folder(
        &folder.join("ledger"),
        &key,
        None,
        verify::Signatures::Every,
    );
    assert_eq!(verdict.unwrap().open, 0);
}

#[test]
fn a_full_disk_refuses_loses_nothing_and_all_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args(["the_child_of_this_test", "--exact", "--nocapture"])
        .env(DISK, folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned()
        + &String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{said}");
}

/// A wall clock that the test sets back and forth; durations go on as ever.
struct Jumpy {
    real: SystemClock,
    millis: AtomicI64,
}

impl Clock for Jumpy {
    fn now(&self) -> Timestamp {
        let now = i64::try_from(self.real.now().millis()).unwrap();
        let there = now + self.millis.load(Ordering::SeqCst);
        Timestamp::from_millis(u64::try_from(there).unwrap())
    }

    fn monotonic(&self) -> Duration {
        self.real.monotonic()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_loses_no_receipt_and_revives_no_token() {
    const YEAR_MILLIS: i64 = 365 * 24 * 60 * 60 * 1000;
    let clock = Arc::new(Jumpy {
        real: SystemClock::new(),
        millis: AtomicI64::new(0),
    });
    let rig = Rig::at(Arc::clone(&clock) as Arc<dyn Clock>).await;
    let terms = support::tokens::Terms::of("tester");
    let (token, _) = support::tokens::found(&rig, terms).await;
    let open = rig.open(exeat_proxy::Mode::Explicit, None, None).await;
    let connect = support::tokens::connect(&support::tokens::bearer(&token));
    let status = async || {
        let answer = support::raw::ask(open, connect.as_bytes()).await;
        answer.unwrap().status
    };
    let mut calls = 0;
    for (jump, known) in [
        (0, 200),
        (-YEAR_MILLIS, 200),
        (YEAR_MILLIS, 407),
        (0, 200),
        (-1, 200),
    ] {
        clock.millis.store(jump, Ordering::SeqCst);
        assert_eq!(status().await, known, "{jump}");
        for _ in 0..5 {
            assert_eq!(rig.client.get(API, "/hello").await.status, 200, "{jump}");
            calls += 1;
        }
    }
    let receipts = rig.receipts(calls).await;
    assert_eq!(receipts.len(), calls);
    let key = rig.ledger.key().clone();
    let ledger = rig.folder.join("ledger");
    rig.ledger.flush();
    let verdict = verify::verify_folder(&ledger, &key, None, verify::Signatures::Every);
    assert_eq!(verdict.unwrap().open, 0);
}
