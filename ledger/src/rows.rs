//! The rows of the index: what a record adds to it, and how calls, places and decisions are written as numbers.

use exeat_types::{AgentId, CallId, Origin, ToolName};
use serde::Deserialize;

use crate::{
    Error,
    call::Ending,
    envelope::Envelope,
    receipt::{Decision, Filter},
    record::Kind,
    scan::{Position, damaged},
};

/// What the index needs of a body.
#[derive(Deserialize)]
pub(crate) struct Brief {
    pub(crate) agent: AgentId,
    #[serde(default)]
    pub(crate) tool: Option<ToolName>,
    #[serde(default)]
    pub(crate) origin: Option<Origin>,
}

#[derive(Deserialize)]
struct Ended {
    result: Ending,
    request_bytes: u64,
    response_bytes: u64,
}

pub(crate) enum Row {
    Begun {
        call: u128,
        decision: Decision,
        brief: Brief,
    },
    Ended {
        call: u128,
        decision: Decision,
        /// Of both bodies.
        bytes: u64,
    },
}

impl Row {
    pub(crate) fn of(envelope: &Envelope<'_>, position: Position) -> Result<Option<Self>, Error> {
        let bad = |problem: &str| damaged(position.segment, position.offset, problem);
        let decision = match envelope.kind {
            Kind::CallIntent => Decision::Open,
            Kind::CallRefused => Decision::Refused,
            Kind::CallOutcome => {
                let body: Ended =
                    serde_json::from_slice(envelope.body).map_err(|e| bad(&e.to_string()))?;
                let call = key(envelope.call().ok_or_else(|| bad("no call"))?);
                return Ok(Some(Self::Ended {
                    call,
                    decision: Decision::of(body.result),
                    bytes: body.request_bytes.saturating_add(body.response_bytes),
                }));
            }
            Kind::Connection
            | Kind::Approval
            | Kind::Enrolment
            | Kind::Alarm
            | Kind::PolicyChange
            | Kind::CredentialChange
            | Kind::TokenChange
            | Kind::BudgetChange
            | Kind::AgentChange
            | Kind::Grant
            | Kind::SelfTest
            | Kind::Sweep
            | Kind::Upgrade
            | Kind::Checkpoint => return Ok(None),
        };
        let call = key(envelope.call().ok_or_else(|| bad("no call"))?);
        let brief = serde_json::from_slice(envelope.body).map_err(|e| bad(&e.to_string()))?;
        Ok(Some(Self::Begun {
            call,
            decision,
            brief,
        }))
    }
}

pub(crate) fn key(call: CallId) -> u128 {
    u128::from_be_bytes(call.to_bytes())
}

pub(crate) const fn call_of(id: u128) -> CallId {
    CallId::from_bytes(id.to_be_bytes())
}

/// Segment and offset in one number; offsets stay below 4 GiB.
pub(crate) fn packed(position: Position) -> u64 {
    (u64::from(position.segment) << 32) | (position.offset & 0xffff_ffff)
}

pub(crate) fn unpacked(place: u64) -> (u32, u64) {
    (
        u32::try_from(place >> 32).unwrap_or(u32::MAX),
        place & 0xffff_ffff,
    )
}

pub(crate) const fn code(decision: Decision) -> u8 {
    match decision {
        Decision::Open => 0,
        Decision::Allowed => 1,
        Decision::Refused => 2,
        Decision::Unknown => 3,
    }
}

pub(crate) const fn decision_of(code: u8) -> Decision {
    match code {
        0 => Decision::Open,
        1 => Decision::Allowed,
        2 => Decision::Refused,
        _ => Decision::Unknown,
    }
}

/// The ids a filter's times and page allow: from, and up to but not with.
pub(crate) fn bounds(filter: &Filter) -> (u128, u128) {
    let at = |millis: u64| u128::from(millis) << 80;
    let low = filter.since.map_or(0, |since| at(since.millis()));
    let high = filter.until.map_or(u128::MAX, |until| at(until.millis()));
    let page = filter.after.map_or(u128::MAX, key);
    (low, high.min(page))
}
