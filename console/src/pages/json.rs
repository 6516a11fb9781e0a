//! JSON laid out for people. It is never interpreted: numbers keep their digits, members their order, and what cannot be laid
//! out, or is nested too deep, or would become too long, stands as it is.

use std::borrow::Cow;

use exeat_types::limits::JSON_DEPTH_MAX;
use serde::de::IgnoredAny;

/// The longest text that layout may make of JSON.
const LAID_OUT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// JSON laid out, anything else as it stands.
pub(super) fn laid_out(text: &str) -> Cow<'_, str> {
    let has_parts = text.trim_start().starts_with(['{', '[']);
    let is_json = has_parts && serde_json::from_str::<IgnoredAny>(text).is_ok();
    match is_json.then(|| indented(text)).flatten() {
        Some(laid_out) => Cow::Owned(laid_out),
        None => Cow::Borrowed(text),
    }
}

/// Lays out JSON without reading its values: every token is copied, but `\u` escapes of letters that can be seen.
/// Nothing where it is nested too deep, or would become too long.
fn indented(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let (mut depth, mut letters) = (0_usize, text.chars().peekable());
    while let Some(letter) = letters.next() {
        if depth > JSON_DEPTH_MAX || out.len() > LAID_OUT_BYTES_MAX {
            return None;
        }
        match letter {
            '"' => string(&mut letters, &mut out),
            '{' | '[' => {
                out.push(letter);
                while letters.next_if(char::is_ascii_whitespace).is_some() {}
                if let Some(end) = letters.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth = depth.saturating_add(1);
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(letter);
            }
            ',' => {
                out.push(',');
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            space if space.is_ascii_whitespace() => {}
            other => out.push(other),
        }
    }
    Some(out)
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

fn string(letters: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    out.push('"');
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                out.push('"');
                return;
            }
            '\\' => escape(letters, out),
            other => out.push(other),
        }
    }
}

fn escape(letters: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    let Some(kind) = letters.next() else { return };
    if kind != 'u' {
        out.push('\\');
        out.push(kind);
        return;
    }
    let first = digits(letters);
    let Some(unit) = u16::from_str_radix(&first, 16).ok() else {
        out.push_str("\\u");
        out.push_str(&first);
        return;
    };
    let mut units = vec![unit];
    let mut tail = String::new();
    if (0xD800..0xDC00).contains(&unit) {
        let mut ahead = letters.clone();
        if ahead.next() == Some('\\') && ahead.next() == Some('u') {
            tail = digits(&mut ahead);
            units.extend(u16::from_str_radix(&tail, 16).ok());
            *letters = ahead;
        }
    }
    match String::from_utf16(&units).ok() {
        Some(read) if !read.contains(['"', '\\']) && read.chars().all(|it| it >= ' ') => {
            out.push_str(&read);
        }
        _ => {
            out.push_str("\\u");
            out.push_str(&first);
            if !tail.is_empty() {
                out.push_str("\\u");
                out.push_str(&tail);
            }
        }
    }
}

fn digits(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    letters.by_ref().take(4).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(laid_out(text), expected);
    }

    #[test]
    fn json_is_laid_out_and_keeps_every_digit() {
        check(
            r#"{"b":1.10,"a":[1e400,{}],"c":"x\ny"}"#,
            "{\n  \"b\": 1.10,\n  \"a\": [\n    1e400,\n    {}\n  ],\n  \"c\": \"x\\ny\"\n}",
        );
        check("{ } ", "{}");
        check("no json {", "no json {");
        check("\"alone\"", "\"alone\"");
    }

    #[test]
    fn escapes_are_read_and_what_they_hide_is_seen() {
        check(
            r#"{"a":"\u00e9\ud83d\ude00"}"#,
            "{\n  \"a\": \"\u{e9}\u{1f600}\"\n}",
        );
        check(
            r#"{"a":"\u0022\u0000\ud800"}"#,
            "{\n  \"a\": \"\\u0022\\u0000\\ud800\"\n}",
        );
        let hidden = laid_out(r#"{"to":"a\u202eb"}"#).into_owned();
        assert_eq!(
            crate::visible::spelled(&hidden),
            "{\n  \"to\": \"a<U+202E>b\"\n}"
        );
    }

    #[test]
    fn what_is_nested_too_deep_or_becomes_too_long_stands_as_it_is() {
        let deep = "[".repeat(40_000) + &"]".repeat(40_000);
        check(&deep, &deep);
        let allowed = "[".repeat(JSON_DEPTH_MAX) + "1" + &"]".repeat(JSON_DEPTH_MAX);
        assert!(laid_out(&allowed).len() > allowed.len());
        let over = format!("[{allowed}]");
        check(&over, &over);
        let inside = "[".repeat(90) + &"1,".repeat(1 << 20) + "1" + &"]".repeat(90);
        check(&inside, &inside);
    }

    proptest! {
        #[test]
        fn what_is_laid_out_means_the_same(text in "[ -~]{0,12}", number in any::<i64>()) {
            let value = serde_json::json!({"a": [text, number, null], "b": {}, (text.as_str()): [[]]});
            let again: Value = serde_json::from_str(&indented(&value.to_string()).unwrap()).unwrap();
            prop_assert_eq!(again, value);
        }
    }
}
