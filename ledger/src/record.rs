//! What a record may be about, and its body: the members of its kind in canonical JSON (RFC 8785).
//!
//! A body is read strictly: a member it does not know is an error. Read `envelope.rs` next.

use exeat_types::{CallId, Malformed};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Error,
    approval::{Approval, Enrolment},
    call::{Intent, Outcome, Refusal},
    event::{
        AgentChange, Alarm, BudgetChange, Checkpoint, Connection, CredentialChange, PolicyChange,
        SelfTest, Sweep, TokenChange, Upgrade,
    },
    grant::Grant,
};

/// The version of the record format.
pub const VERSION: u32 = 1;

/// What a record is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a record is made, written and dropped; none is kept in bulk"
)]
pub enum Record {
    /// A call is about to leave.
    Intent(Intent),
    /// A call ended.
    Outcome(Outcome),
    /// A call was refused.
    Refusal(Refusal),
    /// Connections were turned away.
    Connection(Connection),
    /// An approval took a step.
    Approval(Approval),
    /// A key for approvals came or went.
    Enrolment(Enrolment),
    /// An operator should look.
    Alarm(Alarm),
    /// Another policy decides.
    PolicyChange(PolicyChange),
    /// A credential changed.
    CredentialChange(CredentialChange),
    /// A token family changed.
    TokenChange(TokenChange),
    /// A budget changed.
    BudgetChange(BudgetChange),
    /// An agent was paused or goes on.
    AgentChange(AgentChange),
    /// A request for capabilities took a step.
    Grant(Grant),
    /// A sandbox was tested.
    SelfTest(SelfTest),
    /// Opening put something in order.
    Sweep(Sweep),
    /// Another process took over.
    Upgrade(Upgrade),
    /// The tree was signed.
    Checkpoint(Checkpoint),
}

/// The kind of a record, as it stands in the envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// [`Record::Intent`].
    CallIntent,
    /// [`Record::Outcome`].
    CallOutcome,
    /// [`Record::Refusal`].
    CallRefused,
    /// [`Record::Connection`].
    Connection,
    /// [`Record::Approval`].
    Approval,
    /// [`Record::Enrolment`].
    Enrolment,
    /// [`Record::Alarm`].
    Alarm,
    /// [`Record::PolicyChange`].
    PolicyChange,
    /// [`Record::CredentialChange`].
    CredentialChange,
    /// [`Record::TokenChange`].
    TokenChange,
    /// [`Record::BudgetChange`].
    BudgetChange,
    /// [`Record::AgentChange`].
    AgentChange,
    /// [`Record::Grant`].
    Grant,
    /// [`Record::SelfTest`].
    SelfTest,
    /// [`Record::Sweep`].
    Sweep,
    /// [`Record::Upgrade`].
    Upgrade,
    /// [`Record::Checkpoint`].
    Checkpoint,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 17] = [
        Self::CallIntent,
        Self::CallOutcome,
        Self::CallRefused,
        Self::Connection,
        Self::Approval,
        Self::Enrolment,
        Self::Alarm,
        Self::PolicyChange,
        Self::CredentialChange,
        Self::TokenChange,
        Self::BudgetChange,
        Self::AgentChange,
        Self::Grant,
        Self::SelfTest,
        Self::Sweep,
        Self::Upgrade,
        Self::Checkpoint,
    ];

    /// The word in the envelope.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CallIntent => "call-intent",
            Self::CallOutcome => "call-outcome",
            Self::CallRefused => "call-refused",
            Self::Connection => "connection",
            Self::Approval => "approval",
            Self::Enrolment => "enrolment",
            Self::Alarm => "alarm",
            Self::PolicyChange => "policy-change",
            Self::CredentialChange => "credential-change",
            Self::TokenChange => "token-change",
            Self::BudgetChange => "budget-change",
            Self::AgentChange => "agent-change",
            Self::Grant => "grant",
            Self::SelfTest => "self-test",
            Self::Sweep => "sweep",
            Self::Upgrade => "upgrade",
            Self::Checkpoint => "checkpoint",
        }
    }

    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name().as_bytes() == name)
    }
}

impl Record {
    /// The kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Intent(_) => Kind::CallIntent,
            Self::Outcome(_) => Kind::CallOutcome,
            Self::Refusal(_) => Kind::CallRefused,
            Self::Connection(_) => Kind::Connection,
            Self::Approval(_) => Kind::Approval,
            Self::Enrolment(_) => Kind::Enrolment,
            Self::Alarm(_) => Kind::Alarm,
            Self::PolicyChange(_) => Kind::PolicyChange,
            Self::CredentialChange(_) => Kind::CredentialChange,
            Self::TokenChange(_) => Kind::TokenChange,
            Self::BudgetChange(_) => Kind::BudgetChange,
            Self::AgentChange(_) => Kind::AgentChange,
            Self::Grant(_) => Kind::Grant,
            Self::SelfTest(_) => Kind::SelfTest,
            Self::Sweep(_) => Kind::Sweep,
            Self::Upgrade(_) => Kind::Upgrade,
            Self::Checkpoint(_) => Kind::Checkpoint,
        }
    }

    /// The call this record belongs to.
    pub const fn call(&self) -> Option<CallId> {
        match self {
            Self::Intent(intent) => Some(intent.call),
            Self::Outcome(outcome) => Some(outcome.call),
            Self::Refusal(refusal) => Some(refusal.call),
            Self::Alarm(alarm) => alarm.call,
            Self::Connection(_)
            | Self::Approval(_)
            | Self::Enrolment(_)
            | Self::PolicyChange(_)
            | Self::CredentialChange(_)
            | Self::TokenChange(_)
            | Self::BudgetChange(_)
            | Self::AgentChange(_)
            | Self::Grant(_)
            | Self::SelfTest(_)
            | Self::Sweep(_)
            | Self::Upgrade(_)
            | Self::Checkpoint(_) => None,
        }
    }

    /// The body in canonical JSON.
    ///
    /// # Errors
    /// When a value has no JSON form, which the types above do not allow.
    pub fn body(&self) -> Result<Vec<u8>, Error> {
        match self {
            Self::Intent(body) => written(body),
            Self::Outcome(body) => written(body),
            Self::Refusal(body) => written(body),
            Self::Connection(body) => written(body),
            Self::Approval(body) => written(body),
            Self::Enrolment(body) => written(body),
            Self::Alarm(body) => written(body),
            Self::PolicyChange(body) => written(body),
            Self::CredentialChange(body) => written(body),
            Self::TokenChange(body) => written(body),
            Self::BudgetChange(body) => written(body),
            Self::AgentChange(body) => written(body),
            Self::Grant(body) => written(body),
            Self::SelfTest(body) => written(body),
            Self::Sweep(body) => written(body),
            Self::Upgrade(body) => written(body),
            Self::Checkpoint(body) => written(body),
        }
    }

    /// Reads a body of a kind; a member it does not know is an error.
    ///
    /// # Errors
    /// When the body is not of that kind.
    pub fn read(kind: Kind, body: &[u8]) -> Result<Self, Malformed> {
        match kind {
            Kind::CallIntent => read(body).map(Self::Intent),
            Kind::CallOutcome => read(body).map(Self::Outcome),
            Kind::CallRefused => read(body).map(Self::Refusal),
            Kind::Connection => read(body).map(Self::Connection),
            Kind::Approval => read(body).map(Self::Approval),
            Kind::Enrolment => read(body).map(Self::Enrolment),
            Kind::Alarm => read(body).map(Self::Alarm),
            Kind::PolicyChange => read(body).map(Self::PolicyChange),
            Kind::CredentialChange => read(body).map(Self::CredentialChange),
            Kind::TokenChange => read(body).map(Self::TokenChange),
            Kind::BudgetChange => read(body).map(Self::BudgetChange),
            Kind::AgentChange => read(body).map(Self::AgentChange),
            Kind::Grant => read(body).map(Self::Grant),
            Kind::SelfTest => read(body).map(Self::SelfTest),
            Kind::Sweep => read(body).map(Self::Sweep),
            Kind::Upgrade => read(body).map(Self::Upgrade),
            Kind::Checkpoint => read(body).map(Self::Checkpoint),
        }
    }
}

fn written(body: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(1024);
    let wrong = |e: serde_json::Error| Error::Malformed(Malformed::new("record", e.to_string()));
    serde_json::to_writer(&mut out, body).map_err(wrong)?;
    Ok(out)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Malformed> {
    serde_json::from_slice(body).map_err(|e| Malformed::new("record", e.to_string()))
}
