//! What speaks against a call, as a score from declared signals.
//!
//! INVARIANT: advice tightens. A score can have a human asked, or a stronger approval asked for; nothing here allows.

use std::collections::{BTreeMap, BTreeSet};

use exeat_ledger::Risk;
use exeat_policy::{Approve, RiskRules, SCORE_MAX, Signal};

use crate::{
    BodyKind, Gate, Run,
    check::{Checked, CheckedBody},
    limits::Who,
};

/// What the signals of a call come to.
#[derive(Default)]
pub(crate) struct Weighed {
    /// What the receipt says of it; nothing if no signal spoke.
    pub(crate) risk: Option<Risk>,
    /// What a human has to agree to, and why, if the score says so.
    pub(crate) asks: Option<(Approve, String)>,
}

/// Weighs a call. `others` is what rules and limits ask for.
pub(crate) fn weigh(gate: &Gate, checked: &Checked, others: Option<Approve>) -> Weighed {
    let rules = checked.call.rules.policy.risk();
    let signals = signals(gate, checked, rules);
    weighed(&signals, (rules, others), &checked.call.run)
}

/// Weighs a connection that passes unread. How much will go through it is not known, and speaks neither way.
pub(crate) fn weigh_unread(gate: &Gate, rules: &RiskRules, who: &Who<'_>) -> Weighed {
    let now = gate.clock.now();
    let mut signals = gate.history.look(who.agent, who.name, who.host, (now, 0));
    signals.extend(of_run(who.run));
    weighed(&signals, (rules, None), who.run)
}

fn weighed(
    signals: &BTreeSet<Signal>,
    (rules, others): (&RiskRules, Option<Approve>),
    run: &Run,
) -> Weighed {
    let Some(risk) = score(signals, rules) else {
        return Weighed::default();
    };
    let asks = rules.asks(risk.score, others);
    let asks = asks.map(|approve| (approve, in_words(&risk, run)));
    Weighed {
        risk: Some(risk),
        asks,
    }
}

/// What a run has done so far.
fn of_run(run: &Run) -> impl Iterator<Item = Signal> {
    let signals = [
        (Signal::UntrustedContent, run.mark().is_some()),
        (Signal::PlaceholderAlarm, run.alarms() > 0),
    ];
    let spoken = signals.into_iter().filter(|(_, spoke)| *spoke);
    spoken.map(|(signal, _)| signal)
}

/// What a score says, for whoever is asked.
fn in_words(risk: &Risk, run: &Run) -> String {
    let words = risk.signals.keys().filter_map(|name| {
        let signal = Signal::from_name(name)?;
        let mark = run.mark().filter(|_| signal == Signal::UntrustedContent);
        Some(match mark {
            Some(mark) if mark.steers => {
                format!(
                    "{}: {} sent something that may steer it",
                    signal.words(),
                    mark.origin
                )
            }
            Some(mark) => format!("{}: from {}", signal.words(), mark.origin),
            None => signal.words().to_owned(),
        })
    });
    let words: Vec<String> = words.collect();
    format!("risk {} of {SCORE_MAX}: {}", risk.score, words.join("; "))
}

fn score(signals: &BTreeSet<Signal>, rules: &RiskRules) -> Option<Risk> {
    if signals.is_empty() {
        return None;
    }
    let weights = signals.iter().map(|signal| rules.weight(*signal));
    let score = weights.fold(0, u32::saturating_add).min(SCORE_MAX);
    let named = |signal: &Signal| (signal.name().to_owned(), u64::from(rules.weight(*signal)));
    let signals: BTreeMap<String, u64> = signals.iter().map(named).collect();
    Some(Risk { score, signals })
}

fn signals(gate: &Gate, checked: &Checked, rules: &RiskRules) -> BTreeSet<Signal> {
    let call = &checked.call;
    let length = body_length(checked);
    let mut signals = gate.history.look(
        &call.agent.id,
        checked.tool.name.as_str(),
        &call.origin.host,
        (gate.clock.now(), length.unwrap_or(0)),
    );
    let others = [
        (Signal::LargeBody, rules.is_large(length)),
        (
            Signal::Destructive,
            rules.is_destructive(&checked.tool.category),
        ),
    ];
    let others = others.into_iter().filter(|(_, spoke)| *spoke);
    signals.extend(others.map(|(signal, _)| signal));
    signals.extend(of_run(&call.run));
    signals
}

/// How long the body is; `None` if that shows only at its end.
fn body_length(checked: &Checked) -> Option<u64> {
    match &checked.body {
        CheckedBody::Absent => Some(0),
        CheckedBody::Whole(whole) => u64::try_from(whole.bytes.len()).ok(),
        CheckedBody::Streamed => match checked.call.body {
            BodyKind::Absent => Some(0),
            BodyKind::Length(length) => Some(length),
            BodyKind::Unknown => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use exeat_types::{Origin, Timestamp};

    use super::*;
    use crate::Mark;

    #[test]
    fn weights_add_up_to_at_most_the_highest_score_and_nothing_said_is_nothing() {
        let rules = RiskRules::default();
        assert_eq!(score(&BTreeSet::new(), &rules), None);
        let few = score(&[Signal::NewHost, Signal::NewTool].into(), &rules).unwrap();
        assert_eq!((few.score, few.signals["new-host"]), (40, 25));
        assert_eq!(score(&Signal::ALL.into(), &rules).unwrap().score, SCORE_MAX);
    }

    #[test]
    fn whoever_is_asked_reads_where_untrusted_content_came_from() {
        let run = Run::default();
        run.calls(Timestamp::from_millis(1));
        run.reads(|| Mark {
            origin: Origin::parse("https://evil.example").unwrap(),
            steers: true,
        });
        let risk = score(
            &[Signal::NewHost, Signal::UntrustedContent].into(),
            &RiskRules::default(),
        );
        assert_eq!(
            in_words(&risk.unwrap(), &run),
            "risk 55 of 100: this agent has not called this host before; this run has read content that nobody \
             vouches for: https://evil.example sent something that may steer it"
        );
    }
}
