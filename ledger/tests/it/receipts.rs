//! Receipts from the outside: list, show, follow, export, verify.

use std::{fs, time::Duration};

use exeat_ledger::{
    Decision, Error, Filter, Kind, Ledger, NoteKey, Outcome, Receipt,
    verify::{Signatures, verify_export, verify_folder},
};
use exeat_types::AgentId;

use crate::{
    key,
    keys::TestSigner,
    open, records,
    records::{START, call},
    refusal,
};

/// Calls 0..20 completed, 20 open, 21 cut by nobody knows what, 22..25 refused.
fn fill(ledger: &Ledger) {
    for n in 0..22 {
        ledger.intent(records::intent(n)).wait_blocking().unwrap();
    }
    let mut promises: Vec<_> = (0..20)
        .map(|n| ledger.outcome(records::outcome(n)))
        .collect();
    promises.push(ledger.outcome(Outcome::unknown(call(21))));
    for promise in promises {
        promise.wait_blocking().unwrap();
    }
    for n in 22..25 {
        ledger.refusal(refusal(n));
    }
    ledger.flush();
}

fn numbers(receipts: &[Receipt]) -> Vec<u64> {
    let number = |receipt: &Receipt| (0..30).find(|n| call(*n) == receipt.call).unwrap();
    receipts.iter().map(number).collect()
}

#[track_caller]
fn check(ledger: &Ledger, filter: &Filter, expected: &[u64]) {
    assert_eq!(
        numbers(&ledger.list(filter).unwrap()),
        expected,
        "{filter:?}"
    );
}

#[test]
fn lists_are_newest_first_and_paged() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    fill(&ledger);
    let all: Vec<_> = (0..25).rev().collect();
    check(&ledger, &Filter::default(), &all);
    let page = Filter {
        limit: Some(3),
        ..Filter::default()
    };
    check(&ledger, &page, &[24, 23, 22]);
    check(
        &ledger,
        &Filter {
            after: Some(call(22)),
            ..page
        },
        &[21, 20, 19],
    );
    let moment = |millis| Some(START.after(Duration::from_millis(millis)));
    let times = Filter {
        since: moment(3),
        until: moment(6),
        ..Filter::default()
    };
    check(&ledger, &times, &[5, 4, 3]);
}

#[test]
fn lists_are_filtered_by_agent_tool_and_decision() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    fill(&ledger);
    let agent = Some(AgentId::new("codex").unwrap());
    let of_agent = Filter {
        agent,
        ..Filter::default()
    };
    check(&ledger, &of_agent, &[21, 18, 15, 12, 9, 6, 3, 0]);
    let tool = |name: &str| Some(name.to_owned());
    let of_both = Filter {
        tool: tool("github.repos.get"),
        ..of_agent
    };
    check(&ledger, &of_both, &[21, 15, 9, 3]);
    let some = |name, limit| Filter {
        tool: tool(name),
        limit,
        ..Filter::default()
    };
    check(&ledger, &some("github.repos.get", Some(2)), &[21, 19]);
    check(&ledger, &some("github.repos.*", Some(4)), &[24, 23, 22, 21]);
    check(&ledger, &some("none", None), &[]);
    let decided = |decision| Filter {
        decision: Some(decision),
        ..Filter::default()
    };
    check(&ledger, &decided(Decision::Open), &[20]);
    check(&ledger, &decided(Decision::Unknown), &[21]);
    check(&ledger, &decided(Decision::Refused), &[24, 23, 22]);
}

#[test]
fn a_receipt_joins_intent_and_outcome_and_survives_a_lost_index() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    fill(&ledger);
    let receipt = ledger.show(call(4)).unwrap().unwrap();
    assert_eq!(receipt.intent, Some(records::intent(4)));
    assert_eq!(receipt.outcome, Some(records::outcome(4)));
    assert_eq!(
        (receipt.decision, receipt.closed),
        (Decision::Allowed, Some(START))
    );
    let refused = ledger.show(call(23)).unwrap().unwrap();
    assert_eq!(
        (refused.refusal, refused.decision),
        (Some(refusal(23)), Decision::Refused)
    );
    assert_eq!(ledger.show(call(99)).unwrap(), None);
    let all = ledger.list(&Filter::default()).unwrap();
    drop(ledger);

    for damage in [None, Some(b"not a database".to_vec())] {
        let views = dir.path().join("views.redb");
        match damage {
            None => fs::remove_file(&views).unwrap(),
            Some(bytes) => fs::write(&views, bytes).unwrap(),
        }
        let (ledger, recovery) = open(dir.path());
        let now = ledger.list(&Filter::default()).unwrap();
        assert_eq!(now.len(), all.len());
        assert!(recovery.swept.len() <= 1);
        assert_eq!(
            ledger.show(call(20)).unwrap().unwrap().decision,
            Decision::Unknown
        );
    }
}

#[test]
fn a_call_gets_one_receipt_whatever_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    let refused = |result: Result<_, Error>| result.unwrap_err().to_string();
    ledger.intent(records::intent(1)).wait_blocking().unwrap();
    let twice = ledger.intent(records::intent(1)).wait_blocking();
    assert_eq!(refused(twice), "the call has a receipt already");
    ledger.outcome(records::outcome(1)).wait_blocking().unwrap();
    let again = ledger.outcome(records::outcome(1)).wait_blocking();
    assert_eq!(refused(again), "the call is not open");
    let reused = ledger.intent(records::intent(1)).wait_blocking();
    assert_eq!(refused(reused), "the call has a receipt already");
    ledger.refusal(refusal(1));
    ledger.flush();
    ledger.close();
    let late = ledger.intent(records::intent(2)).wait_blocking();
    assert_eq!(refused(late), "the ledger is closed");
    let verdict = verify_folder(dir.path(), &key(), None, Signatures::Every).unwrap();
    assert_eq!((verdict.calls, verdict.refusals, verdict.open), (1, 0, 0));
}

#[test]
fn an_export_verifies_and_says_how_far_it_is_proven() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    fill(&ledger);
    let mut text = Vec::new();
    let lines = ledger.export(&mut text, &Filter::default()).unwrap();
    let verdict = verify_export(text.as_slice(), &key(), None, Signatures::Every).unwrap();
    assert_eq!(
        (
            verdict.calls,
            verdict.open,
            verdict.unknown,
            verdict.refusals
        ),
        (22, 1, 1, 3)
    );
    assert_eq!((verdict.complete_to, verdict.unsigned), (lines - 1, 1));
    assert!(!verdict.tail_is_proven());

    let anchor = ledger.checkpoint().unwrap();
    let proven = verify_export(text.as_slice(), &key(), Some(&anchor), Signatures::Last).unwrap();
    assert_eq!(proven.anchored_to, Some(lines - 1));

    let cut: Vec<_> = text.split_inclusive(|&byte| byte == b'\n').collect();
    let shorter = cut[..cut.len() - 2].concat();
    let failure =
        verify_export(shorter.as_slice(), &key(), Some(&anchor), Signatures::Last).unwrap_err();
    assert_eq!(
        failure.problem,
        "the tail is missing: 1 records that were anchored"
    );
    let other = NoteKey::of(&*TestSigner::new(9)).unwrap();
    assert!(verify_export(text.as_slice(), &other, None, Signatures::Last).is_err());
}

#[test]
fn a_filtered_export_hides_the_rest_and_still_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    fill(&ledger);
    let filter = Filter {
        agent: Some(AgentId::new("codex").unwrap()),
        ..Filter::default()
    };
    let mut text = Vec::new();
    ledger.export(&mut text, &filter).unwrap();
    let anchor = ledger.checkpoint().unwrap();
    let verdict = verify_export(text.as_slice(), &key(), Some(&anchor), Signatures::Every).unwrap();
    assert_eq!((verdict.calls, verdict.refusals), (8, 0));
    assert!(verdict.hidden > 0 && verdict.tail_is_proven());
    let text = String::from_utf8(text).unwrap();
    assert!(!text.contains("\"agent\":\"claude\""));
}

#[test]
fn every_flipped_bit_of_an_export_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    for n in 0..2 {
        ledger.intent(records::intent(n)).wait_blocking().unwrap();
        ledger.outcome(records::outcome(n)).wait_blocking().unwrap();
    }
    let mut text = Vec::new();
    ledger.export(&mut text, &Filter::default()).unwrap();
    let last = text[..text.len() - 1]
        .iter()
        .rposition(|&byte| byte == b'\n')
        .unwrap()
        + 1;
    for bit in (0..last * 8).step_by(7).chain(last * 8..text.len() * 8) {
        let mut bytes = text.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let result = verify_export(bytes.as_slice(), &key(), None, Signatures::Every);
        assert!(result.is_err(), "bit {bit}: {result:?}");
    }
}

#[test]
fn following_misses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        ledger.intent(records::intent(0)).done().await.unwrap();
        let mut tail = ledger.tail();
        for n in 1..400 {
            ledger.intent(records::intent(n)).done().await.unwrap();
        }
        let mut seen = Vec::new();
        while seen.len() < 399 {
            let entries = tail.next().await.unwrap();
            seen.extend(
                entries
                    .into_iter()
                    .filter(|entry| entry.kind == Kind::CallIntent),
            );
        }
        assert!(seen[398].text.contains(&call(399).to_string()));
        let numbers: Vec<_> = seen.iter().map(|entry| entry.position.seq).collect();
        assert!(numbers.is_sorted());
        ledger.close();
        drop(ledger);
        while !tail.next().await.unwrap().is_empty() {}
    });
}
