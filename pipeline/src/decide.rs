//! Stage 7: does policy allow it?

use exeat_policy::{Effect, Question};
use exeat_types::Reason;

use crate::{check::Checked, record::Refused};

/// A call that policy allows, with what it asks for in return. Built only in this file.
pub(crate) struct Permitted {
    pub(crate) checked: Checked,
    pub(crate) rules: Vec<String>,
    pub(crate) asks_human: bool,
}

/// Asks policy. Anything but a clear yes, or a clear "ask somebody", refuses.
pub(crate) fn decide(checked: Checked) -> Result<Permitted, Box<Refused>> {
    let decision = checked.call.rules.policy.decide(&Question {
        account: &checked.call.agent.account,
        agent: &checked.call.agent.id,
        tool: &checked.tool,
        arguments: &checked.arguments,
        approval: None,
    });
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
