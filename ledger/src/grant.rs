//! The record of a capability request and of what was granted: who asked for what, for how long, and who answered.
//!
//! Fields stand in the order of their names.

use exeat_types::canonical_json;
use exeat_types::{AccountId, AgentId, ApprovalId, Capability, Digest, Seal, Timestamp};
use serde::{Deserialize, Serialize, Serializer, ser::Error as _};

use crate::approval::{Means, Vote};

/// What happened to a request, or to the grant that it became.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrantEvent {
    /// An agent, or its person, asked.
    Requested,
    /// A person granted it, or a part of it.
    Approved,
    /// A person said no.
    Denied,
    /// It was granted, and taken back.
    Revoked,
    /// Nobody answered in time, or the time that was granted is over.
    Expired,
}

/// A step in the life of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The account.
    pub account: AccountId,
    /// Who may use it.
    pub agent: AgentId,
    /// By what means somebody answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Means>,
    /// What is asked for, or granted.
    #[serde(serialize_with = "canonical")]
    pub capabilities: Vec<Capability>,
    /// The digest of that set.
    pub digest: Digest,
    /// The step.
    pub event: GrantEvent,
    /// Of a request, when it is too late to answer; of a grant, when it ends.
    pub expires: Timestamp,
    /// The request, and the grant that it becomes.
    pub grant: ApprovalId,
    /// How well the agent was cut off when it asked; nothing if a person asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Seal>,
    /// For how many seconds it is asked for.
    pub seconds: u32,
    /// The answer of a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vote: Option<Box<Vote>>,
    /// What for, in the words of who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Writes each with its members in order, so that the record is canonical JSON.
fn canonical<S: Serializer>(all: &[Capability], serializer: S) -> Result<S::Ok, S::Error> {
    let one = |capability: &Capability| {
        let bytes = canonical_json(capability).map_err(S::Error::custom)?;
        serde_json::from_slice::<serde_json::Value>(&bytes).map_err(S::Error::custom)
    };
    serializer.collect_seq(all.iter().map(one).collect::<Result<Vec<_>, _>>()?)
}
