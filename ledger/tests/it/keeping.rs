//! What lies around the receipts: counted refusals, captures, the anchor, token families, records that are refused.

use std::{fs, sync::Arc, time::Duration};

use exeat_ledger::{
    Anchor, Change, Connection, Ending, Error, Filter, Intent, Ledger, Options, Outcome, Record,
    TokenChange,
    verify::{Signatures, verify_folder},
};
use exeat_types::{AgentId, Digest, FakeClock, FamilyId, Reason};

use crate::{
    clock, key,
    keys::{TestSealer, TestSigner},
    open, records,
    records::{START, call},
    refusal,
};

fn open_at(dir: &std::path::Path, clock: &Arc<FakeClock>, anchor: Option<Anchor>) -> Ledger {
    let options = Options {
        segment_bytes: 64 * 1024,
        anchor,
        ..Options::new(dir.to_owned())
    };
    let sealer = Arc::new(TestSealer);
    Ledger::open(options, TestSigner::new(1), sealer, clock.clone())
        .unwrap()
        .0
}

#[test]
fn refusals_beyond_the_limit_of_a_second_are_counted_in_one_record() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let ledger = open_at(dir.path(), &clock, None);
    for n in 0..250 {
        ledger.refusal(refusal(n));
    }
    clock.advance(Duration::from_secs(1));
    for n in 250..300 {
        ledger.refusal(refusal(n));
    }
    for _ in 0..70 {
        ledger.connection(Connection {
            agent: None,
            count: 1,
            listener: "127.0.0.1:8080".to_owned(),
            reason: Reason::AgentUnknown,
        });
    }
    ledger.flush();
    let receipts = ledger.list(&Filter::default()).unwrap();
    let counts = |n: u64| {
        receipts
            .iter()
            .filter_map(|r| r.refusal.as_ref())
            .filter(|r| r.count == n)
            .count()
    };
    assert_eq!((counts(1), counts(150), receipts.len()), (150, 1, 151));
    let mut text = Vec::new();
    ledger.export(&mut text, &Filter::default()).unwrap();
    let text = String::from_utf8(text).unwrap();
    let wanted = r#"{"body":{"count":70,"listener":"127.0.0.1:8080","reason":"agent-unknown"},"kind":"connection""#;
    assert_eq!(text.matches(wanted).count(), 1, "{text}");
}

#[test]
fn what_was_counted_is_written_when_the_ledger_is_closed() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let ledger = open_at(dir.path(), &clock, None);
    for n in 0..130 {
        ledger.refusal(refusal(n));
    }
    drop(ledger);
    let ledger = open_at(dir.path(), &clock, None);
    let receipts = ledger.list(&Filter::default()).unwrap();
    let all: u64 = receipts
        .iter()
        .filter_map(|r| r.refusal.as_ref())
        .map(|r| r.count)
        .sum();
    assert_eq!((receipts.len(), all), (101, 130));
}

#[test]
fn a_capture_opens_for_its_receipt_and_is_gone_once_erased() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let ledger = open_at(dir.path(), &clock, None);
    let arguments = br#"{"body":{"title":"CANARY-title"}}"#;
    let digest = ledger.capture(call(1), arguments).unwrap();
    let other = ledger.capture(call(2), arguments).unwrap();
    assert_ne!(
        digest, other,
        "equal arguments must not be seen to be equal"
    );
    assert_ne!(digest, Digest::of(arguments));
    let intent = Intent {
        capture: Some(digest),
        ..records::intent(1)
    };
    ledger.intent(intent).wait_blocking().unwrap();
    assert_eq!(
        ledger.captured(call(1), &digest).unwrap().as_deref(),
        Some(&arguments[..])
    );
    assert_eq!(ledger.captured(call(1), &other).unwrap(), None);
    ledger.tend();
    for entry in fs::read_dir(dir.path().join("captures/2026-09-21")).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"CANARY"));
    }
    assert!(ledger.erase_capture(call(1)).unwrap());
    assert_eq!(ledger.captured(call(1), &digest).unwrap(), None);
    assert_eq!(
        ledger.captured(call(2), &other).unwrap().as_deref(),
        Some(&arguments[..])
    );

    clock.advance(Duration::from_secs(29 * 24 * 60 * 60));
    ledger.tend();
    assert!(ledger.captured(call(2), &other).unwrap().is_some());
    clock.advance(Duration::from_secs(2 * 24 * 60 * 60));
    ledger.tend();
    assert_eq!(ledger.captured(call(2), &other).unwrap(), None);
    assert!(!dir.path().join("captures/2026-09-21").exists());
    ledger.outcome(records::outcome(1)).wait_blocking().unwrap();
    drop(ledger);
    verify_folder(dir.path(), &key(), None, Signatures::Every).unwrap();
}

#[test]
fn the_anchor_hears_of_the_head_at_most_once_a_minute_and_a_failure_is_an_alarm() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let file = dir.path().join("anchor");
    let ledger = open_at(
        &dir.path().join("a"),
        &clock,
        Some(Anchor::File(file.clone())),
    );
    let size = || {
        fs::read_to_string(&file)
            .unwrap()
            .lines()
            .nth(1)
            .map(str::to_owned)
    };
    ledger.intent(records::intent(1)).wait_blocking().unwrap();
    ledger.tend();
    assert_eq!(size().as_deref(), Some("1"));
    ledger.outcome(records::outcome(1)).wait_blocking().unwrap();
    ledger.tend();
    assert_eq!(size().as_deref(), Some("1"));
    clock.advance(Duration::from_secs(60));
    ledger.tend();
    assert_eq!(size().as_deref(), Some("3"));

    let copy = dir.path().join("copy");
    let script = format!("cat > {}", copy.display());
    let argv = ["sh", "-c", &script].map(str::to_owned).to_vec();
    let ledger = open_at(&dir.path().join("b"), &clock, Some(Anchor::Command(argv)));
    ledger.intent(records::intent(1)).wait_blocking().unwrap();
    ledger.tend();
    assert_eq!(
        fs::read_to_string(&copy).unwrap(),
        ledger.checkpoint().unwrap()
    );

    let ledger = open_at(
        &dir.path().join("c"),
        &clock,
        Some(Anchor::Command(vec!["false".to_owned()])),
    );
    ledger.intent(records::intent(1)).wait_blocking().unwrap();
    ledger.tend();
    ledger.outcome(records::outcome(1)).wait_blocking().unwrap();
    let mut text = Vec::new();
    ledger.export(&mut text, &Filter::default()).unwrap();
    assert!(
        String::from_utf8(text)
            .unwrap()
            .contains("\"alarm\":\"anchor-failed\"")
    );
}

#[test]
fn token_families_follow_their_records_and_come_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    let family = FamilyId::new("abcdefghij234567").unwrap();
    let change = |change, generation| {
        Record::TokenChange(TokenChange {
            agent: AgentId::new("claude").unwrap(),
            change,
            digest: Digest::of(&[generation]),
            expires: START.after(Duration::from_secs(60)),
            family: family.clone(),
            generation: u32::from(generation),
            listener: None,
        })
    };
    let append = |record| ledger.append(&record).wait_blocking();
    assert!(append(change(Change::Rotated, 1)).is_err());
    append(change(Change::Created, 0)).unwrap();
    assert!(append(change(Change::Created, 0)).is_err());
    append(change(Change::Rotated, 1)).unwrap();
    assert!(append(change(Change::Rotated, 1)).is_err());
    let known = ledger.family(&family).unwrap();
    assert_eq!((known.generation, known.revoked), (1, false));
    append(change(Change::Revoked, 1)).unwrap();
    assert!(append(change(Change::Rotated, 2)).is_err());
    let before = ledger.families();
    drop(ledger);
    let (ledger, _) = open(dir.path());
    assert_eq!(ledger.families(), before);
    assert!(before[0].revoked);
}

#[test]
fn records_that_are_too_long_or_not_for_callers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    let long = Intent {
        rules: vec!["x".repeat(300 * 1024)],
        ..records::intent(1)
    };
    assert!(matches!(
        ledger.intent(long).wait_blocking(),
        Err(Error::TooLarge { .. })
    ));
    let checkpoint = exeat_ledger::Checkpoint {
        note: "forged".to_owned(),
    };
    assert!(
        ledger
            .append(&Record::Checkpoint(checkpoint))
            .wait_blocking()
            .is_err()
    );
    let huge = Outcome {
        request_bytes: u64::MAX,
        ..Outcome::ended(call(1), Ending::Completed)
    };
    ledger.intent(records::intent(1)).wait_blocking().unwrap();
    ledger.outcome(huge).wait_blocking().unwrap();
    let receipt = ledger.show(call(1)).unwrap().unwrap();
    assert_eq!(
        receipt.outcome.unwrap().request_bytes,
        exeat_ledger::COUNT_MAX
    );
}
