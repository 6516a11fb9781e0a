//! Stage 7: does policy allow it?

use exeat_policy::{Arguments, Decision, Effect, Policy, Question, Silence, Tool};
use exeat_types::Reason;

use crate::{Agent, call::Watched, check::Checked, record::Refused};

/// A call that policy allows, with what it asks for in return. Built only in this file.
pub(crate) struct Permitted {
    pub(crate) checked: Checked,
    pub(crate) rules: Vec<String>,
    pub(crate) asks_human: bool,
}

/// Asks policy. Anything but a clear yes, or a clear "ask somebody", refuses; while the agent is observed, a call that no
/// rule speaks of passes as long as it carries no credential.
pub(crate) fn decide(checked: Checked) -> Result<Permitted, Box<Refused>> {
    let asked = Asked {
        policy: &checked.call.rules.policy,
        agent: &checked.call.agent,
        tool: &checked.tool,
        arguments: &checked.arguments,
        watched: checked.call.watched,
    };
    let decision = asked.answer();
    let passes_observed = asked.passes_observed(&decision);
    match decision.effect {
        Effect::Allow => Ok(Permitted {
            checked,
            rules: decision.rules,
            asks_human: false,
        }),
        Effect::Prompt => Ok(Permitted {
            checked,
            rules: decision.rules,
            asks_human: true,
        }),
        Effect::Deny if passes_observed => Ok(Permitted {
            checked,
            rules: Vec::new(),
            asks_human: false,
        }),
        Effect::Deny => {
            let name = &checked.tool.name;
            let detail = match decision.rules.is_empty() {
                true => format!("no rule allows `{name}` for this agent"),
                false => format!("a rule forbids `{name}` for this agent"),
            };
            let refused = Refused::early(Reason::PolicyForbids, detail).of(&checked.tool);
            Err(refused.by(decision.rules))
        }
    }
}

/// What policy is asked, at the start of a call and again while it lasts.
pub(crate) struct Asked<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) agent: &'a Agent,
    pub(crate) tool: &'a Tool,
    pub(crate) arguments: &'a Arguments,
    pub(crate) watched: Watched,
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
        self.policy.decide(&Question {
            account: &self.agent.account,
            agent: &self.agent.id,
            tool: self.tool,
            arguments: self.arguments,
            approval: None,
        })
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
