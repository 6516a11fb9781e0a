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
    Agent, Gate, Refusal, Rules, Run, egress,
    limits::{self, Who},
    receipt::{Closing, Open},
    record::{self, Facts, Refused},
    risk,
    usage::Left,
};

/// What receipts call it, as tool and as category; names of tools have a dot.
const NAME: &str = "passthrough";
/// What receipts name as the rule that let it through.
const RULE: &str = "[network] passthrough";

/// An open connection that passes unread, and its receipt.
pub struct Tunnel {
    gate: Arc<Gate>,
    agent: Agent,
    run: Arc<Run>,
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
    let run = gate.run_of(&agent);
    let facts = Facts {
        id,
        started: gate.clock.monotonic(),
        agent,
        method: Method::CONNECT,
        origin: target,
        policy_digest: rules.policy.digest(),
        run,
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

fn who<'a>(agent: &'a Agent, run: &'a Run, target: &'a Origin) -> Who<'a> {
    Who {
        agent: &agent.id,
        run,
        host: &target.host,
        name: NAME,
        category: NAME,
    }
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
        reservations: Vec::new(),
        risk: None,
        rules: vec![RULE.to_owned()],
        run: facts.run.id().cloned(),
        seal: agent.seal,
        tool,
    })
}

async fn travel(
    gate: &Arc<Gate>,
    rules: &Rules,
    facts: Facts,
    mut intent: Intent,
) -> Result<(Tunnel, TcpStream), Box<Refused>> {
    let (agent, target) = (facts.agent.clone(), facts.origin.clone());
    gate.agents().admit(&agent.id)?;
    if !is_allowed(rules, &agent, &target) {
        let detail = format!("{} does not pass unread", target.host_port());
        return Err(Refused::early(Reason::PolicyForbids, detail));
    }
    let held = limits::admit_unread(gate, &rules.policy, &who(&agent, &facts.run, &target))?;
    if let Some((_, why)) = held.asks.first() {
        return Err(unseen(why));
    }
    let who = who(&agent, &facts.run, &target);
    let weighed = risk::weigh_unread(gate, rules.policy.risk(), &who);
    if let Some((_, why)) = weighed.asks {
        return Err(unseen(&why).weighed(weighed.risk));
    }
    intent.risk = weighed.risk;
    intent.reservations = held.meter.reservations();
    let run = Arc::clone(&facts.run);
    let mut open = record::begin(gate, facts, intent, held).await?;
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
        run,
        target,
        open: Some(open),
        sent: AtomicU64::new(0),
        received: AtomicU64::new(0),
    };
    Ok((tunnel, upstream))
}

/// SECURITY: nobody can be shown what passes unread, so nobody can approve it.
fn unseen(why: &str) -> Box<Refused> {
    let detail = format!("it would have to be approved, and cannot be: {why}");
    Refused::early(Reason::ApprovalRequired, detail)
}

impl Tunnel {
    /// Where it leads.
    pub const fn target(&self) -> &Origin {
        &self.target
    }

    /// Waits until the rules in force, or the limits, no longer let it stand, and says why.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn falls(&self) -> Reason {
        let mut changes = self.gate.changes();
        loop {
            let rules = self.gate.rules();
            if let Err(reason) = self.holds(&rules) {
                return reason;
            }
            let who = who(&self.agent, &self.run, &self.target);
            let changed = match limits::can_end(&rules.policy, &who) {
                // Whatever wakes it, it looks again.
                true => tokio::time::timeout(limits::LOOK_EVERY, changes.changed()).await,
                false => Ok(changes.changed().await),
            };
            if let Ok(Err(_)) = changed {
                return Reason::Internal;
            }
        }
    }

    fn holds(&self, rules: &Rules) -> Result<(), Reason> {
        if self.gate.agents().is_paused(&self.agent.id) {
            return Err(Reason::AgentPaused);
        }
        if !is_allowed(rules, &self.agent, &self.target) {
            return Err(Reason::PolicyForbids);
        }
        let who = who(&self.agent, &self.run, &self.target);
        let seen = self.open.as_ref().map(|open| open.meter().seen());
        let seen = seen.map(Arc::clone).unwrap_or_default();
        limits::holds(&self.gate, &rules.policy, &who, &seen)
    }

    /// Counts bytes that go upstream.
    ///
    /// # Errors
    /// `budget-exhausted`: they must not go.
    pub fn sent(&self, bytes: usize) -> Result<(), Reason> {
        if let Some(open) = &self.open {
            open.meter().up(bytes)?;
        }
        count(&self.sent, bytes);
        Ok(())
    }

    /// Counts bytes that come back.
    ///
    /// # Errors
    /// `budget-exhausted`: they must not be handed over.
    pub fn received(&self, bytes: usize) -> Result<(), Reason> {
        if let Some(open) = &self.open {
            open.meter().down(bytes)?;
        }
        count(&self.received, bytes);
        Ok(())
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
        // It was connected, whatever came of it.
        closing.left = Left::Something;
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
