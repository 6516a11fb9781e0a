//! `Authorization: Bearer` (RFC 6750 section 2.1).

use exeat_types::Secret;
use http::header::AUTHORIZATION;

use super::{Form, header_form};

#[expect(
    clippy::disallowed_methods,
    reason = "the injected header is made of the secret"
)]
pub(super) fn form(secret: &Secret) -> Result<Form, &'static str> {
    let mut value = b"Bearer ".to_vec();
    value.reserve_exact(secret.len());
    value.extend_from_slice(secret.open());
    header_form(&AUTHORIZATION, value)
}
