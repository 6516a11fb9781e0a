//! What each agent has used before, and how much in which hour: rows of the index, gathered while the journal is walked.
//!
//! Only calls that had an intent count: who was refused has used nothing. A view like the rest of the index; the journal
//! is the truth.

use std::collections::{BTreeMap, HashMap};

use exeat_types::{AgentId, Timestamp};
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction,
};

use crate::{
    Error,
    receipt::millis_of,
    rows::{Brief, call_of},
    views::wrong,
};

/// Agent, [`TOOL`] or [`HOST`], name -> when it was first used, in milliseconds.
const FIRST: TableDefinition<'_, (&str, u8, &str), u64> = TableDefinition::new("first-use");
/// Agent, hours since the epoch -> calls and bytes.
const HOURS: TableDefinition<'_, (&str, u32), (u64, u64)> = TableDefinition::new("hours");
/// Calls whose outcome is not indexed yet -> agent.
const OPEN: TableDefinition<'_, u128, &str> = TableDefinition::new("open-calls");

const TOOL: u8 = 0;
const HOST: u8 = 1;
/// Milliseconds of an hour.
const HOUR_MS: u64 = 60 * 60 * 1000;

/// What an agent has done, as far as the journal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// The agent.
    pub agent: AgentId,
    /// The tools it has called, and when first.
    pub tools: Vec<(String, Timestamp)>,
    /// The hosts it has called, and when first.
    pub hosts: Vec<(String, Timestamp)>,
    /// The hours in which it called anything, in order.
    pub hours: Vec<Hour>,
}

/// What an agent did in an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hour {
    /// Hours since the epoch.
    pub number: u32,
    /// Calls that were accepted in it.
    pub calls: u64,
    /// Body bytes of these calls, both ways.
    pub bytes: u64,
}

impl Hour {
    /// The hour that a moment lies in.
    pub fn of(at: Timestamp) -> u32 {
        u32::try_from(at.millis() / HOUR_MS).unwrap_or(u32::MAX)
    }
}

/// What one step of indexing adds.
#[derive(Default)]
pub(crate) struct Gathered {
    first: BTreeMap<(AgentId, u8, String), u64>,
    hours: BTreeMap<(AgentId, u32), (u64, u64)>,
    open: HashMap<u128, AgentId>,
    /// Calls that were begun in an earlier step, and their bytes.
    ended: Vec<(u128, u64)>,
}

impl Gathered {
    /// A call has an intent.
    pub(crate) fn begun(&mut self, call: u128, brief: &Brief) {
        let at = millis_of(call_of(call));
        let tool = brief.tool.as_ref().map(|tool| (TOOL, tool.to_string()));
        let host = brief.origin.as_ref();
        let host = host.map(|origin| (HOST, origin.host.to_string()));
        for (kind, name) in tool.into_iter().chain(host) {
            let key = (brief.agent.clone(), kind, name);
            let first = self.first.entry(key).or_insert(at);
            *first = at.min(*first);
        }
        let hour = Hour::of(Timestamp::from_millis(at));
        let key = (brief.agent.clone(), hour);
        let counted = self.hours.entry(key).or_default();
        counted.0 = counted.0.saturating_add(1);
        self.open.insert(call, brief.agent.clone());
    }

    /// A call has ended.
    pub(crate) fn ended(&mut self, call: u128, bytes: u64) {
        match self.open.remove(&call) {
            Some(agent) => self.add_bytes(agent, call, bytes),
            None => self.ended.push((call, bytes)),
        }
    }

    fn add_bytes(&mut self, agent: AgentId, call: u128, bytes: u64) {
        let hour = Hour::of(Timestamp::from_millis(millis_of(call_of(call))));
        let counted = self.hours.entry((agent, hour)).or_default();
        counted.1 = counted.1.saturating_add(bytes);
    }

    /// Writes it all beside the rest of the step.
    pub(crate) fn write(mut self, write: &WriteTransaction) -> Result<(), Error> {
        let mut open = write.open_table(OPEN).map_err(wrong("write"))?;
        for (call, bytes) in std::mem::take(&mut self.ended) {
            let agent = open.remove(call).map_err(wrong("write"))?;
            let agent = agent.and_then(|agent| AgentId::new(agent.value()).ok());
            if let Some(agent) = agent {
                self.add_bytes(agent, call, bytes);
            }
        }
        for (call, agent) in &self.open {
            open.insert(*call, agent.as_str()).map_err(wrong("write"))?;
        }
        let mut first = write.open_table(FIRST).map_err(wrong("write"))?;
        for ((agent, kind, name), at) in &self.first {
            let key = (agent.as_str(), *kind, name.as_str());
            let known = first.get(key).map_err(wrong("write"))?;
            let known = known.map(|known| known.value());
            if known.is_none_or(|known| *at < known) {
                first.insert(key, *at).map_err(wrong("write"))?;
            }
        }
        let mut hours = write.open_table(HOURS).map_err(wrong("write"))?;
        for ((agent, hour), (calls, bytes)) in &self.hours {
            let key = (agent.as_str(), *hour);
            let known = hours.get(key).map_err(wrong("write"))?;
            let (had, moved) = known.map(|known| known.value()).unwrap_or_default();
            let counted = (had.saturating_add(*calls), moved.saturating_add(*bytes));
            hours.insert(key, counted).map_err(wrong("write"))?;
        }
        Ok(())
    }
}

/// Makes the tables, so that they can be read.
pub(crate) fn create(write: &WriteTransaction) -> Result<(), Error> {
    write.open_table(FIRST).map_err(wrong("open"))?;
    write.open_table(HOURS).map_err(wrong("open"))?;
    write.open_table(OPEN).map_err(wrong("open"))?;
    Ok(())
}

/// The past of every agent: at most `names_max` tools and hosts each, and the hours from `since` on.
pub(crate) fn read(database: &Database, since: u32, names_max: usize) -> Result<Vec<Past>, Error> {
    let read = database.begin_read().map_err(wrong("read"))?;
    let mut pasts: BTreeMap<AgentId, Past> = BTreeMap::new();
    let first = read.open_table(FIRST).map_err(wrong("read"))?;
    for row in first.iter().map_err(wrong("read"))? {
        let (key, at) = row.map_err(wrong("read"))?;
        let (agent, kind, name) = key.value();
        let Some(past) = of_agent(&mut pasts, agent) else {
            continue;
        };
        let names = match kind {
            TOOL => &mut past.tools,
            _ => &mut past.hosts,
        };
        if names.len() < names_max {
            names.push((name.to_owned(), Timestamp::from_millis(at.value())));
        }
    }
    let hours = read.open_table(HOURS).map_err(wrong("read"))?;
    for row in hours.iter().map_err(wrong("read"))? {
        let (key, counted) = row.map_err(wrong("read"))?;
        let (agent, number) = key.value();
        let (calls, bytes) = counted.value();
        if number >= since
            && let Some(past) = of_agent(&mut pasts, agent)
        {
            past.hours.push(Hour {
                number,
                calls,
                bytes,
            });
        }
    }
    Ok(pasts.into_values().collect())
}

fn of_agent<'p>(pasts: &'p mut BTreeMap<AgentId, Past>, agent: &str) -> Option<&'p mut Past> {
    let agent = AgentId::new(agent).ok()?;
    Some(pasts.entry(agent.clone()).or_insert_with(|| Past {
        agent,
        tools: Vec::new(),
        hosts: Vec::new(),
        hours: Vec::new(),
    }))
}
