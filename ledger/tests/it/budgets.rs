//! Budgets under random lives, under many threads at once, and across a kill: what the records say is never more than a
//! limit lets it be, at any moment.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
};

use exeat_ledger::{
    BudgetChange, Ending, Error, Intent, Ledger, Options, Outcome, Record, Reservation, Settlement,
    State, Window,
};
use exeat_types::Timestamp;
use proptest::prelude::*;

use crate::{clock, devices, disk::MemoryDisk, open, records};

const HOUR: u64 = 3_600_000;
const LIMIT: u64 = 100;

/// The budgets of the model, each with its own kind of window.
const NAMES: [&str; 3] = ["claude/spend/hour", "claude/spend/24h", "claude/spend"];
const ROLLING_SECONDS: u32 = 6 * 3600;

fn window(name: &str, now: u64) -> Option<Window> {
    let at = Timestamp::from_millis;
    let from = now - now % HOUR;
    match name {
        "claude/spend/hour" => Some(Window::Fixed {
            from: at(from),
            until: at(from + HOUR),
        }),
        "claude/spend/24h" => Some(Window::Rolling {
            seconds: ROLLING_SECONDS,
        }),
        _ => None,
    }
}

fn reservation(name: &str, amount: u64, now: u64) -> Reservation {
    Reservation {
        amount,
        budget: name.to_owned(),
        limit: Some(LIMIT),
        unit: "USD-6".to_owned(),
        window: window(name, now),
    }
}

fn intent(n: u64, reservations: Vec<Reservation>) -> Intent {
    Intent {
        reservations,
        ..records::intent(n)
    }
}

fn outcome(n: u64, result: Ending, settled: &[(&str, u64)]) -> Outcome {
    let settled = settled.iter().map(|(name, amount)| Settlement {
        amount: *amount,
        budget: (*name).to_owned(),
        unit: "USD-6".to_owned(),
    });
    Outcome {
        result,
        settled: settled.collect(),
        ..records::outcome(n)
    }
}

#[derive(Debug, Clone)]
enum Op {
    /// Reserves this much of some budgets.
    Reserve { of: [bool; 3], amount: u64 },
    /// Ends one of the open calls so, having used this share of what it reserved, in percent; or nobody knows.
    End {
        which: prop::sample::Index,
        ending: Ending,
        used: Option<u64>,
    },
    /// An operator sets a limit.
    Set { which: usize, limit: Option<u64> },
    /// Time passes.
    Pass { millis: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    let ending = prop_oneof![
        4 => Just(Ending::Completed),
        1 => Just(Ending::RefusedLate),
        1 => Just(Ending::Unknown),
        1 => Just(Ending::Cut)
    ];
    prop_oneof![
        8 => (any::<[bool; 3]>(), 1..60u64).prop_map(|(of, amount)| Op::Reserve { of, amount }),
        7 => (any::<prop::sample::Index>(), ending, prop::option::of(0..=100u64))
            .prop_map(|(which, ending, used)| Op::End { which, ending, used }),
        1 => (0..3usize, prop::option::of(0..150u64)).prop_map(|(which, limit)| Op::Set { which, limit }),
        3 => (1..2 * HOUR).prop_map(|millis| Op::Pass { millis }),
    ]
}

/// What the model knows of one reservation: every one that ever was, kept for ever.
#[derive(Debug, Clone)]
struct Entry {
    name: &'static str,
    amount: u64,
    reserved_at: u64,
    /// When it ended and what counts of it from then on.
    ended: Option<(u64, u64)>,
}

impl Entry {
    /// What counts of it at a moment, in the wide reading of the window that the ledger may take, or the narrow one that
    /// it must.
    fn counts(&self, now: u64, slack: u64) -> u64 {
        let hour = |at: u64| at / HOUR;
        match (self.name, self.ended) {
            ("claude/spend/hour", _) if hour(self.reserved_at) != hour(now) => 0,
            (_, None) => self.amount,
            ("claude/spend/24h", Some((at, used))) => {
                let window = u64::from(ROLLING_SECONDS) * 1000 + slack;
                if at + window > now { used } else { 0 }
            }
            (_, Some((_, used))) => used,
        }
    }
}

fn used(entries: &[Entry], name: &str, now: u64, slack: u64) -> u64 {
    let of = entries.iter().filter(|entry| entry.name == name);
    of.map(|entry| entry.counts(now, slack)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn budgets_are_what_a_model_that_forgets_nothing_says(ops in prop::collection::vec(op(), 1..120)) {
        let piece = u64::from(ROLLING_SECONDS) * 1000 / 60;
        let (mut state, mut entries) = (State::default(), Vec::<Entry>::new());
        let mut open: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        let mut set: BTreeMap<&str, u64> = BTreeMap::new();
        let mut log = Vec::new();
        let (mut now, mut next) = (records::START.millis(), 0u64);
        for op in ops {
            let at = Timestamp::from_millis(now);
            match op {
                Op::Pass { millis } => now += millis,
                Op::Set { which, limit } => {
                    let change = Record::BudgetChange(BudgetChange {
                        budget: NAMES[which].to_owned(),
                        by: None,
                        limit,
                        unit: "USD-6".to_owned(),
                    });
                    prop_assert!(state.apply(&change, at).is_ok());
                    log.push((change, at));
                    match limit {
                        Some(limit) => drop(set.insert(NAMES[which], limit)),
                        None => drop(set.remove(NAMES[which])),
                    }
                }
                Op::Reserve { of, amount } => {
                    next += 1;
                    let names: Vec<_> = NAMES.into_iter().zip(of).filter(|(_, on)| *on).map(|(name, _)| name).collect();
                    let asked = names.iter().map(|name| reservation(name, amount, now));
                    let record = Record::Intent(intent(next, asked.collect()));
                    let most = |name: &str| set.get(name).map_or(LIMIT, |set| LIMIT.min(*set));
                    let must_fit = names.iter().all(|name| used(&entries, name, now, piece) + amount <= most(name));
                    let may_fit = names.iter().all(|name| used(&entries, name, now, 0) + amount <= most(name));
                    match state.apply(&record, at) {
                        Ok(()) => {
                            prop_assert!(may_fit, "more was let through than the window holds");
                            log.push((record, at));
                            let new = names.iter().map(|name| Entry { name, amount, reserved_at: now, ended: None });
                            open.insert(next, (entries.len()..entries.len() + names.len()).collect());
                            entries.extend(new);
                        }
                        Err(Error::BudgetExhausted { .. }) => prop_assert!(!must_fit, "there was room"),
                        Err(other) => prop_assert!(false, "{other}"),
                    }
                }
                Op::End { which, ending, used } => {
                    if open.is_empty() {
                        continue;
                    }
                    let n = *open.keys().nth(which.index(open.len())).unwrap();
                    let held = open.remove(&n).unwrap();
                    let share = |amount: u64| used.map(|used| amount * used / 100);
                    let settled: Vec<_> = held.iter().filter_map(|entry| {
                        let entry = &entries[*entry];
                        Some((entry.name, share(entry.amount)?))
                    }).collect();
                    let record = Record::Outcome(outcome(n, ending, &settled));
                    prop_assert!(state.apply(&record, at).is_ok());
                    log.push((record, at));
                    for entry in held {
                        let entry = &mut entries[entry];
                        let counts = match ending {
                            Ending::Unknown => entry.amount,
                            Ending::RefusedLate => share(entry.amount).unwrap_or(0),
                            _ => share(entry.amount).unwrap_or(entry.amount),
                        };
                        entry.ended = Some((now, counts));
                    }
                }
            }
            for name in NAMES {
                let known = state.budget(name, Timestamp::from_millis(now)).unwrap_or_default().used();
                let (least, most) = (used(&entries, name, now, 0), used(&entries, name, now, piece));
                prop_assert!((least..=most).contains(&known), "{} is {}, not {}..={}", name, known, least, most);
                prop_assert!(least <= LIMIT);
            }
        }
        let mut again = State::default();
        for (record, at) in log {
            prop_assert!(again.apply(&record, at).is_ok());
        }
        prop_assert_eq!(again, state);
    }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(records::START.millis() - records::START.millis() % HOUR + millis)
}

fn apply(state: &mut State, record: &Record, millis: u64) -> Result<(), Error> {
    state.apply(record, at(millis))
}

#[test]
fn of_several_budgets_a_call_reserves_all_or_none() {
    let mut state = State::default();
    let now = at(0).millis();
    let pair = |first, second| {
        vec![
            reservation(NAMES[0], first, now),
            reservation(NAMES[2], second, now),
        ]
    };
    apply(&mut state, &Record::Intent(intent(1, pair(60, 30))), 0).unwrap();
    let refused = apply(&mut state, &Record::Intent(intent(2, pair(30, 80))), 0);
    assert!(matches!(refused, Err(Error::BudgetExhausted { budget }) if budget == NAMES[2]));
    assert_eq!(state.budget(NAMES[0], at(0)).unwrap().reserved, 60);
    let twice = vec![reservation(NAMES[2], 1, now), reservation(NAMES[2], 1, now)];
    let twice = apply(&mut state, &Record::Intent(intent(3, twice)), 0);
    assert!(matches!(twice, Err(Error::Malformed(_))));
}

#[test]
fn the_smaller_of_two_limits_holds_and_one_in_another_unit_holds_nothing() {
    let mut state = State::default();
    let asked = reservation(NAMES[2], 1, at(0).millis());
    let mut free_under = |limit: Option<u64>, unit: &str| {
        let change = BudgetChange {
            budget: NAMES[2].to_owned(),
            by: None,
            limit,
            unit: unit.to_owned(),
        };
        apply(&mut state, &Record::BudgetChange(change), 0).unwrap();
        state.free(&asked, at(0))
    };
    assert_eq!(free_under(None, "USD-6"), 100);
    assert_eq!(free_under(Some(40), "USD-6"), 40);
    assert_eq!(free_under(Some(400), "USD-6"), 100);
    assert_eq!(free_under(Some(40), "EUR-6"), 0);
    let unlimited = Reservation {
        limit: None,
        budget: "other".to_owned(),
        ..asked.clone()
    };
    assert_eq!(state.free(&unlimited, at(0)), u64::MAX);
}

#[test]
fn a_call_that_ends_in_a_later_window_costs_that_window_nothing() {
    let mut state = State::default();
    let name = NAMES[0];
    let reserve = |state: &mut State, n, amount, drawn_up: u64, written: u64| {
        let asked = vec![reservation(name, amount, at(drawn_up).millis())];
        apply(state, &Record::Intent(intent(n, asked)), written)
    };
    reserve(&mut state, 1, 100, HOUR - 2, HOUR - 1).unwrap();
    // Drawn up before the hour struck, written after.
    assert!(reserve(&mut state, 2, 1, HOUR - 1, HOUR + 1).is_err());
    reserve(&mut state, 3, 70, HOUR + 2, HOUR + 2).unwrap();
    apply(
        &mut state,
        &Record::Outcome(outcome(1, Ending::Completed, &[])),
        HOUR + 3,
    )
    .unwrap();
    let budget = state.budget(name, at(HOUR + 3)).unwrap();
    assert_eq!((budget.reserved, budget.spent), (70, 0));
    // This one comes late too, and counts into the newer window.
    reserve(&mut state, 4, 30, HOUR - 1, HOUR + 4).unwrap();
    assert_eq!(state.budget(name, at(HOUR + 4)).unwrap().free(), Some(0));
    assert_eq!(state.budget(name, at(2 * HOUR)).unwrap().used(), 0);
}

#[test]
fn budgets_that_are_over_are_forgotten() {
    let mut state = State::default();
    for n in 0..5000 {
        let now = n * HOUR;
        let mut asked = reservation(NAMES[0], 1, at(now).millis());
        asked.budget = format!("agent-{n}/calls/hour");
        apply(&mut state, &Record::Intent(intent(n, vec![asked])), now).unwrap();
        apply(
            &mut state,
            &Record::Outcome(outcome(n, Ending::Completed, &[])),
            now,
        )
        .unwrap();
    }
    assert!(state.budgets(at(5000 * HOUR)).len() <= 512);
}

#[test]
fn a_thousand_calls_at_once_never_overspend() {
    let disk = MemoryDisk::default();
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ledger = open_on(&disk, dir.path());
    let now = records::START.millis();
    let (admitted, next) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= 1000 {
                        return;
                    }
                    let asked = NAMES.map(|name| reservation(name, 1, now)).to_vec();
                    match ledger.intent(intent(n, asked)).wait_blocking() {
                        Ok(_) => drop(admitted.fetch_add(1, Ordering::Relaxed)),
                        Err(Error::BudgetExhausted { .. }) => continue,
                        Err(error) => panic!("{error}"),
                    }
                    if n.is_multiple_of(2) {
                        let ended = outcome(n, Ending::Completed, &[]);
                        ledger.outcome(ended).wait_blocking().unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(admitted.into_inner(), LIMIT);
    let before = ledger.budgets();
    drop(ledger);
    // What was open is unknown, and stays held.
    let after = open_on(&disk, other.path()).budgets();
    for name in NAMES {
        let (before, after) = (&before[name], &after[name]);
        assert_eq!((before.used(), after.used()), (LIMIT, LIMIT));
        assert_eq!((after.reserved, after.held), (0, before.reserved));
    }
}

fn open_on(disk: &MemoryDisk, dir: &std::path::Path) -> Ledger {
    let options = Options::new(dir.to_owned());
    Ledger::open_on(Arc::new(disk.clone()), options, devices(&clock()))
        .unwrap()
        .0
}

#[test]
fn what_an_operator_set_outlives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    let set = |limit| {
        Record::BudgetChange(BudgetChange {
            budget: NAMES[2].to_owned(),
            by: None,
            limit,
            unit: "USD-6".to_owned(),
        })
    };
    ledger.append(&set(Some(5))).wait_blocking().unwrap();
    drop(ledger);
    let (ledger, _) = open(dir.path());
    let asked = reservation(NAMES[2], 6, records::START.millis());
    assert_eq!(ledger.free(&asked), 5);
    assert!(
        ledger
            .intent(intent(1, vec![asked.clone()]))
            .wait_blocking()
            .is_err()
    );
    ledger.append(&set(None)).wait_blocking().unwrap();
    ledger
        .intent(intent(1, vec![asked]))
        .wait_blocking()
        .unwrap();
}
