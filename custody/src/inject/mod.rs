//! How each kind of credential stands in a request, and which slots of the agent's request it claims.
//!
//! A form is built once, when the credential is loaded; applying it cannot fail. Adding a kind means adding a file
//! here that turns a secret into a [`Form`].

pub(crate) mod api_key;
pub(crate) mod basic;
mod bearer;

use exeat_types::Secret;
use http::{HeaderName, HeaderValue, header::AUTHORIZATION};

use crate::{Kind, Made, Material};

/// Header slots that are stripped on every brokered origin, whatever the tool's credential is, so that an agent's own
/// key never rides along.
pub(crate) static STANDARD_SLOTS: [HeaderName; 6] = [
    AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("x-auth-token"),
    HeaderName::from_static("private-token"),
];

/// A credential, ready to stand in a request.
pub(crate) enum Form {
    /// One header with one value.
    Header {
        /// The slot it claims.
        name: HeaderName,
        /// The whole value, checked to be one.
        value: Secret,
    },
    /// One query parameter.
    Query {
        /// The slot it claims, decoded.
        name: String,
        /// `name=value`, percent-encoded.
        pair: Secret,
    },
    /// Tokens, signatures, a certificate.
    Made(Made),
}

impl Form {
    /// Turns a secret into what the kind sends.
    pub(crate) fn build(kind: &Kind, material: Material<'_>) -> Result<Self, &'static str> {
        if let Kind::Made(kind) = kind {
            return kind.make(material).map(Self::Made);
        }
        let secret = material.secret.ok_or("has no secret")?;
        match kind {
            Kind::Made(_) => Err("is of another kind"),
            Kind::Bearer => bearer::form(secret),
            Kind::ApiKeyHeader(name) => api_key::header(name, secret),
            Kind::ApiKeyQuery(name) => api_key::query(name, secret),
            Kind::Basic { username } => basic::form(username, secret),
        }
    }

    /// The headers this form claims.
    pub(crate) fn headers(&self) -> &[HeaderName] {
        match self {
            Self::Header { name, .. } => std::slice::from_ref(name),
            Self::Query { .. } => &[],
            Self::Made(made) => &made.headers,
        }
    }

    /// The query parameters this form claims.
    pub(crate) fn queries(&self) -> &[String] {
        match self {
            Self::Header { .. } => &[],
            Self::Query { name, .. } => std::slice::from_ref(name),
            Self::Made(made) => &made.queries,
        }
    }
}

/// A header whose value was put together from the secret; refused when it is not one.
fn header_form(name: &HeaderName, value: Vec<u8>) -> Result<Form, &'static str> {
    let padded = |byte: Option<&u8>| byte.is_none_or(|b| *b == b' ' || *b == b'\t');
    if padded(value.first()) || padded(value.last()) {
        return Err("has a secret that begins or ends with a space");
    }
    let value = Secret::new(value);
    sensitive(&value)
        .ok_or("has a secret that cannot stand in a header, such as one of several lines")?;
    Ok(Form::Header {
        name: name.clone(),
        value,
    })
}

/// The value as a header value that no log prints and HPACK does not index.
#[expect(
    clippy::disallowed_methods,
    reason = "the injected header is made of the secret"
)]
pub(crate) fn sensitive(value: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(value.open()).ok()?;
    value.set_sensitive(true);
    Some(value)
}
