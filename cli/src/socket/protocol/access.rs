//! Words about who gets in: agent tokens, and the passkeys of those who approve. A fresh token and a fresh code are
//! shown once.

use exeat_types::{AgentId, FamilyId, Timestamp};
use serde::{Deserialize, Serialize};

/// A one-time code. It enrols the first passkey by itself, and is shown to the operator once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Enrolling {
    /// The page, with the code in it.
    pub(crate) url: String,
    /// The code.
    pub(crate) code: String,
    /// Until when it is good.
    pub(crate) until: Timestamp,
    /// Whether nobody has to confirm it.
    pub(crate) is_first: bool,
}

/// A passkey that may approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Device {
    /// Its id.
    pub(crate) key: String,
    /// What people compare.
    pub(crate) fingerprint: String,
    /// Whose it is.
    pub(crate) user: String,
    /// What people call it.
    pub(crate) device: String,
    /// Since when.
    pub(crate) since: Timestamp,
    /// Where it is added and removed.
    pub(crate) page: String,
}

/// Which token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct TokenOrder {
    /// For whom.
    pub(crate) agent: AgentId,
    /// For how long, in seconds.
    pub(crate) life_secs: u64,
    /// The listener address it is good on; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) listener: Option<String>,
}

/// A fresh token. It has no `Debug`, as `token` is a bearer secret that is shown to the operator once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct TokenMade {
    /// The token itself.
    pub(crate) token: String,
    /// The family it belongs to, by which it is revoked.
    pub(crate) family: FamilyId,
    /// For whom.
    pub(crate) agent: AgentId,
    /// Until when.
    pub(crate) expires: Timestamp,
}
