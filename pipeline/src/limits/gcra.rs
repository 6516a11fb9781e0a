//! How often: the generic cell rate algorithm, in whole nanoseconds.
//!
//! Its own thirty lines, because it is keyed by limit and agent, runs on the gate's clock, and takes all or nothing
//! together with the other limits of a call.
//!
//! # Spec
//! ITU-T I.371, the virtual scheduling algorithm.

use std::time::Duration;

use exeat_policy::limits::Rate;

/// A rate, as intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    interval: u64,
    /// How early a call may come.
    tolerance: u64,
}

impl Pace {
    pub(super) fn of(rate: &Rate) -> Self {
        let per = nanos(rate.per);
        let interval = per.div_ceil(u64::from(rate.count).max(1));
        let early = u64::from(rate.burst).saturating_sub(1);
        Self {
            interval,
            tolerance: interval.saturating_mul(early),
        }
    }

    /// How long to wait until a call conforms; nothing if it does now. `due` is when the next one is expected.
    pub(super) fn wait(self, due: u64, now: u64) -> Option<Duration> {
        let earliest = due.saturating_sub(self.tolerance);
        (now < earliest).then(|| Duration::from_nanos(earliest.saturating_sub(now)))
    }

    /// When the next call is expected, once one is let through.
    pub(super) fn next(self, due: u64, now: u64) -> u64 {
        due.max(now).saturating_add(self.interval)
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pace(count: u32, seconds: u64, burst: u32) -> Pace {
        Pace::of(&Rate {
            count,
            per: Duration::from_secs(seconds),
            burst,
        })
    }

    /// The moments at which calls were let through.
    fn admitted(pace: Pace, arrivals: impl Iterator<Item = u64>) -> Vec<u64> {
        let (mut due, mut passed) = (0, Vec::new());
        for now in arrivals {
            if pace.wait(due, now).is_none() {
                due = pace.next(due, now);
                passed.push(now);
            }
        }
        passed
    }

    #[test]
    fn a_burst_passes_and_then_one_call_each_interval() {
        let pace = pace(60, 60, 3);
        let second = 1_000_000_000;
        let start = 100 * second;
        let arrivals = [
            0,
            0,
            0,
            0,
            second / 2,
            second,
            second,
            2 * second,
            10 * second,
        ];
        let passed = admitted(pace, arrivals.into_iter().map(|after| start + after));
        let after: Vec<u64> = passed.iter().map(|moment| moment - start).collect();
        assert_eq!(after, [0, 0, 0, second, 2 * second, 10 * second]);
        assert_eq!(
            pace.wait(start + 3 * second, start),
            Some(Duration::from_secs(1))
        );
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_sees_more_than_the_burst_and_what_the_rate_adds(
            (count, burst) in (1_u32..1000).prop_flat_map(|count| (Just(count), 1..=count)),
            seconds in prop::sample::select(vec![1_u64, 60, 3600]),
            gaps in prop::collection::vec(0_u64..5_000_000_000, 1..200),
        ) {
            let pace = pace(count, seconds, burst);
            let arrivals = gaps.iter().scan(1_u64, |now, gap| {
                *now += gap;
                Some(*now)
            });
            let passed = admitted(pace, arrivals);
            for (first, from) in passed.iter().enumerate() {
                for (last, to) in passed.iter().enumerate().skip(first) {
                    let calls = u64::try_from(last - first + 1).unwrap();
                    let added = (to - from) / pace.interval;
                    prop_assert!(calls <= u64::from(burst) + added);
                }
            }
        }

        #[test]
        fn whoever_waits_as_long_as_told_is_let_through(
            count in 1_u32..1000, due in 0_u64..1_000_000_000_000, now in 0_u64..1_000_000_000_000,
        ) {
            let pace = pace(count, 60, 1);
            if let Some(wait) = pace.wait(due, now) {
                prop_assert!(pace.wait(due, now + nanos(wait)).is_none());
                prop_assert!(pace.wait(due, now + nanos(wait) - 1).is_some());
            }
        }
    }
}
