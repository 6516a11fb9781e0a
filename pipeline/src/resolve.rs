//! Stage 5: which declared tool is this?

use exeat_policy::Found;
use exeat_types::Reason;

use crate::{Call, record::Refused};

/// A call whose tool is known. Built only in this file.
pub(crate) struct Matched {
    pub(crate) call: Call,
    pub(crate) found: Found,
}

/// Finds the tool, or refuses with `tool-unknown`.
pub(crate) fn resolve(call: Call) -> Result<Matched, Box<Refused>> {
    match call
        .rules
        .policy
        .find(&call.method, &call.origin, &call.path)
    {
        Ok(found) => Ok(Matched { call, found }),
        Err(missing) => {
            let detail = if missing.path_known {
                format!(
                    "no tool takes {} on this path of {}",
                    call.method, call.origin
                )
            } else if missing.host_known {
                format!("no tool of {} has this path", call.origin)
            } else {
                format!("no tool is declared for {}", call.origin)
            };
            Err(Refused::early(Reason::ToolUnknown, detail))
        }
    }
}
