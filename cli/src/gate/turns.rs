//! How many programs run at one time, and how many of them for one agent. INVARIANT: no agent takes the turns of all.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use exeat_pipeline::NotRun;
use exeat_types::AgentId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most that run at one time.
const AT_ONCE: usize = 8;
/// The most of them that run for one agent.
const AT_ONCE_FOR_ONE: usize = 4;

/// What is left of the turns.
pub(super) struct Turns {
    all: Arc<Semaphore>,
    each: Mutex<BTreeMap<AgentId, Arc<Semaphore>>>,
}

/// One turn, until it is dropped.
pub(super) struct Turn {
    _of_all: OwnedSemaphorePermit,
    _of_one: OwnedSemaphorePermit,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(AT_ONCE)),
            each: Mutex::default(),
        }
    }
}

impl Turns {
    /// A turn for this agent, if there is one now.
    pub(super) fn take(&self, agent: &AgentId) -> Result<Turn, NotRun> {
        let own = {
            let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
            let own = each.entry(agent.clone());
            Arc::clone(own.or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE_FOR_ONE))))
        };
        let busy = |_none_left| NotRun::Busy;
        Ok(Turn {
            _of_one: own.try_acquire_owned().map_err(busy)?,
            _of_all: Arc::clone(&self.all).try_acquire_owned().map_err(busy)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_agent_leaves_turns_to_others() {
        let turns = Turns::default();
        let [one, other, third] = ["one", "other", "third"].map(|name| AgentId::new(name).unwrap());
        let taken: Vec<Turn> = (0..AT_ONCE_FOR_ONE)
            .map(|_| turns.take(&one).ok().unwrap())
            .collect();
        assert!(turns.take(&one).is_err());
        let more: Vec<Turn> = std::iter::from_fn(|| turns.take(&other).ok()).collect();
        assert_eq!(more.len(), AT_ONCE - AT_ONCE_FOR_ONE);
        assert!(turns.take(&third).is_err(), "no more than that run at all");
        drop(taken);
        assert!(turns.take(&one).is_ok());
    }
}
