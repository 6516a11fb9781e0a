//! Strict HTTP/1.1 framing in front of Pingora: one stream of bytes, one reading of it.
//!
//! Owns the grammar of request heads ([`parse`]), the bounds of bodies ([`Body`]), the order of requests and responses on
//! a connection, and [`Guard`], the stream that lets nothing else through. It decides nothing about tools or policy, and
//! it never repairs: what could be read in two ways is refused. Read `head.rs` next.

mod body;
mod exchange;
mod fields;
mod guard;
mod head;
mod scan;
mod target;

use exeat_types::limits;

pub use body::Body;
pub use guard::{Guard, Refuse};
pub use head::{Framing, Head, parse};
pub use target::Target;

/// How large a head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest head, its empty line included, in bytes.
    pub head_bytes_max: usize,
    /// Most header fields.
    pub fields_max: usize,
    /// Longest request target, in bytes.
    pub target_bytes_max: usize,
}

impl Limits {
    /// The limits of `exeat_types::limits`.
    pub const STANDARD: Self = Self {
        head_bytes_max: limits::HEAD_BYTES_MAX,
        fields_max: limits::HEADER_FIELDS_MAX,
        target_bytes_max: limits::TARGET_BYTES_MAX,
    };
}

/// Why a message was refused: a stable word and what it is about, never a header's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Violation {
    /// A stable word for the rule that was broken, such as `content-length`.
    pub code: &'static str,
    /// What is wrong, for people; names the header where there is one.
    pub detail: String,
}

impl Violation {
    pub(super) fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }
}

/// The bytes that may stand in a token (RFC 9110 section 5.6.2).
#[expect(
    clippy::indexing_slicing,
    reason = "a byte is always within 256, and this runs in the compiler"
)]
const TOKEN_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut rest: &[u8] =
        b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    while let [byte, tail @ ..] = rest {
        table[*byte as usize] = true;
        rest = tail;
    }
    table
};

fn is_token(text: &[u8]) -> bool {
    let plain = |&byte: &u8| {
        TOKEN_BYTES
            .get(usize::from(byte))
            .is_some_and(|&known| known)
    };
    !text.is_empty() && text.iter().all(plain)
}

/// The name of a header line for a message: never something that is not a short token.
fn name_of(line: &[u8]) -> String {
    let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
    let plain = is_token(name) && name.len() < line.len() && name.len() <= 64;
    match str::from_utf8(name) {
        Ok(name) if plain => {
            format!("header `{}`", name.to_ascii_lowercase())
        }
        _ => "a header line".to_owned(),
    }
}
