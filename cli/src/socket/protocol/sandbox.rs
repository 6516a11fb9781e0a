//! Words about sandboxes: how one is served, what it needs inside, and how it ended.

use std::collections::BTreeMap;
use std::path::PathBuf;

use exeat_types::{AgentId, Timestamp};
use serde::{Deserialize, Serialize};

/// A sandbox that wants to be served. Its listeners come as descriptors in this order: explicit proxy, DNS over UDP,
/// DNS over TCP, then `http` redirected HTTP listeners and `https` redirected TLS listeners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Attach {
    /// Who runs in it.
    pub(crate) agent: AgentId,
    /// How it is to be held.
    pub(crate) hold: Hold,
    /// The rules that the client takes to be in force; a gate that has others does not serve it.
    pub(crate) policy: PathBuf,
    /// How many listeners take redirected HTTP.
    pub(crate) http: usize,
    /// How many listeners take redirected TLS.
    pub(crate) https: usize,
}

/// How an agent is held; `exeat_types::Regime` says what that means. Until when one is observed, the gate decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Hold {
    /// As the rules say.
    Declared,
    /// What needs no credential passes too, for a while.
    Observed,
    /// As the rules say, and nothing passes unread.
    Strict,
}

/// What came through a sandbox that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Summary {
    /// Different hosts that calls went to.
    pub(crate) hosts: u64,
    /// Requests, refused ones among them.
    pub(crate) requests: u64,
    /// Requests that were refused.
    pub(crate) refused: u64,
    /// Calls whose receipt is not closed yet.
    pub(crate) open: u64,
    /// What was paid, by unit.
    pub(crate) spent: BTreeMap<String, u64>,
}

/// What a served sandbox needs inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Attached {
    /// The root of this sandbox, PEM.
    pub(crate) root_pem: String,
    /// The system's roots and this one, PEM, for clients that replace their roots.
    pub(crate) bundle_pem: String,
    /// Variables that hold placeholders, by name.
    pub(crate) variables: BTreeMap<String, String>,
    /// Until when the agent is observed, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) observed_until: Option<Timestamp>,
    /// Tools that sign commits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) signing: Vec<Signing>,
}

/// A tool that signs commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Signing {
    /// The form of its signatures.
    pub(crate) format: SigningFormat,
    /// Where it is called.
    pub(crate) url: String,
    /// The public half of its key, for SSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) public_key: Option<String>,
}

/// The forms of signatures, as git calls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SigningFormat {
    /// OpenPGP.
    Openpgp,
    /// SSH.
    Ssh,
}

/// What was tried from inside a sandbox, by the stable names of the checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct SelfTest {
    /// Whose sandbox it was.
    pub(crate) agent: AgentId,
    /// What held.
    pub(crate) passed: Vec<String>,
    /// What did not.
    pub(crate) failed: Vec<String>,
}
