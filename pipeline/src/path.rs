//! One meaning per path: the canonical form that policy matches, receipts show and upstream gets.

use exeat_types::{Malformed, limits};

/// Brings a request path to its one canonical form: escapes of unreserved characters decoded, hex upper case.
///
/// An encoded slash stays encoded: whether it may stand where it stands is the tool's word (`encoded-slash`), and no tool
/// has one by default. What it separates is judged here like what a slash separates.
///
/// # Errors
/// When the path could be read in more than one way: an encoded backslash or NUL, dot segments (also encoded, also
/// between encoded slashes), empty ones, an escaped escape beside an encoded slash, `;` parameters, a backslash, or bytes
/// that a URI may not hold.
///
/// # Spec
/// RFC 3986 section 6.2.2; what it leaves to the server is refused instead of guessed.
pub fn canonical_path(raw: &str) -> Result<String, Malformed> {
    let wrong = |problem: &str| Malformed::new("path", problem);
    if raw.len() > limits::TARGET_BYTES_MAX {
        return Err(wrong("longer than the limit"));
    }
    if !raw.starts_with('/') {
        return Err(wrong("expected `/` at the start"));
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => {
                let decoded =
                    escape(rest).ok_or_else(|| wrong("`%` must be followed by two hex digits"))?;
                rest = rest.get(2..).unwrap_or_default();
                match decoded {
                    b'\\' => return Err(wrong("an encoded backslash is not accepted")),
                    0..=31 | 127 => {
                        return Err(wrong("an encoded control character is not accepted"));
                    }
                    plain if unreserved(plain) => out.push(char::from(plain)),
                    other => out.push_str(&format!("%{other:02X}")),
                }
            }
            b';' => return Err(wrong("`;` is not accepted")),
            b'\\' => return Err(wrong("a backslash is not accepted")),
            plain if plain == b'/' || unreserved(plain) || b"!$&'()*+,=:@".contains(&plain) => {
                out.push(char::from(plain));
            }
            _ => return Err(wrong("a character that a URI may not hold")),
        }
    }
    let mut segments = out.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        // The end of the path may be empty, as in `/a/`.
        if !segment.is_empty() || segments.peek().is_some() {
            check_segment(segment)?;
        }
    }
    Ok(out)
}

fn check_segment(segment: &str) -> Result<(), Malformed> {
    let wrong = |problem: &str| Malformed::new("path", problem);
    if segment.split("%2F").any(|part| part == "." || part == "..") {
        return Err(wrong("dot segments are not accepted"));
    }
    if segment.split("%2F").any(str::is_empty) {
        return Err(wrong("empty segments are not accepted"));
    }
    // SECURITY: a server that decodes an encoded slash may decode twice, and would then read another path.
    if segment.contains("%2F") && segment.contains("%25") {
        return Err(wrong(
            "an escaped `%` is not accepted beside an encoded slash",
        ));
    }
    Ok(())
}

/// Checks a query: only characters and escapes that a URI may hold.
pub(crate) fn check_query(raw: &str) -> Result<(), Malformed> {
    let wrong = |problem: &str| Malformed::new("query", problem);
    let mut rest = raw.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            escape(rest).ok_or_else(|| wrong("`%` must be followed by two hex digits"))?;
        } else if !(byte.is_ascii_graphic()) || b"\"<>\\^`{|}#".contains(&byte) {
            return Err(wrong("a character that a URI may not hold"));
        }
    }
    Ok(())
}

fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn escape(after: &[u8]) -> Option<u8> {
    let (&[high, low], _) = after.split_first_chunk::<2>()?;
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    Some((digit(high)? << 4) | digit(low)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(raw: &str, expect: Option<&str>) {
        assert_eq!(canonical_path(raw).ok().as_deref(), expect, "{raw}");
    }

    #[test]
    fn paths_have_one_form_or_are_refused() {
        check("/", Some("/"));
        check("/a/b/", Some("/a/b/"));
        check("/%61/%7e", Some("/a/~"));
        check("/a%20b%c3%a9", Some("/a%20b%C3%A9"));
        check("/a:b@c,d=e", Some("/a:b@c,d=e"));
        check("/a%2fb", Some("/a%2Fb"));
        check("/@scope%2Fname/", Some("/@scope%2Fname/"));
        check("/a%2F.b/100%25", Some("/a%2F.b/100%25"));
        for wrong in [
            "",
            "a",
            "//",
            "/a//b",
            "/./a",
            "/a/..",
            "/%2e%2E/a",
            "/%2f",
            "/a%2f",
            "/%2Fa",
            "/a%2f%2Fb",
            "/a%2f/b",
            "/a/%2Fb",
            "/a%2f..",
            "/..%2fa",
            "/a%2f%2e%2E%2fb",
            "/a%2F.",
            "/.%2Fa",
            "/a%2F%5cb",
            "/a%2F%00b",
            "/a%2Fb%252F",
            "/a%252F%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a;b=c",
            "/a%",
            "/a%zz",
            "/a%00",
            "/a b",
            "/a\u{e9}",
            "/a?b",
            "/a#b",
            "/a\"b",
            "/a/.%2e/b",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn queries_hold_only_what_a_uri_may_hold() {
        for good in [
            "",
            "a=b&c",
            "a=%20+",
            "q=a:b/c?d@e!$'()*,;~",
            "%zz".replace("zz", "7e").as_str(),
        ] {
            assert!(check_query(good).is_ok(), "{good}");
        }
        for wrong in [
            "a=%", "a=%4", "a=%zz", "a b", "a=\u{e9}", "a=\"b\"", "a=<b>", "a=b#c", "a={b}",
            "a=b|c", "a\\b", "a^b", "`",
        ] {
            assert!(check_query(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_canonical_path_is_its_own_canonical_form(raw in "(/[a-zA-Z0-9%._~;/-]{0,12}){1,5}") {
            if let Ok(once) = canonical_path(&raw) {
                prop_assert_eq!(canonical_path(&once).unwrap(), once);
            }
        }
    }
}
