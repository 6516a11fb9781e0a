//! What Exeat reads in a JSON Schema (2020-12) besides validating with it: references, types, and closing of objects.
//!
//! Validation itself is the `jsonschema` crate's, and it never fetches anything: a `$ref` stays inside its file.

use serde_json::{Map, Value};

/// How deep references are followed before a schema counts as too intricate.
const DEPTH_MAX: usize = 32;

/// Keywords that move names around, so that one could no longer say which schema is meant.
const FOREIGN: [&str; 7] = [
    "$id",
    "$anchor",
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
    "$vocabulary",
];
/// Keywords whose value is not a schema but a plain value.
const PLAIN: [&str; 5] = ["const", "enum", "default", "examples", "required"];
/// Keywords whose value maps names of the user's to schemas.
const NAMED: [&str; 5] = [
    "properties",
    "patternProperties",
    "definitions",
    "$defs",
    "dependentSchemas",
];
/// Keywords that combine schemas over one value.
const COMBINING: [&str; 8] = [
    "allOf",
    "anyOf",
    "oneOf",
    "if",
    "then",
    "else",
    "not",
    "dependentSchemas",
];

/// A place in a schema, as the keys that lead there.
pub(crate) type Path = Vec<String>;

/// What is called for every schema that is met.
type Visit<'v> = dyn FnMut(&Map<String, Value>, &Path, Combined) + 'v;

/// Calls `visit` for a schema and every schema inside it; `combined` says that a value has to fit others too.
pub(crate) fn walk(schema: &Value, visit: &mut Visit<'_>) {
    step(schema, &mut Vec::new(), Combined::No, visit);
}

/// Whether a schema stands inside a keyword that combines several over one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Combined {
    Yes,
    No,
}

fn step(schema: &Value, path: &mut Path, combined: Combined, visit: &mut Visit<'_>) {
    match schema {
        Value::Object(members) => {
            visit(members, path, combined);
            for (keyword, value) in members {
                if PLAIN.contains(&keyword.as_str()) {
                    continue;
                }
                let below = if COMBINING.contains(&keyword.as_str()) {
                    Combined::Yes
                } else {
                    Combined::No
                };
                path.push(keyword.clone());
                match value {
                    Value::Object(named) if NAMED.contains(&keyword.as_str()) => {
                        for (name, inner) in named {
                            path.push(name.clone());
                            step(inner, path, below, visit);
                            path.pop();
                        }
                    }
                    other => step(other, path, below, visit),
                }
                path.pop();
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(index.to_string());
                step(item, path, combined, visit);
                path.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The name that a reference inside the file points to, with the keyword it goes through.
pub(crate) fn local_name(reference: &str) -> Option<(&'static str, &str)> {
    let of = |keyword: &'static str, prefix: &str| {
        let name = reference.strip_prefix(prefix)?;
        (!name.is_empty() && !name.contains(['/', '~', '%'])).then_some((keyword, name))
    };
    of("definitions", "#/definitions/").or_else(|| of("$defs", "#/$defs/"))
}

/// Everything about a schema's own form that Exeat does not accept, with its place.
pub(crate) fn problems(schema: &Value, definitions: &Map<String, Value>) -> Vec<(Path, String)> {
    let mut found = Vec::new();
    walk(schema, &mut |members, path, _| {
        let mut say = |keyword: &str, message: String| {
            let mut place = path.clone();
            place.push(keyword.to_owned());
            found.push((place, message));
        };
        for keyword in FOREIGN {
            if members.contains_key(keyword) {
                say(keyword, format!("`{keyword}` is not accepted"));
            }
        }
        let dialect = members.get("$schema").and_then(Value::as_str);
        if dialect.is_some_and(|d| {
            d.trim_end_matches('#') != "https://json-schema.org/draft/2020-12/schema"
        }) {
            say("$schema", "only JSON Schema 2020-12 is read".to_owned());
        }
        match members
            .get("$ref")
            .and_then(Value::as_str)
            .map(|reference| (reference, local_name(reference)))
        {
            Some((reference, None)) => {
                say(
                    "$ref",
                    format!(
                        "`{reference}` does not point to `#/definitions/<name>` or `#/$defs/<name>`"
                    ),
                );
            }
            Some((_, Some((_, name)))) if !definitions.contains_key(name) => {
                let near = exeat_types::did_you_mean(name, definitions.keys().map(String::as_str));
                let hint = near
                    .map(|near| format!("; did you mean `{near}`?"))
                    .unwrap_or_default();
                say(
                    "$ref",
                    format!("`{name}` is not defined in `[api.definitions]`{hint}"),
                );
            }
            _ => {}
        }
    });
    found
}

/// Every definition that a schema needs, also through other definitions, under the keyword used to name it.
pub(crate) fn closure(schema: &Value, definitions: &Map<String, Value>) -> Map<String, Value> {
    let mut wanted = references(schema);
    let mut out = Map::new();
    while let Some((keyword, name)) = wanted.pop() {
        let group = out
            .entry(keyword)
            .or_insert_with(|| Value::Object(Map::new()));
        let (Value::Object(group), Some(definition)) = (group, definitions.get(&name)) else {
            continue;
        };
        if !group.contains_key(&name) {
            group.insert(name, definition.clone());
            wanted.extend(references(definition));
        }
    }
    out
}

fn references(schema: &Value) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    walk(schema, &mut |members, _, _| {
        let named = members
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(local_name);
        found.extend(named.map(|(keyword, name)| (keyword, name.to_owned())));
    });
    found
}

/// Closes every object whose members are declared: what is not declared is refused. Objects that are combined with
/// others stay as they are, as each of them sees only its own members; the one around them is closed instead.
pub(crate) fn close(schema: &mut Value) {
    let mut places = Vec::new();
    let mut within = Vec::new();
    walk(schema, &mut |members, path, combined| {
        let named = members
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(local_name);
        if let (Combined::Yes, Some((keyword, name))) = (combined, named) {
            within.push(vec![keyword.to_owned(), name.to_owned()]);
        }
        let declares = members.contains_key("properties");
        let says = members.contains_key("additionalProperties")
            || members.contains_key("unevaluatedProperties");
        let combines = COMBINING
            .iter()
            .any(|keyword| members.contains_key(*keyword))
            || members.contains_key("$ref");
        if combined == Combined::No && declares && !says {
            places.push((
                path.clone(),
                if combines {
                    "unevaluatedProperties"
                } else {
                    "additionalProperties"
                },
            ));
        }
    });
    for (path, keyword) in places {
        if within.contains(&path) {
            continue;
        }
        let target = path
            .iter()
            .try_fold(&mut *schema, |value, key| match value {
                Value::Object(members) => members.get_mut(key),
                Value::Array(items) => items.get_mut(key.parse::<usize>().ok()?),
                _ => None,
            });
        if let Some(Value::Object(members)) = target {
            members.insert(keyword.to_owned(), Value::Bool(false));
        }
    }
}

/// The JSON types a value of a schema may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Types(u8);

impl Types {
    pub(crate) const TEXT: Self = Self(1);
    pub(crate) const INTEGER: Self = Self(2);
    pub(crate) const NUMBER: Self = Self(4);
    pub(crate) const BOOLEAN: Self = Self(8);
    pub(crate) const NULL: Self = Self(16);
    pub(crate) const ARRAY: Self = Self(32);
    pub(crate) const OBJECT: Self = Self(64);
    const NONE: Self = Self(0);
    pub(crate) const ANY: Self = Self(127);

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    fn named(name: &str) -> Self {
        match name {
            "string" => Self::TEXT,
            "integer" => Self::INTEGER,
            "number" => Self::NUMBER.or(Self::INTEGER),
            "boolean" => Self::BOOLEAN,
            "null" => Self::NULL,
            "array" => Self::ARRAY,
            "object" => Self::OBJECT,
            _ => Self::NONE,
        }
    }

    fn of_value(value: &Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOLEAN,
            Value::Number(number) if number.is_f64() => Self::NUMBER,
            Value::Number(_) => Self::INTEGER,
            Value::String(_) => Self::TEXT,
            Value::Array(_) => Self::ARRAY,
            Value::Object(_) => Self::OBJECT,
        }
    }
}

/// Follows references until a schema that says something itself.
pub(crate) fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let mut current = schema;
    for _ in 0..DEPTH_MAX {
        let reference = current
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(local_name);
        let (Some((keyword, name)), None) = (reference, current.get("type")) else {
            return current;
        };
        let Some(next) = root.get(keyword).and_then(|group| group.get(name)) else {
            return current;
        };
        current = next;
    }
    current
}

/// The types that every keyword of a schema together leaves possible.
pub(crate) fn types(schema: &Value, root: &Value) -> Types {
    types_within(schema, root, DEPTH_MAX)
}

fn types_within(schema: &Value, root: &Value, depth: usize) -> Types {
    let Some(depth) = depth.checked_sub(1) else {
        return Types::ANY;
    };
    let members = match resolve(schema, root) {
        Value::Object(members) => members,
        Value::Bool(false) => return Types::NONE,
        _ => return Types::ANY,
    };
    let mut possible = match members.get("type") {
        Some(Value::String(name)) => Types::named(name),
        Some(Value::Array(names)) => names
            .iter()
            .filter_map(Value::as_str)
            .fold(Types::NONE, |all, name| all.or(Types::named(name))),
        _ => Types::ANY,
    };
    if let Some(value) = members.get("const") {
        possible = possible.and(Types::of_value(value));
    }
    if let Some(Value::Array(values)) = members.get("enum") {
        possible = possible.and(
            values
                .iter()
                .fold(Types::NONE, |all, value| all.or(Types::of_value(value))),
        );
    }
    for keyword in ["anyOf", "oneOf"] {
        if let Some(Value::Array(options)) = members.get(keyword) {
            let either = |all: Types, option| all.or(types_within(option, root, depth));
            possible = possible.and(options.iter().fold(Types::NONE, either));
        }
    }
    if let Some(Value::Array(parts)) = members.get("allOf") {
        possible = parts.iter().fold(possible, |all, part| {
            all.and(types_within(part, root, depth))
        });
    }
    possible
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_that_looks_like_a_keyword_is_a_name_below_properties() {
        let schema =
            json!({"properties": {"$ref": {"type": "string"}, "$id": {"const": {"$id": 1}}}});
        assert!(problems(&schema, &Map::new()).is_empty());
        let wrong = json!({"properties": {"a": {"$ref": "https://example.com/x"}, "b": {"items": {"$id": "x"}}}});
        assert_eq!(problems(&wrong, &Map::new()).len(), 2);
    }

    #[test]
    fn strict_closes_objects_but_not_the_parts_of_a_combination() {
        let mut schema = json!({
            "properties": {"a": {"properties": {"b": {}}}},
            "allOf": [{"properties": {"c": {}}}, {"$ref": "#/$defs/d"}],
            "$defs": {"d": {"properties": {"e": {}}}, "f": {"properties": {}}},
        });
        close(&mut schema);
        assert_eq!(schema["unevaluatedProperties"], json!(false));
        assert_eq!(
            schema["properties"]["a"]["additionalProperties"],
            json!(false)
        );
        assert_eq!(schema["allOf"][0], json!({"properties": {"c": {}}}));
        assert_eq!(schema["$defs"]["d"], json!({"properties": {"e": {}}}));
        assert_eq!(schema["$defs"]["f"]["additionalProperties"], json!(false));
    }

    #[test]
    fn types_follow_references_and_combinations() {
        let root = json!({"$defs": {"n": {"type": ["integer", "null"]}, "loop": {"$ref": "#/$defs/loop"}}});
        let check =
            |schema: Value, expect: Types| assert_eq!(types(&schema, &root), expect, "{schema}");
        check(json!({"$ref": "#/$defs/n"}), Types::INTEGER.or(Types::NULL));
        check(json!({"enum": ["a", 1]}), Types::TEXT.or(Types::INTEGER));
        check(
            json!({"anyOf": [{"type": "string"}, {"const": true}]}),
            Types::TEXT.or(Types::BOOLEAN),
        );
        check(
            json!({"allOf": [{"type": ["string", "null"]}, {"type": "string"}]}),
            Types::TEXT,
        );
        check(json!({"$ref": "#/$defs/loop"}), Types::ANY);
        check(json!({}), Types::ANY);
    }
}
