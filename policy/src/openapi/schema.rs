//! Schemas of OpenAPI 3.0 and 3.1 as JSON Schema 2020-12 that TOML can hold.
//!
//! Meaning is kept: `nullable` becomes a type, boolean bounds become numbers, null in a list of values becomes a type
//! beside it, since TOML has no null. References become references inside the tool file; the schemas they name are
//! collected as definitions. What has no counterpart is noted, never dropped in silence.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{
    document::{Document, Version, kind, token},
    keyword::{Keyword, meaning},
    name::{definition_name, unique},
    note::Findings,
    null::{Target, or_null},
};

/// How deep one schema may nest in a TOML line.
const DEPTH_MAX: usize = 60;

const WHY_DISCRIMINATOR: &str =
    "a discriminator only says where to look first; the alternatives are checked without it";
const WHY_KEYWORD: &str =
    "this keyword has no meaning in the version of OpenAPI used, or none that a check can use";
const WHY_NULLABLE: &str = "`nullable` without a `type` has no effect in OpenAPI 3.0, but null was clearly meant; null is accepted";
const WHY_PATTERN: &str = "the pattern uses something that a linear-time matcher cannot do, such as look-ahead; it is not checked here";
const WHY_READ_ONLY: &str =
    "a read-only property is not sent in requests, so it is not required there";
const WHY_SIBLINGS: &str = "OpenAPI 3.0 ignores what stands beside a reference";

/// The schemas of one tool file: converts, and collects what references name.
pub(super) struct Schemas<'d> {
    document: &'d Document,
    names: BTreeMap<String, String>,
    taken: BTreeSet<String>,
    waiting: Vec<(String, String)>,
}

impl<'d> Schemas<'d> {
    /// No schema yet.
    pub(super) fn new(document: &'d Document) -> Self {
        Self {
            document,
            names: BTreeMap::new(),
            taken: BTreeSet::new(),
            waiting: Vec::new(),
        }
    }

    /// Converts the schema at a pointer.
    pub(super) fn convert(
        &mut self,
        schema: &Value,
        at: &str,
        findings: &mut Findings,
    ) -> Map<String, Value> {
        let converted = self.any(schema, at, findings);
        check(&converted, at, findings);
        as_table(converted)
    }

    /// Converts a schema whose types must be seen without following references, as those of parameters and forms.
    pub(super) fn inline(
        &mut self,
        schema: &Value,
        at: &str,
        findings: &mut Findings,
    ) -> Map<String, Value> {
        match self.document.resolve(schema, at) {
            Ok((target, at)) => {
                let mut target = target.clone();
                flatten(self.document, &mut target, 2);
                self.convert(&target, &at, findings)
            }
            Err(problem) => {
                findings.problem(at, problem);
                Map::new()
            }
        }
    }

    /// Whether the empty object surely fits a converted schema.
    pub(super) fn empty_fits(&self, schema: &Map<String, Value>) -> bool {
        let pointer = schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|reference| {
                let named =
                    |(_, name): &(&String, &String)| reference == format!("#/definitions/{name}");
                self.names.iter().find(named).map(|(pointer, _)| pointer)
            });
        let members = pointer
            .and_then(|pointer| self.document.at(pointer)?.as_object())
            .unwrap_or(schema);
        let needs = members.get("required").and_then(Value::as_array);
        members.get("type").is_some_and(|name| name == "object") && needs.is_none_or(Vec::is_empty)
    }

    /// Every schema that was named by a reference, and what those name in turn.
    pub(super) fn definitions(
        mut self,
        findings: &mut Findings,
    ) -> BTreeMap<String, Map<String, Value>> {
        let mut definitions = BTreeMap::new();
        while let Some((name, pointer)) = self.waiting.pop() {
            findings.operation = format!("definition {name}");
            if let Some(schema) = self.document.at(&pointer) {
                definitions.insert(name, self.convert(schema, &pointer, findings));
            }
        }
        definitions
    }

    fn any(&mut self, schema: &Value, at: &str, findings: &mut Findings) -> Value {
        match schema {
            Value::Object(members) => Value::Object(self.object(members, at, findings)),
            Value::Bool(flag) if self.document.version == Version::V31 => Value::Bool(*flag),
            Value::Bool(flag) if at.ends_with("/additionalProperties") => Value::Bool(*flag),
            other => {
                findings.problem(at, format!("expected a schema, got {}", kind(other)));
                Value::Object(Map::new())
            }
        }
    }

    fn object(
        &mut self,
        members: &Map<String, Value>,
        at: &str,
        findings: &mut Findings,
    ) -> Map<String, Value> {
        let mut out = Map::new();
        if let Some(reference) = members.get("$ref") {
            let target = self.reference(reference, at, findings);
            out.insert("$ref".to_owned(), Value::String(target));
            if self.document.version == Version::V30 {
                let says_more =
                    |key: &&String| !matches!(key.as_str(), "$ref" | "description" | "summary");
                if members.keys().any(|key| says_more(&key)) {
                    findings.note(place(at), WHY_SIBLINGS);
                }
                return out;
            }
        }
        for (key, value) in members.iter().filter(|(key, _)| *key != "$ref") {
            self.keyword(
                key,
                value,
                &mut Target {
                    at,
                    members,
                    out: &mut out,
                },
                findings,
            );
        }
        drop_read_only(&mut out, at, findings);
        let is_nullable = members.get("nullable") == Some(&Value::Bool(true));
        if is_nullable && self.document.version == Version::V30 {
            if !out.contains_key("type") {
                findings.note(place(at), WHY_NULLABLE);
            }
            return or_null(out);
        }
        out
    }

    fn keyword(
        &mut self,
        key: &str,
        value: &Value,
        target: &mut Target<'_>,
        findings: &mut Findings,
    ) {
        let inner = format!("{}/{}", target.at, token(key));
        let converted = match meaning(key, self.document.version) {
            Keyword::Keep => value.clone(),
            Keyword::Schema => self.any(value, &inner, findings),
            Keyword::Schemas => self.list(value, &inner, findings),
            Keyword::Named => self.named(value, &inner, findings),
            Keyword::Patterns => {
                let mut named = self.named(value, &inner, findings);
                if let Some(schemas) = named.as_object_mut() {
                    schemas.retain(|pattern, _| {
                        pattern_works(pattern, &format!("{inner}/{pattern}"), findings)
                    });
                }
                named
            }
            Keyword::Pattern => {
                let Some(pattern) = value.as_str() else {
                    findings.problem(&inner, format!("expected a pattern, got {}", kind(value)));
                    return;
                };
                if !pattern_works(pattern, &inner, findings) {
                    return;
                }
                value.clone()
            }
            Keyword::Bound => return target.bound(key, value),
            Keyword::Value => return target.value(key, value, &inner, findings),
            Keyword::Documentation | Keyword::Elsewhere => return,
            Keyword::Discriminator => return findings.note(place(target.at), WHY_DISCRIMINATOR),
            Keyword::Unknown => return findings.note(place(&inner), WHY_KEYWORD),
        };
        target.out.insert(key.to_owned(), converted);
    }

    fn list(&mut self, value: &Value, at: &str, findings: &mut Findings) -> Value {
        let Some(items) = value.as_array() else {
            findings.problem(
                at,
                format!("expected an array of schemas, got {}", kind(value)),
            );
            return Value::Array(Vec::new());
        };
        let convert = |(index, item)| self.any(item, &format!("{at}/{index}"), findings);
        Value::Array(items.iter().enumerate().map(convert).collect())
    }

    fn named(&mut self, value: &Value, at: &str, findings: &mut Findings) -> Value {
        let Some(members) = value.as_object() else {
            findings.problem(
                at,
                format!("expected an object of schemas, got {}", kind(value)),
            );
            return Value::Object(Map::new());
        };
        let convert = |(name, schema): (&String, &Value)| {
            (
                name.clone(),
                self.any(schema, &format!("{at}/{}", token(name)), findings),
            )
        };
        Value::Object(members.iter().map(convert).collect())
    }

    fn reference(&mut self, reference: &Value, at: &str, findings: &mut Findings) -> String {
        let lone = json!({ "$ref": reference });
        let named = self.document.resolve(&lone, at).map(|(_, pointer)| pointer);
        let pointer = match named {
            Ok(pointer) => pointer,
            Err(problem) => {
                findings.problem(&format!("{at}/$ref"), problem);
                return String::new();
            }
        };
        let name = self.names.entry(pointer.clone()).or_insert_with(|| {
            let last = pointer.rsplit('/').next().unwrap_or_default();
            let name = unique(&definition_name(last), &mut self.taken);
            self.waiting.push((name.clone(), pointer));
            name
        });
        format!("#/definitions/{name}")
    }
}

/// Puts what is referred to in the place of references, in items and properties, some levels down.
fn flatten(document: &Document, schema: &mut Value, levels: usize) {
    let Some(levels) = levels.checked_sub(1) else {
        return;
    };
    let Some(members) = schema.as_object_mut() else {
        return;
    };
    let mut inner: Vec<&mut Value> = Vec::new();
    for (key, value) in members {
        match key.as_str() {
            "properties" => {
                inner.extend(value.as_object_mut().into_iter().flat_map(Map::values_mut))
            }
            "items" => inner.push(value),
            _ => {}
        }
    }
    for value in inner {
        // A reference that leads nowhere stays, and is reported where it is converted.
        if let Ok((target, _)) = document.resolve(value, "") {
            let mut target = target.clone();
            flatten(document, &mut target, levels);
            *value = target;
        }
    }
}

fn drop_read_only(schema: &mut Map<String, Value>, at: &str, findings: &mut Findings) {
    let is_read_only = |name: &Value| {
        let property = name
            .as_str()
            .and_then(|name| schema.get("properties")?.get(name));
        property.is_some_and(|property| property.get("readOnly") == Some(&Value::Bool(true)))
    };
    let Some(required) = schema.get("required").and_then(Value::as_array) else {
        return;
    };
    let (dropped, kept): (Vec<Value>, Vec<Value>) =
        required.iter().cloned().partition(is_read_only);
    if dropped.is_empty() {
        return;
    }
    schema.insert("required".to_owned(), Value::Array(kept));
    for name in dropped.iter().filter_map(Value::as_str) {
        findings.note(format!("{}/properties/{name}", place(at)), WHY_READ_ONLY);
    }
}

fn pattern_works(pattern: &str, at: &str, findings: &mut Findings) -> bool {
    let options = jsonschema::options().with_pattern_options(jsonschema::PatternOptions::regex());
    let works = options.build(&json!({ "pattern": pattern })).is_ok();
    if !works {
        findings.note(place(at), WHY_PATTERN);
    }
    works
}

/// What JSON Schema itself asks of a schema.
fn check(schema: &Value, at: &str, findings: &mut Findings) {
    if depth(schema) > DEPTH_MAX {
        findings.problem(at, "the schema nests too deeply");
    } else if let Err(problem) = jsonschema::draft202012::meta::validate(schema) {
        let inner = problem.instance_path().to_string();
        findings.problem(
            &format!("{at}{inner}"),
            format!("not a valid schema: {problem}"),
        );
    }
}

fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(members) => members.values().map(depth).max(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return 0,
    };
    inner.unwrap_or(0).saturating_add(1)
}

fn as_table(schema: Value) -> Map<String, Value> {
    match schema {
        Value::Object(members) => members,
        Value::Bool(false) => [("not".to_owned(), Value::Object(Map::new()))]
            .into_iter()
            .collect(),
        _ => Map::new(),
    }
}

/// A pointer as a person reads it: what lies inside an operation or a definition is enough.
pub(super) fn place(at: &str) -> String {
    let inner = at
        .strip_prefix("/components/schemas/")
        .or_else(|| at.rsplit_once("/schema/").map(|(_, inner)| inner));
    inner
        .or_else(|| at.rsplit_once('/').map(|(_, last)| last))
        .unwrap_or(at)
        .to_owned()
}
