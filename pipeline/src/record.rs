//! Stages 9 and 15: a receipt is opened, durably, before anything leaves; a refusal before that gets one that is closed.

use std::{sync::Arc, time::Duration};

use exeat_custody::Used;
use exeat_ledger::{CredentialUse, Ending, Intent, Refusal as RefusalRecord, Risk};
use exeat_policy::{Record, Strategy, Tool};
use exeat_types::{
    CallId, CredentialId, Digest, Origin, Reason, ToolName, canonical_json, limits, unique_json,
};
use http::Method;
use serde_json::{Value, json};

use crate::{
    Agent, AskedFor, Call, Gate, Refusal, Run,
    approval::value_text,
    call::Watched,
    check::{Checked, CheckedBody},
    grant::Granted,
    limits::Held,
    receipt::{Closing, Open},
    resolve::Basis,
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
    pub(crate) run: Arc<Run>,
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
            run: Arc::clone(&call.run),
        }
    }
}

/// A refusal on its way back to the door. `early` ones get a closed receipt; `late` ones close the open one.
pub(crate) struct Refused {
    reason: Reason,
    detail: String,
    tool: Option<ToolName>,
    rules: Vec<String>,
    limit: Option<String>,
    risk: Option<Risk>,
    retry_after: Option<Duration>,
    asked_for: Option<Box<AskedFor>>,
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
            limit: None,
            risk: None,
            retry_after: None,
            asked_for: None,
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

    /// What spoke against it.
    pub(crate) fn weighed(mut self: Box<Self>, risk: Option<Risk>) -> Box<Self> {
        self.risk = risk;
        self
    }

    /// The limit or the budget that had no room.
    pub(crate) fn within(mut self: Box<Self>, limit: impl Into<String>) -> Box<Self> {
        self.limit = Some(limit.into());
        self
    }

    /// The approval that it waits for, or that was not given.
    pub(crate) fn asked_for(mut self: Box<Self>, asked_for: AskedFor) -> Box<Self> {
        self.asked_for = Some(Box::new(asked_for));
        self
    }

    /// When it may be tried again.
    pub(crate) fn again_in(mut self: Box<Self>, wait: Duration) -> Box<Self> {
        self.retry_after = Some(wait);
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
        limit,
        risk,
        retry_after,
        asked_for,
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
            approval: asked_for.as_ref().map(|asked| asked.id.clone()),
            call: facts.id,
            count: 1,
            limit,
            method: facts.method.to_string(),
            origin: facts.origin.clone(),
            policy_digest: facts.policy_digest,
            reason,
            risk,
            rules,
            seal: facts.agent.seal,
            tool,
        }),
    }
    Refusal::receipted(reason, detail, facts.id)
        .again_in(retry_after)
        .asking_for(asked_for)
}

/// Opens the receipt and waits until it is durable. After this, and only after this, side effects may follow.
pub(crate) async fn open(gate: &Arc<Gate>, granted: Granted) -> Result<Recorded, Box<Refused>> {
    let Granted {
        checked,
        rules,
        mut held,
        risk,
        approval,
    } = granted;
    held.meter.costs(checked.tool.cost_of(&checked.arguments));
    let facts = Facts::of(&checked.call);
    let unavailable =
        |detail: &str| Refused::early(Reason::LedgerUnavailable, detail).of(&checked.tool);
    let call_digest =
        digest_of(&checked).map_err(|_cause| unavailable("the request has no canonical form"))?;
    let capture = match (checked.basis, checked.tool.record) {
        (Basis::Observed, _) | (Basis::Declared, Record::Arguments) => Some(
            keep(gate, facts.id, &checked)
                .map_err(|_cause| unavailable("the arguments could not be kept"))?,
        ),
        (Basis::Declared, Record::Digest) => None,
    };
    let tool = &checked.tool;
    let intent = Intent {
        account: facts.agent.account.clone(),
        agent: facts.agent.id.clone(),
        approval: approval.as_ref().map(|approved| approved.usage.clone()),
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
        reservations: held.meter.reservations(),
        risk,
        rules,
        run: facts.run.id().cloned(),
        seal: facts.agent.seal,
        tool: tool.name.clone(),
    };
    let begun = begin(gate, facts, intent, held).await;
    // The use of an approval is taken, or free again, once the ledger has spoken.
    drop(approval);
    match begun {
        Ok(open) => Ok(Recorded { checked, open }),
        Err(refused) => Err(refused.of(&checked.tool)),
    }
}

/// Writes an intent and waits until it is durable.
pub(crate) async fn begin(
    gate: &Arc<Gate>,
    facts: Facts,
    intent: Intent,
    held: Held,
) -> Result<Open, Box<Refused>> {
    let (tool, rules) = (intent.tool.clone(), intent.rules.clone());
    let durable = gate.ledger.intent(intent);
    // INVARIANT: from here on the receipt is closed whatever happens, also when this future is dropped while it waits.
    let open = Open::new(Arc::clone(gate), facts, (tool, rules), held);
    match tokio::time::timeout(limits::JOURNAL_TIMEOUT, durable.done()).await {
        Ok(Ok(_)) => Ok(open),
        Ok(Err(exeat_ledger::Error::ApprovalUnusable)) => {
            open.forget();
            let detail =
                "another call used the approval, or it has ended; send it again to ask again";
            Err(Refused::early(Reason::ApprovalRequired, detail))
        }
        Ok(Err(exeat_ledger::Error::BudgetExhausted { budget })) => {
            let is_threshold = open.meter().is_threshold(&budget);
            open.forget();
            if is_threshold {
                let detail = "other calls came first, and with them the day costs more than nobody is asked about; send it again to ask";
                return Err(Refused::early(Reason::ApprovalRequired, detail).within(budget));
            }
            let detail = format!("other calls have used up what was left of the budget `{budget}`");
            Err(Refused::early(Reason::BudgetExhausted, detail).within(budget))
        }
        // The intent may still become durable, and its outcome stands behind it in the same queue.
        Ok(Err(exeat_ledger::Error::Late)) | Err(_) => {
            let detail = "the receipt was not durable in time";
            Err(Refused::late(open, Reason::LedgerUnavailable, detail))
        }
        Ok(Err(error)) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the ledger refused a receipt"
            );
            open.forget();
            let detail = "the receipt could not be written";
            Err(Refused::early(Reason::LedgerUnavailable, detail))
        }
    }
}

/// Keeps the declared arguments, sealed, beside the receipt; of a call that no tool declares, what was asked.
fn keep(gate: &Gate, call: CallId, checked: &Checked) -> Result<Digest, exeat_ledger::Error> {
    let arguments = match checked.basis {
        Basis::Declared => checked.arguments.value.to_string(),
        Basis::Observed => observed(checked).to_string(),
    };
    gate.ledger.capture(call, arguments.as_bytes())
}

/// What a call asked that no tool declares. Only short JSON is read of a body.
fn observed(checked: &Checked) -> Value {
    let json = match &checked.body {
        CheckedBody::Whole(whole) => unique_json(&whole.bytes).ok(),
        CheckedBody::Absent | CheckedBody::Streamed => None,
    };
    let unread = json.is_none() && !matches!(checked.body, CheckedBody::Absent);
    json!({ "observed": {
        "path": checked.call.path,
        "query": checked.call.query,
        "body": json,
        "unread": unread,
    }})
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
pub(crate) fn digest_of(checked: &Checked) -> Result<Digest, exeat_types::Malformed> {
    let call = &checked.call;
    let body = match &checked.body {
        CheckedBody::Absent => json!(null),
        CheckedBody::Whole(whole) => json!(whole.digest),
        CheckedBody::Streamed => json!("streamed"),
    };
    let mut document = json!({
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
        "headers": bound_headers(checked),
    });
    if let (true, Some(document)) = (call.upgrade, document.as_object_mut()) {
        // What becomes a WebSocket is another request than one that only looks alike.
        document.insert("upgrade".to_owned(), json!(true));
    }
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

/// Whether a header field changes between identical retries.
pub(crate) fn is_volatile(call: &Call, name: &str) -> bool {
    VOLATILE.contains(&name)
        || name.starts_with("x-stainless-")
        || (call.upgrade && name == "sec-websocket-key")
}

/// The header fields that the digest covers, sorted: what does not change between retries, and what is an argument.
pub(crate) fn bound_headers(checked: &Checked) -> Vec<(String, String)> {
    let (call, tool) = (&checked.call, &checked.tool);
    let is_bound = |name: &str| !is_volatile(call, name) || tool.takes_header(name);
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().to_owned(), value_text(value))
    };
    let mut pairs: Vec<_> = call
        .headers
        .iter()
        .filter(|(name, _)| is_bound(name.as_str()))
        .map(pair)
        .collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs
}
