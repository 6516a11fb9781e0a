//! The words about approvals and about agents as a whole. What agents wrote stands in them as it was written.

use exeat_ledger::Extent;
use exeat_types::{AgentId, ApprovalId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An agent, and whether it is paused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct AgentEntry {
    /// The agent.
    pub(crate) agent: AgentId,
    /// Since when it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) paused: Option<Timestamp>,
    /// Who paused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
}

/// An operator's answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ApprovalOrder {
    /// Which.
    pub(crate) id: ApprovalId,
    /// What.
    pub(crate) answer: ApprovalAnswer,
}

/// What an operator says on the command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum ApprovalAnswer {
    /// Yes, so far.
    Grant {
        /// How far.
        extent: Extent,
    },
    /// No.
    Deny {
        /// Whether the agent is paused as well.
        pause: bool,
    },
    /// No longer.
    Revoke {},
}

/// A question as the gate sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ApprovalShown {
    /// Everything but the request.
    pub(crate) approval: Value,
    /// Where the console shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// The request, where it was asked for and is still kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<RequestShown>,
}

impl ApprovalShown {
    /// A member that is a text.
    pub(crate) fn text(&self, name: &str) -> String {
        let text = self.approval.get(name).and_then(Value::as_str);
        text.unwrap_or("-").to_owned()
    }
}

/// The request of a question, complete. A body that is no text comes in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct RequestShown {
    /// The method.
    pub(crate) method: String,
    /// Scheme, host and port.
    pub(crate) origin: String,
    /// The path.
    pub(crate) path: String,
    /// The query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) query: Option<String>,
    /// The header fields that are bound.
    pub(crate) headers: Vec<(String, String)>,
    /// The credentials that will be used.
    pub(crate) credentials: Vec<String>,
    /// How long the body is.
    pub(crate) body_bytes: usize,
    /// The body, if it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<String>,
    /// The body, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) body_base64: Option<String>,
}
