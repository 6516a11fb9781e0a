//! What each agent has done before: the tools and hosts it has used, and how much in which hour.
//!
//! Read from the ledger once, kept up from then on, bounded. INVARIANT: what is not known here counts as new; nothing that
//! is missing makes a call look usual.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use exeat_ledger::{Hour, Ledger, Past};
use exeat_policy::Signal;
use exeat_types::{AgentId, Host, Timestamp};

/// How far back hours are looked at: four weeks.
const HOURS: u32 = 4 * WEEK;
const WEEK: u32 = 7 * 24;
/// Tools, and hosts, that are remembered of an agent. What comes after them stays new.
const NAMES_MAX: usize = 4096;
/// Agents that are remembered.
const AGENTS_MAX: usize = 4096;

/// An hour is called unusual only for an agent that has been at work for two weeks,
const SPAN_HOURS_MIN: u32 = 2 * WEEK;
/// and in at least so many hours.
const ACTIVE_HOURS_MIN: u32 = 24;
/// An hour stands out when it has so many times what the agent's active hours have on average,
const SPIKE_TIMES: u64 = 5;
/// and at least so many calls,
const SPIKE_CALLS_MIN: u64 = 50;
/// or so many bytes.
const SPIKE_BYTES_MIN: u64 = 8 * 1024 * 1024;

/// The past of every agent.
#[derive(Debug, Default)]
pub struct History(Mutex<HashMap<AgentId, Known>>);

#[derive(Debug, Default)]
struct Known {
    tools: HashSet<Box<str>>,
    hosts: HashSet<Box<str>>,
    /// The last four weeks, each hour at its number modulo [`HOURS`].
    hours: HashMap<u32, Hour>,
    usual: Usual,
}

/// What the hours before one come to.
#[derive(Debug, Default)]
struct Usual {
    /// The hour this was worked out for.
    at: u32,
    active: u32,
    calls: u64,
    bytes: u64,
    first: u32,
    /// The hours of the week that were active.
    week: HashSet<u32>,
}

impl History {
    /// Whether this agent has called this host before.
    pub fn knows_host(&self, agent: &AgentId, host: &Host) -> bool {
        let all = self.all();
        let known = all.get(agent);
        known.is_some_and(|known| known.hosts.contains(&*host.to_string()))
    }

    /// Whether this agent has called this tool before.
    pub fn knows_tool(&self, agent: &AgentId, tool: &str) -> bool {
        let all = self.all();
        all.get(agent)
            .is_some_and(|known| known.tools.contains(tool))
    }

    /// Reads what the journal says. May block.
    ///
    /// # Errors
    /// When the ledger cannot be read; everything counts as new then.
    pub fn remember(&self, ledger: &Ledger, now: Timestamp) -> Result<(), exeat_ledger::Error> {
        let window = Duration::from_secs(u64::from(HOURS).saturating_mul(60 * 60));
        let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        let since = Timestamp::from_millis(now.millis().saturating_sub(window_ms));
        for past in ledger.history(since, NAMES_MAX)? {
            self.take_in(past);
        }
        Ok(())
    }

    fn take_in(&self, past: Past) {
        let mut all = self.all();
        let Some(known) = of_agent(&mut all, &past.agent) else {
            return;
        };
        for (name, _) in past.tools {
            note(&mut known.tools, name);
        }
        for (name, _) in past.hosts {
            note(&mut known.hosts, name);
        }
        for hour in past.hours {
            let slot = known.hour(hour.number);
            slot.calls = slot.calls.saturating_add(hour.calls);
            slot.bytes = slot.bytes.saturating_add(hour.bytes);
        }
        known.usual = Usual::default();
    }

    /// A receipt was opened: from here on tool and host are known.
    pub(crate) fn used(&self, agent: &AgentId, tool: &str, host: &Host, now: Timestamp) {
        let mut all = self.all();
        let Some(known) = of_agent(&mut all, agent) else {
            return;
        };
        if !known.tools.contains(tool) {
            note(&mut known.tools, tool.to_owned());
        }
        note(&mut known.hosts, host.to_string());
        let hour = known.hour(Hour::of(now));
        hour.calls = hour.calls.saturating_add(1);
    }

    /// So many bytes went by.
    pub(crate) fn moved(&self, agent: &AgentId, bytes: u64, now: Timestamp) {
        if let Some(known) = self.all().get_mut(agent) {
            let hour = known.hour(Hour::of(now));
            hour.bytes = hour.bytes.saturating_add(bytes);
        }
    }

    /// What is unusual about a call that is about to be made.
    pub(crate) fn look(
        &self,
        agent: &AgentId,
        tool: &str,
        host: &Host,
        (now, bytes): (Timestamp, u64),
    ) -> BTreeSet<Signal> {
        let mut all = self.all();
        let Some(known) = all.get_mut(agent) else {
            return [Signal::NewTool, Signal::NewHost].into();
        };
        let number = Hour::of(now);
        let mut here = *known.hour(number);
        here.calls = here.calls.saturating_add(1);
        here.bytes = here.bytes.saturating_add(bytes);
        known.work_out(number);
        let spoken = [
            (Signal::NewTool, !known.tools.contains(tool)),
            (Signal::NewHost, !known.hosts.contains(&*host.to_string())),
            (Signal::UnusualHour, known.usual.is_unusual(number)),
            (Signal::VolumeSpike, known.usual.is_spike(&here)),
        ];
        let spoken = spoken.into_iter().filter(|(_, spoke)| *spoke);
        spoken.map(|(signal, _)| signal).collect()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<AgentId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of_agent<'k>(all: &'k mut HashMap<AgentId, Known>, agent: &AgentId) -> Option<&'k mut Known> {
    if all.len() >= AGENTS_MAX && !all.contains_key(agent) {
        return None;
    }
    Some(all.entry(agent.clone()).or_default())
}

fn note(names: &mut HashSet<Box<str>>, name: String) {
    if names.len() < NAMES_MAX {
        names.insert(name.into_boxed_str());
    }
}

impl Known {
    /// The counts of an hour; those of four weeks before make room.
    fn hour(&mut self, number: u32) -> &mut Hour {
        let fresh = Hour {
            number,
            calls: 0,
            bytes: 0,
        };
        let slot = self.hours.entry(number % HOURS).or_insert(fresh);
        if slot.number != number {
            *slot = fresh;
        }
        slot
    }

    /// Works out what is usual before an hour, once an hour.
    fn work_out(&mut self, number: u32) {
        if self.usual.at == number {
            return;
        }
        let mut usual = Usual {
            at: number,
            first: number,
            ..Usual::default()
        };
        let since = number.saturating_sub(HOURS);
        let before = self.hours.values();
        for hour in before.filter(|hour| (since..number).contains(&hour.number) && hour.calls > 0) {
            usual.active = usual.active.saturating_add(1);
            usual.calls = usual.calls.saturating_add(hour.calls);
            usual.bytes = usual.bytes.saturating_add(hour.bytes);
            usual.first = usual.first.min(hour.number);
            usual.week.insert(hour.number % WEEK);
        }
        self.usual = usual;
    }
}

impl Usual {
    const fn is_known(&self) -> bool {
        self.active >= ACTIVE_HOURS_MIN
    }

    /// Neither this hour of the week nor the ones beside it were ever active.
    fn is_unusual(&self, number: u32) -> bool {
        let spans = number.saturating_sub(self.first) >= SPAN_HOURS_MIN;
        let near = [
            number.saturating_add(WEEK - 1),
            number,
            number.saturating_add(1),
        ];
        spans && self.is_known() && !near.iter().any(|hour| self.week.contains(&(hour % WEEK)))
    }

    fn is_spike(&self, here: &Hour) -> bool {
        let active = u64::from(self.active);
        let far = |here: u64, all: u64, least: u64| {
            here >= least && here.saturating_mul(active) > all.saturating_mul(SPIKE_TIMES)
        };
        self.is_known()
            && (far(here.calls, self.calls, SPIKE_CALLS_MIN)
                || far(here.bytes, self.bytes, SPIKE_BYTES_MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Monday, midnight UTC.
    const MONDAY: u64 = 1_800_230_400_000;

    fn at(hour: u64) -> Timestamp {
        Timestamp::from_millis(MONDAY + hour * 3_600_000)
    }

    fn claude() -> AgentId {
        AgentId::new("claude").unwrap()
    }

    fn host(name: &str) -> Host {
        Host::parse(name).unwrap()
    }

    fn look(history: &History, tool: &str, name: &str, at: Timestamp) -> BTreeSet<Signal> {
        history.look(&claude(), tool, &host(name), (at, 0))
    }

    /// Three weeks of work from nine to five, ten calls an hour.
    fn at_work() -> History {
        let history = History::default();
        for hour in (0..21 * 24).filter(|hour| (9..17).contains(&(hour % 24))) {
            for _ in 0..10 {
                history.used(
                    &claude(),
                    "github.issues.list",
                    &host("api.github.com"),
                    at(hour),
                );
            }
            history.moved(&claude(), 100_000, at(hour));
        }
        history
    }

    #[test]
    fn nothing_known_is_new() {
        let history = History::default();
        let seen = look(&history, "a.b", "a.test", at(0));
        assert_eq!(seen, [Signal::NewTool, Signal::NewHost].into());
        history.used(&claude(), "a.b", &host("a.test"), at(0));
        let seen = look(&history, "a.b", "a.test", at(0));
        assert!(seen.is_empty());
        assert!(history.knows_host(&claude(), &host("a.test")));
        assert!(!history.knows_host(&AgentId::new("codex").unwrap(), &host("a.test")));
    }

    #[test]
    fn an_hour_is_unusual_only_against_a_long_enough_past() {
        let history = at_work();
        for (hour, expect) in [(10, false), (8, false), (17, false), (3, true), (22, true)] {
            let seen = look(
                &history,
                "github.issues.list",
                "api.github.com",
                at(21 * 24 + hour),
            );
            assert_eq!(seen.contains(&Signal::UnusualHour), expect, "{hour}");
        }
        let young = History::default();
        for hour in 0..48 {
            young.used(&claude(), "a.b", &host("a.test"), at(hour));
        }
        assert!(!look(&young, "a.b", "a.test", at(60)).contains(&Signal::UnusualHour));
    }

    #[test]
    fn a_spike_is_many_times_the_usual_hour() {
        let history = at_work();
        let now = at(21 * 24 + 10);
        for call in 1..80_u64 {
            let seen = look(&history, "github.issues.list", "api.github.com", now);
            assert_eq!(seen.contains(&Signal::VolumeSpike), call > 50, "{call}");
            history.used(
                &claude(),
                "github.issues.list",
                &host("api.github.com"),
                now,
            );
        }
        let later = at(21 * 24 + 11);
        let large = |bytes| {
            history.look(
                &claude(),
                "github.issues.list",
                &host("api.github.com"),
                (later, bytes),
            )
        };
        assert!(
            !large(1_000_000).contains(&Signal::VolumeSpike)
                && large(9_000_000).contains(&Signal::VolumeSpike)
        );
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_rest_stays_new() {
        let history = History::default();
        for n in 0..NAMES_MAX + 10 {
            history.used(&claude(), "a.b", &host(&format!("h{n}.test")), at(0));
        }
        assert!(history.knows_host(&claude(), &host("h0.test")));
        assert!(!history.knows_host(&claude(), &host(&format!("h{}.test", NAMES_MAX + 5))));
        for hour in 0..u64::from(HOURS) * 3 {
            history.used(&claude(), "a.b", &host("h0.test"), at(hour));
        }
        let all = history.all();
        assert_eq!(all[&claude()].hours.len(), usize::try_from(HOURS).unwrap());
    }
}
