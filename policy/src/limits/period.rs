//! The time that a budget is counted over: a piece of the calendar in a zone, or the time up to now.

use std::{fmt, time::Duration};

use exeat_types::Timestamp;
use jiff::{
    civil::{Date, DateTime, Time},
    tz::TimeZone,
};
use serde::{Serialize, Serializer};

const HOUR_MILLIS: i64 = 3_600_000;

/// The time that a budget is counted over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// The running hour.
    Hour,
    /// The running day.
    Day,
    /// The running week, from Monday.
    Week,
    /// The running month.
    Month,
    /// So many seconds up to now.
    Rolling(u32),
}

impl Period {
    pub(super) const CALENDAR: [(&'static str, Self); 4] = [
        ("hour", Self::Hour),
        ("day", Self::Day),
        ("week", Self::Week),
        ("month", Self::Month),
    ];

    /// The piece of the calendar that a moment lies in: its first moment and the first one behind it. None if it rolls.
    pub fn span(self, zone: &TimeZone, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let (first, next) = match self {
            Self::Rolling(_) => return None,
            Self::Hour => return Some(hour(zone, now)),
            Self::Day | Self::Week | Self::Month => self.days(zone, now)?,
        };
        // A moment that no calendar has counts with all others: nothing is given back by mistake.
        let whole = (Timestamp::from_millis(0), Timestamp::from_millis(u64::MAX));
        Some(
            midnight(zone, first)
                .zip(midnight(zone, next))
                .unwrap_or(whole),
        )
    }

    /// The first day of the piece of the calendar, and the first one behind it.
    fn days(self, zone: &TimeZone, now: Timestamp) -> Option<(Date, Date)> {
        let today = zone
            .to_datetime(to_jiff(now).unwrap_or(jiff::Timestamp::MAX))
            .date();
        let days = |count: i64| jiff::Span::new().try_days(count).ok();
        match self {
            Self::Week => {
                let passed = i64::from(today.weekday().to_monday_zero_offset());
                let monday = today.checked_sub(days(passed)?).ok()?;
                Some((monday, monday.checked_add(days(7)?).ok()?))
            }
            Self::Month => {
                let first = today.first_of_month();
                Some((first, today.last_of_month().tomorrow().ok()?))
            }
            Self::Hour | Self::Day | Self::Rolling(_) => Some((today, today.tomorrow().ok()?)),
        }
    }

    /// In words, behind an amount: `a day`, `in any 24 hours`.
    pub fn in_words(self) -> String {
        match self {
            Self::Hour => "an hour".to_owned(),
            Self::Day => "a day".to_owned(),
            Self::Week => "a week".to_owned(),
            Self::Month => "a month".to_owned(),
            Self::Rolling(seconds) => {
                let time = Duration::from_secs(seconds.into());
                format!("in any {}", time_in_words(time))
            }
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Rolling(seconds) = *self {
            let (count, unit) = in_unit(u64::from(seconds));
            return write!(f, "{count}{unit}");
        }
        let named = Self::CALENDAR.iter().find(|(_, period)| period == self);
        f.write_str(named.map_or("", |(name, _)| name))
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

const UNITS: [(&str, &str, u64); 4] = [
    ("d", "day", 86_400),
    ("h", "hour", 3600),
    ("m", "minute", 60),
    ("s", "second", 1),
];

/// A number of seconds in the largest unit that divides it, but a day in hours, so that it is not taken for a calendar's.
fn in_unit(seconds: u64) -> (u64, &'static str) {
    let fits = |(_, _, size): &&(&str, &str, u64)| {
        seconds.is_multiple_of(*size) && (seconds > 86_400 || *size < 86_400)
    };
    let found = UNITS.iter().find(fits);
    found.map_or((seconds, "s"), |(unit, _, size)| (seconds / size, unit))
}

/// A time such as `90m` or `24h`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.find(|c: char| !c.is_ascii_digit())?)?;
    let (_, _, size) = UNITS.iter().find(|(word, _, _)| *word == unit)?;
    let seconds = digits.parse::<u64>().ok()?.checked_mul(*size)?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// `1 hour`, `90 minutes`, `7 days`.
pub(super) fn time_in_words(time: Duration) -> String {
    let (count, unit) = in_unit(time.as_secs());
    let word = UNITS.iter().find(|(short, _, _)| *short == unit);
    let word = word.map_or("second", |(_, word, _)| word);
    match count {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    }
}

fn hour(zone: &TimeZone, now: Timestamp) -> (Timestamp, Timestamp) {
    let moment = to_jiff(now).unwrap_or(jiff::Timestamp::MAX);
    let offset = i64::from(zone.to_offset(moment).seconds()).saturating_mul(1000);
    let millis = i64::try_from(now.millis()).unwrap_or(i64::MAX);
    let passed = millis.saturating_add(offset).rem_euclid(HOUR_MILLIS);
    let from = u64::try_from(millis.saturating_sub(passed)).unwrap_or(0);
    let from = Timestamp::from_millis(from);
    (from, from.after(Duration::from_secs(3600)))
}

fn midnight(zone: &TimeZone, date: Date) -> Option<Timestamp> {
    let midnight = DateTime::from_parts(date, Time::midnight());
    from_jiff(zone.to_ambiguous_timestamp(midnight).compatible().ok()?)
}

pub(super) fn to_jiff(moment: Timestamp) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_millisecond(i64::try_from(moment.millis()).ok()?).ok()
}

pub(super) fn from_jiff(moment: jiff::Timestamp) -> Option<Timestamp> {
    Some(Timestamp::from_millis(
        u64::try_from(moment.as_millisecond()).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(period: Period, zone: &str, now: &str, expect: (&str, &str)) {
        let zone = TimeZone::get(zone).unwrap();
        let (from, until) = period.span(&zone, now.parse().unwrap()).unwrap();
        let expect: (Timestamp, Timestamp) = (expect.0.parse().unwrap(), expect.1.parse().unwrap());
        assert_eq!((from, until), expect, "{period} at {now}");
    }

    #[test]
    fn pieces_of_the_calendar_begin_and_end_in_their_zone() {
        let now = "2026-07-01T22:30:15Z";
        check(
            Period::Hour,
            "UTC",
            now,
            ("2026-07-01T22:00:00Z", "2026-07-01T23:00:00Z"),
        );
        check(
            Period::Hour,
            "Asia/Kolkata",
            now,
            ("2026-07-01T22:30:00Z", "2026-07-01T23:30:00Z"),
        );
        check(
            Period::Day,
            "UTC",
            now,
            ("2026-07-01T00:00:00Z", "2026-07-02T00:00:00Z"),
        );
        check(
            Period::Day,
            "Europe/Berlin",
            now,
            ("2026-07-01T22:00:00Z", "2026-07-02T22:00:00Z"),
        );
        check(
            Period::Week,
            "UTC",
            now,
            ("2026-06-29T00:00:00Z", "2026-07-06T00:00:00Z"),
        );
        check(
            Period::Month,
            "UTC",
            now,
            ("2026-07-01T00:00:00Z", "2026-08-01T00:00:00Z"),
        );
        let new_year = "2026-12-31T23:59:59.999Z";
        check(
            Period::Month,
            "UTC",
            new_year,
            ("2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        );
    }

    #[test]
    fn days_on_which_the_clock_is_changed_are_shorter_and_longer() {
        let spring = ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
        check(Period::Day, "Europe/Berlin", "2026-03-29T12:00:00Z", spring);
        let autumn = ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
        check(Period::Day, "Europe/Berlin", "2026-10-25T12:00:00Z", autumn);
    }

    #[test]
    fn times_are_read_and_said() {
        for (text, seconds, words) in [
            ("90m", 5400, "90 minutes"),
            ("1h", 3600, "1 hour"),
            ("24h", 86_400, "24 hours"),
            ("7d", 604_800, "7 days"),
            ("45s", 45, "45 seconds"),
        ] {
            let time = duration(text).unwrap();
            assert_eq!(
                (time.as_secs(), time_in_words(time).as_str()),
                (seconds, words)
            );
            assert_eq!(
                Period::Rolling(u32::try_from(seconds).unwrap()).to_string(),
                text
            );
        }
        for wrong in [
            "",
            "h",
            "0h",
            "1",
            "1w",
            "-1h",
            "1.5h",
            "day",
            "99999999999999999999d",
        ] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }
}
