//! The records that are not calls: connections, approvals, alarms, changes, sweeps and checkpoints.
//!
//! INVARIANT: as in `call.rs`, fields stand in the order of their names and never hold a secret.

use exeat_types::{AgentId, CallId, CredentialId, Digest, FamilyId, Reason, Timestamp};
use serde::{Deserialize, Serialize};

use crate::json;

/// Connections that never became a call, counted per agent, reason, listener and second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// The agent, if it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// How many.
    #[serde(with = "json::count")]
    pub count: u64,
    /// The listener they came in on.
    pub listener: String,
    /// Why they were turned away.
    pub reason: Reason,
}

/// Something an operator should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alarm {
    /// The agent it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// A stable word for it, such as `placeholder-misused`.
    pub alarm: String,
    /// The call it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// The place, never a value.
    pub detail: String,
}

/// Another policy decides from here on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyChange {
    /// The digest of the policy.
    pub policy_digest: Digest,
    /// How many rules it has.
    pub rules: u32,
    /// How many tools it has.
    pub tools: u32,
}

/// A step in the life of something that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It is new.
    Created,
    /// It has a new value or generation.
    Rotated,
    /// Something else about it is different.
    Modified,
    /// It is gone.
    Revoked,
}

/// A credential in custody changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialChange {
    /// What happened.
    pub change: Change,
    /// The credential.
    pub credential: CredentialId,
    /// Its version from here on.
    pub version: u32,
}

/// A family of agent tokens changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenChange {
    /// The agent the tokens speak for.
    pub agent: AgentId,
    /// What happened.
    pub change: Change,
    /// The digest of the token's secret part.
    pub digest: Digest,
    /// When the token ends.
    pub expires: Timestamp,
    /// The family.
    pub family: FamilyId,
    /// The generation that is good from here on.
    pub generation: u32,
    /// The listener it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
}

/// A budget has another limit from here on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetChange {
    /// The budget.
    pub budget: String,
    /// Who said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The most that may be reserved, spent and held together; nothing means no limit.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "json::amount_maybe"
    )]
    pub limit: Option<u64>,
    /// The unit.
    pub unit: String,
}

/// What an operator did with an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentStep {
    /// Nothing it asks for passes.
    Paused,
    /// It goes on.
    Resumed,
}

/// An agent was paused or goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentChange {
    /// The agent.
    pub agent: AgentId,
    /// Who said so.
    pub by: String,
    /// What happened.
    pub change: AgentStep,
}

/// The gate looked for other ways out of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfTest {
    /// The agent whose sandbox it was.
    pub agent: AgentId,
    /// The checks that failed; none is good.
    pub failed: Vec<String>,
    /// The checks that held.
    pub passed: Vec<String>,
}

/// What opening the ledger found and put in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// Calls that were open and are `unknown` from here on.
    #[serde(with = "json::count")]
    pub calls: u64,
    /// The unfinished write that was cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<Cut>,
}

/// Bytes that were written but never acknowledged, cut off and kept beside the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// How many.
    #[serde(with = "json::count")]
    pub bytes: u64,
    /// Where they began.
    #[serde(with = "json::count")]
    pub offset: u64,
    /// In which segment.
    pub segment: u32,
}

/// Another process took the gate over, and with it this journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upgrade {
    /// Calls that were open; the process that began them still says how they end.
    #[serde(with = "json::count")]
    pub calls: u64,
    /// The version that wrote until here.
    pub from: String,
    /// The version that writes from here on.
    pub to: String,
}

/// The signed head of the tree over every record before this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// A C2SP signed note.
    pub note: String,
}
