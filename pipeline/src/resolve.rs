//! Stage 5: which declared tool is this? While its agent is observed, a request that nobody declared is one too.

use exeat_policy::{Found, NotFound, Policy};
use exeat_types::{Origin, Reason, Regime};
use http::Method;

use crate::{Call, Gate, call::Watched, record::Refused};

/// A call whose tool is known. Built only in this file.
pub(crate) struct Matched {
    pub(crate) call: Call,
    pub(crate) found: Found,
    pub(crate) basis: Basis,
}

/// Who said that there is such a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Basis {
    /// The operator, who also said which arguments it takes.
    Declared,
    /// Nobody. It has no arguments and no credential.
    Observed,
}

/// What a request asks for, as far as it says which tool it is.
pub(crate) struct Wanted<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) regime: Regime,
    pub(crate) watched: Watched,
    pub(crate) origin: &'a Origin,
    pub(crate) method: &'a Method,
    /// In its canonical form.
    pub(crate) path: &'a str,
}

impl Wanted<'_> {
    /// The tool that it is, and who said so.
    pub(crate) fn find(&self, gate: &Gate) -> Result<(Found, Basis), NotFound> {
        let missing = match self.policy.find(self.method, self.origin, self.path) {
            Ok(found) => return Ok((found, Basis::Declared)),
            Err(missing) => missing,
        };
        let observed = self.watched == Watched::Observed
            && !self.nears_a_tool(&missing)
            && gate.reaches(self.regime, &self.origin.host, self.origin.port);
        let found = observed.then(|| self.policy.observed(self.method));
        let found = found.flatten().ok_or(missing)?;
        Ok((found, Basis::Observed))
    }

    /// SECURITY: rules about a tool speak of its path. The same path with another method, or escaped so that only the server
    /// reads it as the same, would do what they forbid under a name that they do not know.
    fn nears_a_tool(&self, missing: &NotFound) -> bool {
        missing.path_known || (missing.host_known && escapes_what_may_stand_plain(self.path))
    }
}

/// Escapes of characters that a path may hold as they are, of `;` and of the escape itself.
const AMBIGUOUS: [&str; 15] = [
    "2F", "21", "24", "25", "26", "27", "28", "29", "2A", "2B", "2C", "3A", "3B", "3D", "40",
];

/// Whether a server that decodes a canonical path may take it for another one.
fn escapes_what_may_stand_plain(path: &str) -> bool {
    path.split('%').skip(1).any(|rest| {
        let escape = rest.get(..2);
        escape.is_some_and(|escape| AMBIGUOUS.contains(&escape))
    })
}

/// Finds the tool, or refuses with `tool-unknown`.
pub(crate) fn resolve(gate: &Gate, call: Call) -> Result<Matched, Box<Refused>> {
    let wanted = Wanted {
        policy: &call.rules.policy,
        regime: call.agent.regime,
        watched: call.watched,
        origin: &call.origin,
        method: &call.method,
        path: &call.path,
    };
    let missing = match wanted.find(gate) {
        Ok((found, basis)) => return Ok(Matched { call, found, basis }),
        Err(missing) => missing,
    };
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
