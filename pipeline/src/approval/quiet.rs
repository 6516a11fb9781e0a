//! What keeps people from being asked too often: places that cool down after a refusal, and notices that were given.

use std::{collections::HashMap, time::Duration};

use exeat_types::{AgentId, Timestamp, ToolName, limits};

use super::Pending;

/// What a refusal holds for.
type Place = (AgentId, ToolName, String);

struct Cooling {
    until: Timestamp,
    last: Duration,
}

/// Where nobody is asked, and of what nobody is told, for a while.
#[derive(Default)]
pub(super) struct Quiet {
    cooling: HashMap<Place, Cooling>,
    noticed: HashMap<(AgentId, ToolName), Timestamp>,
}

fn place_of(pending: &Pending) -> Place {
    (
        pending.agent.clone(),
        pending.tool.clone(),
        pending.origin.clone(),
    )
}

impl Quiet {
    /// Somebody said yes: the place is as good as new.
    pub(super) fn warm(&mut self, pending: &Pending) {
        self.cooling.remove(&place_of(pending));
    }

    /// How long the place of a question has to cool down.
    pub(super) fn cools(&self, pending: &Pending, now: Timestamp) -> Option<Duration> {
        let cooling = self.cooling.get(&place_of(pending))?;
        (now < cooling.until).then(|| cooling.until.since(now))
    }

    /// Whoever was refused may not ask for the same again for a while: twice as long each time.
    pub(super) fn cool(&mut self, pending: &Pending, now: Timestamp) {
        self.cooling.retain(|_, cooling| {
            now.millis() < cooling.until.after(limits::APPROVAL_COOLING_MAX).millis()
        });
        let place = place_of(pending);
        let last = self.cooling.get(&place).map(|cooling| cooling.last);
        let next = last.map_or(limits::APPROVAL_COOLING_MIN, |last| {
            last.saturating_mul(2).min(limits::APPROVAL_COOLING_MAX)
        });
        let until = now.after(next);
        self.cooling.insert(place, Cooling { until, last: next });
    }

    /// Whether somebody should be notified of a new question, or was a moment ago.
    pub(super) fn notices(&mut self, pending: &Pending, now: Timestamp) -> bool {
        let pause = limits::APPROVAL_NOTICE_PAUSE;
        self.noticed.retain(|_, at| now.since(*at) < pause);
        let key = (pending.agent.clone(), pending.tool.clone());
        if self.noticed.contains_key(&key) {
            return false;
        }
        self.noticed.insert(key, now);
        true
    }
}
