//! `Authorization: Basic` (RFC 7617 section 2). The pair is a secret of its own: its base64 says the password.

use base64::{Engine as _, engine::general_purpose::STANDARD, prelude::BASE64_STANDARD_NO_PAD};
use exeat_types::Secret;
use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

use super::{Form, header_form};

pub(super) fn form(username: &str, secret: &Secret) -> Result<Form, &'static str> {
    // RFC 7617 section 2: the username contains no colon, and neither part a control character.
    if username.contains(':') || username.chars().any(char::is_control) {
        return Err("has a username with a colon or a control character");
    }
    let mut value = Vec::with_capacity(pair_text_len(username, secret).saturating_add(6));
    value.extend_from_slice(b"Basic ");
    value.extend_from_slice(pair_text(username, secret).as_bytes());
    header_form(&AUTHORIZATION, value)
}

/// What stands behind `Basic` in the header, which is looked for in responses as well.
pub(crate) fn pair_text(username: &str, secret: &Secret) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(pair_text_len(username, secret)));
    STANDARD.encode_string(pair(username, secret).as_slice(), &mut text);
    text
}

fn pair_text_len(username: &str, secret: &Secret) -> usize {
    username
        .len()
        .saturating_add(secret.len())
        .saturating_add(3)
        .saturating_mul(4)
        .div_ceil(3)
        .saturating_add(4)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the injected header is made of the secret"
)]
fn pair(username: &str, secret: &Secret) -> Zeroizing<Vec<u8>> {
    let mut pair = Zeroizing::new(Vec::with_capacity(
        username
            .len()
            .saturating_add(secret.len())
            .saturating_add(1),
    ));
    pair.extend_from_slice(username.as_bytes());
    pair.push(b':');
    pair.extend_from_slice(secret.open());
    pair
}

/// The pair an agent put into a Basic header, if that is what the value is.
pub(crate) fn presented_pair(value: &[u8]) -> Option<Vec<u8>> {
    let (scheme, text) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let text = text.trim_ascii();
    let bare = text
        .strip_suffix(b"==")
        .or_else(|| text.strip_suffix(b"="))
        .unwrap_or(text);
    BASE64_STANDARD_NO_PAD.decode(bare).ok()
}
