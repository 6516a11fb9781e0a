//! The sandboxes that a gate serves, with what another gate needs to go on with them.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use exeat_ca::Root;
use exeat_pipeline::Tally;
use exeat_types::{AgentId, Host, Regime};

use super::state::State;
use crate::{
    socket::{Attach, Summary},
    upgrade::Moved,
};

/// The sandboxes that are served.
#[derive(Default)]
pub(crate) struct Roll(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    served: BTreeMap<u64, Entry>,
    next: u64,
    is_given: bool,
}

/// One of them.
pub(crate) struct Entry {
    /// As its client asked for it.
    pub(crate) attach: Attach,
    /// How its agent is held.
    pub(crate) regime: Regime,
    /// Signs for it.
    pub(crate) root: Arc<Root>,
    /// What came through it.
    pub(crate) tally: Arc<Tally>,
    /// Copies of its client's end and of its listeners.
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Roll {
    /// Takes one in; gives its number.
    pub(crate) fn enter(&self, entry: Entry) -> u64 {
        let mut entries = self.entries();
        let number = entries.next;
        entries.next = number.saturating_add(1);
        entries.served.insert(number, entry);
        number
    }

    /// Forgets one.
    pub(crate) fn leave(&self, number: u64) {
        self.entries().served.remove(&number);
    }

    /// Every one of them, for another gate: what it is, and its descriptors.
    ///
    /// # Errors
    /// When a root cannot be sealed, or no descriptor is to be had.
    pub(crate) fn moved(&self, state: &State) -> anyhow::Result<Vec<(Moved, Vec<OwnedFd>)>> {
        let entries = self.entries();
        let moved = entries.served.values().map(|entry| {
            let sealed = state.seal_root(&entry.root)?;
            let moved = Moved {
                attach: entry.attach.clone(),
                until: match entry.regime {
                    Regime::Observed { until } => Some(until),
                    Regime::Declared | Regime::Strict => None,
                },
                summary: summary(&entry.tally),
                hosts: entry.tally.hosts().iter().map(Host::to_string).collect(),
                run: entry.tally.run().so_far().map(Into::into),
                certificate_pem: sealed.certificate_pem,
                sealed_key: sealed.sealed_key,
            };
            Ok((moved, copies(&entry.descriptors)?))
        });
        moved.collect()
    }

    /// Whose they are.
    pub(crate) fn agents(&self) -> Vec<AgentId> {
        let entries = self.entries();
        let served = entries.served.values();
        served.map(|entry| entry.attach.agent.clone()).collect()
    }

    /// How their agents are held.
    pub(crate) fn regimes(&self) -> Vec<Regime> {
        let entries = self.entries();
        entries.served.values().map(|entry| entry.regime).collect()
    }

    /// Another gate serves them from here on; their clients hear nothing more from this one.
    pub(crate) fn give(&self) {
        self.entries().is_given = true;
    }

    /// Whether another gate serves them.
    pub(crate) fn is_given(&self) -> bool {
        self.entries().is_given
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies of descriptors.
///
/// # Errors
/// When no descriptor is to be had.
pub(crate) fn copies(descriptors: &[impl AsFd]) -> anyhow::Result<Vec<OwnedFd>> {
    let copies: std::io::Result<_> = descriptors
        .iter()
        .map(|descriptor| descriptor.as_fd().try_clone_to_owned())
        .collect();
    copies.context("cannot copy the sockets of a sandbox")
}

/// What came through a sandbox.
pub(crate) fn summary(tally: &Tally) -> Summary {
    let count = tally.count();
    Summary {
        hosts: u64::try_from(count.hosts).unwrap_or(u64::MAX),
        requests: count.requests,
        refused: count.refused,
        open: count.open,
        spent: count.spent,
    }
}
