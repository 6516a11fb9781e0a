//! How often keys have signed, as they say themselves: a count that goes back may mean that a key was copied.
//!
//! INVARIANT: memory only, and an alarm only: synchronised keys count nothing, and stand at zero.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use super::assertion::Verified;

/// The highest count that each key has shown.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<HashMap<String, u32>>);

impl Counters {
    /// Whether a key has signed no more often than it had before.
    pub(crate) fn went_back(&self, key: &str, verified: Verified) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let highest = counts.entry(key.to_owned()).or_default();
        let went_back = *highest > 0 && verified.sign_count <= *highest;
        *highest = verified.sign_count.max(*highest);
        went_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_goes_back_is_noticed_every_time_and_one_that_stands_at_zero_is_not() {
        let counters = Counters::default();
        let seen = |sign_count| {
            let verified = Verified {
                sign_count,
                backed_up: false,
            };
            counters.went_back("key", verified)
        };
        assert_eq!(
            [0, 0, 4, 5, 5, 2, 3, 6].map(seen),
            [false, false, false, false, true, true, true, false]
        );
    }
}
