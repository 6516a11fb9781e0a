//! What is counted in memory: when each rate expects its next call, and how many calls of each scope are open.
//!
//! INVARIANT: a call takes of everything or of nothing, under one lock; what it holds is given back when it is dropped.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use exeat_policy::limits::Bound;

use super::gcra::{Pace, nanos};

/// So many rates are kept before the first look for those that have forgotten their last call.
const LOOK_AT: usize = 1024;

/// The counters of a gate.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    /// When the next call of a scope is expected, on the monotonic clock.
    due: HashMap<Arc<str>, u64>,
    open: HashMap<Arc<str>, u32>,
    look_at: usize,
}

/// The turn of one call in every scope that counts open calls.
#[derive(Debug)]
pub(crate) struct Turn {
    counters: Arc<Counters>,
    scopes: Vec<Arc<str>>,
}

/// Why there is no turn.
#[derive(Clone, Copy)]
pub(super) enum Full<'b> {
    /// They come too fast.
    Fast(&'b Bound, Duration),
    /// As many are open as may be.
    Open(&'b Bound),
}

impl Counters {
    /// Takes a turn in everything that these limits count.
    pub(super) fn take<'b>(
        self: &Arc<Self>,
        bounds: &'b [Arc<Bound>],
        now: Duration,
    ) -> Result<Option<Turn>, Full<'b>> {
        let counts =
            |bound: &Arc<Bound>| bound.limit.rate.is_some() || bound.limit.concurrency.is_some();
        if !bounds.iter().any(counts) {
            return Ok(None);
        }
        let now = nanos(now);
        let mut counted = self.counted();
        for bound in bounds {
            counted.looks(bound, now)?;
        }
        let mut scopes = Vec::new();
        for bound in bounds {
            counted.takes(bound, now, &mut scopes);
        }
        drop(counted);
        Ok(Some(Turn {
            counters: Arc::clone(self),
            scopes,
        }))
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn looks<'b>(&self, bound: &'b Bound, now: u64) -> Result<(), Full<'b>> {
        if let Some(rate) = &bound.limit.rate {
            let due = self.due.get(&bound.scope).copied().unwrap_or(0);
            if let Some(wait) = Pace::of(rate).wait(due, now) {
                return Err(Full::Fast(bound, wait));
            }
        }
        let open = self.open.get(&bound.scope).copied().unwrap_or(0);
        match bound.limit.concurrency {
            Some(most) if open >= most => Err(Full::Open(bound)),
            Some(_) | None => Ok(()),
        }
    }

    fn takes(&mut self, bound: &Bound, now: u64, scopes: &mut Vec<Arc<str>>) {
        if let Some(rate) = &bound.limit.rate {
            if self.due.len() >= self.look_at.max(LOOK_AT) {
                self.due.retain(|_, due| *due > now);
                self.look_at = self.due.len().saturating_mul(2);
            }
            let due = self.due.entry(Arc::clone(&bound.scope)).or_default();
            *due = Pace::of(rate).next(*due, now);
        }
        if bound.limit.concurrency.is_some() {
            let open = self.open.entry(Arc::clone(&bound.scope)).or_default();
            *open = open.saturating_add(1);
            scopes.push(Arc::clone(&bound.scope));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.scopes.is_empty() {
            return;
        }
        let mut counted = self.counters.counted();
        for scope in &self.scopes {
            let left = counted.open.get_mut(scope).map(|open| {
                *open = open.saturating_sub(1);
                *open
            });
            if left == Some(0) {
                counted.open.remove(scope);
            }
        }
    }
}
