//! What every call shares: the rules in force, the ledger, the clock, and the bounds that hold for the whole process.

use std::sync::Arc;

use arc_swap::ArcSwap;
use exeat_custody::{Custody, token::TokenKey};
use exeat_ledger::Ledger;
use exeat_policy::Policy;
use exeat_types::{Clock, Reason};
use tokio::sync::Semaphore;

use crate::{Error, Metrics, Network, check::Share, egress::Resolver};

/// Everything that a reload replaces, as one snapshot: a call sees one policy, one custody and one network.
pub struct Rules {
    /// Tools and rules.
    pub policy: Arc<Policy>,
    /// Credentials.
    pub custody: Arc<Custody>,
    /// Where calls may go.
    pub network: Network,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules")
            .field("policy", &self.policy.digest())
            .finish_non_exhaustive()
    }
}

/// The points of the road that can be watched: for metrics, and for tests that end the process there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Policy has decided.
    Decided,
    /// The receipt is open and durable.
    Recorded,
    /// The credential is at hand.
    Equipped,
    /// The request may leave.
    Admitted,
    /// Upstream has answered with a head.
    Answered,
    /// The response has been delivered.
    Delivered,
    /// The outcome has been handed to the ledger.
    Closed,
}

/// Sees each stage that a call reaches.
pub trait StageObserver: Send + Sync {
    /// A call reached this stage.
    fn reached(&self, stage: Stage);
}

/// What a gate is made of.
pub struct Parts {
    /// The rules to start with.
    pub rules: Rules,
    /// The ledger.
    pub ledger: Ledger,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The key of agent tokens.
    pub tokens: Arc<TokenKey>,
    /// Where metrics are registered.
    pub registry: prometheus::Registry,
    /// Somebody who watches the stages, if anybody does.
    pub observer: Option<Arc<dyn StageObserver>>,
}

/// One gate: the shared state of every door.
pub struct Gate {
    rules: ArcSwap<Rules>,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tokens: Arc<TokenKey>,
    pub(crate) bodies: Arc<Semaphore>,
    pub(crate) metrics: Metrics,
    pub(crate) resolver: Resolver,
    observer: Option<Arc<dyn StageObserver>>,
}

impl Gate {
    /// Puts a gate together.
    ///
    /// # Errors
    /// When a metric cannot be registered.
    pub fn new(parts: Parts) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self {
            rules: ArcSwap::from_pointee(parts.rules),
            ledger: parts.ledger,
            clock: parts.clock,
            tokens: parts.tokens,
            bodies: Arc::new(Semaphore::new(Share::permits())),
            metrics: Metrics::new(&parts.registry)?,
            resolver: Resolver::new(),
            observer: parts.observer,
        }))
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// Puts new rules in force for every call accepted from here on.
    pub fn replace_rules(&self, rules: Rules) {
        self.rules.store(Arc::new(rules));
    }

    /// The ledger.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The clock.
    pub const fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The metrics.
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn reached(&self, stage: Stage) {
        if let Some(observer) = &self.observer {
            observer.reached(stage);
        }
    }

    /// Counts a refusal that happened before a call existed.
    pub fn count_refusal(&self, reason: Reason) {
        self.metrics.refused(reason);
    }
}
