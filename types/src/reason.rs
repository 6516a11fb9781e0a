//! Why Exeat says no: the stable codes that agents, operators and receipts share.
//!
//! The codes are public API: `docs/REASONS.md` lists them and a test holds the two together. Everything an agent may
//! learn about a refusal is decided here, once.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Who has to act for the request to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The agent sent something wrong.
    Agent,
    /// A rule says no; that is an answer, not an error.
    Policy,
    /// The operator has to configure or repair something.
    Operator,
    /// The other side failed.
    Upstream,
    /// Exeat is broken.
    Internal,
}

impl Fault {
    /// The word used in documents and receipts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Policy => "policy",
            Self::Operator => "operator",
            Self::Upstream => "upstream",
            Self::Internal => "internal",
        }
    }
}

macro_rules! reasons {
    ($( $(#[doc = $doc:literal])+ $name:ident = $code:literal, $status:literal, $fault:ident, $retry:literal, $hint:literal; )+) => {
        /// A stable reason for a refusal.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $( $(#[doc = $doc])+ $name, )+
        }

        impl Reason {
            /// Every reason, in the order of `docs/REASONS.md`.
            pub const ALL: &'static [Self] = &[ $( Self::$name, )+ ];

            /// The stable code, public API.
            pub const fn code(self) -> &'static str {
                match self { $( Self::$name => $code, )+ }
            }

            /// The HTTP status of the refusal.
            pub const fn status(self) -> u16 {
                match self { $( Self::$name => $status, )+ }
            }

            /// Who has to act.
            pub const fn fault(self) -> Fault {
                match self { $( Self::$name => Fault::$fault, )+ }
            }

            /// Whether the same request may succeed later without anybody changing it.
            pub const fn retry(self) -> bool {
                match self { $( Self::$name => $retry, )+ }
            }

            /// One sentence for people, the title of the problem document.
            pub fn title(self) -> &'static str {
                match self { $( Self::$name => concat!($($doc),+).trim(), )+ }
            }

            /// What to do next, for the agent.
            pub const fn hint(self) -> &'static str {
                match self { $( Self::$name => $hint, )+ }
            }
        }
    };
}

reasons! {
    /// The request is malformed or could be read in more than one way
    MalformedRequest = "malformed-request", 400, Agent, false, "send one well-formed HTTP request, as RFC 9112 has it";
    /// The gate does not know which agent is asking
    AgentUnknown = "agent-unknown", 407, Agent, false, "present the agent token in Proxy-Authorization, or use the listener made for this agent";
    /// Two ways of naming the agent disagree
    AgentConflict = "agent-conflict", 403, Agent, false, "use one identity per connection";
    /// The target is an address that no agent may reach
    TargetForbidden = "target-forbidden", 403, Policy, false, "ask the operator to name this host and port in `[network] allow-private` if it is meant to be reached";
    /// The request names another host than its connection does
    TargetMismatch = "target-mismatch", 421, Agent, false, "open a connection for that host";
    /// No declared tool matches this request
    ToolUnknown = "tool-unknown", 403, Policy, false, "ask the operator to declare a tool for it; `exeat why` shows what was looked for";
    /// An argument does not fit the tool's schema
    ArgumentsInvalid = "arguments-invalid", 422, Agent, false, "change the arguments named in the detail and send the request again";
    /// The body is larger than this tool may send
    BodyTooLarge = "body-too-large", 413, Agent, false, "send a smaller body";
    /// Too many bodies are being examined at once
    BodiesBusy = "bodies-busy", 503, Internal, true, "try again later";
    /// No rule allows this call, or one forbids it
    PolicyForbids = "policy-forbids", 403, Policy, false, "do not retry; ask the operator for a rule that allows it";
    /// A rule asks for a human's approval
    ApprovalRequired = "approval-required", 403, Policy, false, "a human has to approve this call";
    /// A human said no, or said no a short while ago
    ApprovalRefused = "approval-refused", 403, Policy, false, "do not retry; the answer stands until the time in Retry-After has passed";
    /// More calls than the agent's limits allow at this moment
    RateLimited = "rate-limited", 429, Policy, true, "wait for the time in Retry-After";
    /// The agent's limits allow this at other hours only
    OutsideWindow = "outside-window", 403, Policy, false, "try again within the hours named in the detail";
    /// A budget has no room for this call
    BudgetExhausted = "budget-exhausted", 402, Policy, false, "ask the operator to raise the budget, or wait until its window is over";
    /// The agent may work only while a human is present
    HumanAbsent = "human-absent", 403, Policy, true, "a human has to sign in to the console";
    /// The agent's session has lasted as long as it may
    SessionEnded = "session-ended", 403, Policy, false, "start a new run";
    /// The limits keep this agent from hosts that it has not used before
    HostNew = "host-new", 403, Policy, false, "ask the operator to name the host, or to allow first use";
    /// An operator has paused this agent
    AgentPaused = "agent-paused", 403, Operator, true, "wait until the operator lets the agent go on";
    /// A placeholder stands where its credential has no slot
    PlaceholderMisused = "placeholder-misused", 403, Agent, false, "a placeholder works only where its provider expects the credential; take it out of the rest of the request";
    /// The call needs a credential that custody does not hold
    CredentialMissing = "credential-missing", 403, Operator, false, "ask the operator to store the credential";
    /// The credential exists but cannot be used
    CredentialDead = "credential-dead", 403, Operator, false, "ask the operator to renew the credential";
    /// The placeholder is of an earlier version of its credential
    PlaceholderStale = "placeholder-stale", 403, Agent, false, "the credential was replaced; read the placeholder from the environment of a new run";
    /// The credential lacks a scope that this call needs
    ScopeMissing = "scope-missing", 403, Operator, false, "ask the operator to run `exeat connect` and grant the scope";
    /// The server that issues the credential could not be reached or gave no usable answer
    IssuerUnavailable = "issuer-unavailable", 503, Upstream, true, "try again later";
    /// The device that holds the key did not sign
    SignerUnavailable = "signer-unavailable", 503, Operator, true, "tell the operator that the device of the key does not answer";
    /// Whether the entitlement still holds could not be found out
    EntitlementUnknown = "entitlement-unknown", 403, Operator, true, "try again later, or ask the operator how an unknown status is to be treated";
    /// The local tool did not run to its end
    ToolFailed = "tool-failed", 502, Operator, false, "tell the operator the receipt id";
    /// The receipt could not be written, so nothing was sent
    LedgerUnavailable = "ledger-unavailable", 503, Operator, true, "try again later; the operator has to look at the ledger";
    /// Upstream could not be reached
    UpstreamUnreachable = "upstream-unreachable", 502, Upstream, true, "try again later";
    /// Upstream did not answer in time
    UpstreamTimeout = "upstream-timeout", 504, Upstream, true, "try again later";
    /// Upstream broke off or answered something that is not HTTP
    UpstreamBroken = "upstream-broken", 502, Upstream, true, "try again later, if the call may be repeated";
    /// The response could not be made safe to hand over
    ResponseUnsafe = "response-unsafe", 502, Upstream, false, "ask for an uncompressed response without ranges";
    /// Exeat failed inside, and therefore refused
    Internal = "internal", 500, Internal, true, "tell the operator the receipt id";
}

impl Reason {
    /// The RFC 9457 problem type.
    pub fn urn(self) -> String {
        format!("urn:exeat:reason:{}", self.code())
    }

    /// The reason with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.code() == code)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        Self::from_code(&code).ok_or_else(|| serde::de::Error::custom("unknown reason"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_no_refusal_is_a_success_or_a_401() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(Reason::from_code(reason.code()), Some(*reason));
            assert!(
                Reason::ALL
                    .iter()
                    .skip(index + 1)
                    .all(|other| other.code() != reason.code())
            );
            assert!(reason.status() >= 400 && reason.status() != 401, "{reason}");
            assert!(!reason.title().is_empty() && !reason.hint().is_empty());
        }
    }
}
