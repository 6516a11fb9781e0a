//! What becomes of a request that no tool declares or no rule allows.

use crate::Timestamp;

/// How an agent is held, as chosen when its door was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regime {
    /// It may do what tools declare and rules allow.
    Declared,
    /// Until then it may also do what needs no credential and no rule forbids. Every receipt says so.
    Observed {
        /// When this ends; from then on it is held as [`Regime::Declared`].
        until: Timestamp,
    },
    /// It may do what tools declare and rules allow, and nothing passes unread.
    Strict,
}

impl Regime {
    /// Whether undeclared requests without a credential pass at this moment.
    pub fn observes(self, now: Timestamp) -> bool {
        match self {
            Self::Observed { until } => now < until,
            Self::Declared | Self::Strict => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observing_ends_at_its_time_and_nothing_else_observes() {
        let at = Timestamp::from_millis;
        let observed = Regime::Observed { until: at(10) };
        assert!(observed.observes(at(9)));
        assert!(!observed.observes(at(10)));
        assert!(!Regime::Declared.observes(at(0)));
        assert!(!Regime::Strict.observes(at(0)));
    }
}
