//! What a record does to the state, and nothing else of it: small enough to wait in the queue with the body.

use exeat_types::CallId;

use crate::{
    call::{Ending, Intent, Outcome, Reservation},
    envelope::{Envelope, Member},
    event::{Approval, BudgetChange, TokenChange},
    record::{Kind, Record},
};

/// What a record does to the state.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    Open {
        call: CallId,
        reservation: Option<Reservation>,
        approval: Option<String>,
    },
    Close {
        call: CallId,
        ending: Ending,
        settled: Option<u64>,
    },
    Refuse {
        call: CallId,
    },
    Approve(Box<Approval>),
    Token(Box<TokenChange>),
    Budget(Box<BudgetChange>),
    None,
}

impl Effect {
    pub(crate) fn of(record: &Record) -> Self {
        match record {
            Record::Intent(intent) => Self::open(intent),
            Record::Outcome(outcome) => Self::close(outcome),
            Record::Approval(approval) => Self::Approve(Box::new(approval.clone())),
            Record::TokenChange(change) => Self::Token(Box::new(change.clone())),
            Record::BudgetChange(change) => Self::Budget(Box::new(change.clone())),
            Record::Refusal(refusal) => Self::Refuse { call: refusal.call },
            Record::Connection(_)
            | Record::Enrolment(_)
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
        let approval = intent.approval.as_ref().map(|a| a.id.clone());
        Self::Open {
            call: intent.call,
            reservation: intent.reservation.clone(),
            approval,
        }
    }

    fn close(outcome: &Outcome) -> Self {
        let settled = outcome.settled.as_ref().map(|s| s.amount);
        Self::Close {
            call: outcome.call,
            ending: outcome.result,
            settled,
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
                if envelope.has(Member::APPROVAL) || envelope.has(Member::RESERVATION) =>
            {
                parsed()
            }
            Kind::CallIntent => Ok(Self::Open {
                call: call()?,
                reservation: None,
                approval: None,
            }),
            Kind::CallOutcome if envelope.has(Member::SETTLED) => parsed(),
            Kind::CallOutcome => {
                let text = envelope.text(Member::RESULT).unwrap_or_default();
                let ending = Ending::from_name(text).ok_or("an outcome without a result")?;
                Ok(Self::Close {
                    call: call()?,
                    ending,
                    settled: None,
                })
            }
            Kind::CallRefused => Ok(Self::Refuse { call: call()? }),
            Kind::Approval | Kind::TokenChange | Kind::BudgetChange => parsed(),
            Kind::Connection
            | Kind::Enrolment
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
