//! An open receipt, as a value: whoever holds it owes the ledger exactly one outcome, and dropping it pays that debt.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use exeat_custody::{Used, redact::Flags};
use exeat_ledger::{Access, Alarm, Ending, Outcome};
use exeat_policy::Usage;
use exeat_types::{CallId, CredentialId, Digest, Reason, ToolName};

use crate::{
    Gate, Mark, Stage,
    limits::Held,
    record::{Facts, credential_use},
    response::UNREAD_TYPE,
    usage::{Left, Meter},
};

/// How a call ended, as the exchange saw it.
pub(crate) struct Closing {
    pub(crate) ending: Ending,
    pub(crate) reason: Option<Reason>,
    pub(crate) status: Option<u16>,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) request_digest: Option<Digest>,
    pub(crate) response_digest: Option<Digest>,
    pub(crate) redactions: BTreeMap<String, u64>,
    /// What was flagged and passed.
    pub(crate) flags: Flags,
    /// Whether anything of it left.
    pub(crate) left: Left,
    /// What a language model says it cost; unknown if it does not.
    pub(crate) tokens: Option<Usage>,
}

impl Closing {
    /// An end without anything to tell of the exchange.
    pub(crate) const fn short(ending: Ending, reason: Reason) -> Self {
        let left = match ending {
            Ending::RefusedLate => Left::Nothing,
            _ => Left::Something,
        };
        Self {
            ending,
            reason: Some(reason),
            status: None,
            request_bytes: 0,
            response_bytes: 0,
            request_digest: None,
            response_digest: None,
            redactions: BTreeMap::new(),
            flags: Flags::new(),
            left,
            tokens: None,
        }
    }
}

/// Whether what was read looks as if it were meant to steer the agent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Steers {
    No,
    Yes,
}

/// An open receipt. Dropping it closes it as cut: a panic, a timeout or a lost client cannot leave it open.
pub(crate) struct Open {
    gate: Arc<Gate>,
    facts: Facts,
    tool: ToolName,
    rules: Vec<String>,
    /// What the call holds of the limits until its receipt is closed.
    held: Held,
    left: Option<Duration>,
    answered: Option<Duration>,
    access: Access,
    closed: bool,
}

impl Open {
    pub(crate) fn new(
        gate: Arc<Gate>,
        facts: Facts,
        (tool, rules): (ToolName, Vec<String>),
        held: Held,
    ) -> Self {
        gate.metrics.opened();
        gate.open.send_modify(|open| *open = open.saturating_add(1));
        if let Some(tally) = &facts.agent.tally {
            tally.opened(&facts.origin.host);
        }
        let (agent, host) = (&facts.agent.id, &facts.origin.host);
        gate.history
            .used(agent, tool.as_str(), host, gate.clock.now());
        Self {
            gate,
            facts,
            tool,
            rules,
            held,
            left: None,
            answered: None,
            access: Access::default(),
            closed: false,
        }
    }

    pub(crate) const fn call(&self) -> CallId {
        self.facts.id
    }

    pub(crate) const fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// What it uses.
    pub(crate) const fn meter(&self) -> &Meter {
        &self.held.meter
    }

    /// A placeholder in the wrong place is somebody trying to get at a credential: the operator hears of it.
    pub(crate) fn alarm(&self, place: &str) {
        self.facts.run.alarmed();
        tracing::warn!(
            call = %self.facts.id, agent = %self.facts.agent.id, tool = %self.tool, place,
            "a placeholder was used outside its slot"
        );
        // The alarm rides the next group commit; the refusal does not wait for it.
        drop(self.gate.ledger.alarm(Alarm {
            agent: Some(self.facts.agent.id.clone()),
            alarm: "placeholder-misused".to_owned(),
            call: Some(self.facts.id),
            detail: place.to_owned(),
        }));
    }

    /// What an upstream answered looks as if it were meant to steer the agent, or could not be looked at: the operator
    /// hears of it.
    fn flagged(&self, flags: &Flags) {
        let names = flags.keys().copied();
        let (unread, markers): (Vec<&str>, Vec<&str>) =
            names.partition(|flag| *flag == UNREAD_TYPE);
        for (alarm, found) in [(UNREAD_TYPE, unread), ("injection-marker", markers)] {
            if found.is_empty() {
                continue;
            }
            let detail = found.join(", ");
            tracing::warn!(
                call = %self.facts.id, agent = %self.facts.agent.id, tool = %self.tool, alarm, flags = detail,
                "a response is flagged"
            );
            drop(self.gate.ledger.alarm(Alarm {
                agent: Some(self.facts.agent.id.clone()),
                alarm: alarm.to_owned(),
                call: Some(self.facts.id),
                detail,
            }));
        }
    }

    /// Something pays what upstream asks for.
    pub(crate) const fn pays(&mut self) {
        self.held.meter.pays();
    }

    /// The credentials that come first and were not there.
    pub(crate) fn missed(&mut self, absent: Vec<CredentialId>) {
        self.access.absent = absent;
    }

    /// The credential that is used. It stands in the intent, unless others come first.
    pub(crate) fn uses(&mut self, used: &Used) {
        if !self.access.absent.is_empty() {
            self.access.credential = Some(credential_use(used));
        }
    }

    /// The request is sent once more.
    pub(crate) fn tries_again(&mut self) {
        self.held.meter.restart();
        let attempts = self.access.attempts.unwrap_or(1);
        self.access.attempts = Some(attempts.saturating_add(1));
    }

    /// The request leaves.
    pub(crate) fn leaves(&mut self) {
        let after = self.elapsed();
        self.gate.metrics.left(after);
        self.left = Some(after);
    }

    /// Upstream answered.
    pub(crate) fn answers(&mut self) {
        self.answered = Some(self.elapsed());
        self.reads();
    }

    /// The agent is about to read what this origin sends: unless somebody vouches for it, the run is marked.
    pub(crate) fn reads(&self) {
        let origin = &self.facts.origin;
        if !self.gate.rules().policy.risk().trusts(origin) {
            self.marks(Steers::No);
        }
    }

    /// What is read looks as if it were meant to steer the agent.
    pub(crate) fn steers(&self) {
        self.marks(Steers::Yes);
    }

    fn marks(&self, steers: Steers) {
        self.facts.run.reads(|| Mark {
            origin: self.facts.origin.clone(),
            steers: steers == Steers::Yes,
        });
    }

    fn elapsed(&self) -> Duration {
        self.gate
            .clock
            .monotonic()
            .saturating_sub(self.facts.started)
    }

    /// The intent was never written, so there is nothing to close.
    pub(crate) fn forget(mut self) {
        self.closed = true;
        self.gate.metrics.forgotten();
        if let Some(tally) = &self.facts.agent.tally {
            tally.forgotten();
        }
    }

    /// Closes the receipt.
    pub(crate) fn close(mut self, closing: Closing) {
        self.write(closing);
    }

    fn write(&mut self, mut closing: Closing) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let whole = self.elapsed();
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let mut durations_us = BTreeMap::new();
        for (name, time) in [
            ("left", self.left),
            ("answered", self.answered),
            ("ended", Some(whole)),
        ] {
            if let Some(time) = time {
                durations_us.insert(name.to_owned(), micros(time));
            }
        }
        let redactions: u64 = closing.redactions.values().sum();
        if !closing.flags.is_empty() {
            self.flagged(&closing.flags);
            if closing.flags.keys().any(|flag| *flag != UNREAD_TYPE) {
                self.steers();
            }
            let flags = closing.flags.iter();
            closing
                .redactions
                .extend(flags.map(|(flag, count)| (format!("flag:{flag}"), *count)));
        }
        let bytes = (closing.request_bytes, closing.response_bytes);
        self.gate.history.moved(
            &self.facts.agent.id,
            bytes.0.saturating_add(bytes.1),
            self.gate.clock.now(),
        );
        self.gate
            .metrics
            .ended(closing.ending.name(), whole, bytes, redactions);
        tracing::info!(
            call = %self.facts.id, agent = %self.facts.agent.id, tool = %self.tool,
            method = %self.facts.method, origin = %self.facts.origin, decision = "allowed",
            result = closing.ending.name(), reason = closing.reason.map(Reason::code), status = closing.status,
            rules = ?self.rules, request_bytes = bytes.0, response_bytes = bytes.1, redactions,
            left_us = self.left.map(micros), answered_us = self.answered.map(micros), ended_us = micros(whole),
            "call ended"
        );
        let settled = self.held.meter.settle(closing.left, closing.tokens);
        if let Some(tally) = &self.facts.agent.tally {
            tally.closed(self.held.meter.paid(closing.left, closing.tokens));
        }
        // The outcome rides the next group commit; if it is lost, the sweep closes the call as unknown.
        let access = std::mem::take(&mut self.access);
        drop(self.gate.ledger.outcome(Outcome {
            access: (access != Access::default()).then_some(access),
            call: self.facts.id,
            durations_us,
            reason: closing.reason,
            redactions: closing.redactions,
            request_bytes: closing.request_bytes,
            request_digest: closing.request_digest,
            response_bytes: closing.response_bytes,
            response_digest: closing.response_digest,
            result: closing.ending,
            settled,
            status: closing.status,
        }));
        self.gate.reached(Stage::Closed);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.write(Closing::short(Ending::Cut, Reason::Internal));
        let settled = |open: &mut u64| *open = open.saturating_sub(1);
        self.gate.open.send_modify(settled);
    }
}
