//! Exports of every version of the format that was ever written; the reader of today must still read and verify them.
//!
//! A fixture is never changed. A new version of the format gets a folder of its own.

use std::{fs, path::Path};

use exeat_ledger::{
    Envelope, Kind, NoteKey, Record,
    verify::{Signatures, verify_export},
};

#[test]
fn version_1_is_still_read_and_verified() {
    let (export, key, counts) = fixture("v1");
    assert_eq!(counts, (4, 1, 1, 2));
    let mut kinds = kinds(&export);
    // A kind that came later has a fixture of its own.
    let (upgrade, _, counts) = fixture("v1-upgrade");
    assert_eq!(counts, (1, 0, 0, 0));
    kinds.extend(self::kinds(&upgrade));
    let (limits, _, counts) = fixture("v1-limits");
    assert_eq!(counts, (2, 0, 0, 2));
    kinds.extend(self::kinds(&limits));
    for kind in Kind::ALL {
        assert!(kinds.contains(&kind), "no fixture has `{}`", kind.name());
    }
    let damaged = export.replacen("\"amount\":\"5\"", "\"amount\":\"4\"", 1);
    assert_ne!(damaged, export);
    assert!(verify_export(damaged.as_bytes(), &key, None, Signatures::Last).is_err());
}

/// An export, its key, and how many calls, open calls, unknown calls and refusals it has.
fn fixture(name: &str) -> (String, NoteKey, (u64, u64, u64, u64)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let read = |file: &str| fs::read_to_string(folder.join(name).join(file)).unwrap();
    let key: NoteKey = read("key").parse().unwrap();
    let (export, anchor) = (read("export.jsonl"), read("anchor"));
    let verdict = verify_export(export.as_bytes(), &key, Some(&anchor), Signatures::Every).unwrap();
    assert!(verdict.tail_is_proven());
    let counts = (
        verdict.calls,
        verdict.open,
        verdict.unknown,
        verdict.refusals,
    );
    (export, key, counts)
}

/// What its records are about; written again they are the same, byte for byte, unless a member has another form by now.
fn kinds(export: &str) -> Vec<Kind> {
    let kind = |line: &str| {
        let envelope = Envelope::parse(line.as_bytes()).unwrap();
        let record = envelope.record().unwrap();
        let is_old = ["\"reservation\":", "\"settled\":{"]
            .iter()
            .any(|member| line.contains(member));
        assert!(is_old || record.body().unwrap() == envelope.body, "{line}");
        envelope.kind
    };
    export.lines().skip(1).map(kind).collect()
}

#[test]
fn a_reservation_that_stood_alone_is_one_of_several() {
    let (export, _, _) = fixture("v1");
    let record = |wanted: &str| {
        let line = export.lines().find(|line| line.contains(wanted)).unwrap();
        Envelope::parse(line.as_bytes()).unwrap().record().unwrap()
    };
    let Record::Intent(intent) = record("\"reservation\":{\"amount\":\"5\"") else {
        panic!("not an intent");
    };
    let [reserved] = &*intent.reservations else {
        panic!("not one reservation");
    };
    assert_eq!((&*reserved.budget, reserved.amount), ("claude/day", 5));
    assert_eq!((reserved.limit, reserved.window), (None, None));
    let Record::Outcome(outcome) = record("\"settled\":{") else {
        panic!("not an outcome");
    };
    let [settled] = &*outcome.settled else {
        panic!("not one settlement");
    };
    assert_eq!((&*settled.budget, settled.amount), ("", 4));
}
