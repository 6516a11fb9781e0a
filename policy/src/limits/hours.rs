//! Hours of the week in a time zone: `Mon-Fri 08:00-19:00 Europe/Berlin`.
//!
//! The clock on the wall of the zone decides. When it is put back, an hour that occurs twice is open twice; when it is put
//! forward, an hour that does not occur is not open.

use std::fmt;

use exeat_types::{Timestamp, did_you_mean};
use jiff::{
    civil::{Date, DateTime, Time},
    tz::TimeZone,
};

use super::period::{from_jiff, to_jiff};

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const LONG_DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const DAY_MINUTES: u16 = 24 * 60;
/// How far ahead a change is looked for: a week, and the days around it.
const AHEAD_DAYS: usize = 9;
/// The most changes of a zone's clock that are looked at.
const TRANSITIONS_MAX: usize = 4;

/// When something is open. Nothing declared is always open.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Hours(Vec<Opening>);

/// One stretch of time on some days of the week.
#[derive(Debug, Clone, PartialEq)]
struct Opening {
    days: [bool; 7],
    /// Minutes of the day; an end that is not behind the start lies on the next day.
    start: u16,
    end: u16,
    zone: TimeZone,
}

impl Hours {
    /// Adds a stretch as an operator writes it; `zone` stands in where it names none.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn add(&mut self, text: &str, zone: &TimeZone) -> Result<(), String> {
        self.0.push(opening(text, zone)?);
        Ok(())
    }

    /// Whether there are no hours, so that everything is open.
    pub const fn is_always(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it is open at a moment.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.is_always() || self.0.iter().any(|opening| opening.holds(now))
    }

    /// The first moment behind `now` when it opens, if it is closed, or closes, if it is open; nothing if it never does.
    pub fn changes_after(&self, now: Timestamp) -> Option<Timestamp> {
        let is_open = self.holds(now);
        let mut moments: Vec<Timestamp> = self
            .0
            .iter()
            .flat_map(|opening| opening.edges(now))
            .filter(|moment| *moment > now)
            .collect();
        moments.sort_unstable();
        let differs = |moment: &Timestamp| self.holds(*moment) != is_open;
        moments.into_iter().find(differs)
    }
}

impl Opening {
    fn holds(&self, now: Timestamp) -> bool {
        let Some(now) = to_jiff(now) else {
            return false;
        };
        let local = self.zone.to_datetime(now);
        let minute = minute_of(local);
        let today = self.is_on(local.date());
        if self.start < self.end {
            return today && (self.start..self.end).contains(&minute);
        }
        let yesterday = || local.date().yesterday().is_ok_and(|day| self.is_on(day));
        (today && minute >= self.start) || (minute < self.end && yesterday())
    }

    fn is_on(&self, date: Date) -> bool {
        let day = usize::try_from(date.weekday().to_monday_zero_offset());
        day.is_ok_and(|day| self.days.get(day) == Some(&true))
    }

    /// Every moment of the coming week at which it may open or close, and those at which the zone's clock is changed.
    fn edges(&self, now: Timestamp) -> Vec<Timestamp> {
        let Some(now) = to_jiff(now) else {
            return Vec::new();
        };
        let mut edges = Vec::new();
        let first = self.zone.to_datetime(now).date();
        for day in first.series(jiff::ToSpan::days(1)).take(AHEAD_DAYS) {
            for minute in [self.start, self.end] {
                let Some(edge) = at_minute(day, minute) else {
                    continue;
                };
                let moment = self.zone.to_ambiguous_timestamp(edge);
                let both = [moment.earlier(), moment.later()];
                edges.extend(both.into_iter().flatten().filter_map(from_jiff));
            }
        }
        let transitions = self.zone.following(now).take(TRANSITIONS_MAX);
        edges.extend(transitions.filter_map(|one| from_jiff(one.timestamp())));
        edges
    }
}

fn minute_of(local: DateTime) -> u16 {
    let minutes = i16::from(local.hour()) * 60 + i16::from(local.minute());
    u16::try_from(minutes).unwrap_or(0)
}

fn at_minute(day: Date, minute: u16) -> Option<DateTime> {
    if minute >= DAY_MINUTES {
        return Some(DateTime::from_parts(day.tomorrow().ok()?, Time::midnight()));
    }
    let hour = i8::try_from(minute / 60).ok()?;
    let minute = i8::try_from(minute % 60).ok()?;
    Some(DateTime::from_parts(
        day,
        Time::new(hour, minute, 0, 0).ok()?,
    ))
}

fn opening(text: &str, zone: &TimeZone) -> Result<Opening, String> {
    let wrong = || "expected hours such as `Mon-Fri 08:00-19:00 Europe/Berlin`".to_owned();
    let mut words = text.split_ascii_whitespace().peekable();
    let has_days = words
        .peek()
        .is_some_and(|word| word.starts_with(|first: char| first.is_ascii_alphabetic()));
    let days = match (has_days, words.peek()) {
        (true, Some(word)) => {
            let days = days(word)?;
            words.next();
            days
        }
        _ => [true; 7],
    };
    let (start, end) = words
        .next()
        .and_then(|word| word.split_once('-'))
        .ok_or_else(wrong)?;
    let (start, end) = (minute(start)?, minute(end)?);
    if start == end || start == DAY_MINUTES {
        return Err("it ends when it begins; a whole day is `00:00-24:00`".to_owned());
    }
    let zone = match words.next() {
        Some(name) => zone_named(name)?,
        None => zone.clone(),
    };
    match words.next() {
        Some(_) => Err(wrong()),
        None => Ok(Opening {
            days,
            start,
            end,
            zone,
        }),
    }
}

/// The zone with this name of the IANA database, which is built in.
pub(super) fn zone_named(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_cause| {
        let known: Vec<String> = jiff::tz::db()
            .available()
            .map(|zone| zone.as_str().to_owned())
            .collect();
        match did_you_mean(name, known.iter().map(String::as_str)) {
            Some(near) => format!("there is no time zone `{name}`; did you mean `{near}`?"),
            None => format!("there is no time zone `{name}`"),
        }
    })
}

/// `Mon`, `Mon-Fri`, `Sat,Sun`, `Fri-Mon`.
fn days(text: &str) -> Result<[bool; 7], String> {
    let index = |name: &str| {
        DAYS.iter().position(|day| *day == name).ok_or_else(|| {
            let near = did_you_mean(name, DAYS).map(|near| format!("; did you mean `{near}`?"));
            format!("`{name}` is no day of the week{}", near.unwrap_or_default())
        })
    };
    let mut chosen = [false; 7];
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (index(from)?, index(to)?);
        let length = (to + 7 - from) % 7;
        for step in 0..=length {
            if let Some(day) = chosen.get_mut((from + step) % 7) {
                *day = true;
            }
        }
    }
    Ok(chosen)
}

/// `08:00`, `8` or `24:00`, in minutes of the day.
fn minute(text: &str) -> Result<u16, String> {
    let wrong = || format!("`{text}` is no time of day, such as `08:00`");
    let (hours, minutes) = text.split_once(':').unwrap_or((text, "00"));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(hours) || !digits(minutes) || minutes.len() != 2 || hours.len() > 2 {
        return Err(wrong());
    }
    let hours: u16 = hours.parse().map_err(|_cause| wrong())?;
    let minutes: u16 = minutes.parse().map_err(|_cause| wrong())?;
    let all = hours.saturating_mul(60).saturating_add(minutes);
    match minutes < 60 && all <= DAY_MINUTES {
        true => Ok(all),
        false => Err(wrong()),
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, opening) in self.0.iter().enumerate() {
            match index {
                0 => {}
                _ if index + 1 == self.0.len() => f.write_str(" or ")?,
                _ => f.write_str(", ")?,
            }
            opening.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != [true; 7] {
            write!(f, "{} ", days_in_words(&self.days))?;
        }
        let (start, end) = (self.start, self.end);
        write!(f, "{:02}:{:02} to ", start / 60, start % 60)?;
        write!(f, "{:02}:{:02}", end / 60, end % 60)?;
        if end < start {
            f.write_str(" of the next day")?;
        }
        write!(f, " {}", self.zone.iana_name().unwrap_or("UTC"))
    }
}

/// Runs of three days and more as `Monday to Friday`.
fn days_in_words(days: &[bool; 7]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (day, _) in days.iter().enumerate().filter(|(_, on)| **on) {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == day => *last = day,
            _ => runs.push((day, day)),
        }
    }
    let name = |day: usize| LONG_DAYS.get(day).copied().unwrap_or_default();
    let words = runs.into_iter().map(|(from, to)| match to - from {
        0 => name(from).to_owned(),
        1 => format!("{}, {}", name(from), name(to)),
        _ => format!("{} to {}", name(from), name(to)),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(texts: &[&str]) -> Hours {
        let mut hours = Hours::default();
        for text in texts {
            hours.add(text, &TimeZone::UTC).unwrap();
        }
        hours
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Door {
        Open,
        Shut,
    }
    use Door::{Open, Shut};

    #[track_caller]
    fn check(hours: &Hours, now: &str, expect: Door, changes: Option<&str>) {
        assert_eq!(hours.holds(at(now)), expect == Open, "{now}");
        assert_eq!(hours.changes_after(at(now)), changes.map(at), "{now}");
    }

    #[test]
    fn nothing_declared_is_always_open() {
        check(&Hours::default(), "2026-07-01T12:00:00Z", Open, None);
    }

    #[test]
    fn office_hours_hold_in_their_zone() {
        let office = hours(&["Mon-Fri 08:00-19:00 Europe/Berlin"]);
        // A Wednesday in summer, two hours ahead of UTC.
        check(
            &office,
            "2026-07-01T05:59:59.999Z",
            Shut,
            Some("2026-07-01T06:00:00Z"),
        );
        check(
            &office,
            "2026-07-01T06:00:00Z",
            Open,
            Some("2026-07-01T17:00:00Z"),
        );
        check(
            &office,
            "2026-07-01T17:00:00Z",
            Shut,
            Some("2026-07-02T06:00:00Z"),
        );
        // Friday evening to Monday morning.
        check(
            &office,
            "2026-07-03T17:00:00Z",
            Shut,
            Some("2026-07-06T06:00:00Z"),
        );
    }

    #[test]
    fn a_stretch_may_wrap_past_midnight() {
        let night = hours(&["Fri 22:00-06:00"]);
        check(
            &night,
            "2026-07-03T21:59:00Z",
            Shut,
            Some("2026-07-03T22:00:00Z"),
        );
        check(
            &night,
            "2026-07-03T23:00:00Z",
            Open,
            Some("2026-07-04T06:00:00Z"),
        );
        check(
            &night,
            "2026-07-04T05:59:00Z",
            Open,
            Some("2026-07-04T06:00:00Z"),
        );
        check(
            &night,
            "2026-07-04T23:00:00Z",
            Shut,
            Some("2026-07-10T22:00:00Z"),
        );
    }

    #[test]
    fn an_hour_that_does_not_occur_is_not_open() {
        // Clocks go from 02:00 to 03:00 at 01:00 UTC.
        let skipped = hours(&["02:00-03:00 Europe/Berlin"]);
        check(
            &skipped,
            "2026-03-29T00:59:59Z",
            Shut,
            Some("2026-03-30T00:00:00Z"),
        );
        check(
            &skipped,
            "2026-03-29T01:00:00Z",
            Shut,
            Some("2026-03-30T00:00:00Z"),
        );
        let around = hours(&["01:30-03:30 Europe/Berlin"]);
        check(
            &around,
            "2026-03-29T00:30:00Z",
            Open,
            Some("2026-03-29T01:30:00Z"),
        );
    }

    #[test]
    fn an_hour_that_occurs_twice_is_open_twice() {
        // Clocks go from 03:00 back to 02:00 at 01:00 UTC.
        let twice = hours(&["02:30-02:45 Europe/Berlin"]);
        check(
            &twice,
            "2026-10-25T00:30:00Z",
            Open,
            Some("2026-10-25T00:45:00Z"),
        );
        check(
            &twice,
            "2026-10-25T00:45:00Z",
            Shut,
            Some("2026-10-25T01:30:00Z"),
        );
        check(
            &twice,
            "2026-10-25T01:30:00Z",
            Open,
            Some("2026-10-25T01:45:00Z"),
        );
        let morning = hours(&["00:00-02:30 Europe/Berlin"]);
        check(
            &morning,
            "2026-10-25T00:30:00Z",
            Shut,
            Some("2026-10-25T01:00:00Z"),
        );
        check(
            &morning,
            "2026-10-25T01:00:00Z",
            Open,
            Some("2026-10-25T01:30:00Z"),
        );
    }

    #[test]
    fn a_list_is_open_when_any_of_it_is() {
        let both = hours(&[
            "Mon-Fri 08:00-12:00",
            "Mon-Fri 12:00-16:00",
            "Sat 10:00-24:00",
        ]);
        check(
            &both,
            "2026-07-01T11:00:00Z",
            Open,
            Some("2026-07-01T16:00:00Z"),
        );
        check(
            &both,
            "2026-07-04T23:59:00Z",
            Open,
            Some("2026-07-05T00:00:00Z"),
        );
        check(&hours(&["00:00-24:00"]), "2026-07-04T23:59:00Z", Open, None);
    }

    #[test]
    fn hours_are_said_in_words() {
        for (text, words) in [
            (
                "Mon-Fri 08:00-19:00 Europe/Berlin",
                "Monday to Friday 08:00 to 19:00 Europe/Berlin",
            ),
            ("Sat,Sun 10-24:00", "Saturday, Sunday 10:00 to 24:00 UTC"),
            (
                "Fri 22:00-06:00",
                "Friday 22:00 to 06:00 of the next day UTC",
            ),
            (
                "Sat-Mon 9:30-10 Asia/Tokyo",
                "Monday, Saturday, Sunday 09:30 to 10:00 Asia/Tokyo",
            ),
        ] {
            assert_eq!(hours(&[text]).to_string(), words);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for wrong in [
            "",
            "Mon",
            "Mon-Fri",
            "08:00",
            "8:0-9",
            "25:00-26:00",
            "08:60-09:00",
            "24:00-06:00",
            "08:00-08:00",
            "Mon-Fri 08:00-19:00 Europe/Berlin x",
            "Montag 08:00-09:00",
            "Mon--Fri 08:00-09:00",
            "08:00-09:00 Europe/Nowhere",
            "-1:00-02:00",
        ] {
            let mut hours = Hours::default();
            assert!(hours.add(wrong, &TimeZone::UTC).is_err(), "{wrong}");
        }
        let near = zone_named("Europe/Berln").unwrap_err();
        assert!(near.contains("Europe/Berlin"), "{near}");
        assert!(days("Mno").unwrap_err().contains("`Mon`"));
    }
}
