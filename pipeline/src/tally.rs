//! What came through one door, counted for the line that `exeat run` ends with. Receipts are the truth; this is their sum
//! as far as one sandbox goes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use exeat_types::Host;
use tokio::sync::watch;

use crate::Run;

/// The counts of one sandbox.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Mutex<Counted>,
    open: watch::Sender<u64>,
    run: Arc<Run>,
}

/// What was counted so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Count {
    /// Different hosts that calls went to.
    pub hosts: usize,
    /// Requests, refused ones among them.
    pub requests: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Calls whose receipt is still open.
    pub open: u64,
    /// What was used up, in the smallest unit of each: money in millionths, tokens of language models.
    pub spent: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct Counted {
    hosts: BTreeSet<Host>,
    requests: u64,
    refused: u64,
    spent: BTreeMap<String, u64>,
}

/// Different hosts that are told apart; an agent cannot fill the memory with names.
const HOSTS_MAX: usize = 10_000;

impl Tally {
    /// What was counted so far.
    pub fn count(&self) -> Count {
        let counted = self.counted();
        Count {
            hosts: counted.hosts.len(),
            requests: counted.requests,
            refused: counted.refused,
            open: *self.open.borrow(),
            spent: counted.spent.clone(),
        }
    }

    /// Goes on from what another process counted.
    pub fn resume(hosts: Vec<Host>, count: Count, run: Run) -> Self {
        let counted = Counted {
            hosts: hosts.into_iter().collect(),
            requests: count.requests,
            refused: count.refused,
            spent: count.spent,
        };
        Self {
            counts: Mutex::new(counted),
            open: watch::Sender::default(),
            run: Arc::new(run),
        }
    }

    /// The run of the agent in this sandbox.
    pub const fn run(&self) -> &Arc<Run> {
        &self.run
    }

    /// The hosts that calls went to.
    pub fn hosts(&self) -> Vec<Host> {
        self.counted().hosts.iter().cloned().collect()
    }

    /// Waits until every receipt is closed, but not longer than this.
    pub async fn settled(&self, patience: Duration) {
        let mut open = self.open.subscribe();
        let closed = open.wait_for(|open| *open == 0);
        if tokio::time::timeout(patience, closed).await.is_err() {
            tracing::debug!("calls of a sandbox that has ended are still open");
        }
    }

    /// A request was turned away before it had a receipt of its own that is open.
    pub fn refused(&self) {
        let mut counted = self.counted();
        counted.requests = counted.requests.saturating_add(1);
        counted.refused = counted.refused.saturating_add(1);
    }

    /// A receipt is open.
    pub(crate) fn opened(&self, host: &Host) {
        let mut counted = self.counted();
        counted.requests = counted.requests.saturating_add(1);
        if counted.hosts.len() < HOSTS_MAX && !counted.hosts.contains(host) {
            counted.hosts.insert(host.clone());
        }
        drop(counted);
        self.open.send_modify(|open| *open = open.saturating_add(1));
    }

    /// The receipt could not be written, so there is none; the refusal that follows is counted by itself.
    pub(crate) fn forgotten(&self) {
        let mut counted = self.counted();
        counted.requests = counted.requests.saturating_sub(1);
        drop(counted);
        self.closed(Vec::new());
    }

    /// A call whose receipt is open was refused after all.
    pub(crate) fn refused_late(&self) {
        let mut counted = self.counted();
        counted.refused = counted.refused.saturating_add(1);
    }

    /// A receipt is closed.
    pub(crate) fn closed(&self, paid: Vec<(String, u64)>) {
        for (unit, amount) in paid {
            let mut counted = self.counted();
            let spent = counted.spent.entry(unit).or_default();
            *spent = spent.saturating_add(amount);
        }
        self.open.send_modify(|open| *open = open.saturating_sub(1));
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hosts_are_counted_once_and_what_was_paid_is_added_up() {
        let tally = Tally::default();
        let host = |name| Host::parse(name).unwrap();
        for name in ["a.test", "b.test", "a.test"] {
            tally.opened(&host(name));
        }
        tally.refused();
        tally.refused_late();
        tally.closed(vec![("USD-6".to_owned(), 7)]);
        tally.closed(vec![("USD-6".to_owned(), 7)]);
        let count = tally.count();
        assert_eq!((count.hosts, count.requests, count.refused), (2, 4, 2));
        assert_eq!((count.open, count.spent["USD-6"]), (1, 14));
        tally.closed(Vec::new());
        tally.settled(Duration::from_secs(60)).await;
        assert_eq!(tally.count().open, 0);
    }
}
