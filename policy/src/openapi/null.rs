//! Null, which TOML cannot write, and bounds, which OpenAPI 3.0 writes in its own way.

use serde_json::{Map, Value, json};

use super::{note::Findings, schema::place, write::has_null};

const WHY_DEFAULT_NULL: &str = "TOML has no null; a default decides nothing, so it was left out";

/// The object that a keyword is written to, and the one it came from.
pub(super) struct Target<'a> {
    pub(super) at: &'a str,
    pub(super) members: &'a Map<String, Value>,
    pub(super) out: &'a mut Map<String, Value>,
}

impl Target<'_> {
    /// A bound that 3.0 writes as a flag beside another bound.
    pub(super) fn bound(&mut self, key: &str, value: &Value) {
        let Some(flag) = value.as_bool() else {
            self.out.insert(key.to_owned(), value.clone());
            return;
        };
        let plain = if key == "exclusiveMinimum" {
            "minimum"
        } else {
            "maximum"
        };
        if let Some(bound) = self.members.get(plain).filter(|_| flag) {
            self.out.insert(key.to_owned(), bound.clone());
        }
    }

    /// A keyword that holds values, among which null cannot be written.
    pub(super) fn value(&mut self, key: &str, value: &Value, at: &str, findings: &mut Findings) {
        if !has_null(value) {
            self.out.insert(key.to_owned(), value.clone());
            return;
        }
        let plain: Vec<Value> = value
            .as_array()
            .into_iter()
            .flatten()
            .filter(|v| !v.is_null())
            .cloned()
            .collect();
        match key {
            "default" => findings.note(place(at), WHY_DEFAULT_NULL),
            "const" if value.is_null() => self.also("type", json!("null")),
            "enum" if !plain.iter().any(has_null) && self.says_null_elsewhere() => {
                self.out.insert(key.to_owned(), Value::Array(plain));
            }
            "enum" if !plain.iter().any(has_null) => {
                self.also("anyOf", json!([{ "enum": plain }, { "type": "null" }]));
            }
            _ => findings.problem(at, "null inside a fixed value cannot be written in TOML"),
        }
    }

    /// Whether null is accepted or refused by something beside a list of values.
    fn says_null_elsewhere(&self) -> bool {
        let is_plain = |name: &Value| name.as_str().is_some_and(|name| name != "null");
        match self.members.get("type") {
            Some(Value::Array(names)) => names.iter().all(is_plain),
            Some(name) => is_plain(name),
            None => self.members.get("nullable") == Some(&Value::Bool(true)),
        }
    }

    /// One more condition: as a keyword of its own, unless that stands there already.
    fn also(&mut self, key: &str, value: Value) {
        if !self.members.contains_key(key) {
            self.out.insert(key.to_owned(), value);
            return;
        }
        let all = self
            .out
            .entry("allOf")
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Some(list) = all.as_array_mut() {
            list.push(Value::Object(
                [(key.to_owned(), value)].into_iter().collect(),
            ));
        }
    }
}

/// The same schema, and null.
pub(super) fn or_null(mut schema: Map<String, Value>) -> Map<String, Value> {
    const DECIDING: [&str; 6] = ["enum", "const", "anyOf", "oneOf", "allOf", "not"];
    const SAYING: [&str; 6] = [
        "title",
        "description",
        "default",
        "deprecated",
        "readOnly",
        "writeOnly",
    ];
    if DECIDING.iter().all(|key| !schema.contains_key(*key)) {
        if let Some(Value::String(name)) = schema.get("type") {
            let both = json!([name, "null"]);
            schema.insert("type".to_owned(), both);
        }
        return schema;
    }
    let mut outer = Map::new();
    for key in SAYING {
        if let Some(value) = schema.shift_remove(key) {
            outer.insert(key.to_owned(), value);
        }
    }
    outer.insert("anyOf".to_owned(), json!([schema, { "type": "null" }]));
    outer
}
