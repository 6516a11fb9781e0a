//! Stages 9 and 15: a receipt is opened, durably, before anything leaves; a refusal before that gets one that is closed.

use std::{sync::Arc, time::Duration};

use exeat_custody::Used;
use exeat_ledger::{CredentialUse, Ending, Intent, Refusal as RefusalRecord};
use exeat_policy::{Record, Strategy, Tool};
use exeat_types::{CallId, CredentialId, Digest, Origin, Reason, ToolName, canonical_json, limits};
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::{
    Agent, Call, Gate, Refusal,
    call::Watched,
    check::{Checked, CheckedBody},
    grant::Granted,
    receipt::{Closing, Open},
};

/// A call whose receipt is open and durable. Built only in this file.
pub(crate) struct Recorded {
    pub(crate) checked: Checked,
    pub(crate) open: Open,
}

/// What a receipt says of a call from the start.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) id: CallId,
    pub(crate) started: Duration,
    pub(crate) agent: Agent,
    pub(crate) method: Method,
    pub(crate) origin: Origin,
    pub(crate) policy_digest: Digest,
}

impl Facts {
    pub(crate) fn of(call: &Call) -> Self {
        Self {
            id: call.id,
            started: call.started,
            agent: call.agent.clone(),
            method: call.method.clone(),
            origin: call.origin.clone(),
            policy_digest: call.rules.policy.digest(),
        }
    }
}

/// A refusal on its way back to the door. `early` ones get a closed receipt; `late` ones close the open one.
pub(crate) struct Refused {
    reason: Reason,
    detail: String,
    tool: Option<ToolName>,
    rules: Vec<String>,
    open: Option<Open>,
}

impl Refused {
    pub(crate) fn early(reason: Reason, detail: impl Into<String>) -> Box<Self> {
        let detail = detail.into();
        Box::new(Self {
            reason,
            detail,
            tool: None,
            rules: Vec::new(),
            open: None,
        })
    }

    pub(crate) fn late(open: Open, reason: Reason, detail: impl Into<String>) -> Box<Self> {
        let mut refused = Self::early(reason, detail);
        refused.open = Some(open);
        refused
    }

    pub(crate) fn of(mut self: Box<Self>, tool: &Tool) -> Box<Self> {
        self.tool = Some(tool.name.clone());
        self
    }

    pub(crate) fn by(mut self: Box<Self>, rules: Vec<String>) -> Box<Self> {
        self.rules = rules;
        self
    }
}

/// Receipts a refusal and turns it into what the agent sees.
pub(crate) fn refuse(gate: &Gate, facts: &Facts, refused: Refused) -> Refusal {
    let Refused {
        reason,
        detail,
        tool,
        rules,
        open,
    } = refused;
    gate.metrics.refused(reason);
    tracing::info!(
        call = %facts.id, agent = %facts.agent.id, tool = tool.as_ref().map(ToolName::as_str),
        method = %facts.method, origin = %facts.origin, decision = "refused", reason = reason.code(),
        rules = ?rules, "call ended"
    );
    if let Some(tally) = &facts.agent.tally {
        match open {
            Some(_) => tally.refused_late(),
            None => tally.refused(),
        }
    }
    match open {
        Some(open) => open.close(Closing::short(Ending::RefusedLate, reason)),
        None => gate.ledger.refusal(RefusalRecord {
            account: facts.agent.account.clone(),
            agent: facts.agent.id.clone(),
            call: facts.id,
            count: 1,
            method: facts.method.to_string(),
            origin: facts.origin.clone(),
            policy_digest: facts.policy_digest,
            reason,
            rules,
            seal: facts.agent.seal,
            tool,
        }),
    }
    Refusal::receipted(reason, detail, facts.id)
}

/// Opens the receipt and waits until it is durable. After this, and only after this, side effects may follow.
pub(crate) async fn open(gate: &Arc<Gate>, granted: Granted) -> Result<Recorded, Box<Refused>> {
    let Granted { checked, rules } = granted;
    let facts = Facts::of(&checked.call);
    let unavailable =
        |detail: &str| Refused::early(Reason::LedgerUnavailable, detail).of(&checked.tool);
    let call_digest =
        digest_of(&checked).map_err(|_cause| unavailable("the request has no canonical form"))?;
    let capture = match checked.tool.record {
        Record::Arguments => Some(
            keep(gate, facts.id, &checked)
                .map_err(|_cause| unavailable("the arguments could not be kept"))?,
        ),
        Record::Digest => None,
    };
    let tool = &checked.tool;
    let intent = Intent {
        account: facts.agent.account.clone(),
        agent: facts.agent.id.clone(),
        approval: None,
        argument_digest: checked.arguments.digest(),
        call: facts.id,
        call_digest,
        capture,
        category: tool.category.to_string(),
        credential: tool
            .credential
            .as_ref()
            .and_then(|id| checked.call.rules.custody.describe(id))
            .map(|used| credential_use(&used)),
        method: facts.method.to_string(),
        observed: checked.call.watched == Watched::Observed,
        origin: facts.origin.clone(),
        path: tool.template.clone(),
        policy_digest: facts.policy_digest,
        reservation: None,
        rules,
        seal: facts.agent.seal,
        tool: tool.name.clone(),
    };
    match begin(gate, facts, intent).await {
        Ok(open) => Ok(Recorded { checked, open }),
        Err(refused) => Err(refused.of(&checked.tool)),
    }
}

/// Writes an intent and waits until it is durable.
pub(crate) async fn begin(
    gate: &Arc<Gate>,
    facts: Facts,
    intent: Intent,
) -> Result<Open, Box<Refused>> {
    let (tool, rules) = (intent.tool.clone(), intent.rules.clone());
    let durable = gate.ledger.intent(intent);
    // INVARIANT: from here on the receipt is closed whatever happens, also when this future is dropped while it waits.
    let open = Open::new(Arc::clone(gate), facts, tool, rules);
    match tokio::time::timeout(limits::JOURNAL_TIMEOUT, durable.done()).await {
        Ok(Ok(_)) => Ok(open),
        Ok(Err(error)) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the ledger refused a receipt"
            );
            open.forget();
            let detail = "the receipt could not be written";
            Err(Refused::early(Reason::LedgerUnavailable, detail))
        }
        Err(_) => {
            // The intent may still become durable, and its outcome stands behind it in the same queue.
            let detail = "the receipt was not durable in time";
            Err(Refused::late(open, Reason::LedgerUnavailable, detail))
        }
    }
}

/// Keeps the declared arguments, sealed, beside the receipt.
fn keep(gate: &Gate, call: CallId, checked: &Checked) -> Result<Digest, exeat_ledger::Error> {
    let arguments = checked.arguments.value.to_string();
    gate.ledger.capture(call, arguments.as_bytes())
}

/// What a receipt says of a credential.
pub(crate) fn credential_use(used: &Used) -> CredentialUse {
    CredentialUse {
        id: used.id.clone(),
        kind: used.kind.to_owned(),
        thumbprint: used.thumbprint.to_string(),
        version: used.version,
    }
}

/// Header fields that change between identical retries and so do not belong to what is approved.
const VOLATILE: [&str; 6] = [
    "user-agent",
    "date",
    "traceparent",
    "tracestate",
    "idempotency-key",
    "accept-encoding",
];

/// The digest of the canonical request (RFC 8785 JSON): what an approval binds and a receipt states.
fn digest_of(checked: &Checked) -> Result<Digest, exeat_types::Malformed> {
    let call = &checked.call;
    let body = match &checked.body {
        CheckedBody::Absent => json!(null),
        CheckedBody::Whole(whole) => json!(whole.digest),
        CheckedBody::Streamed => json!("streamed"),
    };
    let document = json!({
        "v": 1,
        "account": call.agent.account,
        "agent": call.agent.id,
        "tool": checked.tool.name,
        "method": call.method.as_str(),
        "origin": call.origin,
        "path": call.path,
        "query": call.query,
        "body": body,
        "credential": ways(&checked.tool),
        "headers": bound_headers(&call.headers),
    });
    Ok(Digest::of(&canonical_json(&document)?))
}

/// The one credential, or all of them in their order.
fn ways(tool: &Tool) -> Value {
    if tool.otherwise.is_empty() {
        return json!(tool.credential);
    }
    let others = tool.otherwise.iter().map(|it| match it {
        Strategy::Credential(id) => id.as_str(),
        Strategy::Payment => "payment",
    });
    let first = tool.credential.iter().map(CredentialId::as_str);
    first.chain(others).collect()
}

fn bound_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let bound = |name: &str| !VOLATILE.contains(&name) && !name.starts_with("x-stainless-");
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (
            name.as_str().to_owned(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        )
    };
    let mut pairs: Vec<_> = headers
        .iter()
        .filter(|(name, _)| bound(name.as_str()))
        .map(pair)
        .collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs
}
