//! What all tokens of one credential share: whose turn it is, how many are asked for at a time, and when nobody asks.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use exeat_custody::NotIssued;
use exeat_types::limits;
use tokio::sync::{Mutex as Turn, Semaphore};

use super::place::Refusal;

/// How many tokens of one credential are asked for at a time: a slow issuer holds up nobody else.
const FLIGHTS_MAX: usize = 4;

/// The line of one credential.
pub(super) struct Line {
    /// Taken where one token must be there before the next is asked for.
    pub(super) alone: Arc<Turn<()>>,
    /// Taken by everybody who asks.
    pub(super) flights: Arc<Semaphore>,
    pause: Mutex<Option<Refusal>>,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            alone: Arc::default(),
            flights: Arc::new(Semaphore::new(FLIGHTS_MAX)),
            pause: Mutex::default(),
        }
    }
}

impl Line {
    /// Has nobody ask for a moment, as the issuer did not answer properly. A pause that lasts is not made longer.
    pub(super) fn pause(&self, mark: u64, why: &NotIssued, moment: Duration) {
        let mut pause = self.held();
        if pause
            .as_ref()
            .is_none_or(|pause| !pause.holds(mark, moment))
        {
            *pause = Some(Refusal {
                mark,
                why: why.clone(),
                until: Some(moment.saturating_add(limits::ISSUER_PAUSE)),
            });
        }
    }

    /// Why nobody asks, if so.
    pub(super) fn paused(&self, mark: u64, moment: Duration) -> Option<NotIssued> {
        let pause = self.held();
        let pause = pause.as_ref().filter(|pause| pause.holds(mark, moment));
        pause.map(|pause| pause.why.clone())
    }

    /// Lets everybody ask again.
    pub(super) fn resume(&self) {
        *self.held() = None;
    }

    fn held(&self) -> MutexGuard<'_, Option<Refusal>> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
