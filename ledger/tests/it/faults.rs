//! A disk that fails, a folder that somebody else writes to, a journal that was tampered with.

use std::{fs, sync::Arc};

use exeat_ledger::{
    Anchor, Error, Filter, Ledger, Options,
    verify::{Signatures, verify_folder},
};

use crate::{
    clock, devices,
    disk::{Fault, MemoryDisk},
    key,
    keys::{TestSealer, TestSigner},
    open, records, refusal, reserving, try_open,
};

fn open_on(disk: &MemoryDisk, dir: &std::path::Path) -> Result<Ledger, Error> {
    let options = Options {
        segment_bytes: 8 * 1024,
        ..Options::new(dir.to_owned())
    };
    Ledger::open_on(Arc::new(disk.clone()), options, devices(&clock())).map(|(ledger, _)| ledger)
}

fn write_calls(ledger: &Ledger, numbers: std::ops::Range<u64>) {
    for n in numbers {
        ledger.intent(records::intent(n)).wait_blocking().unwrap();
        ledger.outcome(records::outcome(n)).wait_blocking().unwrap();
    }
}

fn count(ledger: &Ledger) -> usize {
    ledger.list(&Filter::default()).unwrap().len()
}

#[test]
fn a_second_gate_on_the_same_folder_is_refused_and_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let (_ledger, _) = open(dir.path());
    for round in 0..2 {
        match try_open(dir.path(), 64 * 1024) {
            Err(Error::Locked { pid, .. }) if round == 0 => {
                assert_eq!(pid, std::process::id().to_string());
            }
            Err(Error::Locked { .. }) => {}
            other => panic!("{:?}", other.map(|(_, recovery)| recovery)),
        }
        // Deleting the note of who holds it opens nothing.
        if round == 0 {
            fs::remove_file(dir.path().join("holder")).unwrap();
        }
    }
}

#[test]
fn the_folder_is_free_again_after_the_last_handle_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    let other = ledger.clone();
    drop(ledger);
    write_calls(&other, 0..1);
    drop(other);
    let (ledger, recovery) = open(dir.path());
    assert_eq!((recovery.records, count(&ledger)), (4, 1));
}

#[test]
fn bytes_of_another_writer_are_reported_with_their_place_and_nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    write_calls(&ledger, 0..2);
    drop(ledger);
    let segment = dir.path().join("journal/00000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let used = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    // Another process that ignores the lock appends what it takes for the next batch, twice.
    let batch = bytes[64..used].to_vec();
    bytes[used..used + batch.len()].copy_from_slice(&batch);
    fs::write(&segment, &bytes).unwrap();
    match try_open(dir.path(), 64 * 1024) {
        Err(Error::Damaged {
            segment: 1,
            offset,
            problem,
        }) => {
            assert_eq!(offset, used as u64);
            assert_eq!(problem, "expected record 8, got 0");
        }
        other => panic!("{:?}", other.map(|(_, recovery)| recovery)),
    }
    assert_eq!(fs::read(&segment).unwrap(), bytes);
    let failure = verify_folder(dir.path(), &key(), None, Signatures::Every).unwrap_err();
    assert_eq!(failure.place, format!("segment 1, offset {used}"));
}

#[test]
fn a_write_that_was_cut_short_is_kept_aside_and_named_in_a_sweep() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    write_calls(&ledger, 0..2);
    ledger.intent(records::intent(7)).wait_blocking().unwrap();
    drop(ledger);
    let segment = dir.path().join("journal/00000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let used = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    let half = bytes[64..500].to_vec();
    bytes[used..used + half.len()].copy_from_slice(&half);
    fs::write(&segment, &bytes).unwrap();

    let (ledger, recovery) = open(dir.path());
    let cut = recovery.cut.unwrap();
    assert_eq!(
        (cut.segment, cut.offset, cut.bytes),
        (1, used as u64, half.len() as u64)
    );
    assert_eq!(recovery.swept, [records::call(7)]);
    let aside = fs::read(dir.path().join(format!("journal/cut-00000001-{used}.bin"))).unwrap();
    assert_eq!(aside, half);
    let mut text = Vec::new();
    ledger.export(&mut text, &Filter::default()).unwrap();
    let text = String::from_utf8(text).unwrap();
    let wanted = format!(
        r#""body":{{"calls":1,"cut":{{"bytes":{},"offset":{used},"segment":1}}}},"kind":"sweep""#,
        half.len()
    );
    assert!(text.contains(&wanted), "{text}");
    drop(ledger);
    let (_, recovery) = open(dir.path());
    assert!(recovery.cut.is_none() && recovery.swept.is_empty());
}

#[test]
fn a_full_disk_refuses_loses_nothing_and_goes_on_when_there_is_room() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    let ledger = open_on(&disk, dir.path()).unwrap();
    disk.fail(Fault::Full);
    let mut written = 0;
    let refused = loop {
        match ledger.intent(reserving(written, 5)).wait_blocking() {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(
        written == 0,
        "the first segment is made when the first record comes"
    );
    assert!(
        matches!(
            refused,
            Error::Disk {
                doing: "make room in the journal",
                ..
            }
        ),
        "{refused}"
    );
    disk.fail(Fault::None);
    write_calls(&ledger, 0..2);
    disk.fail(Fault::Full);
    let mut n = 2;
    while ledger.intent(reserving(n, 5)).wait_blocking().is_ok() {
        n += 1;
        assert!(n < 1000, "the disk is never full");
    }
    // The same call may be tried again: the refused record left no trace in the books either.
    assert_eq!(
        ledger.budget("claude/day").unwrap_or_default().reserved,
        5 * (n - 2)
    );
    disk.fail(Fault::None);
    ledger.intent(reserving(n, 5)).wait_blocking().unwrap();
    let n = usize::try_from(n).unwrap();
    assert_eq!(count(&ledger), n + 1);
    drop(ledger);
    let other = tempfile::tempdir().unwrap();
    assert_eq!(count(&open_on(&disk, other.path()).unwrap()), n + 1);
}

#[test]
fn a_failing_disk_refuses_and_memory_falls_back_to_what_the_disk_has() {
    for fault in [Fault::Write, Fault::Sync] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
        let ledger = open_on(&disk, dir.path()).unwrap();
        write_calls(&ledger, 0..2);
        disk.fail(fault);
        for _ in 0..3 {
            let error = ledger.intent(reserving(7, 5)).wait_blocking().unwrap_err();
            assert!(matches!(error, Error::Disk { .. }), "{error}");
        }
        disk.fail(Fault::None);
        ledger.intent(reserving(7, 5)).wait_blocking().unwrap();
        assert_eq!(ledger.budget("claude/day").unwrap().reserved, 5);
        assert_eq!(count(&ledger), 3);
        drop(ledger);
        let other = tempfile::tempdir().unwrap();
        let after = disk.lose_power(|| false);
        assert_eq!(
            count(&open_on(&after, other.path()).unwrap()),
            3,
            "{fault:?}"
        );
    }
}

#[test]
fn refusals_that_a_failing_disk_did_not_take_are_counted_and_written_later() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    let ledger = open_on(&disk, dir.path()).unwrap();
    write_calls(&ledger, 0..1);
    // More than a second's worth, so that some are counted while the disk fails.
    disk.fail(Fault::Sync);
    for n in 100..300 {
        ledger.refusal(refusal(n));
    }
    ledger.flush();
    disk.fail(Fault::None);
    ledger.flush();
    let listed = ledger.list(&Filter::default()).unwrap();
    let counted: u64 = listed
        .iter()
        .filter_map(|r| r.refusal.as_ref())
        .map(|r| r.count)
        .sum();
    assert_eq!(counted, 200);
}

#[test]
fn a_journal_with_a_segment_missing_swapped_or_of_another_key_is_refused() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    let ledger = open_on(&disk, dir.path()).unwrap();
    write_calls(&ledger, 0..20);
    drop(ledger);
    assert!(disk.used(3) > 64);

    let check = |disk: &MemoryDisk, expected: &str| {
        let dir = tempfile::tempdir().unwrap();
        let error = open_on(disk, dir.path())
            .err()
            .expect("must be refused")
            .to_string();
        assert_eq!(error, expected);
    };
    let missing = disk.cut_at(usize::MAX);
    missing.remove(2);
    check(
        &missing,
        "the journal is damaged in segment 2 at offset 0: the segment is missing",
    );
    let emptied = disk.cut_at(usize::MAX);
    emptied.edit(2, |bytes| bytes.fill(0));
    check(
        &emptied,
        "the journal is damaged in segment 2 at offset 0: the segment is empty and one behind it is not",
    );
    let swapped = disk.cut_at(usize::MAX);
    let mut third = Vec::new();
    swapped.edit(3, |bytes| third.clone_from(bytes));
    swapped.edit(2, |bytes| *bytes = third);
    check(
        &swapped,
        "the journal is damaged in segment 2 at offset 0: a segment with the number of another",
    );

    let options = Options {
        segment_bytes: 8 * 1024,
        ..Options::new(dir.path().to_owned())
    };
    let mut other = devices(&clock());
    other.signer = TestSigner::new(2);
    let result = Ledger::open_on(Arc::new(disk), options, other);
    let error = result.err().expect("must be refused").to_string();
    assert!(error.contains("a checkpoint of another journal"), "{error}");
}

#[test]
fn a_journal_that_ends_before_its_anchor_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let anchor = dir.path().join("anchor");
    let folder = dir.path().join("ledger");
    let options = Options {
        segment_bytes: 64 * 1024,
        anchor: Some(Anchor::File(anchor.clone())),
        ..Options::new(folder.clone())
    };
    let begin = || {
        let sealer = Arc::new(TestSealer);
        Ledger::open(options.clone(), TestSigner::new(1), sealer, clock())
    };
    let (ledger, _) = begin().unwrap();
    write_calls(&ledger, 0..2);
    drop(ledger);
    let early = fs::read(folder.join("journal/00000001.seg")).unwrap();
    let (ledger, _) = begin().unwrap();
    write_calls(&ledger, 2..4);
    drop(ledger);
    let note = fs::read_to_string(&anchor).unwrap();
    assert_eq!(note.lines().nth(1), Some("15"));

    // Somebody puts yesterday's journal back.
    fs::write(folder.join("journal/00000001.seg"), early).unwrap();
    match begin() {
        Err(Error::Anchored { problem }) => {
            assert_eq!(problem, "15 records were anchored, 8 are left");
        }
        other => panic!("{:?}", other.map(|(_, recovery)| recovery)),
    }
    let failure = verify_folder(&folder, &key(), Some(&note), Signatures::Every).unwrap_err();
    assert_eq!(
        failure.problem,
        "the tail is missing: 7 records that were anchored"
    );
}
