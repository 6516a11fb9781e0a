//! Named values that are written as text: parameters of a path, a query or a header, and the fields of a form.
//!
//! Text can say a plain value or a list of them. Nested values have conventions (`filter[state]=open`), which are
//! declared as parameters of their own or, where their names are not known, by a pattern.

use serde_json::{Map, Value};

use super::{
    input::{Parameter, is_required},
    note::Findings,
    template::literal_pattern,
};
use crate::wire::{Field, List};

const WHY_EXPANDED: &str =
    "an object written into the query: each property became a query parameter of its own";
const WHY_OPEN_OBJECT: &str = "an object of unknown properties written into the query cannot be checked; the parameter was left out";
pub(super) const WHY_BRACKETS: &str =
    "a nested value is written as `name[...]`; each such value is accepted as plain text";
pub(super) const WHY_NESTED: &str =
    "a nested value written into one text is not taken apart; it is checked as plain text";

/// The parameters of one place, as an object schema.
#[derive(Default)]
pub(super) struct Group {
    pub(super) properties: Map<String, Value>,
    /// Parameters known by a pattern of their name only.
    pub(super) patterns: Map<String, Value>,
    pub(super) required: Vec<Value>,
}

/// Whether a value must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Required,
    Optional,
}

impl Group {
    /// The group as the schema of an object.
    pub(super) fn into_schema(self) -> Map<String, Value> {
        let mut schema = Map::new();
        if !self.required.is_empty() {
            schema.insert("required".to_owned(), Value::Array(self.required));
        }
        if !self.patterns.is_empty() {
            schema.insert("additionalProperties".to_owned(), Value::Bool(false));
            schema.insert("patternProperties".to_owned(), Value::Object(self.patterns));
        }
        schema.insert("properties".to_owned(), Value::Object(self.properties));
        schema
    }

    /// Adds a value.
    pub(super) fn add(&mut self, name: &str, schema: Map<String, Value>, need: Need) {
        if need == Need::Required {
            self.required.push(Value::String(name.to_owned()));
        }
        self.properties
            .insert(name.to_owned(), Value::Object(schema));
    }

    /// Accepts `name[...]`, whatever stands in the brackets.
    pub(super) fn brackets(&mut self, name: &str) {
        self.patterns
            .insert(bracket_pattern(name), Value::Object(text_schema()));
    }

    /// An object written into the query: `filter[state]=open`, or `state=open` in the form style.
    pub(super) fn expand(
        &mut self,
        parameter: &Parameter<'_>,
        schema: &Map<String, Value>,
        findings: &mut Findings,
    ) {
        let deep = parameter.value.get("style").and_then(Value::as_str) == Some("deepObject");
        let properties = schema
            .get("properties")
            .and_then(Value::as_object)
            .filter(|map| !map.is_empty());
        let is_plain = |property: &Value| {
            property
                .as_object()
                .is_some_and(|map| shape(map) == Shape::Plain)
        };
        match properties {
            Some(properties) if properties.values().all(is_plain) => {
                findings.note(parameter.what(), WHY_EXPANDED);
                let required = schema.get("required").and_then(Value::as_array);
                for (name, property) in properties {
                    let key = if deep {
                        format!("{}[{name}]", parameter.name)
                    } else {
                        name.clone()
                    };
                    let listed = required
                        .is_some_and(|list| list.iter().any(|item| item.as_str() == Some(name)));
                    let need = if listed {
                        is_required(parameter)
                    } else {
                        Need::Optional
                    };
                    self.add(
                        &key,
                        property.as_object().cloned().unwrap_or_default(),
                        need,
                    );
                }
            }
            _ if deep => {
                self.brackets(parameter.name);
                findings.note(parameter.what(), WHY_BRACKETS);
            }
            _ => findings.note(parameter.what(), WHY_OPEN_OBJECT),
        }
    }
}

/// What a value looks like, as far as writing it into text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Plain,
    List,
    Object,
}

/// The shape that the type of a schema gives its values.
pub(super) fn shape(schema: &Map<String, Value>) -> Shape {
    let is = |schema: &Map<String, Value>, name: &str| match schema.get("type") {
        Some(Value::String(only)) => only == name,
        Some(Value::Array(names)) => {
            names.iter().all(|one| one == name || one == "null")
                && names.iter().any(|one| one == name)
        }
        _ => false,
    };
    if is(schema, "object") || (!schema.contains_key("type") && schema.contains_key("properties")) {
        return Shape::Object;
    }
    if is(schema, "array") {
        Shape::List
    } else {
        Shape::Plain
    }
}

/// The properties whose values text cannot say.
pub(super) fn nested(properties: &Map<String, Value>, definitions: &Value) -> Vec<String> {
    let says =
        |name: &str, property: &Value| Field::of(name, property, definitions, List::Comma).is_ok();
    properties
        .iter()
        .filter(|(name, property)| !says(name, property))
        .map(|(name, _)| name.clone())
        .collect()
}

/// The pattern of the names that a nested value is written with.
pub(super) fn bracket_pattern(name: &str) -> String {
    format!("^{}\\[", literal_pattern(name))
}

/// Any text.
pub(super) fn text_schema() -> Map<String, Value> {
    [("type".to_owned(), Value::String("string".to_owned()))]
        .into_iter()
        .collect()
}
