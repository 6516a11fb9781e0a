//! `exeat receipt` and `exeat tail`: what happened, and whether the log of it is whole.

use std::{
    fs::OpenOptions, io::stdout, os::fd::AsFd as _, os::unix::fs::OpenOptionsExt as _, path::Path,
};

use anyhow::Context as _;
use exeat_types::AgentId;
use serde_json::{Value, json};

use super::Place;
use crate::{
    args::{Filter, Receipt},
    socket::{Exported, ReceiptFilter, Request},
    ui::{self, Ending},
};

/// Receipts shown when nobody says how many.
const LIST_DEFAULT: u32 = 50;

pub(super) fn receipt(place: &Place, order: Receipt) -> anyhow::Result<Ending> {
    match order {
        Receipt::List(filter) => list(place, filter),
        Receipt::Show { id } => {
            let receipt: Value = place.gate()?.one(&Request::ReceiptShow { call: id }, &[])?;
            place.print(&receipt, || {
                serde_json::to_string_pretty(&receipt).unwrap_or_default()
            })?;
            Ok(Ending::Done)
        }
        Receipt::Key => {
            let key: String = place.gate()?.one(&Request::ReceiptKey {}, &[])?;
            place.print(&json!({ "key": key }), || key.clone())?;
            Ok(Ending::Done)
        }
        Receipt::Verify(order) => super::verify::verify(place, &order),
        Receipt::Export { out, filter } => export(place, out.as_deref(), filter),
    }
}

fn wire(filter: Filter) -> ReceiptFilter {
    let Filter {
        agent,
        tool,
        since,
        until,
        refused,
        limit,
    } = filter;
    ReceiptFilter {
        agent,
        tool,
        since,
        until,
        refused: refused.then_some(true),
        limit,
    }
}

fn list(place: &Place, filter: Filter) -> anyhow::Result<Ending> {
    let mut filter = wire(filter);
    filter.limit = filter.limit.or(Some(LIST_DEFAULT));
    let receipts: Vec<Value> = place.gate()?.all(&Request::ReceiptList(filter))?;
    let rows: Vec<[String; 7]> = receipts.iter().map(row).collect();
    place.print_all(&receipts, || ui::table(HEADING, &rows))?;
    Ok(Ending::Done)
}

const HEADING: [&str; 7] = [
    "TIME", "RECEIPT", "AGENT", "TOOL", "DECISION", "REASON", "STATUS",
];

/// The cells of one receipt; what it does not have is `-`.
fn row(receipt: &Value) -> [String; 7] {
    let cell = |places: [&str; 2]| {
        let found = places.iter().find_map(|place| receipt.pointer(place));
        match found {
            None | Some(Value::Null) => "-".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    };
    [
        cell(["/opened", "/opened"]),
        cell(["/call", "/call"]),
        cell(["/intent/agent", "/refusal/agent"]),
        cell(["/intent/tool", "/refusal/tool"]),
        cell(["/decision", "/decision"]),
        cell(["/outcome/reason", "/refusal/reason"]),
        cell(["/outcome/status", "/outcome/status"]),
    ]
}

fn export(place: &Place, out: Option<&Path>, filter: Filter) -> anyhow::Result<Ending> {
    let request = Request::ReceiptExport(wire(filter));
    let gate = place.gate()?;
    let exported: Exported = match out {
        Some(path) => {
            let opened = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path);
            let file = opened.with_context(|| format!("cannot make `{}`", path.display()))?;
            gate.one(&request, &[file.as_fd()])?
        }
        None => gate.one(&request, &[stdout().as_fd()])?,
    };
    ui::say(format_args!("{} records", exported.records));
    Ok(Ending::Done)
}

pub(super) fn tail(place: &Place, agent: Option<AgentId>) -> anyhow::Result<Ending> {
    let replies = place.running_gate()?.ask(&Request::Tail { agent }, &[])?;
    for record in replies {
        let record = record?;
        place.print(&record, || line(&record))?;
    }
    Ok(Ending::Done)
}

/// One record of the journal, or one receipt, as a line: when, what, and the fields that tell calls apart.
fn line(record: &Value) -> String {
    let fields = [
        "time", "opened", "kind", "decision", "alarm", "approval", "grant", "event", "change",
        "call", "agent", "tool", "result", "reason", "status",
    ];
    let parts = ["body", "intent", "refusal", "outcome"];
    let of = |field: &str| {
        let within = |part: &&str| record.get(*part).and_then(|part| part.get(field));
        record.get(field).or_else(|| parts.iter().find_map(within))
    };
    let texts = fields.iter().filter_map(|field| match of(field)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(format!("{field}={other}")),
    });
    texts.collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_tail_says_who_asked_for_what() {
        let asked = json!({
            "time": "t", "kind": "approval",
            "body": { "approval": "apr-1", "event": "requested", "agent": "claude", "tool": "pay.send" },
        });
        assert_eq!(
            line(&asked),
            "t  approval  apr-1  requested  claude  pay.send"
        );
        let done = json!({
            "call": "c", "decision": "allowed", "opened": "t",
            "intent": { "agent": "claude", "tool": "pay.send", "approval": { "id": "apr-1", "by": "passkey" } },
            "outcome": { "result": "completed", "status": 200 },
        });
        assert!(
            line(&done).contains("claude  pay.send  completed  status=200"),
            "{}",
            line(&done)
        );
    }

    #[test]
    fn a_row_takes_its_cells_from_the_intent_or_the_refusal() {
        let refused = json!({
            "call": "c", "decision": "refused", "opened": "t",
            "refusal": { "agent": "claude", "tool": null, "reason": "tool-unknown" },
        });
        assert_eq!(
            row(&refused),
            ["t", "c", "claude", "-", "refused", "tool-unknown", "-"]
        );
        let done = json!({
            "call": "c", "decision": "allowed", "opened": "t",
            "intent": { "agent": "claude", "tool": "a.b" }, "outcome": { "status": 200 },
        });
        assert_eq!(
            row(&done),
            ["t", "c", "claude", "a.b", "allowed", "-", "200"]
        );
    }
}
