//! Stage 7: does policy allow it?

use exeat_ledger::Means;
use exeat_policy::{Approve, Arguments, Decision, Effect, Policy, Question, Silence, Tool};
use exeat_types::{Reason, Timestamp};

use crate::{Agent, Gate, call::Watched, check::Checked, record::Refused};

/// A call that policy allows, with what it asks for in return. Built only in this file.
pub(crate) struct Permitted {
    pub(crate) checked: Checked,
    pub(crate) rules: Vec<String>,
    /// What a human has to say first, if a rule asks for one.
    pub(crate) approve: Option<Approve>,
}

/// Asks policy. Anything but a clear yes, or a clear "ask somebody", refuses; while the agent is observed, a call that no
/// rule speaks of passes as long as it carries no credential.
pub(crate) fn decide(gate: &Gate, checked: Checked) -> Result<Permitted, Box<Refused>> {
    let asked = Asked {
        policy: &checked.call.rules.policy,
        agent: &checked.call.agent,
        tool: &checked.tool,
        arguments: &checked.arguments,
        watched: checked.call.watched,
        approved: None,
        now: gate.clock.now(),
    };
    let decision = asked.answer();
    let passes_observed = asked.passes_observed(&decision);
    match decision.effect {
        Effect::Allow => Ok(Permitted {
            checked,
            rules: decision.rules,
            approve: None,
        }),
        Effect::Prompt => Ok(Permitted {
            checked,
            rules: decision.rules,
            approve: Some(decision.approve.unwrap_or(Approve::STRICTEST)),
        }),
        Effect::Deny if passes_observed => Ok(Permitted {
            checked,
            rules: Vec::new(),
            approve: None,
        }),
        Effect::Deny => Err(forbidden(&checked, decision)),
    }
}

/// Asks policy once more, now that a human has approved, under the rules in force.
pub(crate) fn decide_again(gate: &Gate, checked: &Checked) -> Result<Vec<String>, Box<Refused>> {
    let call = &checked.call;
    let asked = Asked {
        policy: &call.rules.policy,
        agent: &call.agent,
        tool: &checked.tool,
        arguments: &checked.arguments,
        watched: call.watched,
        approved: call.approved,
        now: gate.clock.now(),
    };
    let decision = asked.answer();
    match decision.effect {
        Effect::Allow => Ok(decision.rules),
        Effect::Deny if asked.passes_observed(&decision) => Ok(Vec::new()),
        Effect::Prompt | Effect::Deny => Err(forbidden(checked, decision)),
    }
}

fn forbidden(checked: &Checked, decision: Decision) -> Box<Refused> {
    let name = &checked.tool.name;
    let detail = match decision.rules.is_empty() {
        true => format!("no rule allows `{name}` for this agent"),
        false => format!("a rule forbids `{name}` for this agent"),
    };
    let refused = Refused::early(Reason::PolicyForbids, detail).of(&checked.tool);
    refused.by(decision.rules)
}

/// What policy is asked, at the start of a call and again while it lasts.
pub(crate) struct Asked<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) agent: &'a Agent,
    pub(crate) tool: &'a Tool,
    pub(crate) arguments: &'a Arguments,
    pub(crate) watched: Watched,
    /// How a human approved it.
    pub(crate) approved: Option<Means>,
    /// The moment it is about.
    pub(crate) now: Timestamp,
}

impl Asked<'_> {
    /// Whether the call may go on without asking anybody.
    pub(crate) fn allows(&self) -> bool {
        let decision = self.answer();
        match decision.effect {
            Effect::Allow => true,
            Effect::Prompt => false,
            Effect::Deny => self.passes_observed(&decision),
        }
    }

    fn answer(&self) -> Decision {
        let decision = self.policy.decide(&Question {
            account: &self.agent.account,
            agent: &self.agent.id,
            tool: self.tool,
            arguments: self.arguments,
            approval: self.approved.map(Means::name),
        });
        decision.at(self.now)
    }

    /// SECURITY: only complete silence passes. A rule that forbids, an error, an agent that policy does not know and a
    /// tool with a credential all stay refused.
    fn passes_observed(&self, decision: &Decision) -> bool {
        decision.effect == Effect::Deny
            && self.watched == Watched::Observed
            && decision.silence == Silence::Complete
            && self.tool.credential.is_none()
    }
}
