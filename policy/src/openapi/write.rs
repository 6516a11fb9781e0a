//! Writing JSON values as TOML, and the layout of a tool file.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

/// A TOML file that grows line by line.
#[derive(Default)]
pub(super) struct Toml {
    text: String,
}

impl Toml {
    /// The whole text.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// A comment line.
    pub(super) fn comment(&mut self, text: &str) {
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.text.push_str("# ");
        self.text.extend(line.chars().filter(|c| !c.is_control()));
        self.text.push('\n');
    }

    /// A line of its own, such as `[[tool]]`, with an empty line before it.
    pub(super) fn heading(&mut self, heading: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(heading);
        self.text.push('\n');
    }

    /// `key = value` on a line of its own.
    pub(super) fn entry(&mut self, key: &str, value: &Value) {
        write_key(&mut self.text, key);
        self.text.push_str(" = ");
        write_value(&mut self.text, value);
        self.text.push('\n');
    }

    /// A schema under a heading: `properties` gets a table of its own, one property a line.
    pub(super) fn schema(&mut self, path: &str, schema: &Map<String, Value>) {
        let is_table = |key: &str, value: &Value| {
            matches!(key, "properties" | "patternProperties")
                && value.as_object().is_some_and(|map| !map.is_empty())
        };
        let (tables, entries): (Vec<_>, Vec<_>) =
            schema.iter().partition(|(key, value)| is_table(key, value));
        if !entries.is_empty() || tables.is_empty() {
            self.heading(&format!("[{path}]"));
        }
        for (key, value) in entries {
            self.entry(key, value);
        }
        for (key, value) in tables {
            self.heading(&format!("[{path}.{key}]"));
            for (name, property) in value.as_object().into_iter().flatten() {
                self.entry(name, property);
            }
        }
    }
}

/// Whether TOML can say it: everything but null, which it has no word for.
pub(super) fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A key as it stands in a heading or before `=`.
pub(super) fn key_text(key: &str) -> String {
    let mut text = String::new();
    write_key(&mut text, key);
    text
}

fn write_key(out: &mut String, key: &str) {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !key.is_empty() && key.chars().all(bare) {
        out.push_str(key);
    } else {
        write_text(out, key);
    }
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        // INVARIANT: the schema conversion leaves no null; what cannot be said is never written as something else.
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => write_number(out, number),
        Value::String(text) => write_text(out, text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_value(out, item);
            }
            out.push(']');
        }
        Value::Object(members) if members.is_empty() => out.push_str("{}"),
        Value::Object(members) => {
            for (index, (key, member)) in members.iter().enumerate() {
                out.push_str(if index == 0 { "{ " } else { ", " });
                write_key(out, key);
                out.push_str(" = ");
                write_value(out, member);
            }
            out.push_str(" }");
        }
    }
}

fn write_number(out: &mut String, number: &Number) {
    let text = number.to_string();
    let whole = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    out.push_str(&text);
    if whole && number.as_i64().is_none() {
        // TOML integers have 64 bits with a sign; beyond them only a float can say it.
        out.push_str(".0");
    }
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let code = u32::from(c);
                // Writing to a string cannot fail.
                if write!(out, "\\u{code:04X}").is_err() {
                    return;
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use exeat_types::{Report, Source, config::Document};
    use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn reads_back(value: &Value) {
        let mut toml = Toml::default();
        toml.entry("key \"x\"", value);
        let text = toml.into_text();
        let source = Source::new("t.toml", &text);
        let mut report = Report::new();
        let document = Document::parse(&source, &mut report);
        let entries = document.root().entries();
        let read = entries.first().unwrap().2.json(&mut report).unwrap();
        assert!(report.is_empty(), "{report}\n{text}");
        assert_eq!(&read, value, "{text}");
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(|n| json!(n)),
            proptest::num::f64::NORMAL.prop_map(|n| json!(n)),
            any::<String>().prop_map(Value::String),
            Just(json!({})),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let pairs = proptest::collection::btree_map(any::<String>(), inner.clone(), 0..4);
            prop_oneof![
                proptest::collection::vec(inner, 0..4).prop_map(Value::Array),
                pairs.prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in values()) {
            reads_back(&value);
        }
    }

    #[test]
    fn odd_values_read_back() {
        reads_back(&json!(["\u{7f}\u{0}\u{85}", "a\"b\\c", 0.1, -3, 1e300, {"a.b": {"": true}}]));
    }
}
