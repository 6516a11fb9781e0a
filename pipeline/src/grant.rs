//! Stage 8: limits, budgets and approval. A rule that asks for a human is refused here: nobody can be asked yet.

use exeat_types::Reason;

use crate::{check::Checked, decide::Permitted, record::Refused};

/// A call that may be made. Built only in this file.
pub(crate) struct Granted {
    pub(crate) checked: Checked,
    pub(crate) rules: Vec<String>,
}

/// Grants what needs no human.
pub(crate) fn grant(permitted: Permitted) -> Result<Granted, Box<Refused>> {
    let Permitted {
        checked,
        rules,
        asks_human,
    } = permitted;
    if asks_human {
        let detail = format!(
            "`{}` needs a human's approval, and this version cannot ask one",
            checked.tool.name
        );
        let refused = Refused::early(Reason::ApprovalRequired, detail).of(&checked.tool);
        return Err(refused.by(rules));
    }
    Ok(Granted { checked, rules })
}
