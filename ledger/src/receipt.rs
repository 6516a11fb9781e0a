//! A receipt as people read it: intent and outcome, or the refusal, joined; and how to ask for some of them.

use exeat_types::{AgentId, CallId, Timestamp, ToolName};
use serde::Serialize;

use crate::{
    call::{Ending, Intent, Outcome, Refusal},
    record::Kind,
    scan::Position,
};

/// What became of a call, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// It has left, or is about to.
    Open,
    /// It was let through and has ended.
    Allowed,
    /// It was refused.
    Refused,
    /// It was let through and nobody knows how it ended.
    Unknown,
}

impl Decision {
    /// The word used in receipts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }

    pub(crate) const fn of(ending: Ending) -> Self {
        match ending {
            Ending::Completed | Ending::UpstreamFailed | Ending::Cut => Self::Allowed,
            Ending::RefusedLate => Self::Refused,
            Ending::Unknown => Self::Unknown,
        }
    }
}

/// Everything the journal says about one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The call.
    pub call: CallId,
    /// What became of it.
    pub decision: Decision,
    /// The number of its first record.
    pub seq: u64,
    /// When that was written.
    pub opened: Timestamp,
    /// When the closing record was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<Timestamp>,
    /// What was about to be done, unless it was refused before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why it was refused before any intent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}

impl Receipt {
    /// The agent.
    pub fn agent(&self) -> Option<&AgentId> {
        let intent = self.intent.as_ref().map(|intent| &intent.agent);
        intent.or(self.refusal.as_ref().map(|refusal| &refusal.agent))
    }

    /// The tool, if one matched.
    pub fn tool(&self) -> Option<&ToolName> {
        let intent = self.intent.as_ref().map(|intent| &intent.tool);
        intent.or(self
            .refusal
            .as_ref()
            .and_then(|refusal| refusal.tool.as_ref()))
    }
}

/// Which receipts to list; what is absent does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this agent.
    pub agent: Option<AgentId>,
    /// Of this tool; `github.*` means every tool below `github`.
    pub tool: Option<String>,
    /// Accepted at this moment or later.
    pub since: Option<Timestamp>,
    /// Accepted before this moment.
    pub until: Option<Timestamp>,
    /// With this decision.
    pub decision: Option<Decision>,
    /// At most this many.
    pub limit: Option<usize>,
    /// Only those accepted before this call: where the last page ended.
    pub after: Option<CallId>,
}

impl Filter {
    /// Whether it lets everything through.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a receipt passes, page and limit aside.
    pub fn admits(&self, receipt: &Receipt) -> bool {
        let accepted = millis_of(receipt.call);
        self.agent
            .as_ref()
            .is_none_or(|agent| receipt.agent() == Some(agent))
            && self
                .tool
                .as_ref()
                .is_none_or(|tool| matches(tool, receipt.tool()))
            && self
                .decision
                .is_none_or(|decision| receipt.decision == decision)
            && self.since.is_none_or(|since| accepted >= since.millis())
            && self.until.is_none_or(|until| accepted < until.millis())
    }
}

/// When a call was accepted, as its id says.
pub(crate) fn millis_of(call: CallId) -> u64 {
    let [a, b, c, d, e, f, ..] = call.to_bytes();
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

fn matches(pattern: &str, tool: Option<&ToolName>) -> bool {
    let Some(tool) = tool.map(ToolName::as_str) else {
        return false;
    };
    match pattern.strip_suffix('*') {
        Some(prefix) => tool.starts_with(prefix),
        None => tool == pattern,
    }
}

/// One record with its place, as `exeat tail` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub position: Position,
    /// Its kind.
    pub kind: Kind,
    /// The record as it was written: one line of canonical JSON.
    pub text: String,
}
