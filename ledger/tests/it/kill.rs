//! A process that writes under load and is killed at random moments: nothing it was told is durable may be missing, and
//! every call has exactly one receipt.

use std::{
    collections::HashSet,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use exeat_ledger::{
    Filter,
    verify::{Signatures, verify_folder},
};

use crate::{key, open, records, refusal};

const FOLDER: &str = "EXEAT_LEDGER_KILL_TEST";

/// Not a test by itself: the process that is killed. It says on standard output what it was told is durable.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the parent says in the environment that this is the child"
)]
fn child() {
    let Some(dir) = std::env::var_os(FOLDER) else {
        return;
    };
    let (ledger, _) = open(std::path::Path::new(&dir));
    // Numbers go on where the last child was killed.
    let base = ledger
        .checkpoint()
        .map_or(0, |note| note.lines().nth(1).unwrap().parse().unwrap());
    let out = Mutex::new(std::io::stdout());
    let say = |what: &str, n: u64| {
        let mut out = out.lock().unwrap();
        writeln!(out, "{what} {n}").unwrap();
        out.flush().unwrap();
    };
    std::thread::scope(|scope| {
        for lane in 0..8u64 {
            let (ledger, say) = (&ledger, &say);
            scope.spawn(move || {
                for n in (base * 8 + lane..).step_by(8) {
                    ledger.intent(records::intent(n)).wait_blocking().unwrap();
                    say("intent", n);
                    if n % 5 != 0 {
                        ledger.outcome(records::outcome(n)).wait_blocking().unwrap();
                        say("outcome", n);
                    } else if n % 2 == 0 {
                        ledger.refusal(refusal(n + 1_000_000));
                    }
                }
            });
        }
    });
}

#[test]
fn killing_the_process_loses_nothing_it_was_told_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let mut told = HashSet::new();
    for lines in [1, 40, 90, 7, 160, 23] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::child", "--nocapture", "--test-threads=1"])
            .env(FOLDER, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let facts = |line: &str| {
            let (what, n) = line.rsplit_once(' ')?;
            let what = what.rsplit(' ').next()?;
            let known = what.ends_with("intent") || what.ends_with("outcome");
            let what = if what.ends_with("intent") {
                "intent"
            } else {
                "outcome"
            };
            known.then_some((what, n.parse::<u64>().ok()?))
        };
        let mut heard = 0;
        while heard < lines {
            let line = output.next().expect("the child ended by itself").unwrap();
            if let Some(fact) = facts(&line) {
                told.insert(fact);
                heard += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before it died counts too.
        for line in output.map_while(Result::ok) {
            told.extend(facts(&line));
        }
    }

    let (ledger, recovery) = open(dir.path());
    assert!(
        !recovery.swept.is_empty(),
        "no call was open when the process was killed"
    );
    let receipts = ledger.list(&Filter::default()).unwrap();
    let seen: HashSet<_> = receipts.iter().map(|receipt| receipt.call).collect();
    assert_eq!(seen.len(), receipts.len());
    for (what, n) in told {
        let receipt = ledger
            .show(records::call(n))
            .unwrap()
            .expect("a durable intent is gone");
        if what == "outcome" {
            assert_eq!(receipt.outcome, Some(records::outcome(n)));
        }
    }
    assert!(receipts.iter().all(|receipt| receipt.closed.is_some()));
    let checkpoint = Arc::new(ledger.checkpoint().unwrap());
    drop(ledger);
    let verdict = verify_folder(dir.path(), &key(), Some(&checkpoint), Signatures::Every).unwrap();
    assert_eq!(verdict.open, 0);
}
