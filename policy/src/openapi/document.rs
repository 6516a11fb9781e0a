//! The text of an OpenAPI description: its version, its values by JSON pointer, and where each stands in the text.
//!
//! References stay inside the document: nothing is fetched. Read `schema.rs` next.

use std::{borrow::Cow, ops::Range};

use exeat_types::{Report, Source, unique_json};
use serde_json::{Map, Value};

/// How many references may lead to one another.
const HOPS_MAX: usize = 32;

/// The two OpenAPI versions, which differ in what a schema means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// 3.0: a dialect of its own, with `nullable`.
    V30,
    /// 3.1: JSON Schema 2020-12.
    V31,
}

/// A description that is JSON and of a known version.
pub(super) struct Document {
    pub(super) root: Map<String, Value>,
    pub(super) version: Version,
}

impl Document {
    /// Reads the text.
    ///
    /// # Errors
    /// When it is not JSON, or JSON of something else.
    pub(super) fn read(source: &Source) -> Result<Self, Report> {
        let mut report = Report::new();
        let root = match unique_json(source.text.as_bytes()) {
            Ok(Value::Object(root)) => root,
            Ok(_) => {
                report.at(
                    source,
                    0..1,
                    "expected an OpenAPI description, a JSON object",
                );
                return Err(report);
            }
            Err(problem) => {
                not_json(source, &problem.problem, &mut report);
                return Err(report);
            }
        };
        match version(&root) {
            Ok(version) => Ok(Self { root, version }),
            Err((pointer, message, help)) => {
                report
                    .at(source, locate(&source.text, pointer), message)
                    .help(help);
                Err(report)
            }
        }
    }

    /// The value at a JSON pointer.
    pub(super) fn at(&self, pointer: &str) -> Option<&Value> {
        let (first, rest) = split_pointer(pointer)?;
        let value = self.root.get(&*first)?;
        value.pointer(rest)
    }

    /// Follows a local reference such as `#/components/schemas/issue` to the pointer of what it names.
    ///
    /// # Errors
    /// Says what is wrong with the reference.
    pub(super) fn follow(&self, reference: &str) -> Result<String, String> {
        let Some(fragment) = reference.strip_prefix('#') else {
            return Err(format!("the reference `{reference}` leaves the document"));
        };
        let Ok(pointer) = percent_encoding::percent_decode_str(fragment).decode_utf8() else {
            return Err(format!("the reference `{reference}` is not UTF-8"));
        };
        if self.at(&pointer).is_none() {
            return Err(format!(
                "the reference `{reference}` names nothing in this document"
            ));
        }
        Ok(pointer.into_owned())
    }

    /// Follows references until something else is met; returns it and its pointer.
    ///
    /// # Errors
    /// When a reference leads nowhere, out of the document or back to itself.
    pub(super) fn resolve<'a>(
        &'a self,
        value: &'a Value,
        at: &str,
    ) -> Result<(&'a Value, String), String> {
        let mut target = value;
        let mut pointer = at.to_owned();
        for _ in 0..HOPS_MAX {
            // In 3.1 a reference with more than a description beside it is a schema of its own.
            let says = |key: &String| matches!(key.as_str(), "$ref" | "description" | "summary");
            let is_alias =
                |map: &Map<String, Value>| self.version == Version::V30 || map.keys().all(says);
            let reference = target
                .as_object()
                .filter(|map| is_alias(map))
                .and_then(|map| map.get("$ref"));
            let Some(reference) = reference else {
                return Ok((target, pointer));
            };
            let Some(text) = reference.as_str() else {
                return Err(format!("expected a reference, got {}", kind(reference)));
            };
            pointer = self.follow(text)?;
            target = self.at(&pointer).unwrap_or(&Value::Null);
        }
        Err("the reference leads back to itself".to_owned())
    }
}

fn version(root: &Map<String, Value>) -> Result<Version, (&'static str, String, &'static str)> {
    if root.contains_key("swagger") {
        let help = "convert it to OpenAPI 3 first, for example with `npx swagger2openapi`";
        return Err((
            "/swagger",
            "expected OpenAPI 3.0 or 3.1, got Swagger".to_owned(),
            help,
        ));
    }
    let help = "Exeat reads OpenAPI 3.0 and 3.1";
    let Some(named) = root.get("openapi") else {
        return Err((
            "",
            "missing key `openapi`: this is no OpenAPI description".to_owned(),
            help,
        ));
    };
    let text = named.as_str().unwrap_or_default();
    if text.starts_with("3.0.") {
        return Ok(Version::V30);
    }
    if text.starts_with("3.1.") {
        return Ok(Version::V31);
    }
    Err((
        "/openapi",
        format!("expected OpenAPI 3.0 or 3.1, got {named}"),
        help,
    ))
}

fn not_json(source: &Source, problem: &str, report: &mut Report) {
    let start = source.text.trim_start().chars().next();
    if start.is_some_and(|c| c.is_alphabetic() || c == '#' || c == '-' || c == '%') {
        let help = "if this is YAML, convert it to JSON first, for example with `yq -o=json`";
        report
            .at(source, 0..1, "expected an OpenAPI description in JSON")
            .help(help);
        return;
    }
    // serde_json ends its messages with the place, which the report shows by itself.
    let (message, place) = problem.rsplit_once(" at line ").unwrap_or((problem, ""));
    let (line, column) = place.split_once(" column ").unwrap_or_default();
    let line: usize = line.parse().unwrap_or(1);
    let column: usize = column.parse().unwrap_or(1);
    let before: usize = source
        .text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    let start = before
        .saturating_add(column.saturating_sub(1))
        .min(source.text.len());
    let start = source.text.floor_char_boundary(start);
    report.at(source, start..start, format!("not valid JSON: {message}"));
}

/// A key as a token of a JSON pointer.
pub(super) fn token(key: &str) -> Cow<'_, str> {
    if key.contains(['~', '/']) {
        return Cow::Owned(key.replace('~', "~0").replace('/', "~1"));
    }
    Cow::Borrowed(key)
}

/// The first key a pointer names, and the pointer that remains.
fn split_pointer(pointer: &str) -> Option<(String, &str)> {
    let inner = pointer.strip_prefix('/')?;
    let (first, rest) = inner.split_at(inner.find('/').unwrap_or(inner.len()));
    Some((first.replace("~1", "/").replace("~0", "~"), rest))
}

/// Where the value at a pointer stands in a JSON text; if it is missing, where what should hold it stands.
pub(super) fn locate(text: &str, pointer: &str) -> Range<usize> {
    let mut scan = Scan { text, at: 0 };
    let mut pointer = pointer;
    scan.skip_space();
    while let Some((key, rest)) = split_pointer(pointer) {
        let here = scan.at;
        if !scan.enter(&key) {
            return here..here.saturating_add(1);
        }
        pointer = rest;
    }
    let start = scan.at;
    scan.skip_value();
    start..scan.at
}

/// A position in a text that is known to be JSON.
struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn step(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    fn skip_space(&mut self) {
        while self
            .peek()
            .is_some_and(|byte| byte.is_ascii_whitespace() || byte == b',' || byte == b':')
        {
            self.step();
        }
    }

    /// Moves from the start of an object or array to the start of its member's value.
    fn enter(&mut self, key: &str) -> bool {
        let is_object = self.peek() == Some(b'{');
        if !is_object && self.peek() != Some(b'[') {
            return false;
        }
        self.step();
        let mut index = 0_usize;
        loop {
            self.skip_space();
            if matches!(self.peek(), None | Some(b'}' | b']')) {
                return false;
            }
            let found = if is_object {
                self.text_value() == key
            } else {
                index.to_string() == key
            };
            self.skip_space();
            if found {
                return true;
            }
            self.skip_value();
            index = index.saturating_add(1);
        }
    }

    /// Reads the string that stands here.
    fn text_value(&mut self) -> String {
        let start = self.at;
        self.skip_value();
        let written = self.text.get(start..self.at).unwrap_or_default();
        serde_json::from_str(written).unwrap_or_default()
    }

    fn skip_value(&mut self) {
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                None => return,
                Some(b'"') => self.skip_text(),
                Some(b'{' | b'[') => {
                    depth = depth.saturating_add(1);
                    self.step();
                }
                Some(b'}' | b']') => {
                    depth = depth.saturating_sub(1);
                    self.step();
                }
                Some(_) => {
                    while self
                        .peek()
                        .is_some_and(|byte| !b",:]}\"[{ \t\r\n".contains(&byte))
                    {
                        self.step();
                    }
                }
            }
            if depth == 0 {
                return;
            }
            self.skip_space();
        }
    }

    fn skip_text(&mut self) {
        self.step();
        while let Some(byte) = self.peek() {
            self.step();
            match byte {
                b'"' => return,
                b'\\' => self.step(),
                _ => {}
            }
        }
    }
}

/// The word for what a value is.
pub(super) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_found_in_the_text() {
        let text = "{\n \"a\": [1, {\"x/y\": \"}\\\"\"}],\n \"b\": {\"c\": -1.5e3, \"d\": {}}\n}";
        #[track_caller]
        fn check(text: &str, pointer: &str, expect: &str) {
            assert_eq!(
                text.get(locate(text, pointer)).unwrap(),
                expect,
                "{pointer}"
            );
        }
        check(text, "/a/0", "1");
        check(text, "/a/1/x~1y", "\"}\\\"\"");
        check(text, "/b", "{\"c\": -1.5e3, \"d\": {}}");
        check(text, "/b/c", "-1.5e3");
        check(text, "/b/d", "{}");
        check(text, "/b/missing", "{");
        check(text, "", text);
    }
}
