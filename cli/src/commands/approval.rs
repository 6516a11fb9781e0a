//! `exeat approval` and `exeat agent`: what agents wait for, an operator's answer, and agents as a whole.
//!
//! INVARIANT: what is printed of a request was written by an agent: every letter that a terminal would hide, reorder or act
//! on is spelled out.

use exeat_console::visible::spelled;
use exeat_ledger::Extent;
use exeat_types::{ApprovalId, Clock as _, SystemClock};
use serde_json::Value;

use super::Place;
use crate::{
    args::{Agent, Approval, Approving},
    socket::{AgentEntry, ApprovalAnswer, ApprovalOrder, ApprovalShown, Request},
    ui::{self, Ending},
};

pub(super) fn approval(place: &Place, order: Approval) -> anyhow::Result<Ending> {
    match order {
        Approval::List => list(place),
        Approval::Show { id } => {
            let request = Request::ApprovalShow { id };
            let shown: ApprovalShown = place.running_gate()?.one(&request, &[])?;
            place.print(&shown, || told(&shown))?;
            Ok(Ending::Done)
        }
        Approval::Approve(order) => {
            let extent = extent(&order);
            answer(place, order.id, ApprovalAnswer::Grant { extent })
        }
        Approval::Deny { id, pause } => answer(place, id, ApprovalAnswer::Deny { pause }),
        Approval::Revoke { id } => answer(place, id, ApprovalAnswer::Revoke {}),
    }
}

fn extent(order: &Approving) -> Extent {
    match (order.uses, order.until) {
        (Some(uses), _) => Extent::Uses(uses.get()),
        (None, Some(time)) => Extent::Until(SystemClock::new().now().after(time)),
        (None, None) => Extent::Once,
    }
}

fn list(place: &Place) -> anyhow::Result<Ending> {
    let all: Vec<ApprovalShown> = place.running_gate()?.all(&Request::ApprovalList {})?;
    let rows: Vec<[String; 6]> = all.iter().map(row).collect();
    let heading = ["APPROVAL", "STATE", "AGENT", "TOOL", "ORIGIN", "EXPIRES"];
    place.print_all(&all, || ui::table(heading, &rows))?;
    Ok(Ending::Done)
}

fn row(shown: &ApprovalShown) -> [String; 6] {
    [
        shown.text("id"),
        state(shown),
        shown.text("agent"),
        shown.text("tool"),
        shown.text("origin"),
        shown.text("expires"),
    ]
}

/// How far it has come, in one word or two.
fn state(shown: &ApprovalShown) -> String {
    let progress = shown.approval.get("progress");
    let word = progress.and_then(|progress| progress.get("state")?.as_str());
    let uses = progress.and_then(|progress| progress.get("uses")?.as_u64());
    match (word.unwrap_or("-"), uses) {
        ("granted", Some(uses)) if uses < u64::from(u32::MAX) => format!("granted, {uses} left"),
        (word, _) => word.to_owned(),
    }
}

fn answer(place: &Place, id: ApprovalId, answer: ApprovalAnswer) -> anyhow::Result<Ending> {
    let request = Request::ApprovalAnswer(ApprovalOrder { id, answer });
    let shown: ApprovalShown = place.running_gate()?.one(&request, &[])?;
    place.print(&shown, || {
        format!(
            "{} of {} for {}: {}",
            shown.text("id"),
            shown.text("agent"),
            shown.text("tool"),
            state(&shown)
        )
    })?;
    Ok(Ending::Done)
}

/// A question with everything that would be sent.
fn told(shown: &ApprovalShown) -> String {
    let mut lines = vec![
        format!("{}  {}", shown.text("id"), state(shown)),
        format!("agent    {} ({})", shown.text("agent"), shown.text("seal")),
        format!(
            "tool     {} ({})",
            shown.text("tool"),
            shown.text("category")
        ),
        format!(
            "asked    {}, until {}",
            shown.text("asked"),
            shown.text("expires")
        ),
        format!("digest   {}", shown.text("digest")),
        format!("approve  {}", wanted(&shown.approval)),
    ];
    for rule in texts(&shown.approval, "rules") {
        lines.push(format!("rule     {rule}"));
    }
    for why in texts(&shown.approval, "why") {
        lines.push(format!("why      {}", spelled(&why)));
    }
    if let Some(url) = &shown.url {
        lines.push(format!("console  {url}"));
    }
    match &shown.request {
        None => lines.push("the request is no longer kept".to_owned()),
        Some(request) => {
            lines.push(String::new());
            lines.push(spelled(&format!(
                "{} {}{}",
                request.method, request.origin, request.path
            )));
            if let Some(query) = &request.query {
                lines.push(spelled(&format!("?{query}")));
            }
            let headers = request.headers.iter();
            lines.extend(headers.map(|(name, value)| {
                spelled(&format!("{name}: {value}")).replace('\n', "<U+000A>")
            }));
            for credential in &request.credentials {
                lines.push(format!("with the credential `{credential}`"));
            }
            lines.push(String::new());
            match (&request.body, &request.body_base64) {
                (Some(text), _) => lines.push(spelled(text)),
                (None, Some(bytes)) => {
                    lines.push(format!(
                        "{} bytes that are not text, in base64:",
                        request.body_bytes
                    ));
                    lines.push(bytes.clone());
                }
                (None, None) => lines.push("no body".to_owned()),
            }
        }
    }
    lines.join("\n")
}

/// What an answer has to look like, in words.
fn wanted(approval: &Value) -> String {
    let field = |name: &str| {
        approval
            .get("approve")
            .and_then(|approve| approve.get(name))
    };
    let text = |name: &str| {
        field(name)
            .and_then(Value::as_str)
            .unwrap_or("-")
            .to_owned()
    };
    let count = |name: &str| field(name).and_then(Value::as_u64).unwrap_or(1);
    let mut words = format!("by {}, at most {}", text("by"), text("remember"));
    if count("approvers") > 1 {
        words.push_str(&format!(", {} people", count("approvers")));
    }
    if count("devices") > 1 {
        words.push_str(&format!(", {} devices", count("devices")));
    }
    words
}

fn texts(approval: &Value, name: &str) -> Vec<String> {
    let list = approval.get(name).and_then(Value::as_array);
    let texts = list.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

pub(super) fn agent(place: &Place, order: Agent) -> anyhow::Result<Ending> {
    let request = match order {
        Agent::List => {
            let all: Vec<AgentEntry> = place.running_gate()?.all(&Request::AgentList {})?;
            let rows: Vec<[String; 3]> = all.iter().map(agent_row).collect();
            place.print_all(&all, || ui::table(["AGENT", "STATE", "BY"], &rows))?;
            return Ok(Ending::Done);
        }
        Agent::Pause { agent } => Request::AgentPause { agent },
        Agent::Resume { agent } => Request::AgentResume { agent },
    };
    let entry: AgentEntry = place.running_gate()?.one(&request, &[])?;
    place.print(&entry, || {
        let word = if entry.paused.is_some() {
            "is paused"
        } else {
            "goes on"
        };
        format!("{} {word}", entry.agent)
    })?;
    Ok(Ending::Done)
}

fn agent_row(entry: &AgentEntry) -> [String; 3] {
    let (state, by) = match (&entry.paused, &entry.by) {
        (Some(at), by) => (format!("paused since {at}"), by.clone().unwrap_or_default()),
        (None, _) => ("goes on".to_owned(), "-".to_owned()),
    };
    [entry.agent.to_string(), state, by]
}
