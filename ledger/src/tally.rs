//! Counting what could fill the disk: refusals beyond the limit of a second, and connections that never became calls.
//!
//! Equal ones become one record. The number of different ones that are told apart is bounded too.

use std::collections::HashMap;

use exeat_types::{AgentId, Reason, Timestamp, ToolName, limits::REFUSALS_PER_SECOND_MAX};

use crate::{call::Refusal, event::Connection, record::Record};

/// Different refusals, or connections, that are told apart in one second.
const KINDS_MAX: usize = 1024;

type RefusalKey = (AgentId, Option<ToolName>, Reason);
type ConnectionKey = (Option<AgentId>, Reason, String);

#[derive(Default)]
pub(crate) struct Tally {
    /// Per agent: the second, and how many refusals of it were written one by one.
    written: HashMap<AgentId, (u64, u32)>,
    refusals: HashMap<RefusalKey, Refusal>,
    connections: HashMap<ConnectionKey, Connection>,
    since: Option<Timestamp>,
}

impl Tally {
    /// Whether this refusal may have a record of its own.
    pub(crate) fn admits(&mut self, agent: &AgentId, now: Timestamp) -> bool {
        let second = now.millis() / 1000;
        let (at, count) = self.written.entry(agent.clone()).or_insert((second, 0));
        if *at != second {
            (*at, *count) = (second, 0);
        }
        *count += 1;
        *count <= REFUSALS_PER_SECOND_MAX
    }

    /// Counts a refusal. True if it is the first thing counted since the last record was drawn up.
    pub(crate) fn count_refusal(&mut self, mut refusal: Refusal, now: Timestamp) -> bool {
        if self.refusals.len() >= KINDS_MAX {
            refusal.tool = None;
        }
        let key = (refusal.agent.clone(), refusal.tool.clone(), refusal.reason);
        match self.refusals.get_mut(&key) {
            Some(known) => known.count = known.count.saturating_add(refusal.count),
            None => drop(self.refusals.insert(key, refusal)),
        }
        self.begin(now)
    }

    /// Counts a connection. True if it is the first thing counted since the last record was drawn up.
    pub(crate) fn count_connection(&mut self, mut connection: Connection, now: Timestamp) -> bool {
        if self.connections.len() >= KINDS_MAX {
            connection.listener.clear();
        }
        let key = (
            connection.agent.clone(),
            connection.reason,
            connection.listener.clone(),
        );
        match self.connections.get_mut(&key) {
            Some(known) => known.count = known.count.saturating_add(connection.count),
            None => drop(self.connections.insert(key, connection)),
        }
        self.begin(now)
    }

    fn begin(&mut self, now: Timestamp) -> bool {
        let first = self.since.is_none();
        self.since.get_or_insert(now);
        first
    }

    /// Whether anything is counted.
    pub(crate) const fn is_empty(&self) -> bool {
        self.since.is_none()
    }

    /// Whether what is counted has waited for a second.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.since
            .is_some_and(|since| now.since(since).as_millis() >= 1000 || now < since)
    }

    /// Draws up the records and starts over.
    pub(crate) fn take(&mut self) -> Vec<Record> {
        self.since = None;
        self.written.retain(|_, (_, count)| *count > 0);
        let refusals = self
            .refusals
            .drain()
            .map(|(_, refusal)| Record::Refusal(refusal));
        let mut records: Vec<_> = refusals.collect();
        records.extend(self.connections.drain().map(|(_, c)| Record::Connection(c)));
        records
    }
}
