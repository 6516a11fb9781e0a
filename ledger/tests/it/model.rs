//! Random lives of a ledger with a crash in them: what was acknowledged is there, every intent has one ending, budgets
//! and approvals are what the records say. A model that shares no code with the state keeps the books.

use std::collections::{BTreeMap, BTreeSet};

use exeat_ledger::{
    Approval, ApprovalEvent, ApprovalUse, BudgetChange, Durable, Ending, Envelope, Error, Filter,
    Intent, Ledger, Means, Options, Outcome, Record, Settlement,
    verify::{Signatures, verify_export},
};
use exeat_types::{AccountId, AgentId, ApprovalId, Digest, Timestamp, ToolName};
use proptest::prelude::*;

use crate::{clock, devices, disk::MemoryDisk, key, records, reserving};

const SEGMENT: u64 = 16 * 1024;

#[derive(Debug, Clone)]
enum Op {
    Intent {
        n: u64,
        amount: u64,
        approval: bool,
    },
    Outcome {
        n: u64,
        ending: Ending,
        settled: Option<u64>,
    },
    Limit(u64),
    Approval(ApprovalEvent),
    Wait,
}

fn op() -> impl Strategy<Value = Op> {
    let ending = prop_oneof![
        4 => Just(Ending::Completed),
        1 => Just(Ending::RefusedLate),
        1 => Just(Ending::Cut),
        1 => Just(Ending::UpstreamFailed)
    ];
    let event = prop_oneof![
        Just(ApprovalEvent::Requested),
        Just(ApprovalEvent::Granted),
        Just(ApprovalEvent::Expired)
    ];
    prop_oneof![
        6 => (0..40u64, 0..50u64, prop::bool::weighted(0.2))
            .prop_map(|(n, amount, approval)| Op::Intent { n, amount, approval }),
        5 => (0..40u64, ending, prop::option::of(0..50u64))
            .prop_map(|(n, ending, settled)| Op::Outcome { n, ending, settled }),
        1 => (50..400u64).prop_map(Op::Limit),
        2 => event.prop_map(Op::Approval),
        3 => Just(Op::Wait),
    ]
}

fn approval(event: ApprovalEvent) -> Record {
    Record::Approval(Approval {
        account: AccountId::local(),
        agent: AgentId::new("claude").unwrap(),
        approval: ApprovalId::new("apr-1").unwrap(),
        asked: None,
        by: None,
        digest: Digest::of(b"action"),
        event,
        expires: Timestamp::from_millis(4_000_000_000_000),
        tool: ToolName::new("github.issues.create").unwrap(),
        uses: 2,
        vote: None,
    })
}

fn record(op: &Op) -> Option<Record> {
    Some(match op {
        Op::Intent {
            n,
            amount,
            approval,
        } => {
            let approval = approval.then(|| ApprovalUse {
                by: Means::Local,
                id: ApprovalId::new("apr-1").unwrap(),
            });
            Record::Intent(Intent {
                approval,
                ..reserving(*n, *amount)
            })
        }
        Op::Outcome { n, ending, settled } => {
            let settled = settled.map(|amount| Settlement {
                amount,
                budget: "claude/day".to_owned(),
                unit: "USD-6".to_owned(),
            });
            Record::Outcome(Outcome {
                result: *ending,
                settled: settled.into_iter().collect(),
                ..records::outcome(*n)
            })
        }
        Op::Limit(limit) => Record::BudgetChange(BudgetChange {
            budget: "claude/day".to_owned(),
            by: None,
            limit: Some(*limit),
            unit: "USD-6".to_owned(),
        }),
        Op::Approval(event) => approval(*event),
        Op::Wait => return None,
    })
}

/// Every record of a ledger but checkpoints and sweeps, after checking that its export verifies.
fn all_records(ledger: &Ledger) -> Vec<Record> {
    let mut text = Vec::new();
    ledger.export(&mut text, &Filter::default()).unwrap();
    let checkpoint = ledger.checkpoint();
    verify_export(
        text.as_slice(),
        &key(),
        checkpoint.as_deref(),
        Signatures::Every,
    )
    .unwrap();
    let lines = text
        .split(|&byte| byte == b'\n')
        .skip(1)
        .filter(|line| !line.is_empty());
    let read = |line: &[u8]| Envelope::parse(line).unwrap().record().unwrap();
    let keep = |r: &Record| !matches!(r, Record::Checkpoint(_) | Record::Sweep(_));
    lines.map(read).filter(keep).collect()
}

/// The books of the model: what is reserved, spent and held, and how often the approval was used.
fn check_books(ledger: &Ledger, records: &[Record]) {
    let mut open = BTreeMap::new();
    let (mut spent, mut held, mut uses) = (0u64, 0u64, 0u32);
    for record in records {
        match record {
            Record::Intent(intent) => {
                let amount = intent.reservations.first().unwrap().amount;
                assert!(
                    open.insert(intent.call, amount).is_none(),
                    "two intents open"
                );
                uses += u32::from(intent.approval.is_some());
            }
            Record::Outcome(outcome) => {
                let amount = open
                    .remove(&outcome.call)
                    .expect("an outcome without an intent");
                let settled = outcome.settled.first().map(|s| s.amount);
                match outcome.result {
                    Ending::Unknown => held += amount,
                    Ending::RefusedLate => spent += settled.unwrap_or(0),
                    _ => spent += settled.unwrap_or(amount),
                }
            }
            _ => {}
        }
    }
    let reserved: u64 = open.values().sum();
    let budget = ledger.budget("claude/day").unwrap_or_default();
    assert_eq!(
        (budget.reserved, budget.spent, budget.held),
        (reserved, spent, held)
    );
    assert!(uses <= 2, "an approval for two uses was used {uses} times");
}

fn body(record: &Record) -> Vec<u8> {
    record.body().unwrap()
}

fn open_on(disk: &MemoryDisk, dir: &std::path::Path) -> Result<Ledger, Error> {
    let options = Options {
        segment_bytes: SEGMENT,
        ..Options::new(dir.to_owned())
    };
    Ledger::open_on(
        std::sync::Arc::new(disk.clone()),
        options,
        devices(&clock()),
    )
    .map(|(ledger, _)| ledger)
}

/// Plays the operations; gives what was acknowledged and everything that was asked for.
fn play(ledger: &Ledger, ops: &[Op]) -> (Vec<Vec<u8>>, BTreeSet<Vec<u8>>) {
    let (mut acknowledged, mut asked) = (Vec::new(), BTreeSet::new());
    let mut waiting: Vec<(Vec<u8>, Durable)> = Vec::new();
    let mut settle = |waiting: &mut Vec<(Vec<u8>, Durable)>| {
        for (body, promise) in waiting.drain(..) {
            if promise.wait_blocking().is_ok() {
                acknowledged.push(body);
            }
        }
    };
    for op in ops {
        match record(op) {
            Some(record) => {
                asked.insert(body(&record));
                waiting.push((body(&record), ledger.append(&record)));
            }
            None => settle(&mut waiting),
        }
    }
    settle(&mut waiting);
    (acknowledged, asked)
}

#[track_caller]
fn check_after_crash(disk: &MemoryDisk, acknowledged: &[Vec<u8>], asked: &BTreeSet<Vec<u8>>) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open_on(disk, dir.path()).expect("a crash never damages the journal");
    let records = all_records(&ledger);
    let mut bodies = records.iter().map(body);
    for wanted in acknowledged {
        assert!(
            bodies.any(|body| body == *wanted),
            "an acknowledged record is gone"
        );
    }
    for record in &records {
        let is_sweep = matches!(record, Record::Outcome(o) if o.result == Ending::Unknown);
        assert!(
            is_sweep || asked.contains(&body(record)),
            "a record that nobody wrote"
        );
    }
    assert!(
        ledger.state().open_calls().is_empty(),
        "a call was left open"
    );
    check_books(&ledger, &records);
    // It can be written on as if nothing had happened.
    ledger.intent(records::intent(900)).wait_blocking().unwrap();
    ledger
        .outcome(records::outcome(900))
        .wait_blocking()
        .unwrap();
    all_records(&ledger);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_loss_of_power_at_any_sync_loses_nothing_acknowledged(
        ops in prop::collection::vec(op(), 1..40),
        crash in 0..16u64,
        sectors in prop::collection::vec(any::<bool>(), 64),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let disk = MemoryDisk::default();
        disk.crash_at(crash);
        let ledger = open_on(&disk, dir.path()).unwrap();
        let (acknowledged, asked) = play(&ledger, &ops);
        drop(ledger);
        let mut pick = sectors.into_iter().cycle();
        let crashed = disk.crashed().unwrap_or(disk);
        let after = crashed.lose_power(|| pick.next().unwrap());
        check_after_crash(&after, &acknowledged, &asked);
    }

    #[test]
    fn a_journal_cut_at_any_byte_opens_with_every_batch_before_the_cut(
        ops in prop::collection::vec(op(), 1..40),
        part in 0.0..1.0f64,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let disk = MemoryDisk::default();
        let ledger = open_on(&disk, dir.path()).unwrap();
        let (_, asked) = play(&ledger, &ops);
        drop(ledger);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a random place")]
        let place = (disk.bytes() as f64 * part) as usize;
        check_after_crash(&disk.cut_at(place), &[], &asked);
    }

    #[test]
    fn one_flipped_bit_is_an_error_or_changes_nothing(
        ops in prop::collection::vec(op(), 8..30),
        places in prop::collection::vec(any::<prop::sample::Index>(), 40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let disk = MemoryDisk::default();
        let ledger = open_on(&disk, dir.path()).unwrap();
        let (acknowledged, _) = play(&ledger, &ops);
        drop(ledger);
        let bits = 8 * (disk.used(1) + 64);
        for place in places {
            let flipped = disk.flip(place.index(bits));
            let other = tempfile::tempdir().unwrap();
            match open_on(&flipped, other.path()) {
                Err(Error::Damaged { .. }) => {}
                Err(error) => prop_assert!(false, "{error}"),
                Ok(ledger) => {
                    let mut bodies = all_records(&ledger).into_iter().map(|r| body(&r));
                    for wanted in &acknowledged {
                        prop_assert!(bodies.any(|body| body == *wanted), "a record was lost");
                    }
                }
            }
        }
    }
}
