//! The shared nouns of Exeat: ids, hosts, tool names, secrets, clocks, reasons, limits and diagnostics.
//!
//! No IO, no async, no clock reads outside [`SystemClock`]. Every constructor parses: a value of one of these types is
//! already valid, so nothing downstream checks it again. Read `reason.rs` next: it is the public vocabulary of refusal.

mod canonical;
pub mod capability;
mod clock;
pub mod config;
mod diagnostic;
mod digest;
mod host;
mod id;
pub mod limits;
mod money;
mod prefix;
mod random;
mod reach;
mod reason;
mod regime;
mod secret;
mod signer;
mod slot;

pub use canonical::{canonical_json, unique_json};
pub use capability::Capability;
pub use clock::{Clock, FakeClock, SystemClock, Timestamp};
pub use diagnostic::{Diagnostic, Report, Source, did_you_mean};
pub use digest::{Digest, DigestBuilder};
pub use host::{Authority, Host, Origin, Scheme};
pub use id::{
    AccountId, AgentId, ApprovalId, CallId, CredentialId, FamilyId, RunId, Seal, ToolName,
};
pub use money::{Money, amount_in_words, parse_amount, parse_bytes};
pub use prefix::Prefix;
pub use random::random_bytes;
pub use reach::Reach;
pub use reason::{Fault, Reason};
pub use regime::Regime;
pub use secret::Secret;
pub use signer::{Algorithm, DeviceFailure, Sealer, Signer};
pub use slot::{BasicPart, MintForm};

/// A value that did not parse: what was expected and, without repeating secrets, what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {problem}")]
pub struct Malformed {
    /// The kind of value, such as `host`.
    pub what: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl Malformed {
    /// Names the kind of value and what is wrong with it.
    pub fn new(what: &'static str, problem: impl Into<String>) -> Self {
        Self {
            what,
            problem: problem.into(),
        }
    }
}
