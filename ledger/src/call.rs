//! The records of a call: what was about to be done, how it ended, or why it was refused.
//!
//! INVARIANT: fields stand in the order of their names, so that writing them in order is canonical JSON. No field ever
//! holds the value of a secret, a raw path, a query or a body: only templates, names and digests.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use exeat_types::{
    AccountId, AgentId, ApprovalId, CallId, CredentialId, Digest, Origin, Reason, RunId, Seal,
    Timestamp, ToolName,
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};

use crate::{approval::Means, json};

/// A call that is about to leave: durable before any side effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// The account.
    pub account: AccountId,
    /// The agent.
    pub agent: AgentId,
    /// The approval that this call uses up, if a rule asked for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalUse>,
    /// The digest of the declared arguments.
    pub argument_digest: Digest,
    /// The call, and so the receipt.
    pub call: CallId,
    /// The digest of the canonical request.
    pub call_digest: Digest,
    /// The salted digest of the capture, if one was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<Digest>,
    /// The tool's category, such as `read`.
    pub category: String,
    /// The credential that will be injected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialUse>,
    /// The HTTP method.
    pub method: String,
    /// Whether the call was let through by observing, not by a rule.
    pub observed: bool,
    /// Where the call goes.
    pub origin: Origin,
    /// The tool's path template.
    pub path: String,
    /// The digest of the policy that decided.
    pub policy_digest: Digest,
    /// What the call may use at most, of each budget that it falls under.
    #[serde(
        default,
        alias = "reservation",
        deserialize_with = "one_or_several",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub reservations: Vec<Reservation>,
    /// What spoke against the call, if anything did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<Risk>,
    /// The rules that decided.
    pub rules: Vec<String>,
    /// The run of the agent that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// How well the agent is cut off from other ways out.
    pub seal: Seal,
    /// The tool.
    pub tool: ToolName,
}

/// One use of an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalUse {
    /// How it was approved.
    pub by: Means,
    /// The approval.
    pub id: ApprovalId,
}

/// What spoke against a call: advice that can only tighten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Risk {
    /// From 0 to 100.
    pub score: u32,
    /// What each signal added, by its name.
    #[serde(serialize_with = "json::counts")]
    pub signals: BTreeMap<String, u64>,
}

/// Which credential was used, never what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialUse {
    /// The credential.
    pub id: CredentialId,
    /// Its kind, such as `bearer`.
    pub kind: String,
    /// A short fingerprint that tells two versions apart.
    pub thumbprint: String,
    /// Its version in custody.
    pub version: u32,
}

/// Something set aside before the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reservation {
    /// How much, in the smallest unit.
    #[serde(with = "json::amount")]
    pub amount: u64,
    /// The budget it comes from, such as `claude/spend/day`.
    pub budget: String,
    /// The most that policy lets the budget come to in its window; an operator may have set less.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "json::amount_maybe"
    )]
    pub limit: Option<u64>,
    /// The unit: `USD-6` for millionths of a dollar, `calls`, `bytes`, `tokens`.
    pub unit: String,
    /// The time that the budget is counted over; without one, for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// The time that a budget is counted over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Window {
    /// A day, a week or another piece of the calendar.
    Fixed {
        /// Its first moment.
        from: Timestamp,
        /// The first moment behind it.
        until: Timestamp,
    },
    /// The time up to now.
    Rolling {
        /// How long, in seconds.
        seconds: u32,
    },
}

/// What the call used of a budget in the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settlement {
    /// How much, in the smallest unit of the reservation.
    #[serde(with = "json::amount")]
    pub amount: u64,
    /// The budget of the reservation. Records from before there were several have none: it is the one of their intent.
    #[serde(default)]
    pub budget: String,
    /// The unit.
    pub unit: String,
}

/// Reads a list, or the one thing that stood alone in records from before there could be several.
fn one_or_several<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Either<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list, or one object")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(list))
        }

        fn visit_map<A: MapAccess<'de>>(self, one: A) -> Result<Vec<T>, A::Error> {
            T::deserialize(MapAccessDeserializer::new(one)).map(|one| vec![one])
        }
    }

    deserializer.deserialize_any(Either(PhantomData))
}

/// How a call that had an intent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The answer was handed over whole.
    Completed,
    /// The gate refused after the intent and before anything left.
    RefusedLate,
    /// Upstream failed.
    UpstreamFailed,
    /// The exchange broke off on the way.
    Cut,
    /// Nobody knows: the gate died in between. The reservation stays.
    Unknown,
}

impl Ending {
    /// Every ending.
    pub const ALL: [Self; 5] = [
        Self::Completed,
        Self::RefusedLate,
        Self::UpstreamFailed,
        Self::Cut,
        Self::Unknown,
    ];

    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|ending| ending.name().as_bytes() == name)
    }

    /// The word used in receipts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::RefusedLate => "refused-late",
            Self::UpstreamFailed => "upstream-failed",
            Self::Cut => "cut",
            Self::Unknown => "unknown",
        }
    }
}

/// How a call was let in upstream, where its intent does not say it all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// The credentials that come first and were not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<CredentialId>,
    /// How often it was sent, when not once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u16>,
    /// The credential that was used, when it is not that of the intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialUse>,
}

/// How a call ended: exactly one for each intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// How it was let in, where the intent does not say it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// The call.
    pub call: CallId,
    /// Microseconds per stage.
    #[serde(serialize_with = "json::counts")]
    pub durations_us: BTreeMap<String, u64>,
    /// Why, unless it completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What was taken out of the answer, by rule.
    #[serde(serialize_with = "json::counts")]
    pub redactions: BTreeMap<String, u64>,
    /// Body bytes sent upstream.
    #[serde(with = "json::count")]
    pub request_bytes: u64,
    /// The digest of the body as sent, when it passed as a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_digest: Option<Digest>,
    /// Body bytes handed to the agent.
    #[serde(with = "json::count")]
    pub response_bytes: u64,
    /// The digest of the body as handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_digest: Option<Digest>,
    /// The ending.
    pub result: Ending,
    /// What was used. A call that left is charged the whole of each reservation that is not named here.
    #[serde(
        default,
        deserialize_with = "one_or_several",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub settled: Vec<Settlement>,
    /// The HTTP status the agent saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

impl Outcome {
    /// The outcome of a call that the gate lost sight of.
    pub fn unknown(call: CallId) -> Self {
        Self::ended(call, Ending::Unknown)
    }

    /// An outcome with nothing known but the ending; the caller fills in the rest.
    pub fn ended(call: CallId, result: Ending) -> Self {
        Self {
            access: None,
            call,
            durations_us: BTreeMap::new(),
            reason: None,
            redactions: BTreeMap::new(),
            request_bytes: 0,
            request_digest: None,
            response_bytes: 0,
            response_digest: None,
            result,
            settled: Vec::new(),
            status: None,
        }
    }
}

/// A call that was refused before any intent: one closed receipt, or a count of equal ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// The account.
    pub account: AccountId,
    /// The agent.
    pub agent: AgentId,
    /// The approval that it waits for, or that was not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalId>,
    /// The call; of several that are counted here, the first.
    pub call: CallId,
    /// How many calls this stands for.
    #[serde(with = "json::count")]
    pub count: u64,
    /// The limit or the budget that had no room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// The HTTP method.
    pub method: String,
    /// Where the call would have gone.
    pub origin: Origin,
    /// The policy at that time.
    pub policy_digest: Digest,
    /// Why.
    pub reason: Reason,
    /// What spoke against the call, if anything did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<Risk>,
    /// The rules that decided, if it came to that.
    pub rules: Vec<String>,
    /// How well the agent is cut off from other ways out.
    pub seal: Seal,
    /// The tool, if one matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<ToolName>,
}
