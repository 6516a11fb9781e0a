//! What agents have used before, as the index tells it.

use exeat_ledger::{Hour, Outcome, Past};
use exeat_types::Timestamp;

use crate::{
    open,
    records::{START, intent, outcome},
    refusal,
};

fn past<'p>(pasts: &'p [Past], agent: &str) -> &'p Past {
    pasts
        .iter()
        .find(|past| past.agent.as_str() == agent)
        .unwrap()
}

fn ended(n: u64) -> Outcome {
    Outcome {
        request_bytes: 10,
        response_bytes: 5,
        ..outcome(n)
    }
}

#[test]
fn first_uses_and_hours_come_from_calls_that_left_and_survive_the_loss_of_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    let since = Timestamp::from_millis(0);
    for n in 1..=6 {
        ledger.intent(intent(n)).wait_blocking().unwrap();
    }
    ledger.outcome(ended(1)).wait_blocking().unwrap();
    // What is indexed step by step comes to the same as what is indexed at once.
    ledger.history(since, 100).unwrap();
    for n in 2..=6 {
        ledger.outcome(ended(n)).wait_blocking().unwrap();
    }
    ledger.refusal(refusal(7));
    ledger.flush();
    let known = ledger.history(since, 100).unwrap();
    let claude = past(&known, "claude");
    let tools: Vec<&str> = claude.tools.iter().map(|(name, _)| name.as_str()).collect();
    assert!(tools.contains(&"github.issues.create"));
    assert!(
        !tools.contains(&"github.repos.delete"),
        "a refused call has used nothing"
    );
    assert_eq!(claude.hosts.len(), 1);
    assert_eq!(claude.hosts[0].0, "api.github.com");
    let hour = Hour {
        number: Hour::of(START),
        calls: 4,
        bytes: 60,
    };
    assert_eq!(claude.hours, [hour]);
    assert_eq!(
        past(&known, "codex").hours,
        [Hour {
            calls: 2,
            bytes: 30,
            ..hour
        }]
    );
    assert_eq!(
        past(&ledger.history(since, 1).unwrap(), "claude")
            .tools
            .len(),
        1
    );
    let later = Timestamp::from_millis(START.millis() + 3_600_000);
    assert!(
        past(&ledger.history(later, 100).unwrap(), "claude")
            .hours
            .is_empty()
    );
    ledger.close();
    drop(ledger);
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "redb") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let (ledger, _) = open(dir.path());
    assert_eq!(ledger.history(since, 100).unwrap(), known);
}
