//! GraphQL over HTTP: what a body asks for, so that rules can speak of fields instead of one path that does everything.
//!
//! SECURITY: whatever a server might run is counted: every operation of a document, every entry of a batch, fields by
//! their real names and through fragments, whatever directives say. What servers could read in two ways is refused.

mod document;
mod owner;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeSet;

use exeat_types::{Digest, Malformed, unique_json};
use serde_json::{Map, Value, json};

pub(crate) use owner::{Selection, collisions, owner};

/// Most requests in one batch.
const BATCH_MAX: usize = 32;
/// Most tokens in one document.
const TOKENS_MAX: usize = 15_000;
/// Deepest nesting of selections and values.
const DEPTH_MAX: usize = 64;
/// Members of a request. A server could take others for the name of a document that it keeps.
const MEMBERS: [&str; 4] = ["query", "operationName", "variables", "extensions"];

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It reads.
    Query,
    /// It changes something.
    Mutation,
    /// It reads as things happen.
    Subscription,
}

impl Operation {
    /// Every kind, with its word.
    pub const NAMED: [(&'static str, Self); 3] = [
        ("query", Self::Query),
        ("mutation", Self::Mutation),
        ("subscription", Self::Subscription),
    ];

    /// The word, as in a document.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Mutation => "mutation",
            Self::Subscription => "subscription",
        }
    }
}

/// Everything that a body asks for, over all its operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What the operations are; there is only one kind in a body.
    pub operation: Operation,
    /// Their names.
    pub names: BTreeSet<String>,
    /// The fields at the top.
    pub fields: BTreeSet<String>,
    /// The fields at any depth.
    pub selects: BTreeSet<String>,
    /// The directives.
    pub directives: BTreeSet<String>,
    /// How deep the selections go.
    pub depth: usize,
    /// How many operations there are.
    pub count: usize,
    /// The arguments of the one field at the top, with variables put in, if they were asked for.
    pub arguments: Option<Value>,
}

/// Whether the arguments of the one field at the top are wanted. There has to be exactly one then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Only which fields there are.
    Fields,
    /// The arguments too.
    Arguments,
}

impl Asked {
    /// As rules read it: `context.args.graphql`.
    pub(crate) fn to_value(&self) -> Value {
        json!({
            "operation": self.operation.name(),
            "names": self.names,
            "fields": self.fields,
            "selects": self.selects,
            "directives": self.directives,
            "depth": self.depth,
            "count": self.count,
        })
    }
}

fn wrong(problem: impl Into<String>) -> Malformed {
    Malformed::new("graphql", problem)
}

/// Reads a body: one request, or a batch of them.
///
/// # Errors
/// When any part of it could be read in two ways, or names a document that is not in it.
pub fn parse(body: &[u8], detail: Detail) -> Result<Asked, Malformed> {
    read(&unique_json(body)?, detail)
}

/// Reads a body that was parsed as JSON with unique names.
pub(crate) fn read(body: &Value, detail: Detail) -> Result<Asked, Malformed> {
    let requests = match body {
        Value::Array(batch) if batch.is_empty() => return Err(wrong("an empty batch")),
        Value::Array(batch) if batch.len() > BATCH_MAX => {
            return Err(wrong(format!("more than {BATCH_MAX} requests in a batch")));
        }
        Value::Array(batch) => batch.iter().collect(),
        one => vec![one],
    };
    if detail == Detail::Arguments && requests.len() > 1 {
        return Err(wrong("this tool takes one request at a time"));
    }
    let mut all: Option<Asked> = None;
    for request in requests {
        let asked = read_one(request, detail)?;
        all = Some(match all {
            Some(before) => join(before, asked)?,
            None => asked,
        });
    }
    all.ok_or_else(|| wrong("an empty batch"))
}

/// What two requests, or two operations, ask for together.
fn join(mut one: Asked, other: Asked) -> Result<Asked, Malformed> {
    if one.operation != other.operation {
        return Err(wrong("operations of different kinds stand together"));
    }
    one.names.extend(other.names);
    one.fields.extend(other.fields);
    one.selects.extend(other.selects);
    one.directives.extend(other.directives);
    one.depth = one.depth.max(other.depth);
    one.count = one.count.saturating_add(other.count);
    one.arguments = None;
    Ok(one)
}

fn read_one(request: &Value, detail: Detail) -> Result<Asked, Malformed> {
    let Value::Object(members) = request else {
        return Err(wrong("expected an object with `query`"));
    };
    if let Some(other) = members
        .keys()
        .find(|name| !MEMBERS.contains(&name.as_str()))
    {
        let other = crate::wire::shorten(other);
        return Err(wrong(format!("`{other}` is no member of a request")));
    }
    let text = match members.get("query") {
        Some(Value::String(text)) if !text.is_empty() => text,
        Some(_) => return Err(wrong("`query` is not the text of a document")),
        None => {
            return Err(wrong(
                "`query` is missing: a document that only the server has cannot be judged",
            ));
        }
    };
    check_extensions(members.get("extensions"), text)?;
    let no_variables = Map::new();
    let variables = match members.get("variables") {
        Some(Value::Object(variables)) => variables,
        Some(Value::Null) | None => &no_variables,
        Some(_) => return Err(wrong("`variables` is not an object")),
    };
    let chosen = match members.get("operationName") {
        Some(Value::String(name)) if !name.is_empty() => Some(name.as_str()),
        Some(Value::Null | Value::String(_)) | None => None,
        Some(_) => return Err(wrong("`operationName` is not a name")),
    };
    let document = document::parse(text)?;
    let several = document.operations.len() > 1;
    let names: BTreeSet<&str> = document.names().collect();
    match chosen {
        Some(name) if !names.contains(name) => {
            return Err(wrong("`operationName` names no operation of the document"));
        }
        None if several => {
            return Err(wrong("several operations, and none is named to run"));
        }
        Some(_) | None => {}
    }
    if several && detail == Detail::Arguments {
        return Err(wrong("this tool takes one operation at a time"));
    }
    let mut all: Option<Asked> = None;
    for operation in &document.operations {
        let mut asked = document.walk(operation)?;
        if detail == Detail::Arguments {
            asked.asked.arguments = Some(values::arguments(operation, &asked.tops, variables)?);
        }
        all = Some(match all {
            Some(before) => join(before, asked.asked)?,
            None => asked.asked,
        });
    }
    all.ok_or_else(|| wrong("the document has no operation"))
}

/// A hash may accompany the text it belongs to; then it means the same to every server.
fn check_extensions(extensions: Option<&Value>, text: &str) -> Result<(), Malformed> {
    let members = match extensions {
        Some(Value::Object(members)) => members,
        Some(Value::Null) | None => return Ok(()),
        Some(_) => return Err(wrong("`extensions` is not an object")),
    };
    for (name, value) in members {
        match name.as_str() {
            "persistedQuery" => {
                let hash = value.get("sha256Hash").and_then(Value::as_str);
                if hash != Some(Digest::of(text.as_bytes()).hex().as_str()) {
                    let problem = "`persistedQuery` is not the hash of `query`";
                    return Err(wrong(problem));
                }
            }
            // What clients say about themselves.
            "clientLibrary" => {}
            other => {
                let other = crate::wire::shorten(other);
                return Err(wrong(format!("the extension `{other}` is not known")));
            }
        }
    }
    Ok(())
}
