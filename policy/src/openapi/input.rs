//! What an operation takes: parameters by place, and the body.

use std::collections::BTreeSet;

use http::HeaderName;
use serde_json::{Map, Value, json};

use super::{
    body::Body,
    document::{Document, kind},
    group::{Group, Need, Shape, WHY_BRACKETS, WHY_NESTED, nested, shape, text_schema},
    note::Findings,
    schema::Schemas,
};

const WHY_COOKIE: &str = "cookies are no arguments; the agent sends them as it likes";
const WHY_HEADER: &str =
    "OpenAPI describes this header elsewhere, so a parameter of that name is ignored";
const WHY_CONTENT: &str = "a parameter that holds a document is checked as plain text";
const WHY_STYLE: &str =
    "this way of writing a value into one text is not taken apart; it is checked as plain text";
const WHY_UNDECLARED: &str =
    "the path names this parameter but no parameter describes it; any text is accepted";
const WHY_NOT_IN_PATH: &str = "the path does not name this parameter, so it was left out";

/// Everything an operation takes.
#[derive(Default)]
pub(super) struct Input {
    pub(super) path: Group,
    pub(super) query: Group,
    pub(super) header: Group,
    pub(super) body: Body,
}

/// A parameter with the place it stands at, references followed.
pub(super) struct Parameter<'d> {
    pub(super) name: &'d str,
    pub(super) place: &'d str,
    pub(super) value: &'d Map<String, Value>,
    pub(super) at: String,
}

/// The parameters of an operation: its own, and those of its path that it does not replace.
pub(super) fn parameters<'d>(
    document: &'d Document,
    lists: [(Option<&'d Value>, String); 2],
    findings: &mut Findings,
) -> Vec<Parameter<'d>> {
    let mut found: Vec<Parameter<'d>> = Vec::new();
    for (list, at) in lists {
        let Some(list) = list else { continue };
        let Some(items) = list.as_array() else {
            findings.problem(
                &at,
                format!("expected an array of parameters, got {}", kind(list)),
            );
            continue;
        };
        for (index, item) in items.iter().enumerate() {
            let Some(parameter) = parameter(document, item, &format!("{at}/{index}"), findings)
            else {
                continue;
            };
            let is_same = |other: &Parameter<'_>| {
                other.name == parameter.name && other.place == parameter.place
            };
            if let Some(same) = found.iter_mut().find(|other| is_same(other)) {
                *same = parameter;
            } else {
                found.push(parameter);
            }
        }
    }
    found
}

fn parameter<'d>(
    document: &'d Document,
    item: &'d Value,
    at: &str,
    findings: &mut Findings,
) -> Option<Parameter<'d>> {
    let (target, at) = match document.resolve(item, at) {
        Ok(found) => found,
        Err(problem) => {
            findings.problem(at, problem);
            return None;
        }
    };
    let Some(value) = target.as_object() else {
        findings.problem(&at, format!("expected a parameter, got {}", kind(target)));
        return None;
    };
    let text = |key: &str| {
        value
            .get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let (Some(name), Some(place)) = (text("name"), text("in")) else {
        findings.problem(&at, "a parameter needs `name` and `in`");
        return None;
    };
    Some(Parameter {
        name,
        place,
        value,
        at,
    })
}

/// Whether a parameter is published as one that may hold slashes.
pub(super) fn holds_slashes(parameter: &Parameter<'_>) -> bool {
    parameter.place == "path" && parameter.value.get("x-multi-segment") == Some(&Value::Bool(true))
}

impl Input {
    /// Adds the parameters; `named` are those of the path.
    pub(super) fn add_parameters(
        &mut self,
        parameters: &[Parameter<'_>],
        named: &BTreeSet<String>,
        schemas: &mut Schemas<'_>,
        findings: &mut Findings,
    ) {
        for parameter in parameters {
            match parameter.place {
                "path" if !named.contains(parameter.name) => {
                    findings.note(
                        format!("path parameter `{}`", parameter.name),
                        WHY_NOT_IN_PATH,
                    );
                }
                "path" => {
                    let schema = written_schema(parameter, &["simple"], schemas, findings);
                    self.path
                        .properties
                        .insert(parameter.name.to_owned(), Value::Object(schema));
                }
                "query" => self.query(parameter, schemas, findings),
                "header" => self.header(parameter, schemas, findings),
                "cookie" => findings.note(format!("cookie `{}`", parameter.name), WHY_COOKIE),
                other => findings.problem(
                    &format!("{}/in", parameter.at),
                    format!("expected `path`, `query`, `header` or `cookie`, got `{other}`"),
                ),
            }
        }
        for name in named.iter().filter(|name| {
            !parameters
                .iter()
                .any(|p| p.place == "path" && p.name == **name)
        }) {
            findings.note(format!("path parameter `{name}`"), WHY_UNDECLARED);
            self.path
                .properties
                .insert(name.clone(), json!({ "type": "string" }));
        }
    }

    fn header(
        &mut self,
        parameter: &Parameter<'_>,
        schemas: &mut Schemas<'_>,
        findings: &mut Findings,
    ) {
        let name = parameter.name.to_ascii_lowercase();
        if matches!(name.as_str(), "accept" | "content-type" | "authorization") {
            findings.note(format!("header `{name}`"), WHY_HEADER);
            return;
        }
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            findings.problem(
                &format!("{}/name", parameter.at),
                format!("`{name}` is not the name of a header"),
            );
            return;
        }
        let schema = written_schema(parameter, &["simple"], schemas, findings);
        self.header.add(&name, schema, is_required(parameter));
    }

    fn query(
        &mut self,
        parameter: &Parameter<'_>,
        schemas: &mut Schemas<'_>,
        findings: &mut Findings,
    ) {
        let style = parameter
            .value
            .get("style")
            .and_then(Value::as_str)
            .unwrap_or("form");
        let explode = parameter
            .value
            .get("explode")
            .and_then(Value::as_bool)
            .unwrap_or(style == "form");
        let mut schema = written_schema(parameter, &["form", "deepObject"], schemas, findings);
        let need = is_required(parameter);
        match shape(&schema) {
            Shape::Object if explode || style == "deepObject" => {
                self.query.expand(parameter, &schema, findings)
            }
            // Not defined by OpenAPI, but common: `name[]=a&name[]=b`, or `name[0]=a`.
            Shape::List if style == "deepObject" => {
                self.query.brackets(parameter.name);
                findings.note(parameter.what(), WHY_BRACKETS);
            }
            Shape::List if !explode => {
                schema.insert("explode".to_owned(), Value::Bool(false));
                self.query.add(parameter.name, schema, need);
            }
            Shape::Plain | Shape::List | Shape::Object => {
                self.query.add(parameter.name, schema, need);
            }
        }
    }

    /// Replaces what text cannot say, once every definition is known.
    pub(super) fn settle(&mut self, definitions: &Value, findings: &mut Findings) {
        for (place, group) in [
            ("path", &mut self.path),
            ("query", &mut self.query),
            ("header", &mut self.header),
        ] {
            for name in nested(&group.properties, definitions) {
                findings.note(format!("{place} parameter `{name}`"), WHY_NESTED);
                let description = group
                    .properties
                    .get(&name)
                    .and_then(|schema| schema.get("description"))
                    .cloned();
                let mut text = text_schema();
                text.extend(description.map(|said| ("description".to_owned(), said)));
                group.properties.insert(name, Value::Object(text));
            }
        }
        self.body.settle(definitions, findings);
    }
}

/// Whether a parameter must be there.
pub(super) fn is_required(parameter: &Parameter<'_>) -> Need {
    let required = parameter.value.get("required").and_then(Value::as_bool) == Some(true);
    if required {
        Need::Required
    } else {
        Need::Optional
    }
}

impl Parameter<'_> {
    /// What it is called in notes.
    pub(super) fn what(&self) -> String {
        format!("{} parameter `{}`", self.place, self.name)
    }
}

/// The schema of a value that stands in a path, a query or a header, with the parameter's description.
fn written_schema(
    parameter: &Parameter<'_>,
    styles: &[&str],
    schemas: &mut Schemas<'_>,
    findings: &mut Findings,
) -> Map<String, Value> {
    let style = parameter.value.get("style").and_then(Value::as_str);
    let mut schema = match parameter.value.get("schema") {
        Some(_) if style.is_some_and(|style| !styles.contains(&style)) => {
            findings.note(parameter.what(), WHY_STYLE);
            text_schema()
        }
        Some(schema) => schemas.inline(schema, &format!("{}/schema", parameter.at), findings),
        None if parameter.value.contains_key("content") => {
            findings.note(parameter.what(), WHY_CONTENT);
            text_schema()
        }
        None => text_schema(),
    };
    let description = parameter.value.get("description").and_then(Value::as_str);
    if let Some(description) = description.filter(|_| !schema.contains_key("description")) {
        schema.insert(
            "description".to_owned(),
            Value::String(description.to_owned()),
        );
    }
    schema
}
