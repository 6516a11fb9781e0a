//! The secret alone, in a header or in a query parameter.

use exeat_types::Secret;
use http::HeaderName;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::{Form, header_form};

/// Everything but the unreserved characters of RFC 3986 section 2.3.
pub(crate) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

#[expect(
    clippy::disallowed_methods,
    reason = "the injected header is made of the secret"
)]
pub(super) fn header(name: &HeaderName, secret: &Secret) -> Result<Form, &'static str> {
    header_form(name, secret.open().to_vec())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the injected parameter is made of the secret"
)]
pub(super) fn query(name: &str, secret: &Secret) -> Result<Form, &'static str> {
    if name.is_empty() {
        return Err("has no name for its query parameter");
    }
    let mut pair = Vec::with_capacity(
        name.len()
            .saturating_add(secret.len())
            .saturating_mul(3)
            .saturating_add(1),
    );
    percent_encode(name.as_bytes(), RESERVED)
        .for_each(|part| pair.extend_from_slice(part.as_bytes()));
    pair.push(b'=');
    percent_encode(secret.open(), RESERVED)
        .for_each(|part| pair.extend_from_slice(part.as_bytes()));
    Ok(Form::Query {
        name: name.to_owned(),
        pair: Secret::new(pair),
    })
}
