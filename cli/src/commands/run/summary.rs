//! What came of a run, in one line: hosts, requests, refusals, spend, receipts.

use exeat_types::{AgentId, amount_in_words};

use crate::{
    commands::Place,
    socket::{Replies, Summary},
    ui::{self, Output},
};

/// Asks the gate what it counted, which ends its service of the sandbox, and says so on standard error: standard output
/// is the command's.
pub(super) fn tell(place: &Place, served: Replies, agent: &AgentId) {
    let summary = match served.last_words::<Summary>() {
        Ok(Some(summary)) => summary,
        Ok(None) => return,
        Err(error) => {
            tracing::debug!(%error, "the gate did not say what it counted");
            ui::say(format_args!(
                "the gate has ended before the command; see `exeat receipt list --agent {agent}`"
            ));
            return;
        }
    };
    match place.output {
        Output::Text => ui::say(line(&summary, agent)),
        Output::Json => match serde_json::to_string(&summary) {
            Ok(text) => ui::say(text),
            Err(error) => tracing::debug!(%error, "the summary cannot be written"),
        },
    }
}

fn line(summary: &Summary, agent: &AgentId) -> String {
    let receipts = match summary.open {
        0 => "receipts ok".to_owned(),
        open => format!("{} still open", counted(open, "receipt")),
    };
    let spent: Vec<String> = summary
        .spent
        .iter()
        .map(|(unit, amount)| amount_in_words(*amount, unit))
        .collect();
    let spent = match spent.is_empty() {
        true => "$0.00".to_owned(),
        false => spent.join(" and "),
    };
    format!(
        "{}, {}, {} refused, {spent} spent, {receipts} (exeat receipt list --agent {agent})",
        counted(summary.hosts, "host"),
        counted(summary.requests, "request"),
        summary.refused,
    )
}

fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        more => format!("{more} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_what_came_of_a_run() {
        let agent = AgentId::new("claude").unwrap();
        let mut summary = Summary {
            hosts: 3,
            requests: 12,
            refused: 1,
            open: 0,
            spent: [].into(),
        };
        assert_eq!(
            line(&summary, &agent),
            "3 hosts, 12 requests, 1 refused, $0.00 spent, receipts ok (exeat receipt list --agent claude)"
        );
        (summary.hosts, summary.open) = (1, 1);
        summary.spent.insert("USD-6".to_owned(), 50_000);
        summary.spent.insert("tokens".to_owned(), 2100);
        assert_eq!(
            line(&summary, &agent),
            "1 host, 12 requests, 1 refused, 0.05 USD and 2100 tokens spent, 1 receipt still open (exeat receipt list --agent claude)"
        );
    }
}
