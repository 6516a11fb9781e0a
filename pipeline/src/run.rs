//! The run of an agent: what it did in one sandbox; for an agent outside of any, what it did until it was quiet for long.
//!
//! A run carries the mark of untrusted content and counts the alarms it caused.
//! INVARIANT: a mark is never taken off; only a new run is without one.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use exeat_types::{AgentId, Origin, RunId, Timestamp};

/// After so long without a call, an agent outside a sandbox begins a new run.
const QUIET: Duration = Duration::from_secs(60 * 60);

/// One run.
#[derive(Debug, Default)]
pub struct Run {
    begun: OnceLock<(Option<RunId>, Timestamp)>,
    /// In milliseconds.
    last: AtomicU64,
    mark: OnceLock<Mark>,
    alarms: AtomicU64,
}

/// What a run has read that nobody vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Where it came from.
    pub origin: Origin,
    /// Whether it looked as if it were meant to steer the agent; otherwise the origin is not a trusted one.
    pub steers: bool,
}

/// A run as another process can go on with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSoFar {
    /// Its id.
    pub id: Option<RunId>,
    /// Its first call.
    pub began: Timestamp,
    /// What it has read.
    pub mark: Option<Mark>,
    /// How often a placeholder was used outside its slot.
    pub alarms: u64,
}

impl Run {
    /// Goes on from what another process knew.
    pub fn resume(so_far: RunSoFar) -> Self {
        let run = Self::default();
        run.begun.get_or_init(|| (so_far.id, so_far.began));
        if let Some(mark) = so_far.mark {
            run.mark.get_or_init(|| mark);
        }
        run.alarms.store(so_far.alarms, Ordering::Relaxed);
        run
    }

    /// What another process needs to go on; nothing before the first call.
    pub fn so_far(&self) -> Option<RunSoFar> {
        let (id, began) = self.begun.get()?;
        Some(RunSoFar {
            id: id.clone(),
            began: *began,
            mark: self.mark.get().cloned(),
            alarms: self.alarms(),
        })
    }

    /// Its id, once there was a call. Without random bytes it has none.
    pub fn id(&self) -> Option<&RunId> {
        self.begun.get().and_then(|(id, _)| id.as_ref())
    }

    /// When its first call was.
    pub fn began(&self) -> Option<Timestamp> {
        self.begun.get().map(|(_, began)| *began)
    }

    /// What it has read that nobody vouches for, and where first.
    pub fn mark(&self) -> Option<&Mark> {
        self.mark.get()
    }

    /// How often a placeholder was used outside its slot.
    pub fn alarms(&self) -> u64 {
        self.alarms.load(Ordering::Relaxed)
    }

    /// A call was accepted.
    pub(crate) fn calls(&self, now: Timestamp) {
        self.begun.get_or_init(|| (RunId::fresh(now).ok(), now));
        self.last.fetch_max(now.millis(), Ordering::Relaxed);
    }

    /// It has read something. The first mark stands.
    pub(crate) fn reads(&self, mark: impl FnOnce() -> Mark) {
        self.mark.get_or_init(mark);
    }

    /// A placeholder was used outside its slot.
    pub(crate) fn alarmed(&self) {
        self.alarms.fetch_add(1, Ordering::Relaxed);
    }

    fn is_over(&self, now: Timestamp) -> bool {
        let last = Timestamp::from_millis(self.last.load(Ordering::Relaxed));
        now.since(last) >= QUIET
    }
}

/// The runs of agents that are in no sandbox, one each.
#[derive(Debug, Default)]
pub(crate) struct Runs(Mutex<HashMap<AgentId, Arc<Run>>>);

impl Runs {
    /// The run that a call of an agent belongs to.
    ///
    /// SECURITY: not by connection. An agent that has read something bad opens another connection to do what it says.
    pub(crate) fn of(&self, agent: &AgentId, now: Timestamp) -> Arc<Run> {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = runs.get(agent).filter(|run| !run.is_over(now)) {
            run.calls(now);
            return Arc::clone(run);
        }
        let fresh = Arc::new(Run::default());
        fresh.calls(now);
        runs.insert(agent.clone(), Arc::clone(&fresh));
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: u64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + minute * 60_000)
    }

    fn bad() -> Mark {
        Mark {
            origin: Origin::parse("https://evil.example").unwrap(),
            steers: true,
        }
    }

    #[test]
    fn a_mark_stays_until_the_run_is_over() {
        let runs = Runs::default();
        let agent = AgentId::new("claude").unwrap();
        let run = runs.of(&agent, at(0));
        run.reads(bad);
        run.alarmed();
        let same = runs.of(&agent, at(59));
        assert_eq!((same.id(), same.mark()), (run.id(), Some(&bad())));
        let other = runs.of(&agent, at(59 + 60));
        assert_eq!((other.mark(), other.alarms()), (None, 0));
        assert_ne!(other.id(), run.id());
        assert!(other.id().is_some());
    }

    #[test]
    fn two_agents_do_not_share_a_run() {
        let runs = Runs::default();
        runs.of(&AgentId::new("one").unwrap(), at(0)).reads(bad);
        let other = runs.of(&AgentId::new("two").unwrap(), at(0));
        assert_eq!(other.mark(), None);
    }

    #[test]
    fn another_process_goes_on_with_the_mark() {
        let run = Run::default();
        assert_eq!(run.so_far(), None);
        run.calls(at(3));
        run.reads(bad);
        run.alarmed();
        let resumed = Run::resume(run.so_far().unwrap());
        assert_eq!(resumed.so_far(), run.so_far());
        assert_eq!(resumed.began(), Some(at(3)));
    }
}
