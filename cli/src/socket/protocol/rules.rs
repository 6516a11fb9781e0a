//! Words about what is allowed: the policy in force, budgets, and answers to capability requests.

use std::collections::BTreeMap;

use exeat_types::{AgentId, ApprovalId, Capability, CredentialId, Digest, Origin, Timestamp};
use serde::{Deserialize, Serialize};

/// A budget, and what it has come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct BudgetEntry {
    /// Its name, such as `claude/spend/day`.
    pub(crate) budget: String,
    /// Whose it is; nobody's alone if agents have it together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) agent: Option<AgentId>,
    /// What it counts; nothing if no limit declares it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) measure: Option<String>,
    /// Over what time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) period: Option<String>,
    /// The smallest unit, which every amount is in.
    pub(crate) unit: String,
    /// The most that policy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<u64>,
    /// The most that an operator set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) set: Option<u64>,
    /// Used.
    pub(crate) spent: u64,
    /// Set aside for calls that are open.
    pub(crate) reserved: u64,
    /// Kept for calls whose end is unknown.
    pub(crate) held: u64,
    /// What is left.
    pub(crate) free: u64,
    /// When it begins anew; nothing if it rolls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resets: Option<Timestamp>,
}

/// The policy in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct PolicyShown {
    /// Its digest, as receipts name it.
    pub(crate) digest: Digest,
    /// How many tools it knows.
    pub(crate) tools: usize,
    /// What its rules compiled to.
    pub(crate) cedar: String,
    /// Its limits in words, by name.
    #[serde(default)]
    pub(crate) limits: BTreeMap<String, String>,
}

impl PolicyShown {
    /// What there is to show of a policy.
    pub(crate) fn of(policy: &exeat_policy::Policy) -> Self {
        let limits = policy.limits().all().iter();
        Self {
            digest: policy.digest(),
            tools: policy.tools().count(),
            cedar: policy.cedar_text(),
            limits: limits
                .map(|limit| (limit.name.to_string(), limit.to_string()))
                .collect(),
        }
    }

    /// Its limits in words, one a line.
    pub(crate) fn limits_in_words(&self) -> String {
        match self.limits.is_empty() {
            true => "no limits are declared".to_owned(),
            false => {
                let limits = self.limits.iter();
                let lines = limits.map(|(name, words)| format!("{name}: {words}"));
                lines.collect::<Vec<_>>().join("\n")
            }
        }
    }
}

/// What the policy in force was compiled from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct PolicyTexts {
    /// Its digest, as receipts name it.
    pub(crate) digest: Digest,
    /// Tool files, by name.
    pub(crate) tools: Vec<(String, String)>,
    /// Rules.
    pub(crate) policy: Vec<(String, String)>,
    /// Additions in Cedar.
    pub(crate) cedar: Vec<(String, String)>,
    /// Agents, with their groups.
    pub(crate) agents: BTreeMap<AgentId, Vec<String>>,
    /// Credentials, with the origins they are bound to.
    pub(crate) credentials: BTreeMap<CredentialId, Vec<Origin>>,
}

/// An answer to a capability request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct GrantOrder {
    /// Which.
    pub(crate) grant: ApprovalId,
    /// What is said to it.
    pub(crate) answer: GrantAnswer,
}

/// What is said to a capability request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum GrantAnswer {
    /// Yes.
    Approve {
        /// To this, if it is less than was asked for.
        capabilities: Option<Vec<Capability>>,
        /// For this long, if it is shorter.
        seconds: Option<u32>,
        /// Whether what moves value or destroys is meant.
        confirmed: bool,
    },
    /// No.
    Deny {},
    /// No longer.
    Revoke {},
}
