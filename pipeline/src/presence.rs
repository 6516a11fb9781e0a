//! Whether a human is there: somebody touched a passkey to sign in at the console a short while ago.
//!
//! INVARIANT: memory only. A gate that starts anew knows nobody, and a clock that went back ends a presence.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use exeat_types::Timestamp;

/// How long a touch of a passkey counts.
pub const PRESENT_FOR: Duration = Duration::from_secs(15 * 60);

/// When a human last proved to be there.
#[derive(Debug, Default)]
pub struct Presence {
    /// In milliseconds; zero for never.
    touched: AtomicU64,
}

impl Presence {
    /// A passkey was touched, with user verification, to sign in or to approve.
    pub fn touch(&self, now: Timestamp) {
        self.touched.store(now.millis(), Ordering::Relaxed);
    }

    /// Whether that was within the last fifteen minutes.
    pub fn is_present(&self, now: Timestamp) -> bool {
        self.last().is_some_and(|touched| {
            // SECURITY: a touch from the future is a clock that was turned back, not a human.
            now >= touched && now.since(touched) < PRESENT_FOR
        })
    }

    /// When the last touch was, if there was one.
    pub fn last(&self) -> Option<Timestamp> {
        let touched = self.touched.load(Ordering::Relaxed);
        (touched > 0).then(|| Timestamp::from_millis(touched))
    }

    /// Nobody is there any more: the last session has signed out.
    pub fn leave(&self) {
        self.touched.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_touch_counts_for_fifteen_minutes_and_not_backwards() {
        let presence = Presence::default();
        let at = |minute: u64| Timestamp::from_millis(1_800_000_000_000 + minute * 60_000);
        assert!(!presence.is_present(at(0)));
        presence.touch(at(10));
        for (minute, expect) in [(9, false), (10, true), (24, true), (25, false)] {
            assert_eq!(presence.is_present(at(minute)), expect, "{minute}");
        }
        presence.touch(at(30));
        presence.leave();
        assert!(!presence.is_present(at(30)));
    }
}
