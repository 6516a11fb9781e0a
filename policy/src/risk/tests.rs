//! What `[risk]` says, and that no score ever loosens anything.

use std::time::Duration;

use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;

fn parsed(text: &str) -> (RiskRules, Report) {
    let mut report = Report::new();
    let rules = read(&[Source::new("policy.toml", text)], &mut report);
    (rules, report)
}

#[test]
fn without_a_table_nobody_is_asked_and_every_origin_is_trusted() {
    let (rules, report) = parsed("# no risk here\n");
    assert!(report.is_empty());
    assert_eq!(rules.asks(SCORE_MAX, None), None);
    assert!(rules.trusts(&Origin::parse("https://anywhere.example").unwrap()));
}

#[test]
fn a_table_is_read_whole() {
    let (rules, report) = parsed(
        "[risk]\nprompt-at = 60\npasskey-at = 80\nsecond-at = 95\n\
         trusted = [\"https://api.github.com\"]\nweights = { new-host = 31 }\n\
         destructive = [\"delete\", \"wire\"]\nlarge-body = \"64 KiB\"\n",
    );
    assert!(report.is_empty(), "{report}");
    assert_eq!(rules.weight(Signal::NewHost), 31);
    assert_eq!(rules.weight(Signal::NewTool), 15);
    assert!(rules.trusts(&Origin::parse("https://api.github.com").unwrap()));
    assert!(!rules.trusts(&Origin::parse("https://evil.example").unwrap()));
    assert!(rules.is_destructive(&Category::new("wire").unwrap()));
    assert!(!rules.is_destructive(&Category::new("transact").unwrap()));
    assert!(rules.is_large(Some(65_536)) && rules.is_large(None) && !rules.is_large(Some(65_535)));
    let by = |score| {
        rules
            .asks(score, None)
            .map(|asked| (asked.by, asked.approvers))
    };
    assert_eq!(by(59), None);
    assert_eq!(by(60), Some((Approver::Local, 1)));
    assert_eq!(by(80), Some((Approver::Passkey, 1)));
    assert_eq!(by(95), Some((Approver::Passkey, 2)));
}

#[test]
fn a_table_without_trusted_trusts_nobody() {
    let (rules, _) = parsed("[risk]\nprompt-at = 60\n");
    assert!(!rules.trusts(&Origin::parse("https://api.github.com").unwrap()));
}

#[track_caller]
fn refused(text: &str, expect: &str) {
    let (_, report) = parsed(text);
    let first = report.problems().first().expect("a problem");
    assert_eq!(first.message, expect, "{text}");
}

#[test]
fn what_is_wrong_is_said() {
    refused(
        "[risk]\nprompt-at = 101\n",
        "expected a number between 1 and 100",
    );
    refused(
        "[risk]\nprompt-at = 0\n",
        "expected a number between 1 and 100",
    );
    refused(
        "[risk]\nprompt-at = 80\npasskey-at = 60\n",
        "a stronger approval is asked for at a lower score",
    );
    refused(
        "[risk]\nweights = { newhost = 1 }\n",
        "no signal is named `newhost`",
    );
    refused(
        "[risk]\nweights = { new-host = 400 }\n",
        "expected a number between 0 and 100",
    );
    refused("[risk]\npromt-at = 3\n", "unknown key `promt-at`");
    refused(
        "[risk]\ntrusted = [\"api.github.com\"]\n",
        "origin: expected `https://` or `http://` and a host",
    );
}

#[test]
fn there_is_one_table_only() {
    let one = Source::new("a.toml", "[risk]\nprompt-at = 1\n");
    let other = Source::new("b.toml", "[risk]\nprompt-at = 2\n");
    let mut report = Report::new();
    read(&[one, other], &mut report);
    assert_eq!(report.problems()[0].message, "a second `[risk]`");
}

fn approves() -> impl Strategy<Value = Option<Approve>> {
    let by = prop_oneof![Just(Approver::Local), Just(Approver::Passkey)];
    let remember = prop_oneof![
        Just(Remember::Once),
        (1_u32..50).prop_map(Remember::Uses),
        (1_u64..100_000).prop_map(|secs| Remember::Until(Duration::from_secs(secs))),
    ];
    let within = proptest::option::of((1_u64..=3600).prop_map(Duration::from_secs));
    let approve = (by, remember, 1_u32..=16, 1_u32..=3, within).prop_map(
        |(by, remember, approvers, devices, within)| Approve {
            by,
            remember,
            approvers,
            devices,
            within,
        },
    );
    proptest::option::of(approve)
}

proptest! {
    /// Whatever the thresholds, the score and what the rules ask: what is asked together is never less than before.
    #[test]
    fn no_score_loosens_anything(
        score in any::<u32>(),
        marks in proptest::array::uniform3(proptest::option::of(0_u32..=100)),
        others in approves(),
    ) {
        let [prompt_at, passkey_at, second_at] = marks;
        let rules = RiskRules { prompt_at, passkey_at, second_at, ..RiskRules::default() };
        let asked = rules.asks(score, others);
        let Some(before) = others else { return Ok(()) };
        let together = asked.map_or(before, |asked| before.and(asked));
        prop_assert!(together.by >= before.by);
        prop_assert!(together.approvers >= before.approvers);
        prop_assert!(together.devices >= before.devices);
        prop_assert!(together.open_for() <= before.open_for());
        // What was remembered is as it was, or for once.
        prop_assert!(together.remember == before.remember || together.remember == Remember::Once);
        // Asking twice changes nothing: both are satisfied.
        prop_assert_eq!(together.and(before), together);
    }

    /// A higher score never asks for less than a lower one, with thresholds in the order that a file can have.
    #[test]
    fn a_higher_score_asks_for_at_least_as_much(
        low in 0_u32..=100, more in 0_u32..=100, others in approves(),
        mut marks in proptest::array::uniform3(1_u32..=100),
    ) {
        marks.sort_unstable();
        let [prompt, passkey, second] = marks.map(Some);
        let rules = RiskRules {
            prompt_at: prompt, passkey_at: passkey, second_at: second, ..RiskRules::default()
        };
        let rank = |asked: Option<Approve>| asked.map(|asked| (asked.by, asked.approvers));
        prop_assert!(rank(rules.asks(low.saturating_add(more), others)) >= rank(rules.asks(low, others)));
    }
}
