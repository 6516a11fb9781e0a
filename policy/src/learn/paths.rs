//! Path templates: segments that name one of many things become parameters, the rest stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use exeat_types::{AgentId, RunId};

use super::shape::Kind;

/// So many different words at one place of a host without a credential are one parameter.
const WORDS_MAX: usize = 8;

/// So many different ids, in so many runs, make a parameter on a host with a credential.
const USUAL_MIN: usize = 2;

/// Whether words may become a parameter when there are many.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// The host is one that a credential is for.
    Stay,
    Merge,
}

/// Paths, each with who called it in which run.
pub(super) type Callers<'p> = BTreeMap<&'p str, BTreeSet<(&'p AgentId, Option<&'p RunId>)>>;

/// The templates of some paths: for each, the paths that it was made of.
pub(super) fn templates<'p>(
    paths: &Callers<'p>,
    words: Words,
) -> BTreeMap<String, BTreeSet<&'p str>> {
    let mut by_length: BTreeMap<usize, Vec<Split<'p, '_>>> = BTreeMap::new();
    for (path, callers) in paths {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        by_length.entry(segments.len()).or_default().push(Split {
            path,
            segments,
            callers,
        });
    }
    let mut found = BTreeMap::new();
    for (length, paths) in &by_length {
        let all: Vec<&Split<'p, '_>> = paths.iter().collect();
        let so_far = SoFar {
            text: String::new(),
            before: "",
            length: *length,
            words,
        };
        grow(&all, 0, &so_far, &mut found);
    }
    found
}

/// The values that a path has at the parameters of its template, raw.
pub(super) fn values<'t, 'p>(template: &'t str, path: &'p str) -> Vec<(&'t str, &'p str)> {
    let pairs = template.split('/').zip(path.split('/'));
    let value = |(segment, value): (&'t str, &'p str)| {
        let name = segment.strip_prefix('{')?.strip_suffix('}')?;
        Some((name, value))
    };
    pairs.filter_map(value).collect()
}

/// Whether a path is one of a template.
pub(super) fn fits(template: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) if wanted == given => {}
            (Some(wanted), Some(given)) if wanted.starts_with('{') && !given.is_empty() => {}
            _ => return false,
        }
    }
}

struct Split<'p, 'c> {
    path: &'p str,
    segments: Vec<&'p str>,
    callers: &'c BTreeSet<(&'p AgentId, Option<&'p RunId>)>,
}

struct SoFar<'s> {
    text: String,
    /// The literal segment before, which names a parameter.
    before: &'s str,
    length: usize,
    words: Words,
}

fn grow<'p>(
    paths: &[&Split<'p, '_>],
    at: usize,
    so_far: &SoFar<'_>,
    found: &mut BTreeMap<String, BTreeSet<&'p str>>,
) {
    if at == so_far.length {
        let made_of = paths.iter().map(|split| split.path);
        found
            .entry(so_far.text.clone())
            .or_default()
            .extend(made_of);
        return;
    }
    let mut literals: BTreeMap<&str, Vec<&Split<'p, '_>>> = BTreeMap::new();
    let mut ids: Vec<&Split<'p, '_>> = Vec::new();
    for split in paths {
        let segment = split.segments.get(at).copied().unwrap_or_default();
        match Kind::of(segment).is_id() {
            true => ids.push(split),
            false => literals.entry(segment).or_default().push(split),
        }
    }
    // SECURITY: where a credential goes, one run alone makes no place for whatever may come.
    if so_far.words == Words::Stay && !are_usual(&ids, at) {
        for split in std::mem::take(&mut ids) {
            let segment = split.segments.get(at).copied().unwrap_or_default();
            literals.entry(segment).or_default().push(split);
        }
    }
    let many = literals.keys().filter(|word| !word.is_empty()).count() > WORDS_MAX;
    if many && so_far.words == Words::Merge {
        let (empty, words): (Vec<_>, Vec<_>) =
            literals.into_iter().partition(|(word, _)| word.is_empty());
        ids.extend(words.into_iter().flat_map(|(_, splits)| splits));
        literals = empty.into_iter().collect();
    }
    for (word, splits) in &literals {
        let next = SoFar {
            text: format!("{}/{word}", so_far.text),
            before: word,
            ..*so_far
        };
        grow(splits, at.saturating_add(1), &next, found);
    }
    if !ids.is_empty() {
        let name = parameter(so_far.before, at);
        let next = SoFar {
            text: format!("{}/{{{name}}}", so_far.text),
            before: "",
            ..*so_far
        };
        grow(&ids, at.saturating_add(1), &next, found);
    }
}

/// Whether each agent that used ids here used several, in two runs or more.
fn are_usual(ids: &[&Split<'_, '_>], at: usize) -> bool {
    let mut by_agent: BTreeMap<&AgentId, (BTreeSet<&str>, BTreeSet<Option<&RunId>>)> =
        BTreeMap::new();
    for split in ids {
        for (agent, run) in split.callers {
            let (values, runs) = by_agent.entry(agent).or_default();
            values.extend(split.segments.get(at));
            runs.insert(*run);
        }
    }
    let mut all = by_agent.values();
    all.all(|(values, runs)| values.len() >= USUAL_MIN && runs.len() >= USUAL_MIN)
}

/// A name that is the same wherever the text before is, and stands once in a path.
fn parameter(before: &str, at: usize) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let word: String = before.chars().filter(plain).take(24).collect();
    match word.is_empty() {
        true => format!("part_{at}"),
        false => format!("{}_{at}", word.to_ascii_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called<'p>(paths: &[&'p str], agent: &'p AgentId, runs: &'p [RunId]) -> Callers<'p> {
        let callers: BTreeSet<_> = runs.iter().map(|run| (agent, Some(run))).collect();
        paths.iter().map(|path| (*path, callers.clone())).collect()
    }

    #[test]
    fn where_a_credential_goes_ids_of_one_run_stay_as_they_are() {
        let agent = AgentId::new("claude").unwrap();
        let runs = ["one", "two"].map(|run| RunId::new(run).unwrap());
        let paths = ["/issues/1", "/issues/22"];
        for (runs, paths, words, count) in [
            (&runs[..1], &paths[..], Words::Stay, 2),
            (&runs[..], &paths[..], Words::Stay, 1),
            (&runs[..], &paths[..1], Words::Stay, 1),
            (&runs[..1], &paths[..], Words::Merge, 1),
        ] {
            let found = templates(&called(paths, &agent, runs), words);
            assert_eq!(found.len(), count, "{found:?}");
            let literal = found.contains_key("/issues/1");
            assert_eq!(literal, paths.len() == 1 || count == 2, "{found:?}");
        }
    }

    #[track_caller]
    fn check(words: Words, paths: &[&str], expect: &[&str]) {
        let agent = AgentId::new("claude").unwrap();
        let runs = ["one", "two"].map(|run| RunId::new(run).unwrap());
        let found = templates(&called(paths, &agent, &runs), words);
        let texts: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(texts, expect);
        for (template, made_of) in &found {
            assert!(
                made_of.iter().all(|path| fits(template, path)),
                "{template}"
            );
        }
    }

    #[test]
    fn ids_become_parameters_and_words_stay() {
        check(Words::Merge, &["/"], &["/"]);
        check(
            Words::Stay,
            &[
                "/repos/acme/app/issues/1",
                "/repos/acme/app/issues/22",
                "/repos/acme/app/issues",
            ],
            &[
                "/repos/acme/app/issues",
                "/repos/acme/app/issues/{issues_4}",
            ],
        );
        check(
            Words::Merge,
            &["/o/550e8400-e29b-41d4-a716-446655440000/x", "/o/new/x"],
            &["/o/new/x", "/o/{o_1}/x"],
        );
    }

    #[test]
    fn many_words_become_one_parameter_but_never_where_a_credential_goes() {
        let crates = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
        let paths: Vec<String> = crates
            .iter()
            .map(|name| format!("/crates/{name}/"))
            .collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        check(Words::Merge, &paths, &["/crates/{crates_1}/"]);
        let agent = AgentId::new("claude").unwrap();
        let stay = templates(&called(&paths, &agent, &[]), Words::Stay);
        assert_eq!(stay.len(), 9);
    }

    #[test]
    fn the_values_of_a_path_are_those_of_its_parameters() {
        assert_eq!(
            values("/repos/{repos_1}/x/{x_3}", "/repos/acme/x/7"),
            [("repos_1", "acme"), ("x_3", "7")]
        );
        assert!(!fits("/a/{a_1}", "/a/"));
    }
}
