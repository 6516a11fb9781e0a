//! The records of approvals and of the keys that give them: what was asked, who answered, and what exactly was signed.
//!
//! INVARIANT: a vote by passkey covers what it grants: the approval, the digest of the call, how often, for whom and until
//! when (`passkey/challenge.rs`). A verifier needs these records and nothing else. Fields stand in the order of their names.

use std::{fmt, str::FromStr};

use exeat_types::{
    AccountId, AgentId, ApprovalId, CallId, Digest, Malformed, Origin, Seal, Timestamp, ToolName,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{call::Risk, passkey::Assertion};

/// What happened to an approval. A use is part of the intent that uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApprovalEvent {
    /// A rule asked for it.
    Requested,
    /// Somebody granted it; where several have to, one of them.
    Granted,
    /// Somebody refused it.
    Refused,
    /// Nobody answered in time.
    Expired,
    /// It was granted, and what is left of it was taken back.
    Revoked,
}

/// A step in the life of an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The account.
    pub account: AccountId,
    /// The agent that asked.
    pub agent: AgentId,
    /// The approval.
    pub approval: ApprovalId,
    /// What was asked, with the request for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Box<Asked>>,
    /// Who or what answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Means>,
    /// The digest of what is to be approved.
    pub digest: Digest,
    /// The step.
    pub event: ApprovalEvent,
    /// When it ends: of a question, when it is too late to answer; of a grant, when it may no longer be used.
    pub expires: Timestamp,
    /// The tool.
    pub tool: ToolName,
    /// How often it may be used, once granted.
    pub uses: u32,
    /// The answer of one person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vote: Option<Box<Vote>>,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// How many people have to approve.
    pub approvers: u32,
    /// By what means, at least.
    pub by: Means,
    /// The first call that asked.
    pub call: CallId,
    /// The salted digest of the kept request, if it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<Digest>,
    /// The tool's category.
    pub category: String,
    /// How many different keys have to approve.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub devices: u32,
    /// The HTTP method.
    pub method: String,
    /// The longest that may be granted.
    pub offer: Extent,
    /// Where the call would go.
    pub origin: Origin,
    /// The digest of the policy that asked; recorded, not bound.
    pub policy_digest: Digest,
    /// What spoke for asking, by signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<Risk>,
    /// The rules that asked.
    pub rules: Vec<String>,
    /// How well the agent is cut off from other ways out: one that is not could answer for itself on the command line.
    pub seal: Seal,
    /// Why, in words, where it was not a rule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
}

const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_one(count: &u32) -> bool {
    *count == 1
}

/// The answer of one person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vote {
    /// What the key signed; not there for an answer given on the command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assertion: Option<Assertion>,
    /// What was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extent: Option<Extent>,
    /// The nonce of the challenge, 32 bytes in base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// Who answered.
    pub user: String,
}

/// By what means somebody answers, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Means {
    /// On the command line of this machine.
    Local,
    /// With a passkey.
    Passkey,
}

impl Means {
    /// The word used in policies and receipts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Passkey => "passkey",
        }
    }
}

/// How far an approval goes, printed as `once`, `uses:5` or `until:2026-01-01T00:00:00.000Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// One call.
    Once,
    /// So many equal calls.
    Uses(u32),
    /// Equal calls until then.
    Until(Timestamp),
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Once => f.write_str("once"),
            Self::Uses(count) => write!(f, "uses:{count}"),
            Self::Until(then) => write!(f, "until:{then}"),
        }
    }
}

impl FromStr for Extent {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wrong = || {
            Malformed::new(
                "extent",
                "expected `once`, `uses:<number>` or `until:<time>`",
            )
        };
        if text == "once" {
            return Ok(Self::Once);
        }
        if let Some(count) = text.strip_prefix("uses:") {
            let count = count.parse().ok().filter(|count| *count > 0);
            return count.map(Self::Uses).ok_or_else(wrong);
        }
        let then = text
            .strip_prefix("until:")
            .and_then(|then| then.parse().ok());
        then.map(Self::Until).ok_or_else(wrong)
    }
}

impl Serialize for Extent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Extent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A key was enrolled for approvals, or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// What people call the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The id of the key, base64url.
    pub key: String,
    /// The origin of the pages it signs for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The public key as COSE has it, base64url, or nothing when it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// The relying party it belongs to: the host of the console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rp_id: Option<String>,
    /// Whose key it is.
    pub user: String,
    /// What a key that was there before signed for this one; the first has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vouched: Option<Box<Vote>>,
}
