//! One ledger, two processes one after the other: nobody writes twice, nothing is lost, no call ends twice.

use std::{fs, os::unix::net::UnixStream, path::Path, sync::Arc, thread};

use exeat_ledger::{
    Ahead, Anchor, Decision, Durable, Error, Filter, HandOver, Held, Ledger, Options, Position,
    Record, Upgrade,
    verify::{Signatures, Verdict, verify_folder},
};
use exeat_types::CallId;

use crate::{
    clock, devices, key,
    keys::TestSigner,
    open,
    records::{call, intent, outcome},
    try_open,
};

/// Where no record is yet.
const BEFORE_ALL: Position = Position {
    segment: 0,
    offset: 0,
    seq: 0,
};

fn options(dir: &Path) -> Options {
    Options {
        segment_bytes: 64 * 1024,
        ..Options::new(dir.to_owned())
    }
}

/// Reads the journal as far as it is durable, as a process does that is about to be given it.
fn ahead(dir: &Path, end: Position) -> Ahead {
    Ahead::read(dir, &*TestSigner::new(1), end).unwrap()
}

/// What a process does that is given the ledger.
fn adopt(dir: &Path, given: &HandOver, records: u64) -> Result<(Ledger, Vec<CallId>), Error> {
    adopt_from(dir, ahead(dir, BEFORE_ALL), given, records)
}

fn adopt_from(
    dir: &Path,
    ahead: Ahead,
    given: &HandOver,
    records: u64,
) -> Result<(Ledger, Vec<CallId>), Error> {
    let held = Held {
        lock: given.lock().unwrap(),
        records,
    };
    Ledger::adopt(options(dir), devices(&clock()), ahead, held)
}

fn upgrade(calls: u64) -> Record {
    Record::Upgrade(Upgrade {
        calls,
        from: "1.0.0".to_owned(),
        to: "1.1.0".to_owned(),
    })
}

#[track_caller]
fn kept(promise: Durable) {
    promise.wait_blocking().unwrap();
}

#[track_caller]
fn verified(dir: &Path) -> Verdict {
    verify_folder(dir, &key(), None, Signatures::Every).unwrap()
}

#[track_caller]
fn decision(ledger: &Ledger, n: u64) -> Decision {
    ledger.show(call(n)).unwrap().unwrap().decision
}

#[test]
fn calls_that_the_first_process_began_end_through_the_second() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = open(dir.path());
    kept(first.intent(intent(1)));
    let given = first.hand_over().unwrap();
    // This one waits in the queue until it is decided who writes.
    let waiting = first.intent(intent(2));
    let (second, open_calls) = adopt(dir.path(), &given, given.records()).unwrap();
    assert_eq!(open_calls, [call(1)]);
    second.sign().unwrap();
    kept(second.append(&upgrade(1)));
    let (ours, theirs) = UnixStream::pair().unwrap();
    given.complete(ours).unwrap();
    let following = {
        let second = second.clone();
        thread::spawn(move || second.follow(&theirs, open_calls))
    };
    kept(waiting);
    kept(second.intent(intent(3)));
    kept(first.outcome(outcome(1)));
    kept(second.outcome(outcome(3)));
    for n in 10..200 {
        kept(first.intent(intent(n)));
        drop(first.outcome(outcome(n)));
    }
    let twice = first.intent(intent(3)).wait_blocking();
    assert!(matches!(twice, Err(Error::AlreadyKnown)));
    let unopened = first.outcome(outcome(4)).wait_blocking();
    assert!(matches!(unopened, Err(Error::NotOpen)));
    let third = try_open(dir.path(), 64 * 1024).err();
    assert!(matches!(third, Some(Error::Locked { .. })));

    first.close();
    drop(first);
    let left = following.join().unwrap().unwrap();
    assert_eq!(left, [call(2)], "what it left open is closed when it ends");
    assert_eq!(decision(&second, 1), Decision::Allowed);
    assert_eq!(decision(&second, 2), Decision::Unknown);
    assert_eq!(second.list(&Filter::default()).unwrap().len(), 193);
    second.close();
    let verdict = verified(dir.path());
    assert_eq!((verdict.calls, verdict.open, verdict.unknown), (193, 0, 1));
    drop(second);
    assert!(open(dir.path()).1.swept.is_empty());
}

#[test]
fn a_hand_over_that_is_dropped_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    kept(ledger.intent(intent(1)));
    let given = ledger.hand_over().unwrap();
    let waiting = ledger.outcome(outcome(1));
    assert!(matches!(
        ledger.list(&Filter::default()),
        Err(Error::Closed)
    ));
    drop(given);
    kept(waiting);
    assert_eq!(decision(&ledger, 1), Decision::Allowed);
    // The lock is still held, and by this one.
    assert!(matches!(
        try_open(dir.path(), 64 * 1024).err(),
        Some(Error::Locked { .. })
    ));
    ledger.close();
    let verdict = verified(dir.path());
    assert_eq!((verdict.calls, verdict.open), (1, 0));
}

#[test]
fn a_second_process_writes_nothing_before_the_word() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = open(dir.path());
    kept(first.intent(intent(1)));
    let given = first.hand_over().unwrap();
    let end = first.end();
    let mut second_options = options(dir.path());
    // An anchor that fails is an alarm, and an alarm is a record.
    second_options.anchor = Some(Anchor::Command(vec!["/nowhere/at/all".to_owned()]));
    let held = Held {
        lock: given.lock().unwrap(),
        records: given.records(),
    };
    let seen = ahead(dir.path(), BEFORE_ALL);
    let (second, _) = Ledger::adopt(second_options, devices(&clock()), seen, held).unwrap();
    second.tend();
    let early = second.append(&upgrade(1));
    assert!(matches!(
        second.list(&Filter::default()),
        Err(Error::Closed)
    ));
    second.close();
    assert!(matches!(early.wait_blocking(), Err(Error::Closed)));
    assert_eq!(second.end(), end);
    drop(second);
    drop(given);
    kept(first.outcome(outcome(1)));
    first.close();
    let verdict = verified(dir.path());
    assert_eq!((verdict.calls, verdict.open, verdict.unknown), (1, 0, 0));
}

#[test]
fn a_second_process_that_wrote_and_died_is_written_on_from() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = open(dir.path());
    kept(first.intent(intent(1)));
    let given = first.hand_over().unwrap();
    let waiting = first.intent(intent(2));
    let (second, _) = adopt(dir.path(), &given, given.records()).unwrap();
    second.sign().unwrap();
    kept(second.append(&upgrade(1)));
    drop(second);
    given.reopen().unwrap();
    kept(waiting);
    kept(first.outcome(outcome(1)));
    kept(first.outcome(outcome(2)));
    assert!(matches!(
        try_open(dir.path(), 64 * 1024).err(),
        Some(Error::Locked { .. })
    ));
    first.close();
    let verdict = verified(dir.path());
    assert_eq!((verdict.calls, verdict.open, verdict.unknown), (2, 0, 0));
    drop(first);
    assert!(open(dir.path()).1.swept.is_empty());
}

#[test]
fn a_ledger_that_is_not_what_was_promised_is_not_taken() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, _) = open(dir.path());
    kept(first.intent(intent(1)));
    let given = first.hand_over().unwrap();
    let short = adopt(dir.path(), &given, given.records() + 1).err();
    assert!(matches!(short, Some(Error::NotHandedOver { .. })));
    let elsewhere = adopt(other.path(), &given, given.records()).err();
    assert!(matches!(elsewhere, Some(Error::NotHandedOver { .. })));
    let stranger = Held {
        lock: fs::File::open(dir.path()).unwrap().into(),
        records: given.records(),
    };
    let seen = ahead(dir.path(), BEFORE_ALL);
    let stranger = Ledger::adopt(options(dir.path()), devices(&clock()), seen, stranger).err();
    assert!(matches!(stranger, Some(Error::Locked { .. })));
    drop(given);
    kept(first.outcome(outcome(1)));
}

#[test]
fn a_process_that_broke_off_leaves_its_calls_unknown_and_writes_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = open(dir.path());
    kept(first.intent(intent(1)));
    let given = first.hand_over().unwrap();
    let (second, open_calls) = adopt(dir.path(), &given, given.records()).unwrap();
    second.sign().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    given.complete(ours).unwrap();
    let breaking = theirs.try_clone().unwrap();
    let following = {
        let second = second.clone();
        thread::spawn(move || second.follow(&theirs, open_calls))
    };
    kept(first.intent(intent(2)));
    breaking.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(following.join().unwrap().unwrap(), [call(1), call(2)]);
    assert!(first.outcome(outcome(1)).wait_blocking().is_err());
    assert!(matches!(
        first.intent(intent(3)).wait_blocking(),
        Err(Error::Closed)
    ));
    second.close();
    assert_eq!(verified(dir.path()).unknown, 2);
}

#[test]
fn a_ledger_is_handed_on_from_one_process_to_the_next_and_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (mut holder, _) = open(dir.path());
    for n in 0..5 {
        kept(holder.intent(intent(n)));
        kept(holder.outcome(outcome(n)));
        let given = holder.hand_over().unwrap();
        let (next, open_calls) = adopt(dir.path(), &given, given.records()).unwrap();
        next.sign().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        given.complete(ours).unwrap();
        holder.close();
        assert!(next.follow(&theirs, open_calls).unwrap().is_empty());
        holder = next;
    }
    holder.close();
    assert_eq!(verified(dir.path()).calls, 5);
    drop(holder);
    open(dir.path());
}

#[test]
fn closing_a_ledger_that_stands_still_writes_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    let given = ledger.hand_over().unwrap();
    let waiting = ledger.intent(intent(1));
    let ledger = Arc::new(ledger);
    let closing = {
        let ledger = Arc::clone(&ledger);
        thread::spawn(move || ledger.close())
    };
    drop(given);
    closing.join().unwrap();
    kept(waiting);
    assert_eq!(verified(dir.path()).calls, 1);
}

/// What is read while nobody writes is only what was written since: that is how long calls wait.
#[test]
fn a_journal_is_read_ahead_while_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = open(dir.path());
    let write = |calls: std::ops::Range<u64>| {
        let each = |n| [first.intent(intent(n)), first.outcome(outcome(n))];
        let promises: Vec<_> = calls.flat_map(each).collect();
        promises.into_iter().for_each(kept);
    };
    write(0..2_000);
    let seen = ahead(dir.path(), first.end());
    write(2_000..2_100);
    kept(first.intent(intent(2_100)));
    let given = first.hand_over().unwrap();
    let (second, open_calls) = adopt_from(dir.path(), seen, &given, given.records()).unwrap();
    assert_eq!(open_calls, [call(2_100)]);
    second.sign().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    given.complete(ours).unwrap();
    first.close();
    assert_eq!(second.follow(&theirs, open_calls).unwrap(), [call(2_100)]);
    second.close();
    assert_eq!(verified(dir.path()).calls, 2_101);

    let beyond = Position {
        seq: first.end().seq + 1,
        ..first.end()
    };
    let read = Ahead::read(dir.path(), &*TestSigner::new(1), beyond);
    assert!(matches!(read.err(), Some(Error::Damaged { .. })));
    let other_key = Ahead::read(dir.path(), &*TestSigner::new(2), first.end());
    assert!(matches!(other_key.err(), Some(Error::Damaged { .. })));
}
