//! A multipart body whose boundary is made from its parts: clients make up another boundary for each attempt, and the same
//! form sent again has to be the same request.
//!
//! # Spec
//! RFC 2046 section 5.1.1; RFC 7578 has forms travel so.

use bytes::Bytes;
use exeat_types::{Digest, DigestBuilder};

/// Most parts of one body.
const PARTS_MAX: usize = 1000;
/// RFC 2046 section 5.1.1: a boundary is 1 to 70 characters.
const BOUNDARY_BYTES_MAX: usize = 70;

/// A body and the content type that goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// The content type.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
}

/// Whether a content type is multipart.
pub fn is_multipart(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.get(..10)
        .is_some_and(|start| start.eq_ignore_ascii_case("multipart/"))
}

/// Writes a multipart body with a boundary that follows from its parts; nothing if it cannot be read in one way only.
pub fn rewrite(content_type: &str, body: &[u8]) -> Option<Rewritten> {
    let (kind, old) = read_type(content_type)?;
    let parts = split(body, old.as_bytes())?;
    let boundary = boundary_of(&parts);
    let delimiter = format!("--{boundary}");
    if contains(body, delimiter.as_bytes()) && old != boundary {
        // Nobody can find such a body on purpose: the boundary is a digest of it.
        return None;
    }
    let mut out = Vec::with_capacity(body.len());
    for part in &parts {
        out.extend_from_slice(delimiter.as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(delimiter.as_bytes());
    out.extend_from_slice(b"--\r\n");
    Some(Rewritten {
        content_type: format!("{kind}; boundary={boundary}"),
        body: out.into(),
    })
}

/// The kind with every parameter but the boundary, and the boundary.
fn read_type(content_type: &str) -> Option<(String, String)> {
    let mut pieces = content_type.split(';').map(str::trim);
    let mut kind = pieces.next()?.to_owned();
    let mut boundary = None;
    for piece in pieces {
        let (name, value) = piece.split_once('=')?;
        if !name.trim().eq_ignore_ascii_case("boundary") {
            kind.push_str("; ");
            kind.push_str(piece);
            continue;
        }
        let value = value.trim();
        let value = match value.strip_prefix('"') {
            Some(rest) => rest.strip_suffix('"')?,
            None => value,
        };
        if boundary.replace(value.to_owned()).is_some() {
            return None;
        }
    }
    let boundary = boundary?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    let fits = (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len())
        && !boundary.ends_with(' ')
        && boundary.bytes().all(plain);
    fits.then_some((kind, boundary))
}

/// The parts, heads included. What stands before the first boundary or behind the last one is no part of the form, and a
/// body that has something there is not read.
fn split<'b>(body: &'b [u8], boundary: &[u8]) -> Option<Vec<&'b [u8]>> {
    let mut delimiter = b"--".to_vec();
    delimiter.extend_from_slice(boundary);
    let mut rest = body.strip_prefix(delimiter.as_slice())?;
    let mut inner = b"\r\n".to_vec();
    inner.extend_from_slice(&delimiter);
    let mut parts = Vec::new();
    loop {
        if let Some(end) = rest.strip_prefix(b"--") {
            let is_end = end.is_empty() || end == b"\r\n";
            return (is_end && !parts.is_empty()).then_some(parts);
        }
        rest = rest.strip_prefix(b"\r\n")?;
        // An empty part ends in the line feed that it begins with; such a part has no head, and is not read.
        let at = find(rest, &inner)?;
        let (part, behind) = rest.split_at_checked(at)?;
        if parts.len() >= PARTS_MAX || !has_head(part) {
            return None;
        }
        parts.push(part);
        rest = behind.strip_prefix(inner.as_slice())?;
    }
}

/// Whether a part begins with header fields and an empty line.
fn has_head(part: &[u8]) -> bool {
    find(part, b"\r\n\r\n").is_some_and(|at| at > 0)
}

fn boundary_of(parts: &[&[u8]]) -> String {
    let mut digest = DigestBuilder::new();
    for part in parts {
        digest.update(Digest::of(part).as_bytes());
    }
    let digest = digest.finish();
    let hex: String = digest
        .as_bytes()
        .iter()
        .take(20)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("exeat-{hex}")
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len())
        .position(|window| window == wanted)
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    find(text, wanted).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(boundary: &str, files: &[&str]) -> Vec<u8> {
        let mut body = String::new();
        for file in files {
            body.push_str(&format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\n{file}\r\n"
            ));
        }
        body.push_str(&format!("--{boundary}--\r\n"));
        body.into_bytes()
    }

    fn written(boundary: &str, files: &[&str]) -> Option<Rewritten> {
        let kind = format!("multipart/form-data; boundary={boundary}");
        rewrite(&kind, &form(boundary, files))
    }

    #[test]
    fn the_same_form_under_another_boundary_is_the_same_request() {
        let first = written("aaa", &["one", "two"]).unwrap();
        assert_eq!(
            written("----WebKitFormBoundaryX", &["one", "two"]),
            Some(first.clone())
        );
        assert_ne!(written("aaa", &["onetwo"]), Some(first.clone()));
        assert_ne!(written("aaa", &["two", "one"]), Some(first.clone()));
        assert_eq!(rewrite(&first.content_type, &first.body), Some(first));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_not_rewritten() {
        let good = form("a", &["x"]);
        let kind = "multipart/form-data; boundary=a";
        assert!(rewrite(kind, &good).is_some());
        for kind in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=\"a",
            "multipart/form-data; boundary=a; boundary=b",
            "multipart/form-data; boundary=b",
            "multipart/form-data; boundary",
        ] {
            assert_eq!(rewrite(kind, &good), None, "{kind}");
        }
        for body in [
            &b""[..],
            b"--a--\r\n",
            b"preamble\r\n--a\r\nX: y\r\n\r\nx\r\n--a--\r\n",
            b"--a\r\nX: y\r\n\r\nx\r\n--a--\r\nepilogue",
            b"--a\r\nX: y\r\n\r\nx\r\n--a",
            b"--a\r\nno head\r\n--a--\r\n",
            b"--a\nX: y\n\nx\n--a--\n",
            b"--a\r\nX: y\r\n\r\nx\r\n--ab\r\n--a--\r\n",
        ] {
            assert_eq!(
                rewrite(kind, body),
                None,
                "{:?}",
                String::from_utf8_lossy(body)
            );
        }
    }
}
