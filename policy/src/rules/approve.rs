//! `approve = { by = "passkey", remember = "uses:5" }`: what an approval has to look like.

use std::time::Duration;

use exeat_types::{Report, config::Table};

use crate::{Approve, Approver, Remember};

/// Reads the table; what is wrong is reported, and the strictest reading stands in.
pub(super) fn read(table: &Table<'_>, report: &mut Report) -> Approve {
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
    let approvers = table.get("approvers").and_then(|item| {
        let count = item.count(report)?;
        let count = u32::try_from(count)
            .ok()
            .filter(|count| (1..=16).contains(count));
        if count.is_none() {
            item.problem(report, "expected a number between 1 and 16");
        }
        count
    });
    table.finish(report);
    Approve {
        by: by.unwrap_or(Approver::Passkey),
        remember: remember.unwrap_or(Remember::Once),
        approvers: approvers.unwrap_or(1),
    }
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
    let time = text.strip_prefix("until:")?;
    let (digits, unit) = time.split_at(time.find(|c: char| !c.is_ascii_digit())?);
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let total = digits
        .parse::<u64>()
        .ok()?
        .checked_mul(seconds)
        .filter(|total| (1..=30 * 86_400).contains(total))?;
    Some(Remember::Until(Duration::from_secs(total)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
