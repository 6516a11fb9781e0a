//! The meaning of a request head: method, target, host, framing; each with exactly one reading.
//!
//! Stricter than RFC 9112 wherever two implementations are known to disagree. Must never echo a header's value: heads
//! carry credentials.

use std::ops::Range;

use exeat_types::Authority;
use http::{Method, Version};

use super::{
    Limits, Violation,
    fields::Fields,
    scan::{Scanner, lines},
    target::{Target, agreed_host, parse_target},
};

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// The body has this many bytes.
    Length(u64),
    /// The body comes in chunks.
    Chunked,
}

/// A complete request head that can be read in one way only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// The target.
    pub target: Target,
    /// The host asked for: that of an absolute target or a CONNECT, else the Host header. They agree where both exist.
    pub host: Authority,
    /// How the end of the body is known.
    pub framing: Framing,
    /// Whether the client asks to switch to WebSocket.
    pub upgrade: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expect: bool,
    /// Where the value of Proxy-Authorization lies in the parsed bytes. A place, not a copy: it is a secret.
    pub proxy_authorization: Option<Range<usize>>,
    /// The length of the head, its empty line included.
    pub bytes: usize,
}

/// Parses the request head at the start of `buffer`; `None` when more bytes are needed. Bytes behind it are not looked at.
///
/// CONNECT is accepted here, for the front door; a [`super::Guard`] refuses it.
///
/// # Errors
/// The first rule that the head breaks.
///
/// # Spec
/// RFC 9112 sections 2 to 6; RFC 9110 sections 5, 7.2, 7.6, 7.8 and 10.1.1.
pub fn parse(buffer: &[u8], limits: &Limits) -> Result<Option<Head>, Violation> {
    let Some(end) = Scanner::default().run(buffer, limits.head_bytes_max)? else {
        return Ok(None);
    };
    complete(buffer.get(..end).unwrap_or_default(), limits).map(Some)
}

/// Judges a head whose raw lines a [`Scanner`] has accepted.
pub(super) fn complete(head: &[u8], limits: &Limits) -> Result<Head, Violation> {
    let mut lines = lines(head);
    let (method, target, version) = request_line(lines.next().unwrap_or_default(), limits)?;
    let fields = Fields::read(lines, limits.fields_max)?;
    let framing = framing(&fields, version)?;
    let upgrade = upgrade(&fields)?;
    if upgrade
        && !(method == Method::GET && version == Version::HTTP_11 && framing == Framing::None)
    {
        let detail = "header `upgrade` belongs in a GET of HTTP/1.1 without a body";
        return Err(Violation::new("upgrade", detail));
    }
    if method == Method::CONNECT && !matches!(framing, Framing::None | Framing::Length(0)) {
        return Err(Violation::new("connect", "a CONNECT has no body"));
    }
    let target = parse_target(&method, target)?;
    let host = agreed_host(&target, fields.host, version)?;
    let expect = expect(&fields)? && version == Version::HTTP_11;
    let proxy_authorization = fields
        .proxy_authorization
        .and_then(|value| place(head, value));
    let bytes = head.len();
    Ok(Head {
        method,
        version,
        target,
        host,
        framing,
        upgrade,
        expect,
        proxy_authorization,
        bytes,
    })
}

fn request_line<'a>(
    line: &'a [u8],
    limits: &Limits,
) -> Result<(Method, &'a str, Version), Violation> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        let detail = "expected a method, a target and a version with one space between";
        return Err(Violation::new("request-line", detail));
    };
    let upper = |&byte: &u8| {
        byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
    };
    let known = method.first().is_some_and(u8::is_ascii_uppercase)
        && method.len() <= 32
        && method.iter().all(upper);
    let parsed = Method::from_bytes(method).ok().filter(|_| known);
    let Some(method) = parsed else {
        return Err(Violation::new(
            "method",
            "the method is not an upper-case word",
        ));
    };
    let version = match version {
        b"HTTP/1.1" => Version::HTTP_11,
        b"HTTP/1.0" => Version::HTTP_10,
        _ => return Err(Violation::new("version", "expected HTTP/1.1 or HTTP/1.0")),
    };
    if target.len() > limits.target_bytes_max {
        let most = limits.target_bytes_max;
        return Err(Violation::new(
            "target-too-large",
            format!("the target is longer than {most} bytes"),
        ));
    }
    let plain = |&byte: &u8| (0x21..=0x7e).contains(&byte) && byte != b'#';
    match str::from_utf8(target) {
        Ok(text) if !text.is_empty() && target.iter().all(plain) => Ok((method, text, version)),
        _ => Err(Violation::new(
            "target",
            "the target is empty, or has a fragment or characters that need encoding",
        )),
    }
}

/// RFC 9112 sections 6.1 and 6.3: one of the two at most, and neither in a form that anybody reads differently.
fn framing(fields: &Fields<'_>, version: Version) -> Result<Framing, Violation> {
    match (fields.transfer_encoding, fields.content_length) {
        (None, None) => Ok(Framing::None),
        (Some(_), Some(_)) => {
            let detail = "headers `content-length` and `transfer-encoding` exclude each other";
            Err(Violation::new("length-and-encoding", detail))
        }
        (Some(_), None) if version == Version::HTTP_10 => Err(Violation::new(
            "transfer-encoding",
            "HTTP/1.0 has no header `transfer-encoding`",
        )),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        (Some(_), None) => Err(Violation::new(
            "transfer-encoding",
            "expected `chunked` alone in header `transfer-encoding`",
        )),
        (None, Some(text)) => {
            let canonical =
                text.iter().all(u8::is_ascii_digit) && (text == b"0" || !text.starts_with(b"0"));
            let length = str::from_utf8(text)
                .ok()
                .filter(|_| canonical)
                .and_then(|text| text.parse().ok());
            let wrong = || {
                Violation::new(
                    "content-length",
                    "expected one decimal number in header `content-length`",
                )
            };
            length.map(Framing::Length).ok_or_else(wrong)
        }
    }
}

fn upgrade(fields: &Fields<'_>) -> Result<bool, Violation> {
    if fields.http2_settings.is_some() {
        return Err(Violation::new(
            "upgrade",
            "h2c is not accepted (header `http2-settings`)",
        ));
    }
    let Some(protocol) = fields.upgrade else {
        return Ok(false);
    };
    if !protocol.eq_ignore_ascii_case(b"websocket") {
        return Err(Violation::new(
            "upgrade",
            "expected `websocket` in header `upgrade`",
        ));
    }
    if !fields.names_upgrade {
        return Err(Violation::new(
            "upgrade",
            "header `connection` does not name `upgrade`",
        ));
    }
    Ok(true)
}

fn expect(fields: &Fields<'_>) -> Result<bool, Violation> {
    match fields.expect {
        None => Ok(false),
        Some(value) if value.eq_ignore_ascii_case(b"100-continue") => Ok(true),
        Some(_) => Err(Violation::new(
            "expect",
            "expected `100-continue` in header `expect`",
        )),
    }
}

/// Where a value lies in its head.
fn place(head: &[u8], value: &[u8]) -> Option<Range<usize>> {
    let start = value.as_ptr().addr().checked_sub(head.as_ptr().addr())?;
    (start + value.len() <= head.len()).then(|| start..start + value.len())
}

#[cfg(test)]
pub(super) mod tests;
