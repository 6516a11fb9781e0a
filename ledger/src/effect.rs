//! What a record does to the state, and nothing else of it: small enough to wait in the queue with the body.

use exeat_types::CallId;

use crate::{
    approval::{Approval, Enrolment},
    call::{Ending, Intent, Outcome, Reservation, Settlement},
    envelope::{Envelope, Member},
    event::{AgentChange, BudgetChange, TokenChange},
    grant::Grant,
    record::{Kind, Record},
    state::Use,
};

/// What a record does to the state.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    Open {
        call: CallId,
        reservations: Vec<Reservation>,
        approval: Option<Use>,
    },
    Close {
        call: CallId,
        ending: Ending,
        settled: Vec<Settlement>,
    },
    Refuse {
        call: CallId,
    },
    Approve(Box<Approval>),
    Enrol(Box<Enrolment>),
    Agent(Box<AgentChange>),
    Token(Box<TokenChange>),
    Budget(Box<BudgetChange>),
    Grant(Box<Grant>),
    None,
}

impl Effect {
    pub(crate) fn of(record: &Record) -> Self {
        match record {
            Record::Intent(intent) => Self::open(intent),
            Record::Outcome(outcome) => Self::close(outcome),
            Record::Approval(approval) => Self::Approve(Box::new(approval.clone())),
            Record::Enrolment(enrolment) => Self::Enrol(Box::new(enrolment.clone())),
            Record::AgentChange(change) => Self::Agent(Box::new(change.clone())),
            Record::TokenChange(change) => Self::Token(Box::new(change.clone())),
            Record::BudgetChange(change) => Self::Budget(Box::new(change.clone())),
            Record::Grant(grant) => Self::Grant(Box::new(grant.clone())),
            Record::Refusal(refusal) => Self::Refuse { call: refusal.call },
            Record::Connection(_)
            | Record::Alarm(_)
            | Record::PolicyChange(_)
            | Record::CredentialChange(_)
            | Record::SelfTest(_)
            | Record::Sweep(_)
            | Record::Upgrade(_)
            | Record::Checkpoint(_) => Self::None,
        }
    }

    fn open(intent: &Intent) -> Self {
        let approval = intent.approval.as_ref().map(|approval| Use {
            id: approval.id.clone(),
            agent: intent.agent.clone(),
            digest: intent.call_digest,
        });
        Self::Open {
            call: intent.call,
            reservations: intent.reservations.clone(),
            approval,
        }
    }

    fn close(outcome: &Outcome) -> Self {
        Self::Close {
            call: outcome.call,
            ending: outcome.result,
            settled: outcome.settled.clone(),
        }
    }

    /// The same from a written record. Bodies are parsed only when they hold more than the call: most do not, and a
    /// long journal is to open quickly.
    pub(crate) fn read(envelope: &Envelope<'_>) -> Result<Self, String> {
        let parsed = || {
            envelope
                .record()
                .map(|record| Self::of(&record))
                .map_err(|e| e.problem)
        };
        let call = || {
            envelope
                .call()
                .ok_or_else(|| "a call record without a call".to_owned())
        };
        match envelope.kind {
            Kind::CallIntent
                if [Member::APPROVAL, Member::RESERVATION, Member::RESERVATIONS]
                    .into_iter()
                    .any(|member| envelope.has(member)) =>
            {
                parsed()
            }
            Kind::CallIntent => Ok(Self::Open {
                call: call()?,
                reservations: Vec::new(),
                approval: None,
            }),
            Kind::CallOutcome if envelope.has(Member::SETTLED) => parsed(),
            Kind::CallOutcome => {
                let text = envelope.text(Member::RESULT).unwrap_or_default();
                let ending = Ending::from_name(text).ok_or("an outcome without a result")?;
                Ok(Self::Close {
                    call: call()?,
                    ending,
                    settled: Vec::new(),
                })
            }
            Kind::CallRefused => Ok(Self::Refuse { call: call()? }),
            Kind::Approval
            | Kind::Enrolment
            | Kind::AgentChange
            | Kind::TokenChange
            | Kind::BudgetChange
            | Kind::Grant => parsed(),
            Kind::Connection
            | Kind::Alarm
            | Kind::PolicyChange
            | Kind::CredentialChange
            | Kind::SelfTest
            | Kind::Sweep
            | Kind::Upgrade
            | Kind::Checkpoint => Ok(Self::None),
        }
    }
}
