//! Values that become literals: few, plain, and each seen in more than one run.

use std::collections::{BTreeMap, BTreeSet};

use exeat_types::RunId;
use serde_json::Value;

use super::{
    Sent,
    line::{Read, decoded},
    paths, shape,
};

/// Different values that become literals, at most.
const LITERALS_MAX: usize = 8;
/// Runs in which a value was seen before it becomes a literal.
const RUNS_MIN: usize = 2;

/// The arguments of an undeclared call whose values become literals.
pub(super) fn of_calls(calls: &[&Read<'_>], template: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut in_bodies: BTreeSet<&str> = BTreeSet::new();
    for read in calls {
        if let Sent::Json(Value::Object(members)) = read.body {
            in_bodies.extend(members.keys().map(String::as_str));
        }
    }
    let texts = calls.iter().map(|read| {
        let path = paths::values(template, read.path).into_iter();
        let path = path.map(|(name, raw)| (name.to_owned(), decoded(raw)));
        let texts = path.chain(read.query.iter().cloned());
        (read.seen.run.as_ref(), texts.collect())
    });
    let mut literals = repeated(texts);
    // A name that stands in two sections has another one in rules.
    literals.retain(|name, _| !in_bodies.contains(&**name));
    // Numbers and truth values are no strings to a rule.
    literals.retain(|_, values| {
        let values: BTreeSet<&str> = values.iter().map(String::as_str).collect();
        shape::of_parameters(&values).get("type") == Some(&Value::from("string"))
    });
    literals
}

/// The values of each name, if they are few and each was seen in two runs.
pub(super) fn repeated<'s>(
    calls: impl Iterator<Item = (Option<&'s RunId>, Vec<(String, String)>)>,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut runs: BTreeMap<String, BTreeMap<String, BTreeSet<Option<&RunId>>>> = BTreeMap::new();
    for (run, texts) in calls {
        for (name, value) in texts {
            let values = runs.entry(name).or_default();
            values.entry(value).or_default().insert(run);
        }
    }
    let plain = |value: &String| {
        let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\') || c == ' ';
        value.len() <= 64 && value.chars().all(fits)
    };
    runs.retain(|_, values| {
        let twice = values.values().all(|runs| runs.len() >= RUNS_MIN);
        values.len() <= LITERALS_MAX && twice && values.keys().all(plain)
    });
    let named = |(name, values): (String, BTreeMap<_, _>)| (name, values.into_keys().collect());
    runs.into_iter().map(named).collect()
}
