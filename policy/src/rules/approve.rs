//! `approve = { by = "passkey", remember = "uses:5" }`: what an approval has to look like.

use std::time::Duration;

use exeat_types::{Report, config::Table, limits};

use crate::{Approve, Approver, Remember};

/// Reads the table; what is wrong is reported, and the strictest reading stands in.
pub(crate) fn read(table: &Table<'_>, report: &mut Report) -> Approve {
    let by = table
        .need("by", report)
        .and_then(|item| item.word(report, &APPROVERS));
    let remember = table.get("remember").and_then(|item| {
        let remember = item.text(report).and_then(remember);
        if remember.is_none() {
            let problem =
                item.problem(report, "expected `once`, `uses:<number>` or `until:<time>`");
            problem.help("such as `uses:5` or `until:30m`");
        }
        remember
    });
    let approvers = few(table, "approvers", report);
    let devices = few(table, "devices", report);
    let within = table.get("within").and_then(|item| {
        let within = item.text(report).and_then(time);
        let within = within.filter(|within| *within <= limits::APPROVAL_TIME);
        if within.is_none() {
            item.problem(report, "expected a time of at most an hour, such as `10m`");
        }
        within
    });
    table.finish(report);
    Approve {
        by: by.unwrap_or(Approver::Passkey),
        remember: remember.unwrap_or(Remember::Once),
        approvers: approvers.unwrap_or(1),
        devices: devices.unwrap_or(1),
        within,
    }
}

/// A small number of people, or of keys.
fn few(table: &Table<'_>, name: &'static str, report: &mut Report) -> Option<u32> {
    let item = table.get(name)?;
    let count = item.count(report)?;
    let count = u32::try_from(count)
        .ok()
        .filter(|count| (1..=16).contains(count));
    if count.is_none() {
        item.problem(report, "expected a number between 1 and 16");
    }
    count
}

const APPROVERS: [(&str, Approver); 2] =
    [("passkey", Approver::Passkey), ("local", Approver::Local)];

fn remember(text: &str) -> Option<Remember> {
    if text == "once" {
        return Some(Remember::Once);
    }
    if let Some(count) = text.strip_prefix("uses:") {
        return count
            .parse()
            .ok()
            .filter(|count| *count > 0)
            .map(Remember::Uses);
    }
    let total = time(text.strip_prefix("until:")?)?;
    (total <= LONGEST).then_some(Remember::Until(total))
}

/// What may be remembered at most.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// A time such as `30m`, never none.
fn time(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let total = digits.parse::<u64>().ok()?.checked_mul(seconds)?;
    (total > 0).then(|| Duration::from_secs(total))
}

#[cfg(test)]
mod tests {
    use exeat_types::{Source, config::Document};

    use super::*;

    #[track_caller]
    fn check_within(text: &str, expected: Option<u64>) {
        let source = Source::new(
            "policy.toml",
            &format!("by = \"local\"\nwithin = \"{text}\"\n"),
        );
        let mut report = Report::new();
        let document = Document::parse(&source, &mut report);
        let found = read(&document.root(), &mut report);
        assert_eq!(report.is_empty(), expected.is_some(), "{text}");
        assert_eq!(found.within, expected.map(Duration::from_secs), "{text}");
    }

    #[test]
    fn a_question_stays_open_for_less_than_an_hour_if_the_rule_says_so_and_never_for_longer() {
        check_within("5s", Some(5));
        check_within("10m", Some(600));
        check_within("1h", Some(3600));
        for wrong in ["61m", "0s", "10", "soon", ""] {
            check_within(wrong, None);
        }
        let of = |within: Option<u64>| Approve {
            within: within.map(Duration::from_secs),
            ..Approve::STRICTEST
        };
        assert_eq!(of(None).open_for(), limits::APPROVAL_TIME);
        for (one, other, both) in [
            (None, Some(5), Some(5)),
            (Some(5), None, Some(5)),
            (Some(600), Some(5), Some(5)),
            (None, None, None),
        ] {
            assert_eq!(of(one).and(of(other)), of(both));
        }
    }

    #[test]
    fn how_long_an_approval_holds_is_read_strictly() {
        assert_eq!(remember("once"), Some(Remember::Once));
        assert_eq!(remember("uses:5"), Some(Remember::Uses(5)));
        assert_eq!(
            remember("until:30m"),
            Some(Remember::Until(Duration::from_secs(1800)))
        );
        for wrong in [
            "",
            "uses:0",
            "uses:-1",
            "until:30",
            "until:m",
            "until:31d",
            "until:0s",
            "forever",
        ] {
            assert_eq!(remember(wrong), None, "{wrong}");
        }
    }
}
