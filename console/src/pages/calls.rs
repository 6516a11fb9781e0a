//! One call, as a row and in full: what was asked, who decided, what became of it.

use exeat_ledger::{Alarm, Decision, Intent, Outcome, Receipt, Refusal};
use exeat_types::{Digest, Reason, Seal, Timestamp};
use maud::{Markup, html};

use super::{json::laid_out, risk};
use crate::{
    layout::{Tone, badge, counted, marked, moment, size},
    problem::sentence,
    visible::Visible,
};

/// What became of a call, as a badge.
pub(crate) fn decision(receipt: &Receipt) -> Markup {
    match receipt.decision {
        Decision::Allowed => match failed(receipt) {
            true => badge(Tone::Wait, "failed"),
            false => badge(Tone::Good, "allowed"),
        },
        Decision::Refused => badge(Tone::Bad, "refused"),
        Decision::Open => badge(Tone::Plain, "open"),
        Decision::Unknown => badge(Tone::Wait, "unknown"),
    }
}

fn failed(receipt: &Receipt) -> bool {
    receipt
        .outcome
        .as_ref()
        .is_some_and(|outcome| outcome.reason.is_some())
}

/// Why it was refused or failed.
pub(crate) fn reason(receipt: &Receipt) -> Option<Reason> {
    let early = receipt.refusal.as_ref().map(|refusal| refusal.reason);
    early.or(receipt.outcome.as_ref().and_then(|outcome| outcome.reason))
}

/// Method and place.
pub(crate) fn place(receipt: &Receipt) -> (String, String) {
    if let Some(intent) = &receipt.intent {
        return (
            intent.method.clone(),
            format!("{}{}", intent.origin, intent.path),
        );
    }
    let refusal = receipt.refusal.as_ref();
    refusal.map_or_else(Default::default, |refusal| {
        (refusal.method.clone(), refusal.origin.to_string())
    })
}

/// A call as one line that opens.
pub(crate) fn row(receipt: &Receipt) -> Markup {
    let (method, place) = place(receipt);
    let agent = receipt.agent().map_or("", |agent| agent.as_str());
    let tool = receipt.tool().map_or("", |tool| tool.as_str());
    let why = reason(receipt).map_or("", Reason::code);
    let text = format!("{agent} {method} {place} {tool} {why}");
    html! {
        details.call id=(format!("call-{}", receipt.call)) data-call=(receipt.call) data-agent=(agent)
            data-decision=(receipt.decision.name()) data-text=(text) {
            summary {
                span { (clock(receipt.opened)) }
                span { (decision(receipt)) }
                span.what {
                    code { b { (method) } " " (Visible(&place)) }
                    span.muted.small { (agent) @if !tool.is_empty() { " / " (tool) } }
                    @if !why.is_empty() { span.small.mono { (why) } }
                }
                span.end.muted.small { (end(receipt)) }
            }
            div.detail aria-live="polite" { p.muted { "Loading the receipt." } }
        }
    }
}

/// An alarm between the calls.
pub(crate) fn alarm(alarm: &Alarm, at: Timestamp, seq: u64) -> Markup {
    let agent = alarm.agent.as_ref().map_or("", |agent| agent.as_str());
    let text = format!("{agent} alarm {} {}", alarm.alarm, alarm.detail);
    html! {
        details.call id=(format!("alarm-{seq}")) data-agent=(agent) data-decision="alarm" data-text=(text) {
            summary {
                span { (clock(at)) }
                span { (badge(Tone::Bad, "alarm")) }
                span.what {
                    code { b { (alarm.alarm) } }
                    span.muted.small { (agent) }
                }
                span.end {}
            }
            div.detail data-loaded="yes" {
                p { (Visible(&alarm.detail)) }
                @if let Some(call) = alarm.call {
                    p { a href=(format!("/receipts/{call}")) { "The call it concerns" } }
                }
            }
        }
    }
}

fn clock(at: Timestamp) -> Markup {
    let text = at.to_string();
    let clock = text.get(11..19).unwrap_or_default();
    html! { time data-clock datetime=(text) title=(text) { (clock) } }
}

fn end(receipt: &Receipt) -> String {
    if let Some(refusal) = receipt.refusal.as_ref().filter(|one| one.count > 1) {
        return format!("{} times", refusal.count);
    }
    let Some(outcome) = &receipt.outcome else {
        return String::new();
    };
    let mut parts: Vec<String> = outcome.status.iter().map(u16::to_string).collect();
    if let Some(closed) = receipt.closed {
        parts.push(format!("{} ms", closed.since(receipt.opened).as_millis()));
    }
    parts.push(size(outcome.response_bytes));
    parts.join(", ")
}

/// Everything about a call, with its arguments where they are still kept.
pub(crate) fn detail(receipt: &Receipt, arguments: &Kept) -> Markup {
    html! {
        @if let Some(why) = reason(receipt) {
            div.stack {
                p { b { (why.title()) } " " code { (why.code()) } }
                p.muted { (marked(&sentence(why.hint()))) }
            }
        }
        @if let Some(intent) = &receipt.intent { (of_intent(intent)) (canonical(intent)) }
        @if let Some(refusal) = &receipt.refusal { (of_refusal(refusal)) }
        @if let Some(outcome) = &receipt.outcome { (of_outcome(outcome)) }
        (kept(arguments))
    }
}

/// The arguments beside a receipt.
pub(crate) enum Kept {
    /// As they were declared, with placeholders where secrets went.
    Here(String),
    /// Only their digest is kept.
    Digest,
    /// They are not kept any more.
    Gone,
    /// The call was refused before any were kept.
    Never,
}

fn kept(arguments: &Kept) -> Markup {
    html! {
        section.stack {
            h3 { "Arguments" }
            @match arguments {
                Kept::Here(text) => { pre.text tabindex="0" aria-label="Arguments" { (Visible(&laid_out(text))) } }
                Kept::Digest => { p.muted { "This tool keeps a digest and no arguments." } }
                Kept::Gone => { p.muted { "They are not kept any more." } }
                Kept::Never => { p.muted { "Nothing was kept: the call was refused before that." } }
            }
        }
    }
}

fn of_intent(intent: &Intent) -> Markup {
    html! {
        dl.facts {
            dt { "Request" } dd { code { (intent.method) " " (intent.origin) (Visible(&intent.path)) } }
            dt { "Agent" } dd { (intent.agent) ", " (sealed(intent.seal)) }
            dt { "Tool" } dd { (intent.tool) " " (badge(Tone::Plain, &intent.category)) }
            dt { "Decided by" } dd { @if intent.observed { "observing, not a rule" } @else { (rules(&intent.rules)) } }
            @if let Some(used) = &intent.approval {
                dt { "Approved" }
                dd { a href=(format!("/approvals/{}", used.id)) { (used.id) } " by " (used.by.name()) }
            }
            @if let Some(credential) = &intent.credential {
                dt { "Credential" }
                dd { (credential.id) ", " (credential.kind) ", version " (credential.version) }
            }
            @for reserved in &intent.reservations {
                dt { "Set aside" } dd { (reserved.amount) " " (reserved.unit) " of " code { (reserved.budget) } }
            }
            @if let Some(found) = &intent.risk { dt { "Risk" } dd { (risk::line(found)) } }
            @if let Some(run) = &intent.run { dt { "Run" } dd { code { (run) } } }
            dt { "Policy" } dd { (digest(&intent.policy_digest)) }
        }
    }
}

/// What is kept of the canonical request, and what only its digest knows.
fn canonical(intent: &Intent) -> Markup {
    html! {
        section.stack {
            h3 { "Canonical request" }
            dl.facts {
                dt { "Method" } dd { code { (intent.method) } }
                dt { "Origin" } dd { code { (intent.origin) } }
                dt { "Path" } dd { code { (Visible(&intent.path)) } " " span.muted { "(the tool's template)" } }
                dt { "Request digest" } dd { (digest(&intent.call_digest)) }
                dt { "Arguments digest" } dd { (digest(&intent.argument_digest)) }
                @if let Some(kept) = &intent.capture { dt { "Kept as" } dd { (digest(kept)) } }
            }
            p.small.muted {
                "Header fields, query and body are in the request digest and are not kept themselves; what a tool declares of them is among the arguments."
                @if let Some(used) = &intent.approval {
                    " This call was approved: while its approval is open or still good, "
                    a href=(format!("/approvals/{}", used.id)) { "the whole request" }
                    " is there, with its header fields."
                }
            }
        }
    }
}

fn of_refusal(refusal: &Refusal) -> Markup {
    html! {
        dl.facts {
            dt { "Request" } dd { code { (refusal.method) " " (refusal.origin) } }
            dt { "Agent" } dd { (refusal.agent) ", " (sealed(refusal.seal)) }
            @if let Some(tool) = &refusal.tool { dt { "Tool" } dd { (tool) } }
            @if !refusal.rules.is_empty() { dt { "Decided by" } dd { (rules(&refusal.rules)) } }
            @if let Some(id) = &refusal.approval {
                dt { "Approval" } dd { a href=(format!("/approvals/{id}")) { (id) } }
            }
            @if let Some(limit) = &refusal.limit { dt { "Limit" } dd { code { (limit) } } }
            @if let Some(found) = &refusal.risk { dt { "Risk" } dd { (risk::line(found)) } }
            @if refusal.count > 1 { dt { "Stands for" } dd { (counted(refusal.count, "call", "calls")) } }
            dt { "Policy" } dd { (digest(&refusal.policy_digest)) }
        }
    }
}

fn of_outcome(outcome: &Outcome) -> Markup {
    let redacted: u64 = outcome.redactions.values().sum();
    html! {
        dl.facts {
            dt { "Ended" } dd {
                (outcome.result.name())
                @if let Some(status) = outcome.status { ", status " (status) }
            }
            dt { "Sent" } dd { (size(outcome.request_bytes)) }
            dt { "Received" } dd { (size(outcome.response_bytes)) }
            @if redacted > 0 {
                dt { "Taken out" }
                dd {
                    (counted(redacted, "secret", "secrets")) " ("
                    (outcome.redactions.keys().cloned().collect::<Vec<_>>().join(", ")) ")"
                }
            }
            @for settled in &outcome.settled {
                dt { "Used" } dd { (settled.amount) " " (settled.unit) " of " code { (settled.budget) } }
            }
        }
    }
}

fn rules(rules: &[String]) -> Markup {
    html! {
        @if rules.is_empty() { "no rule" }
        @for (at, rule) in rules.iter().enumerate() {
            @if at > 0 { ", " }
            code { (rule) }
        }
    }
}

/// How well an agent is cut off from other ways out.
pub(crate) const fn sealed(seal: Seal) -> &'static str {
    match seal {
        Seal::Sandbox => "sealed in a sandbox",
        Seal::Gateway => "behind a gateway",
        Seal::None => "not sealed",
    }
}

/// A digest, whole.
pub(crate) fn digest(digest: &Digest) -> Markup {
    html! { code.small { (digest) } }
}

/// When a call was opened and closed.
pub(crate) fn times(receipt: &Receipt) -> Markup {
    html! {
        (moment(receipt.opened))
        @if let Some(closed) = receipt.closed {
            " for " (closed.since(receipt.opened).as_millis()) " ms"
        }
    }
}

#[cfg(test)]
mod tests {
    use exeat_types::{AccountId, AgentId, ApprovalId, CallId, Origin, ToolName};

    use super::*;

    #[test]
    fn a_call_says_what_is_kept_of_its_request_and_what_is_not() {
        let mut intent = Intent {
            account: AccountId::local(),
            agent: AgentId::new("claude").unwrap(),
            approval: None,
            argument_digest: Digest::of(b"arguments"),
            call: CallId::from_bytes([7; 16]),
            call_digest: Digest::of(b"call"),
            capture: Some(Digest::of(b"capture")),
            category: "read".to_owned(),
            credential: None,
            method: "GET".to_owned(),
            observed: false,
            origin: Origin::parse("https://api.example:8443").unwrap(),
            path: "/v1/{name}".to_owned(),
            policy_digest: Digest::of(b"policy"),
            reservations: Vec::new(),
            risk: None,
            rules: Vec::new(),
            run: None,
            seal: Seal::Gateway,
            tool: ToolName::new("example.read").unwrap(),
        };
        let page = canonical(&intent).into_string();
        for told in ["call", "arguments", "capture"] {
            let digest = Digest::of(told.as_bytes()).to_string();
            assert!(page.contains(&digest), "{told}: {page}");
        }
        assert!(page.contains("Header fields") && page.contains("are not kept"));
        assert!(!page.contains("/approvals/"), "{page}");
        let id: ApprovalId = ApprovalId::new("apr-01").unwrap();
        intent.approval = Some(exeat_ledger::ApprovalUse {
            by: exeat_ledger::Means::Passkey,
            id: id.clone(),
        });
        let page = canonical(&intent).into_string();
        assert!(page.contains(&format!("/approvals/{id}")), "{page}");
    }
}
