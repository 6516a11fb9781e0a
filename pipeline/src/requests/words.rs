//! What is said about capability requests: the order, what people and agents see of it, a person's consent, and why not.

use std::time::Duration;

use exeat_ledger::{Assertion, GrantStanding, GrantState, Means};
use exeat_types::{AgentId, ApprovalId, Capability, Digest, Reason, Seal, Timestamp, unique_json};
use serde::{Deserialize, Serialize};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// What.
    pub capabilities: Vec<Capability>,
    /// For how many seconds, from the moment it is granted; an hour when nobody says.
    #[serde(default = "an_hour")]
    pub seconds: u32,
    /// What for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

const fn an_hour() -> u32 {
    60 * 60
}

impl Order {
    /// Reads what an agent sent.
    ///
    /// # Errors
    /// When it is not JSON of this form.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotTaken> {
        let wrong =
            |problem: String| NotTaken::Malformed(format!("the request cannot be read: {problem}"));
        let value = unique_json(bytes).map_err(|problem| wrong(problem.to_string()))?;
        serde_json::from_value(value).map_err(|problem| wrong(problem.to_string()))
    }
}

/// A request as people and agents see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RequestShown {
    /// Its id.
    pub id: ApprovalId,
    /// Who may use it.
    pub agent: AgentId,
    /// How far it has come.
    pub state: GrantStanding,
    /// What is asked for, or granted.
    pub capabilities: Vec<Capability>,
    /// The same in words, each the rest of a sentence that begins with `may`.
    pub words: Vec<String>,
    /// The digest of what was asked for.
    pub digest: Digest,
    /// When it was asked for.
    pub asked: Timestamp,
    /// When it is too late to answer; of a grant, when it ends.
    pub expires: Timestamp,
    /// For how many seconds it was asked for.
    pub seconds: u32,
    /// What for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How well the agent was cut off when it asked; nothing if a person asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seal: Option<Seal>,
    /// By what means it was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Means>,
    /// Who answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whether a person has to say twice that it is meant.
    pub grave: bool,
}

impl RequestShown {
    pub(super) fn of(known: &GrantState, now: Timestamp) -> Self {
        Self {
            id: known.id.clone(),
            agent: known.agent.clone(),
            state: known.standing(now),
            words: known.capabilities.iter().map(Capability::words).collect(),
            grave: known.capabilities.iter().any(Capability::is_grave),
            capabilities: known.capabilities.clone(),
            digest: known.digest,
            asked: known.asked,
            expires: known.expires,
            seconds: known.seconds,
            why: known.why.clone(),
            seal: known.seal,
            by: known.by,
            user: known.user.clone(),
        }
    }
}

/// What a person agrees to.
#[derive(Debug, Clone)]
pub struct Consent {
    /// Who.
    pub user: String,
    /// What is granted, if less than was asked for.
    pub capabilities: Option<Vec<Capability>>,
    /// For how long, if shorter.
    pub seconds: Option<u32>,
    /// That what moves value or destroys is meant.
    pub confirmed: Confirmed,
    /// What a passkey signed; nothing on the command line.
    pub signed: Option<Assertion>,
}

/// Whether somebody said a second time that it is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// Not yet.
    No,
    /// Yes.
    Yes,
}

/// Why a request, or an answer to one, was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It says nothing that has a meaning.
    #[error("{0}")]
    Malformed(String),
    /// The agent may not ask for that.
    #[error("this agent may not ask for `{0}`")]
    Beyond(String),
    /// No rule can hold an agent to it.
    #[error("{0}")]
    NotEnforceable(String),
    /// The agent was refused not long ago.
    #[error("this agent was refused not long ago; it may ask again in {} s", .0.as_secs())]
    TooSoon(Duration),
    /// The agent asks too often.
    #[error("this agent asks too often; it may ask again in {} s", .0.as_secs().saturating_add(1))]
    TooOften(Duration),
    /// It cannot take that step.
    #[error("{0}")]
    Closed(&'static str),
    /// There is no such request.
    #[error("there is no such request")]
    Unknown,
    /// More is granted than was asked for.
    #[error("more would be granted than was asked for: {0}")]
    TooMuch(String),
    /// It moves value or destroys, and nobody said that it is meant.
    #[error("this moves value or destroys something: it has to be confirmed")]
    NotConfirmed,
    /// The command line may not answer for this agent.
    #[error("this request has to be granted with a passkey")]
    NeedsPasskey,
    /// What was signed does not hold.
    #[error("the passkey's signature does not hold: {0}")]
    NotSigned(String),
    /// It could not be written.
    #[error("the ledger could not keep it")]
    NotKept,
}

impl NotTaken {
    /// What an agent is told.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Malformed(_) | Self::NotEnforceable(_) => Reason::ArgumentsInvalid,
            Self::Beyond(_) | Self::Unknown | Self::NeedsPasskey | Self::TooMuch(_) => {
                Reason::PolicyForbids
            }
            Self::TooSoon(_) | Self::TooOften(_) | Self::Closed(_) => Reason::RateLimited,
            Self::NotConfirmed | Self::NotSigned(_) => Reason::ApprovalRequired,
            Self::NotKept => Reason::LedgerUnavailable,
        }
    }
}
