//! When an agent may work: hours, the length of a session, a human who is there.

use std::time::Duration;

use exeat_policy::limits::{Bound, Human, Limit};
use exeat_types::{Reason, Timestamp};

use crate::{Gate, Run, record::Refused};

/// Why an agent may not work at this moment.
pub(super) struct Closed {
    pub(super) reason: Reason,
    /// The key of the limit.
    key: &'static str,
    detail: String,
    opens_in: Option<Duration>,
}

/// Whether an agent may work under a limit, in this run and at this moment.
pub(super) fn look(gate: &Gate, limit: &Limit, run: &Run, now: Timestamp) -> Result<(), Closed> {
    if !limit.hours.holds(now) {
        let opens = limit.hours.changes_after(now);
        return Err(Closed {
            reason: Reason::OutsideWindow,
            key: "hours",
            detail: format!("this agent may work {}", limit.hours),
            opens_in: opens.map(|opens| opens.since(now)),
        });
    }
    let lasted = run.began().map(|began| now.since(began));
    if let (Some(session), Some(lasted)) = (limit.session, lasted)
        && lasted >= session
    {
        let seconds = session.as_secs();
        return Err(Closed {
            reason: Reason::SessionEnded,
            key: "session",
            detail: format!("a run of this agent lasts {seconds} seconds at most"),
            opens_in: None,
        });
    }
    if limit.human == Human::Present && !gate.presence().is_present(now) {
        return Err(Closed {
            reason: Reason::HumanAbsent,
            key: "human-present",
            detail: "this agent works only while a human is present".to_owned(),
            opens_in: None,
        });
    }
    Ok(())
}

impl Closed {
    pub(super) fn refuse(self, bound: &Bound) -> Box<Refused> {
        let limit = format!("{}/{}", bound.scope, self.key);
        let refused = Refused::early(self.reason, self.detail).within(limit);
        match self.opens_in {
            Some(wait) => refused.again_in(wait),
            None => refused,
        }
    }
}
