//! The signature base (RFC 9421 section 2.5): one line for each part that is covered, in one form for each part.

use std::{borrow::Cow, fmt, str::FromStr};

use exeat_types::Malformed;
use http::{HeaderName, header::CONTENT_LENGTH};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{Draft, DraftBody};

/// What `application/x-www-form-urlencoded` leaves as it is (RFC 9421 section 2.2.8).
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'*')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_');

/// A part of a request that a signature may cover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Component {
    /// `@method`.
    Method,
    /// `@target-uri`.
    TargetUri,
    /// `@authority`.
    Authority,
    /// `@scheme`.
    Scheme,
    /// `@request-target`.
    RequestTarget,
    /// `@path`.
    Path,
    /// `@query`.
    Query,
    /// `@query-param` with this name, decoded.
    QueryParam(String),
    /// A field, when the request has it.
    Field(HeaderName),
    /// One member of a field that is a dictionary (RFC 8941 section 3.2), as it stands there alone.
    Member(HeaderName, String),
}

impl FromStr for Component {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wrong = |problem: &str| Malformed::new("component", problem);
        let param = text.strip_prefix("@query-param;name=\"");
        if let Some(name) = param.and_then(|rest| rest.strip_suffix('"')) {
            return Ok(Self::QueryParam(name.to_owned()));
        }
        Ok(match text {
            "@method" => Self::Method,
            "@target-uri" => Self::TargetUri,
            "@authority" => Self::Authority,
            "@scheme" => Self::Scheme,
            "@request-target" => Self::RequestTarget,
            "@path" => Self::Path,
            "@query" => Self::Query,
            // RFC 9421 section 7.2.8: what a hop may change or drop does not belong into a signature.
            "host" => return Err(wrong("the host is signed as `@authority`")),
            "connection" | "transfer-encoding" | "te" | "trailer" | "upgrade" | "authorization"
            | "signature" | "signature-input" => {
                return Err(wrong("this field is not signed"));
            }
            _ if text.starts_with('@') => {
                return Err(wrong(
                    "expected `@method`, `@target-uri`, `@authority`, `@scheme`, `@request-target`, `@path`, `@query` or `@query-param;name=\"...\"`",
                ));
            }
            _ if text.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                return Err(wrong("expected a field in lower case"));
            }
            field => Self::Field(
                HeaderName::from_bytes(field.as_bytes())
                    .map_err(|_cause| wrong("expected the name of a field"))?,
            ),
        })
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => f.write_str("\"@method\""),
            Self::TargetUri => f.write_str("\"@target-uri\""),
            Self::Authority => f.write_str("\"@authority\""),
            Self::Scheme => f.write_str("\"@scheme\""),
            Self::RequestTarget => f.write_str("\"@request-target\""),
            Self::Path => f.write_str("\"@path\""),
            Self::Query => f.write_str("\"@query\""),
            Self::QueryParam(name) => write!(
                f,
                "\"@query-param\";name={}",
                string(&utf8_percent_encode(name, QUERY).to_string())
            ),
            Self::Field(name) => write!(f, "\"{name}\""),
            Self::Member(name, key) => write!(f, "\"{name}\";key={}", string(key)),
        }
    }
}

/// A string of structured fields (RFC 8941 section 3.3.3). The text has to be printable ASCII.
pub(super) fn string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What is signed, and how it is described.
pub(super) struct Base {
    /// The whole text.
    pub(super) text: String,
    /// The value of `@signature-params`, which also goes into `Signature-Input`.
    pub(super) input: String,
}

/// Writes the base of a request; components that it does not have are left out.
pub(super) fn write(
    components: &[Component],
    draft: &Draft<'_>,
    params: &str,
) -> Result<Base, &'static str> {
    let (mut text, mut covered) = (String::new(), Vec::new());
    for component in components {
        let Some(value) = value(component, draft)? else {
            continue;
        };
        let identifier = component.to_string();
        text.push_str(&format!("{identifier}: {value}\n"));
        covered.push(identifier);
    }
    let input = format!("({}){params}", covered.join(" "));
    text.push_str(&format!("\"@signature-params\": {input}"));
    Ok(Base { text, input })
}

fn value<'a>(
    component: &Component,
    draft: &'a Draft<'_>,
) -> Result<Option<Cow<'a, str>>, &'static str> {
    let (path, query) = match draft.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (draft.target.as_str(), None),
    };
    Ok(Some(match component {
        Component::Method => draft.method.as_str().into(),
        Component::TargetUri => format!("{}{}", draft.origin, draft.target).into(),
        Component::Authority => draft.origin.authority().into(),
        Component::Scheme => draft.origin.scheme.name().into(),
        Component::RequestTarget => draft.target.as_str().into(),
        Component::Path => path.into(),
        Component::Query => format!("?{}", query.unwrap_or_default()).into(),
        Component::QueryParam(name) => {
            let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
            let mut found = pairs.filter(|(known, _)| known == name);
            match (found.next(), found.next()) {
                (Some((_, value)), None) => utf8_percent_encode(&value, QUERY).to_string().into(),
                (None, _) => return Ok(None),
                (Some(_), Some(_)) => return Err("a parameter that is to be signed stands twice"),
            }
        }
        Component::Field(name) if *name == CONTENT_LENGTH => match draft.body {
            DraftBody::Absent => return Ok(None),
            DraftBody::Whole(body) => body.len().to_string().into(),
            DraftBody::Streamed => {
                return Err("the length of the body is to be signed, and it streams");
            }
        },
        Component::Field(name) => {
            let values = draft.headers.get_all(name).iter();
            let texts: Result<Vec<&str>, _> = values.map(|value| value.to_str()).collect();
            let texts = texts.map_err(|_cause| "a field that is to be signed is not ASCII")?;
            if texts.is_empty() {
                return Ok(None);
            }
            let trimmed: Vec<&str> = texts.iter().map(|text| text.trim()).collect();
            trimmed.join(", ").into()
        }
        Component::Member(name, key) => {
            let value = draft
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok());
            let member =
                value.and_then(|value| value.strip_prefix(key.as_str())?.strip_prefix('='));
            member
                .ok_or("a member that is to be signed is not there")?
                .into()
        }
    }))
}
