//! Connections that pass unread, for clients that accept only their own upstream's certificate. Nothing inside is seen: no
//! tool, no argument, no credential, no redaction. So it is loud, by the operator's word alone, for exact hosts and ports,
//! and has a receipt like any call: opened before anything leaves, closed with the bytes that went each way.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use exeat_ledger::{Ending, Intent};
use exeat_types::{CallId, Digest, Malformed, Origin, Reason, Regime, ToolName, canonical_json};
use http::Method;
use serde_json::json;
use tokio::net::TcpStream;

use crate::{
    Agent, Gate, Refusal, Rules, egress,
    receipt::{Closing, Open},
    record::{self, Facts, Refused},
};

/// What receipts call it, as tool and as category; names of tools have a dot.
const NAME: &str = "passthrough";
/// What receipts name as the rule that let it through.
const RULE: &str = "[network] passthrough";

/// An open connection that passes unread, and its receipt.
pub struct Tunnel {
    gate: Arc<Gate>,
    agent: Agent,
    target: Origin,
    open: Option<Open>,
    sent: AtomicU64,
    received: AtomicU64,
}

/// Whether what this agent sends to a target over TLS passes unread under the rules in force.
pub fn passes_unread(gate: &Gate, agent: &Agent, target: &Origin) -> bool {
    is_allowed(&gate.rules(), agent, target)
}

/// Opens the receipt of a connection that passes unread, and connects.
///
/// # Errors
/// A [`Refusal`] that is already receipted, ready to be shown to the agent.
///
/// # Cancel safety
/// Dropping the future before the receipt is opened leaves nothing behind; dropping it later closes the receipt.
pub async fn tunnel(
    gate: &Arc<Gate>,
    agent: Agent,
    target: Origin,
) -> Result<(Tunnel, TcpStream), Refusal> {
    let rules = gate.rules();
    let internal = |problem: Malformed| Refusal::bare(Reason::Internal, problem.to_string());
    let id = CallId::new(gate.clock.now())
        .map_err(|error| internal(Malformed::new("receipt id", error.to_string())))?;
    let facts = Facts {
        id,
        started: gate.clock.monotonic(),
        agent,
        method: Method::CONNECT,
        origin: target,
        policy_digest: rules.policy.digest(),
    };
    let intent = intent(&facts).map_err(internal)?;
    match travel(gate, &rules, facts.clone(), intent).await {
        Ok(opened) => Ok(opened),
        Err(refused) => Err(record::refuse(gate, &facts, *refused)),
    }
}

fn is_allowed(rules: &Rules, agent: &Agent, target: &Origin) -> bool {
    let network = &rules.network;
    agent.regime != Regime::Strict && network.passes_unread(&agent.id, &target.host, target.port)
}

fn intent(facts: &Facts) -> Result<Intent, Malformed> {
    let tool = ToolName::new(NAME)?;
    let agent = &facts.agent;
    let path = facts.origin.host_port();
    let document = json!({
        "v": 1,
        "account": agent.account,
        "agent": agent.id,
        "tool": tool,
        "method": facts.method.as_str(),
        "origin": facts.origin,
        "path": path,
    });
    Ok(Intent {
        account: agent.account.clone(),
        agent: agent.id.clone(),
        approval: None,
        argument_digest: Digest::of(&canonical_json(&json!({}))?),
        call: facts.id,
        call_digest: Digest::of(&canonical_json(&document)?),
        capture: None,
        category: NAME.to_owned(),
        credential: None,
        method: facts.method.to_string(),
        observed: false,
        origin: facts.origin.clone(),
        path,
        policy_digest: facts.policy_digest,
        reservation: None,
        rules: vec![RULE.to_owned()],
        seal: agent.seal,
        tool,
    })
}

async fn travel(
    gate: &Arc<Gate>,
    rules: &Rules,
    facts: Facts,
    intent: Intent,
) -> Result<(Tunnel, TcpStream), Box<Refused>> {
    let (agent, target) = (facts.agent.clone(), facts.origin.clone());
    if !is_allowed(rules, &agent, &target) {
        let detail = format!("{} does not pass unread", target.host_port());
        return Err(Refused::early(Reason::PolicyForbids, detail));
    }
    let mut open = record::begin(gate, facts, intent).await?;
    let located = gate
        .resolver
        .locate(&egress::Way::of(rules, &agent.id), &target, &*gate.clock)
        .await;
    let route = match located {
        Ok(route) => route,
        Err(reason) => {
            return Err(Refused::late(
                open,
                reason,
                egress::sentence(reason, &target),
            ));
        }
    };
    open.leaves();
    let upstream = match route.connect().await {
        Ok(upstream) => upstream,
        Err(error) => {
            let reason = match error.kind() {
                io::ErrorKind::TimedOut => Reason::UpstreamTimeout,
                _ => Reason::UpstreamUnreachable,
            };
            return Err(Refused::late(open, reason, reason.title()));
        }
    };
    open.answers();
    gate.metrics.passed_unread();
    tracing::warn!(
        call = %open.call(), agent = %agent.id, target = target.host_port(),
        "a connection passes unread"
    );
    let tunnel = Tunnel {
        gate: Arc::clone(gate),
        agent,
        target,
        open: Some(open),
        sent: AtomicU64::new(0),
        received: AtomicU64::new(0),
    };
    Ok((tunnel, upstream))
}

impl Tunnel {
    /// Where it leads.
    pub const fn target(&self) -> &Origin {
        &self.target
    }

    /// Waits until the rules in force no longer let it stand.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn falls(&self) {
        let mut changes = self.gate.changes();
        while passes_unread(&self.gate, &self.agent, &self.target) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Counts bytes that went upstream.
    pub fn sent(&self, bytes: usize) {
        count(&self.sent, bytes);
    }

    /// Counts bytes that came back.
    pub fn received(&self, bytes: usize) {
        count(&self.received, bytes);
    }

    /// Every byte so far, both ways.
    pub fn bytes(&self) -> u64 {
        let both = (
            self.sent.load(Ordering::Relaxed),
            self.received.load(Ordering::Relaxed),
        );
        both.0.saturating_add(both.1)
    }

    /// Closes the receipt of a connection that was never let through after all.
    pub fn refuse(mut self, reason: Reason) {
        self.gate.count_refusal(reason);
        self.end(Ending::RefusedLate, Some(reason));
    }

    /// Closes the receipt. A tunnel that is dropped instead is closed as cut.
    pub fn close(mut self, ending: Ending, reason: Option<Reason>) {
        self.end(ending, reason);
    }

    fn end(&mut self, ending: Ending, reason: Option<Reason>) {
        let Some(open) = self.open.take() else { return };
        let mut closing = Closing::short(ending, Reason::Internal);
        closing.reason = reason;
        closing.request_bytes = self.sent.load(Ordering::Relaxed);
        closing.response_bytes = self.received.load(Ordering::Relaxed);
        open.close(closing);
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.end(Ending::Cut, Some(Reason::Internal));
    }
}

fn count(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
}
