//! The request that was approved last of each agent and tool, so that people see what differs. Kept for a day, and only so
//! many bytes of it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use exeat_types::{AgentId, Timestamp, ToolName, limits};

use super::{Pending, Shown};

const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// What was approved last.
#[derive(Default)]
pub(super) struct Last(HashMap<(AgentId, ToolName), (Timestamp, Arc<Shown>)>);

impl Last {
    /// Keeps the request of a question that was granted; the oldest make room for it.
    pub(super) fn keep(&mut self, pending: &Pending, now: Timestamp) {
        let Some(shown) = &pending.request else {
            return;
        };
        let place = (pending.agent.clone(), pending.tool.clone());
        self.0.insert(place, (now, Arc::clone(shown)));
        while self.is_full() {
            let oldest = self.0.iter().min_by_key(|(_, (at, _))| *at);
            let Some(place) = oldest.map(|(place, _)| place.clone()) else {
                return;
            };
            self.0.remove(&place);
        }
    }

    /// What was approved last of the same agent and tool.
    pub(super) fn of(&self, pending: &Pending) -> Option<Arc<Shown>> {
        let place = (pending.agent.clone(), pending.tool.clone());
        self.0.get(&place).map(|(_, shown)| Arc::clone(shown))
    }

    /// Forgets what is too old.
    pub(super) fn expire(&mut self, now: Timestamp) {
        self.0.retain(|_, (at, _)| now.since(*at) < KEPT_FOR);
    }

    fn is_full(&self) -> bool {
        let sizes = self.0.values().map(|(_, shown)| shown.size());
        self.0.len() > limits::APPROVALS_LAST_MAX
            || sizes.fold(0, usize::saturating_add) > limits::APPROVAL_LAST_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use exeat_types::AgentId;

    use super::*;
    use crate::approval::book::tests::pending;

    fn of(agent: &str, bytes: usize) -> Pending {
        let mut pending = pending("apr-1");
        pending.agent = AgentId::new(agent).unwrap();
        pending.request = Some(Arc::new(Shown {
            method: "POST".to_owned(),
            origin: "https://api.test".to_owned(),
            path: "/".to_owned(),
            query: None,
            headers: Vec::new(),
            body: Some(Bytes::from(vec![0; bytes])),
            credentials: Vec::new(),
        }));
        pending
    }

    #[test]
    fn what_was_approved_last_is_kept_for_a_day_and_within_bounds() {
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
        let mut last = Last::default();
        let most = limits::APPROVAL_BODY_BYTES_MAX;
        let fit = limits::APPROVAL_LAST_BYTES_MAX / most;
        for n in 0..=fit {
            last.keep(
                &of(&format!("agent-{n}"), most),
                at(u64::try_from(n).unwrap()),
            );
        }
        assert!(last.of(&of("agent-0", 0)).is_none(), "the oldest made room");
        assert!(last.of(&of("agent-1", 0)).is_some());
        assert_eq!(last.0.len(), fit);
        let later = at(100);
        for n in 0..limits::APPROVALS_LAST_MAX + 9 {
            last.keep(&of(&format!("small-{n}"), 1), later);
        }
        assert_eq!(last.0.len(), limits::APPROVALS_LAST_MAX);
        last.expire(later.after(KEPT_FOR - Duration::from_secs(1)));
        assert_eq!(last.0.len(), limits::APPROVALS_LAST_MAX);
        last.expire(later.after(KEPT_FOR));
        assert!(last.0.is_empty());
    }
}
