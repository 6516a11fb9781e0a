//! Reading budgets: a table of amounts by call and by period.

use std::time::Duration;

use exeat_types::{
    Diagnostic, Money, Report,
    config::{Item, Table},
    did_you_mean, parse_bytes,
};

use super::TIME_MAX;
use crate::limits::{Budget, Measure, Period, period::duration};

/// The shortest time that a budget rolls over.
const ROLLING_MIN: Duration = Duration::from_secs(60);

pub(super) fn budgets(table: &Table<'_>, report: &mut Report) -> Vec<Budget> {
    let mut budgets = Vec::new();
    for measure in Measure::ALL {
        let found = table.get(measure.name());
        budgets.extend(found.and_then(|item| budget(measure, item, report)));
    }
    budgets
}

fn budget(measure: Measure, item: Item<'_>, report: &mut Report) -> Option<Budget> {
    let table = item.table(report)?;
    let mut unit: Option<String> = None;
    let (mut call, mut periods) = (None, Vec::new());
    for (key, at, item) in table.entries() {
        let period = match key {
            "call" if measure != Measure::Calls => None,
            _ => match period(key) {
                Some(period) => Some(period),
                None => {
                    unknown_period(measure, key, report.at(item.source(), at, String::new()));
                    continue;
                }
            },
        };
        let Some((amount, of)) = amount(measure, item, report) else {
            continue;
        };
        if unit.get_or_insert_with(|| of.clone()) != &of {
            item.problem(report, "every amount has to be of one currency");
        }
        match period {
            None => call = Some(amount),
            Some(period) if periods.iter().any(|(known, _)| *known == period) => {
                let message = format!("`{key}` is as long as another period that is given");
                item.problem(report, message);
            }
            Some(period) => periods.push((period, amount)),
        }
    }
    let Some(unit) = unit else {
        if table.entries().is_empty() {
            item.problem(
                report,
                "expected at least one amount, such as `{ day = ... }`",
            );
        }
        return None;
    };
    periods.sort_unstable();
    Some(Budget {
        measure,
        unit: unit.into(),
        call,
        periods,
    })
}

fn unknown_period(measure: Measure, key: &str, problem: &mut Diagnostic) {
    problem.message = format!("unknown key `{key}`");
    let known = ["call", "hour", "day", "week", "month"];
    match did_you_mean(key, known) {
        Some("call") | None if measure == Measure::Calls => {
            problem.help("known keys: hour, day, week, month, or a time such as `24h`")
        }
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem.help("known keys: call, hour, day, week, month, or a time such as `24h`"),
    };
}

fn period(key: &str) -> Option<Period> {
    let named = Period::CALENDAR.iter().find(|(name, _)| *name == key);
    if let Some((_, period)) = named {
        return Some(*period);
    }
    let time = duration(key).filter(|time| (ROLLING_MIN..=TIME_MAX).contains(time))?;
    u32::try_from(time.as_secs()).ok().map(Period::Rolling)
}

/// An amount of a measure, and its unit.
fn amount(measure: Measure, item: Item<'_>, report: &mut Report) -> Option<(u64, String)> {
    match measure {
        Measure::Spend => {
            let money: Money = item.parse(report)?;
            Some((money.amount, money.unit()))
        }
        Measure::Calls => Some((item.count(report)?, "calls".to_owned())),
        Measure::Tokens => Some((item.count(report)?, "tokens".to_owned())),
        Measure::BytesUp | Measure::BytesDown => match parse_bytes(item.text(report)?) {
            Ok(bytes) => Some((bytes, "bytes".to_owned())),
            Err(problem) => {
                item.problem(report, problem.to_string());
                None
            }
        },
    }
}
