//! Path templates: what a router can tell apart, and what two operations would claim at once.

use std::collections::BTreeMap;

use matchit::Router;

const WHY_LITERAL: &str =
    "the path holds a character that a canonical path cannot hold; the operation was left out";
const WHY_PARAMETER: &str = "a parameter of the path has a name of other than letters, digits, `-`, `_` and `.`; the operation was left out";
const WHY_TWICE: &str = "a parameter stands twice in the path; the operation was left out";
const WHY_BRACES: &str = "the path's braces do not match; the operation was left out";

/// A path with its parameters, as it stands in a tool's request line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    /// The path with `{name}` parameters, at most one a segment.
    pub(super) text: String,
    /// The same path with its last parameter free to hold slashes, if that is how it is published.
    pub(super) wild: Option<String>,
    /// Parameters that shared one segment and became one.
    pub(super) merged: Vec<Merged>,
}

/// Several parameters of one segment, as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Merged {
    /// The one parameter.
    pub(super) name: String,
    /// What it was made of.
    pub(super) parts: Vec<String>,
    /// What its value looks like.
    pub(super) pattern: String,
}

/// Reads a path; `wild` says which parameters may hold slashes.
///
/// # Errors
/// Why such a path cannot be a tool's.
pub(super) fn parse(path: &str, wild: impl Fn(&str) -> bool) -> Result<Template, &'static str> {
    let mut template = Template {
        text: String::new(),
        wild: None,
        merged: Vec::new(),
    };
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let parts = parts(segment)?;
        let is_last = segments.peek().is_none();
        if segment.is_empty() && !is_last {
            return Err(WHY_LITERAL);
        }
        let names: Vec<&str> = parts.iter().filter_map(|part| part.name()).collect();
        template.text.push('/');
        match (names.as_slice(), parts.as_slice()) {
            ([name], [_]) if is_last && wild(name) => {
                template.wild = Some(format!("{}{{*{name}}}", template.text));
                template.text.push_str(segment);
            }
            ([] | [_], _) => template.text.push_str(segment),
            _ => {
                let name = names.join("_");
                template.text.push_str(&format!("{{{name}}}"));
                let pattern = pattern(&parts);
                let parts = names.iter().map(|&name| name.to_owned()).collect();
                template.merged.push(Merged {
                    name,
                    parts,
                    pattern,
                });
            }
        }
    }
    let names = names(path);
    if names
        .iter()
        .enumerate()
        .any(|(index, name)| names.iter().take(index).any(|earlier| earlier == name))
    {
        return Err(WHY_TWICE);
    }
    Ok(template)
}

/// The names of a template's parameters.
pub(super) fn names(path: &str) -> Vec<String> {
    let parts = path
        .split('/')
        .filter_map(|segment| parts(segment).ok())
        .flatten();
    parts
        .filter_map(|part| part.name().map(str::to_owned))
        .collect()
}

#[derive(Clone, Copy)]
enum Part<'a> {
    Literal(&'a str),
    Param(&'a str),
}

impl<'a> Part<'a> {
    const fn name(self) -> Option<&'a str> {
        match self {
            Self::Param(name) => Some(name),
            Self::Literal(_) => None,
        }
    }
}

fn parts(segment: &str) -> Result<Vec<Part<'_>>, &'static str> {
    let mut parts = Vec::new();
    let mut rest = segment;
    while !rest.is_empty() {
        let (literal, after) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&b);
        if !literal.bytes().all(plain) || matches!(segment, "." | "..") {
            return Err(if literal.contains('}') {
                WHY_BRACES
            } else {
                WHY_LITERAL
            });
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        let Some(inner) = after.strip_prefix('{') else {
            break;
        };
        let Some((name, after)) = inner.split_once('}') else {
            return Err(WHY_BRACES);
        };
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || !name.chars().all(word) {
            return Err(WHY_PARAMETER);
        }
        parts.push(Part::Param(name));
        rest = after;
    }
    Ok(parts)
}

fn pattern(parts: &[Part<'_>]) -> String {
    let mut pattern = "^".to_owned();
    for part in parts {
        match part {
            Part::Param(_) => pattern.push_str(".+"),
            Part::Literal(text) => pattern.push_str(&literal_pattern(text)),
        }
    }
    pattern.push('$');
    pattern
}

/// A pattern that matches just this text.
pub(super) fn literal_pattern(text: &str) -> String {
    let mut pattern = String::new();
    for c in text.chars() {
        let special = c.is_ascii() && !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_');
        pattern.push_str(if special { "\\" } else { "" });
        pattern.push(c);
    }
    pattern
}

/// Every request line so far: one request belongs to one tool.
#[derive(Default)]
pub(super) struct Routes {
    routers: BTreeMap<String, Router<String>>,
}

impl Routes {
    /// Claims a path for a tool, under a method and an origin.
    ///
    /// # Errors
    /// The tool that has it, if some tool has; an empty name when the two cannot be told apart for another reason.
    pub(super) fn claim(&mut self, place: &str, path: &str, tool: &str) -> Result<(), String> {
        let router = self.routers.entry(place.to_owned()).or_default();
        let Err(problem) = router.insert(path, tool.to_owned()) else {
            return Ok(());
        };
        let matchit::InsertError::Conflict { with } = problem else {
            return Err(String::new());
        };
        Err(router
            .at(&with)
            .map(|found| found.value.clone())
            .unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, wild: Option<&str>) {
        let template = parse(path, |name| name == "path").unwrap();
        assert_eq!(
            (template.text.as_str(), template.wild.as_deref()),
            (text, wild)
        );
    }

    #[test]
    fn a_published_path_becomes_one_that_a_router_takes() {
        check("/", "/", None);
        check("/a/{b}/c", "/a/{b}/c", None);
        check("/a/v{n}.json", "/a/v{n}.json", None);
        check("/c/{path}", "/c/{path}", Some("/c/{*path}"));
        check("/c/{path}/raw", "/c/{path}/raw", None);
        check("/x/{base}...{head}", "/x/{base_head}", None);
        check("/x/{from}..{to}", "/x/{from_to}", None);
        let merged = parse("/x/{base}...{head}", |_| false).unwrap().merged;
        assert_eq!(merged[0].pattern, r"^.+\.\.\..+$");
    }

    #[test]
    fn a_path_that_no_canonical_request_has_is_refused() {
        for path in [
            "/a b", "/a//b", "/a?b=c", "/a#b", "/%2F", "/{a", "/a}", "/{}", "/../x", "/\u{e9}",
            "/{a}/{a}", "/{a b}",
        ] {
            assert!(parse(path, |_| false).is_err(), "{path}");
        }
    }

    #[test]
    fn two_tools_cannot_claim_one_path() {
        let mut routes = Routes::default();
        assert_eq!(routes.claim("GET", "/a/{b}", "one"), Ok(()));
        assert_eq!(routes.claim("POST", "/a/{b}", "two"), Ok(()));
        assert_eq!(
            routes.claim("GET", "/a/{c}", "three"),
            Err("one".to_owned())
        );
        assert_eq!(routes.claim("GET", "/a/b", "four"), Ok(()));
    }
}
