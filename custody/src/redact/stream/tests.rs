//! The streaming redactor against a naive model that sees the whole text, tries every pattern at every place and merges.

use std::ops::Range;

use base64::{Engine as _, engine::general_purpose};
use exeat_types::Secret;
use proptest::prelude::*;

use super::*;
use crate::redact::encodings;

const SECRETS: [&str; 6] = [
    "CANARY-redact-plain-0001",
    "CANARY/redact+0002==",
    "CANARY\"a\\b%c&d",
    "CANARYe1",
    "CANARY-\u{e9}\u{1f600}-0003",
    "CANARY-long-0004-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ-0123456789-end",
];
const PLACEHOLDER: &str = "ghp_PLACEHOLDERPLACEHOLDERPLACEHOLDER0000";
const TOKEN: &str = "ghp_CANARYCANARYCANARYCANARYCANARYCANARY";

fn compiled() -> Arc<Patterns> {
    let secrets: Vec<Secret> = SECRETS
        .iter()
        .map(|s| Secret::new(s.as_bytes().to_vec()))
        .collect();
    let names = ["s0", "s1", "s2", "s3", "s4", "s5"];
    let named: Vec<(&str, &Secret)> = names.into_iter().zip(&secrets).collect();
    Arc::new(Patterns::compile(&named, &[PLACEHOLDER]).unwrap())
}

fn redact(patterns: &Arc<Patterns>, chunks: &[&[u8]]) -> Vec<u8> {
    let mut stream = Stream::new(Arc::clone(patterns));
    let mut out = Vec::new();
    for chunk in chunks {
        stream.push(chunk, &mut out);
    }
    stream.finish(&mut out);
    assert_eq!(stream.held(), 0);
    out
}

/// A byte of a text that may have been unescaped, and where it stands in the original.
type Byte = (u8, Range<usize>);

/// Undoes every escape, not only live ones, by the rules alone.
fn unescape(text: &[Byte]) -> Vec<Byte> {
    let bytes: Vec<u8> = text.iter().map(|(byte, _)| *byte).collect();
    let hex = |from: usize, count: usize| {
        let digits = std::str::from_utf8(bytes.get(from..from + count)?).ok()?;
        let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
        plain
            .then(|| u16::from_str_radix(digits, 16).ok())
            .flatten()
    };
    let entities = [
        ("amp", '&'),
        ("lt", '<'),
        ("gt", '>'),
        ("quot", '"'),
        ("apos", '\''),
        ("sol", '/'),
        ("plus", '+'),
        ("equals", '='),
        ("lowbar", '_'),
        ("colon", ':'),
    ];
    let entity = |from: usize| {
        let end = (from..bytes.len().min(from + 9)).find(|at| bytes[*at] == b';')?;
        let name = std::str::from_utf8(&bytes[from..end]).ok()?;
        let digits = |text: &str, radix| {
            let plain = !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
            plain
                .then(|| u16::from_str_radix(text, radix).ok())
                .flatten()
        };
        let code = match name
            .strip_prefix('#')
            .map(|n| (n, n.strip_prefix(['x', 'X'])))
        {
            Some((_, Some(hex))) => digits(hex, 16)?,
            Some((decimal, None)) => digits(decimal, 10)?,
            None => u16::try_from(u32::from(entities.iter().find(|(n, _)| *n == name)?.1)).ok()?,
        };
        Some((code, end + 1 - from))
    };
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let found = match (bytes[at], bytes.get(at + 1)) {
            (b'%', _) => hex(at + 1, 2).map(|code| (code, true, 3)),
            (b'&', _) => entity(at + 1).map(|(code, length)| (code, false, 1 + length)),
            (b'\\', Some(b'u')) => hex(at + 2, 4).map(|code| (code, false, 6)),
            (b'\\', Some(b'x')) => hex(at + 2, 2).map(|code| (code, true, 4)),
            (b'\\', Some(c)) => {
                let pairs = [
                    b"\"\"", b"\\\\", b"//", b"''", b"n\n", b"r\r", b"t\t", b"b\x08", b"f\x0c",
                ];
                let pair = pairs.iter().find(|pair| pair[0] == *c);
                pair.map(|pair| (u16::from(pair[1]), true, 2))
            }
            _ => None,
        };
        let (code, byte, length) = found.unwrap_or((u16::from(bytes[at]), true, 1));
        let place = text[at].1.start..text[at + length - 1].1.end;
        let mut unit = [0; 3];
        if byte {
            out.push((u8::try_from(code).unwrap(), place));
        } else {
            let written = encodings::unit_bytes(code, &mut unit);
            out.extend(written.iter().map(|b| (*b, place.clone())));
        }
        at += length;
    }
    out
}

/// All matches in the text, merged, replaced by a marker without a label.
fn model(text: &[u8]) -> Vec<u8> {
    let plain: Vec<Byte> = text
        .iter()
        .enumerate()
        .map(|(at, b)| (*b, at..at + 1))
        .collect();
    let once = unescape(&plain);
    let twice = unescape(&once);
    let mut hits: Vec<Range<usize>> = Vec::new();
    for view in [&plain, &once, &twice] {
        let bytes: Vec<u8> = view.iter().map(|(byte, _)| *byte).collect();
        for pattern in SECRETS
            .iter()
            .flat_map(|s| encodings::patterns(s.as_bytes()))
        {
            let places = bytes.windows(pattern.len()).enumerate();
            let found = places.filter(|(_, window)| *window == pattern.as_slice());
            hits.extend(found.map(|(at, _)| view[at].1.start..view[at + pattern.len() - 1].1.end));
        }
    }
    for at in 0..text.len() {
        let Some(body) = text[at..].strip_prefix(b"ghp_") else {
            continue;
        };
        let run = body
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric())
            .count();
        if run >= 36 && &text[at..at + 4 + run] != PLACEHOLDER.as_bytes() {
            hits.push(at..at + 4 + run);
        }
    }
    hits.sort_by_key(|hit| hit.start);
    let (mut out, mut at) = (Vec::new(), 0);
    for hit in hits {
        if hit.start >= at {
            out.extend_from_slice(&text[at..hit.start]);
            out.extend_from_slice(b"[redacted]");
        }
        at = at.max(hit.end);
    }
    out.extend_from_slice(&text[at..]);
    out
}

/// Replaces `[redacted:label]` by `[redacted]`.
fn without_labels(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(10).position(|window| window == b"[redacted:") {
        out.extend_from_slice(&rest[..at + 9]);
        let end = rest[at..].iter().position(|b| *b == b']').unwrap();
        rest = &rest[at + end..];
    }
    out.extend_from_slice(rest);
    out
}

fn percent(text: &str, mask: u64) -> String {
    let some = |(at, byte): (usize, u8)| match mask >> (at % 60) & 3 {
        0 => format!("%{byte:02x}"),
        1 => format!("%{byte:02X}"),
        _ if byte.is_ascii() && byte != b'%' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().enumerate().map(some).collect()
}

fn json(text: &str, mask: u64) -> String {
    let some = |(at, c): (usize, char)| match (c, mask >> (at % 60) & 3) {
        ('"', 2) => "\\\"".to_owned(),
        ('\\', 2) => "\\\\".to_owned(),
        ('/', 2) => "\\/".to_owned(),
        ('"' | '\\', _) | (_, 0) => c
            .encode_utf16(&mut [0; 2])
            .iter()
            .map(|unit| format!("\\u{unit:04x}"))
            .collect(),
        (_, 1) => c
            .encode_utf16(&mut [0; 2])
            .iter()
            .map(|unit| format!("\\u{unit:04X}"))
            .collect(),
        _ => c.to_string(),
    };
    text.chars().enumerate().map(some).collect()
}

fn html(text: &str, mask: u64) -> String {
    let some = |(at, c): (usize, char)| match (c, mask >> (at % 60) & 3) {
        (c, 0) if u32::from(c) < 0x10000 => format!("&#{};", u32::from(c)),
        (c, 1) if u32::from(c) < 0x10000 => format!("&#x{:X};", u32::from(c)),
        ('&', _) => "&amp;".to_owned(),
        ('"', _) => "&quot;".to_owned(),
        _ => c.to_string(),
    };
    text.chars().enumerate().map(some).collect()
}

/// A secret written in one of many ways.
fn written() -> impl Strategy<Value = Vec<u8>> {
    (0..SECRETS.len(), 0..14u8, any::<u64>(), any::<u64>()).prop_map(|(which, how, mask, other)| {
        let secret = SECRETS[which];
        let before = "xyz"
            .get(..usize::try_from(mask % 4).unwrap())
            .unwrap_or_default();
        let inside = format!("{before}{secret}z");
        match how {
            0 => general_purpose::STANDARD.encode(inside).into_bytes(),
            1 => general_purpose::URL_SAFE.encode(inside).into_bytes(),
            2 => secret
                .bytes()
                .map(|b| format!("{b:02x}"))
                .collect::<String>()
                .into_bytes(),
            3 => percent(secret, mask).into_bytes(),
            4 => percent(&percent(secret, mask), other).into_bytes(),
            5 => json(secret, mask).into_bytes(),
            6 => json(&json(secret, mask), other).into_bytes(),
            7 => html(secret, mask).into_bytes(),
            8 => json(&percent(secret, mask), other).into_bytes(),
            9 => percent(&json(secret, mask), other).into_bytes(),
            10 => percent(&general_purpose::STANDARD.encode(inside), mask).into_bytes(),
            11 => secret.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            12 => json(&html(secret, mask), other).into_bytes(),
            _ => secret.as_bytes().to_vec(),
        }
    })
}

/// Text that is full of secrets, halves of secrets, escapes and look-alikes.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let part = |(bytes, from, to): (Vec<u8>, usize, usize)| {
        let (from, to) = (from % bytes.len(), to % bytes.len());
        bytes[from.min(to)..from.max(to)].to_vec()
    };
    let piece = prop_oneof![
        4 => written(),
        3 => (written(), any::<usize>(), any::<usize>()).prop_map(part),
        2 => "[ -~]{0,20}".prop_map(String::into_bytes),
        2 => prop::sample::select(vec![
            "%", "%2", "\\", "\\u", "\\u00", "&", "&#", "&am", "%25", "\\\\", "\\n", "\n\n", "\\\"",
            "ghp_", "CANARY", "[redacted:s0]", "=", "%5C", "u0041", "\\u005c", "&amp;", "#x41;",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::sample::select(vec![TOKEN, PLACEHOLDER]).prop_map(|t| t.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..10),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn cut(text: &[u8], places: &[usize]) -> Vec<Vec<u8>> {
    let mut places: Vec<usize> = places
        .iter()
        .map(|place| place % (text.len() + 1))
        .collect();
    places.extend([0, text.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| text[pair[0]..pair[1]].to_vec())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn chunks_of_any_size_give_what_the_model_gives(
        text in text(),
        places in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let patterns = compiled();
        let chunks = cut(&text, &places);
        let borrowed: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        let out = redact(&patterns, &borrowed);
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        prop_assert_eq!(shown(&without_labels(&out)), shown(&without_labels(&model(&text))));
        prop_assert_eq!(out, redact(&patterns, &[&text]));
    }

    #[test]
    fn single_bytes_give_what_the_whole_gives(text in text()) {
        let patterns = compiled();
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        prop_assert_eq!(redact(&patterns, &bytes), redact(&patterns, &[&text]));
    }
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let patterns = compiled();
    for size in [1, 2, 3, 7, 1000] {
        let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
        let out = String::from_utf8_lossy(&redact(&patterns, &chunks)).into_owned();
        assert_eq!(out, expected, "chunks of {size}");
    }
}

#[test]
fn known_secrets_and_tokens_are_replaced_by_their_label() {
    check("a CANARY-redact-plain-0001 b", "a [redacted:s0] b");
    check("CANARYe1CANARYe1", "[redacted:s3][redacted:s3]");
    check("q=CANARY%2Fredact%2b0002%3d%3D&r", "q=[redacted:s1]&r");
    check(
        r#"{"t":"CANARY\/redact\u002B0002=="}"#,
        r#"{"t":"[redacted:s1]"}"#,
    );
    check(&format!("x {TOKEN}abc y"), "x [redacted:github-token] y");
    check(&format!("x {PLACEHOLDER} y"), &format!("x {PLACEHOLDER} y"));
    check(&format!("{PLACEHOLDER}X"), "[redacted:github-token]");
    check(SECRETS[5], "[redacted:s5]");
    check("CANARY-redact-plain-000", "CANARY-redact-plain-000");
}

#[test]
fn nothing_is_held_at_the_end_of_an_event() {
    let mut stream = Stream::new(compiled());
    let mut out = Vec::new();
    for event in [
        "data: {\"a\":\"CANARY-redact\"}\n\n",
        "data: CANARY%2\n\n",
        "data: ghp_abc\\u00\n\n",
    ] {
        out.clear();
        stream.push(event.as_bytes(), &mut out);
        assert_eq!((out.as_slice(), stream.held()), (event.as_bytes(), 0));
    }
}

#[test]
fn hits_count_markers_by_label() {
    let mut stream = Stream::new(compiled());
    let mut out = Vec::new();
    stream.push(b"CANARYe1 CANARY-redact-plain-0001 CANARYe", &mut out);
    stream.push(b"1", &mut out);
    stream.finish(&mut out);
    let hits: Vec<(&str, u64)> = stream.hits().iter().map(|(l, n)| (&**l, *n)).collect();
    assert_eq!(hits, [("s0", 1), ("s3", 2)]);
}

#[test]
fn formats_pass_when_kept() {
    let mut stream = Stream::with_formats(compiled(), Formats::Keep);
    let mut out = Vec::new();
    stream.push(TOKEN.as_bytes(), &mut out);
    stream.finish(&mut out);
    assert_eq!(out, TOKEN.as_bytes());
}
