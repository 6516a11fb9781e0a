//! The types that arguments have in Cedar: exactly what a JSON Schema guarantees, or nothing.
//!
//! Only bool, string, 64-bit integer, a set of one of those, and records of all these map exactly. Anything else has no
//! type here, and a rule that reads it is an error, never a silent "absent".

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::reads::Tree;
use crate::{
    Tool,
    graphql::Detail,
    schema::{Types, resolve, types},
    tool::{BodyRule, Place, Presence},
};

/// Deepest record, and most attributes of one argument, that a rule can read.
const DEPTH_MAX: usize = 16;

/// The Cedar type of an argument, as far as some rule reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    Bool,
    Long,
    Text,
    Set(Box<Self>),
    Record(Vec<Attribute>, Rest),
}

/// What members that are not in a record's type mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nobody reads them.
    Ignored,
    /// The record is compared as a whole, so a call that has others is refused.
    Refused,
}

/// One attribute of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    pub(crate) shape: Shape,
    pub(crate) required: bool,
}

impl Attribute {
    /// Whether it is always there and fits into one word of text.
    pub(crate) const fn is_required_scalar(&self) -> bool {
        self.required && matches!(self.shape, Shape::Bool | Shape::Long | Shape::Text)
    }
}

/// Why an argument has no type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Untyped {
    /// The tool has no such argument.
    Missing,
    /// It can hold what Cedar cannot say; where in the arguments, and what it is.
    Inexact(String, String),
}

/// What a git push looks like to rules.
static GIT: LazyLock<Value> = LazyLock::new(|| {
    let names = json!({"type": "array", "items": {"type": "string"}});
    json!({
        "type": "object",
        "properties": {
            "refs": names, "kinds": names, "branches": names, "tags": names,
            "deletes": {"type": "boolean"}, "force": {"type": "boolean"},
        },
        "required": ["refs", "kinds", "branches", "tags", "deletes", "force"],
    })
});

/// What a commit or a tag that is to be signed looks like to rules.
static GIT_OBJECT: LazyLock<Value> = LazyLock::new(|| {
    let names = ["kind", "author", "committer", "tag", "subject"];
    let text = |name: &str| (name.to_owned(), json!({"type": "string"}));
    let properties: serde_json::Map<_, _> = names.into_iter().map(text).collect();
    json!({"type": "object", "properties": properties, "required": names})
});

/// What a GraphQL request looks like to rules.
static GRAPHQL: LazyLock<Value> = LazyLock::new(|| {
    let names = json!({"type": "array", "items": {"type": "string"}});
    let integer = json!({"type": "integer"});
    json!({
        "type": "object",
        "properties": {
            "operation": {"type": "string"},
            "names": names, "fields": names, "selects": names, "directives": names,
            "depth": integer, "count": integer,
        },
        "required": ["operation", "names", "fields", "selects", "directives", "depth", "count"],
    })
});

/// What a request to a language model looks like to rules.
static LLM: LazyLock<Value> = LazyLock::new(|| {
    let names = json!({"type": "array", "items": {"type": "string"}});
    json!({
        "type": "object",
        "properties": {
            "api": {"type": "string"},
            "stream": {"type": "boolean"},
            "max_tokens": {"type": "integer"},
            "models": names, "tools": names, "provider_tools": names, "trimmed": names,
        },
        "required": ["api", "stream", "models", "tools", "provider_tools", "trimmed"],
    })
});

/// The type of a whole argument.
pub(crate) fn argument_shape(tool: &Tool, name: &str) -> Result<Attribute, Untyped> {
    of(tool, name, &Tree::default()).map(|(_, attribute)| attribute)
}

/// The type of the argument that rules call `name`, reduced to what `tree` reads of it.
pub(crate) fn of(tool: &Tool, name: &str, tree: &Tree) -> Result<(Place, Attribute), Untyped> {
    let place = tool.input.names.get(name).ok_or(Untyped::Missing)?;
    let root = &tool.input.schema;
    let missing = || Untyped::Missing;
    let (schema, required) = if place.section == "git" {
        match tool.input.body {
            BodyRule::GitObject => (&*GIT_OBJECT, true),
            _ => (&*GIT, true),
        }
    } else if place.section == "graphql" {
        (&*GRAPHQL, true)
    } else if place.section == "llm" {
        (&*LLM, true)
    } else {
        let section = root
            .get("properties")
            .and_then(|sections| sections.get(place.section))
            .ok_or_else(missing)?;
        let section = resolve(section, root);
        match &place.member {
            None => (section, body_needed(tool)),
            Some(member) => {
                let property = section
                    .get("properties")
                    .and_then(|all| all.get(member))
                    .ok_or_else(missing)?;
                let always = place.section != "body" || body_needed(tool);
                (property, always && is_required(section, member))
            }
        }
    };
    let at = match &place.member {
        Some(member) => format!("{}/{member}", place.section),
        None => place.section.to_owned(),
    };
    let shape = shape(schema, root, tree, &at, DEPTH_MAX)?;
    Ok((
        place.clone(),
        Attribute {
            name: name.to_owned(),
            shape,
            required,
        },
    ))
}

fn body_needed(tool: &Tool) -> bool {
    matches!(
        tool.input.body,
        BodyRule::Json(Presence::Needed)
            | BodyRule::Form(Presence::Needed, _)
            | BodyRule::JsonOrForm(Presence::Needed, _)
            | BodyRule::GraphQl(Detail::Arguments)
    )
}

fn is_required(schema: &Value, member: &str) -> bool {
    let listed = schema.get("required").and_then(Value::as_array);
    listed.is_some_and(|names| names.iter().any(|name| name == member))
}

fn shape(
    schema: &Value,
    root: &Value,
    tree: &Tree,
    at: &str,
    depth: usize,
) -> Result<Shape, Untyped> {
    let inexact = |what: &str| Untyped::Inexact(at.to_owned(), what.to_owned());
    let Some(depth) = depth.checked_sub(1) else {
        return Err(inexact("is nested too deeply"));
    };
    let schema = resolve(schema, root);
    let own = types(schema, root);
    if own == Types::OBJECT {
        return record(schema, root, tree, at, depth);
    }
    if !tree.below.is_empty() {
        return Err(inexact("is not an object"));
    }
    if own == Types::ARRAY {
        let items = schema.get("items").unwrap_or(&Value::Bool(true));
        let scalar = scalar(types(items, root)).filter(|_| schema.get("prefixItems").is_none());
        return scalar
            .map(|scalar| Shape::Set(Box::new(scalar)))
            .ok_or_else(|| {
                inexact("is an array whose items are not all strings, all integers or all booleans")
            });
    }
    scalar(own).ok_or_else(|| inexact(describe(own)))
}

fn scalar(types: Types) -> Option<Shape> {
    match types {
        Types::TEXT => Some(Shape::Text),
        Types::INTEGER => Some(Shape::Long),
        Types::BOOLEAN => Some(Shape::Bool),
        _ => None,
    }
}

fn describe(types: Types) -> &'static str {
    if types == Types::ANY {
        "may have any type"
    } else if types.has(Types::NULL) {
        "may be null"
    } else if types.has(Types::NUMBER) {
        "is a number that need not be whole"
    } else {
        "may have more than one type"
    }
}

fn record(
    schema: &Value,
    root: &Value,
    tree: &Tree,
    at: &str,
    depth: usize,
) -> Result<Shape, Untyped> {
    let nothing = serde_json::Map::new();
    let properties = schema
        .get("properties")
        .and_then(Value::as_object)
        .unwrap_or(&nothing);
    let whole = Tree {
        whole: true,
        ..Tree::default()
    };
    let mut attributes = Vec::new();
    for (name, property) in properties {
        let below = match tree.below.get(name) {
            _ if tree.whole => &whole,
            Some(below) => below,
            None => continue,
        };
        let shape = shape(property, root, below, &format!("{at}/{name}"), depth)?;
        attributes.push(Attribute {
            name: name.clone(),
            shape,
            required: is_required(schema, name),
        });
    }
    attributes.sort_by(|a, b| a.name.cmp(&b.name));
    let rest = if tree.whole {
        Rest::Refused
    } else {
        Rest::Ignored
    };
    Ok(Shape::Record(attributes, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(schema: &Value, expect: Option<&Shape>) {
        let whole = Tree {
            whole: true,
            ..Tree::default()
        };
        assert_eq!(
            shape(schema, &Value::Null, &whole, "x", 9).ok().as_ref(),
            expect,
            "{schema}"
        );
    }

    #[test]
    fn only_what_maps_exactly_has_a_type() {
        check(
            &json!({"type": "string", "pattern": "a"}),
            Some(&Shape::Text),
        );
        check(&json!({"enum": ["a", "b"]}), Some(&Shape::Text));
        check(&json!({"type": "integer"}), Some(&Shape::Long));
        check(&json!({"type": "boolean"}), Some(&Shape::Bool));
        check(
            &json!({"type": "array", "items": {"type": "string"}}),
            Some(&Shape::Set(Box::new(Shape::Text))),
        );
        check(&json!({"type": "number"}), None);
        check(&json!({"type": ["string", "null"]}), None);
        check(&json!({"type": "array"}), None);
        check(&json!({"type": "array", "items": {"type": "object"}}), None);
        check(&json!({}), None);
        check(
            &json!({"anyOf": [{"type": "string"}, {"type": "integer"}]}),
            None,
        );
        let inner = Attribute {
            name: "a".to_owned(),
            shape: Shape::Bool,
            required: true,
        };
        let object =
            json!({"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]});
        check(&object, Some(&Shape::Record(vec![inner], Rest::Refused)));
        check(&json!({"type": "object", "properties": {"a": {}}}), None);
    }
}
