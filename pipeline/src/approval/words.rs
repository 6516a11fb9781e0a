//! What a human sees of a question, and what an answer is made of.

use bytes::Bytes;
use exeat_ledger::{Assertion, Extent, Means, Progress, Risk};
use exeat_policy::Approve;
use exeat_types::{AgentId, ApprovalId, CallId, Digest, Seal, Timestamp, ToolName};
use serde::Serialize;

/// A question to a human, as far as it has come.
#[derive(Debug, Clone, Serialize)]
pub struct Pending {
    /// Its id.
    pub id: ApprovalId,
    /// Who asks.
    pub agent: AgentId,
    /// The tool.
    pub tool: ToolName,
    /// The tool's category.
    pub category: String,
    /// The HTTP method.
    pub method: String,
    /// Scheme, host and port.
    pub origin: String,
    /// How well the agent is cut off from other ways out.
    pub seal: Seal,
    /// The first call that asked.
    pub call: CallId,
    /// When it was asked.
    pub asked: Timestamp,
    /// Until when it can be answered; once granted, until when it may be used.
    pub expires: Timestamp,
    /// The digest of the canonical request, which every answer is bound to.
    pub digest: Digest,
    /// What an answer has to look like.
    pub approve: Approve,
    /// The rules that ask.
    pub rules: Vec<String>,
    /// Why, in words, where it is not a rule that asks.
    pub why: Vec<String>,
    /// What spoke against the call.
    pub risk: Option<Risk>,
    /// How far it has come.
    pub progress: Progress,
    /// The answers so far.
    pub given: Vec<Given>,
    /// How many calls wait for it at this moment.
    pub waiting: u32,
    /// The request; nothing once it is no longer kept.
    #[serde(skip)]
    pub request: Option<std::sync::Arc<Shown>>,
}

/// One answer.
#[derive(Debug, Clone, Serialize)]
pub struct Given {
    /// Who gave it.
    pub user: String,
    /// By what means.
    pub by: Means,
    /// The key that signed, if one did.
    #[serde(skip)]
    pub key: Option<String>,
    /// What was granted; nothing if it was refused.
    pub extent: Option<Extent>,
    /// When.
    pub at: Timestamp,
}

/// The canonical request that an approval is bound to: what will be sent, with placeholders where secrets go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The method.
    pub method: String,
    /// Scheme, host and port.
    pub origin: String,
    /// The canonical path.
    pub path: String,
    /// The query.
    pub query: Option<String>,
    /// The header fields that the digest covers, sorted.
    pub headers: Vec<(String, String)>,
    /// The whole body; nothing if there is none.
    pub body: Option<Bytes>,
    /// The credentials that will be used, in their order.
    pub credentials: Vec<String>,
}

/// What a human says.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Who says it.
    pub user: String,
    /// How far the grant goes.
    pub extent: Extent,
    /// What a passkey signed over [`exeat_ledger::passkey::Challenge`]; nothing on the command line.
    pub signed: Option<Assertion>,
}

/// What else follows when an answer is no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// Nothing.
    No,
    /// The agent is paused until an operator lets it go on.
    Agent,
}

/// Why an answer was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnswered {
    /// There is no such question.
    #[error("there is no approval `{0}`")]
    Unknown(ApprovalId),
    /// It was answered, or it is too late.
    #[error("it was answered already, or nobody answered in time")]
    Closed,
    /// The means are too weak for this question.
    #[error("this approval has to be given with a passkey")]
    NeedsPasskey,
    /// The command line may not answer for an agent that could have typed it.
    #[error("the agent is not sealed: it could have answered itself")]
    Unsealed,
    /// More is granted than was offered.
    #[error("the approval may reach no further than `{0}`")]
    TooFar(Extent),
    /// The same person has answered before.
    #[error("this key has answered already; somebody else has to")]
    SamePerson,
    /// What was signed does not hold.
    #[error("the passkey's signature does not hold: {0}")]
    NotSigned(String),
    /// The answer could not be written.
    #[error("the ledger could not keep the answer")]
    NotKept,
}
