//! Words about receipts, and about calls of the past.

use exeat_types::{AgentId, CallId, Origin, Reason, RunId, Timestamp, ToolName};
use serde::{Deserialize, Serialize};

/// Which receipts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ReceiptFilter {
    /// Of this agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) agent: Option<AgentId>,
    /// Of this tool; `github.*` means every tool below `github`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tool: Option<String>,
    /// Accepted at or after this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Timestamp>,
    /// Accepted before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<Timestamp>,
    /// Only refused calls, or only admitted ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<bool>,
    /// At most so many, the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<u32>,
}

/// A call of the past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts of a receipt that do not depend on each other"
)]
pub(crate) struct PastCall {
    /// The call, and so the receipt.
    pub(crate) call: CallId,
    /// When it was accepted.
    pub(crate) opened: Timestamp,
    /// Who called.
    pub(crate) agent: AgentId,
    /// The tool; nothing if none was known.
    pub(crate) tool: Option<ToolName>,
    /// The method.
    pub(crate) method: String,
    /// Where it went.
    pub(crate) origin: Origin,
    /// The tool's path template.
    pub(crate) template: Option<String>,
    /// The declared arguments, if they are kept.
    pub(crate) arguments: Option<serde_json::Value>,
    /// Why it was refused, if it was before any intent.
    pub(crate) refused: Option<Reason>,
    /// Whether it was let through by observing.
    pub(crate) observed: bool,
    /// The run of the agent that it belongs to.
    pub(crate) run: Option<RunId>,
    /// What was asked, if no tool declares it and it is kept.
    pub(crate) request: Option<AskedCall>,
    /// Whether a human let it through, by an approval or by what was granted.
    pub(crate) approved: bool,
    /// Whether the answer looks as if it were meant to steer the agent.
    pub(crate) flagged: bool,
    /// How it ended.
    pub(crate) end: PastEnd,
}

/// What an observed call asked that no tool declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskedCall {
    /// The canonical path.
    pub(crate) path: String,
    /// The query.
    pub(crate) query: Option<String>,
    /// The body, if it was short JSON.
    pub(crate) body: Option<serde_json::Value>,
    /// Whether there was a body that was not read.
    pub(crate) unread: bool,
}

/// How a call of the past ended, as far as somebody can learn from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PastEnd {
    /// It was answered, and not with an error.
    Answered,
    /// A placeholder was used outside its slot.
    Alarm,
    /// Anything else.
    Failed,
}

/// What an export wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Exported {
    /// How many records.
    pub(crate) records: u64,
}
