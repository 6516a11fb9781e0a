//! The body of an operation: which of the published kinds a tool takes, and its schema.

use serde_json::{Map, Value, json};

use super::{
    document::{Version, token},
    group::{WHY_BRACKETS, bracket_pattern, nested, text_schema},
    note::Findings,
    schema::Schemas,
};

const WHY_OPEN_FORM: &str =
    "the fields of this form are not listed at its top; each field is read as plain text";
const WHY_NULL_BODY: &str = "a body that may be omitted is omitted, not null";
const WHY_OPTIONAL: &str =
    "published as a body that may be omitted; a tool needs one unless the empty object fits";
const WHY_MEDIA: &str = "a tool takes one kind of body; the other kinds are refused";
const WHY_TEXT_MEDIA: &str =
    "a body that is neither JSON nor a form is passed on without a look inside";
const WHY_CONTENT_TYPE: &str = "the encoding of single parts of a form is not checked";

/// The body a tool takes.
#[derive(Default)]
pub(super) enum Body {
    /// None.
    #[default]
    Absent,
    /// A body of some kind.
    Present {
        /// `form`, `multipart` or `binary`; JSON if there is none.
        media: Option<&'static str>,
        /// What it holds, where that can be checked.
        schema: Map<String, Value>,
    },
}

/// Reads the request body of an operation.
pub(super) fn read(
    body: &Value,
    at: &str,
    schemas: &mut Schemas<'_>,
    findings: &mut Findings,
) -> Body {
    let Some(content) = body.get("content").and_then(Value::as_object) else {
        findings.problem(at, "a request body needs `content`");
        return Body::Absent;
    };
    let kinds = content
        .iter()
        .map(|(name, value)| (media_kind(name), name, value));
    let Some((kind, media, value)) = kinds.min_by_key(|(kind, ..)| *kind) else {
        return Body::Absent;
    };
    for other in content.keys().filter(|name| *name != media) {
        findings.note(format!("body `{other}`"), WHY_MEDIA);
    }
    if value.get("encoding").is_some() {
        findings.note(format!("body `{media}`"), WHY_CONTENT_TYPE);
    }
    let at = format!("{at}/content/{}/schema", token(media));
    let published = value.get("schema");
    let schema = match (kind, published) {
        (Media::Json, Some(schema)) => {
            let needed = body.get("required").and_then(Value::as_bool) == Some(true);
            let schema = schemas.convert(schema, &at, findings);
            if needed {
                schema
            } else {
                optional(schema, schemas, findings)
            }
        }
        (Media::Form, Some(schema)) => {
            let schema = schemas.inline(schema, &at, findings);
            if !schema.contains_key("properties") {
                findings.note(format!("body `{media}`"), WHY_OPEN_FORM);
            }
            form(schema)
        }
        (Media::Form, None) => form(Map::new()),
        (Media::Binary, _) => {
            findings.note(format!("body `{media}`"), WHY_TEXT_MEDIA);
            Map::new()
        }
        (Media::Json | Media::Multipart, _) => Map::new(),
    };
    Body::Present {
        media: kind.word(),
        schema,
    }
}

/// A body that may be omitted: a tool accepts that where the empty object fits.
fn optional(
    mut schema: Map<String, Value>,
    schemas: &Schemas<'_>,
    findings: &mut Findings,
) -> Map<String, Value> {
    if schema.get("type") == Some(&json!(["object", "null"])) {
        findings.note("requestBody", WHY_NULL_BODY);
        schema.insert("type".to_owned(), json!("object"));
    }
    if !schemas.empty_fits(&schema) {
        findings.note("requestBody", WHY_OPTIONAL);
    }
    schema
}

/// A form as an object of fields.
fn form(mut schema: Map<String, Value>) -> Map<String, Value> {
    schema.insert("type".to_owned(), json!("object"));
    if !schema.contains_key("properties") {
        schema.insert("properties".to_owned(), json!({}));
        schema
            .entry("additionalProperties")
            .or_insert(Value::Bool(true));
    }
    schema
}

/// Replaces a field by the pattern of the names that its nested value is written with.
fn bracket_field(schema: &mut Map<String, Value>, name: &str) {
    if let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        fields.shift_remove(name);
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|needed| needed != name);
    }
    schema
        .entry("additionalProperties")
        .or_insert(Value::Bool(false));
    let patterns = schema
        .entry("patternProperties")
        .or_insert_with(|| json!({}));
    if let Some(patterns) = patterns.as_object_mut() {
        patterns.insert(bracket_pattern(name), Value::Object(text_schema()));
    }
}

impl Body {
    /// Replaces fields of a form whose values text cannot say, once every definition is known.
    pub(super) fn settle(&mut self, definitions: &Value, findings: &mut Findings) {
        let Self::Present {
            media: Some("form"),
            schema,
        } = self
        else {
            return;
        };
        let Some(fields) = schema.get("properties").and_then(Value::as_object) else {
            return;
        };
        for name in nested(fields, definitions) {
            findings.note(format!("form field `{name}`"), WHY_BRACKETS);
            bracket_field(schema, &name);
        }
    }
}

/// The kinds of body, in the order in which they are preferred.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Media {
    Json,
    Form,
    Multipart,
    Binary,
}

impl Media {
    const fn word(self) -> Option<&'static str> {
        match self {
            Self::Json => None,
            Self::Form => Some("form"),
            Self::Multipart => Some("multipart"),
            Self::Binary => Some("binary"),
        }
    }
}

fn media_kind(name: &str) -> Media {
    let essence = name
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => Media::Json,
        name if name.ends_with("+json") => Media::Json,
        "application/x-www-form-urlencoded" => Media::Form,
        name if name.starts_with("multipart/") => Media::Multipart,
        _ => Media::Binary,
    }
}

/// Whether a body described for this method may be left out of the tool: 3.0 gives it no meaning there.
pub(super) fn has_meaning(version: Version, method: &str) -> bool {
    version == Version::V31 || !matches!(method, "get" | "head" | "options")
}
