//! Every row of the table of encodings: a secret written so never comes through, wherever the text is cut.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{fmt::Write as _, sync::Arc};

use base64::{Engine as _, engine::general_purpose};
use exeat_custody::redact::{Formats, Patterns, Stream};
use exeat_types::Secret;

/// Characters that encodings treat differently.
const SECRET: &str = "CANARY-table/0001+\"x\\y&z<=>_%~";

fn each(secret: &str, write: impl Fn(char) -> String) -> String {
    secret.chars().map(write).collect()
}

fn bytes(secret: &str, write: impl Fn(&mut String, u8)) -> String {
    secret.bytes().fold(String::new(), |mut text, byte| {
        write(&mut text, byte);
        text
    })
}

fn base32(secret: &[u8], letters: &[u8; 32]) -> String {
    let bits = secret.iter().fold(String::new(), |mut bits, byte| {
        write!(bits, "{byte:08b}").unwrap();
        bits
    });
    let bits: Vec<char> = bits.chars().collect();
    let letter = |five: &[char]| {
        let padded: String = five
            .iter()
            .copied()
            .chain("00000".chars())
            .take(5)
            .collect();
        char::from(letters[usize::from_str_radix(&padded, 2).unwrap()])
    };
    bits.chunks(5).map(letter).collect()
}

fn json_text(text: &str) -> String {
    let written = serde_json::to_string(text).unwrap();
    let inner = written
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap().to_owned()
}

/// The secret within longer text, at every alignment.
fn aligned(percent: impl Fn(&str) -> String) -> Vec<(&'static str, String)> {
    const UPPER: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut rows = Vec::new();
    for before in ["", "x", "xy"] {
        let inside = format!("{before}{SECRET}zz");
        rows.push(("base64", general_purpose::STANDARD.encode(&inside)));
        rows.push((
            "base64url",
            general_purpose::URL_SAFE_NO_PAD.encode(&inside),
        ));
        rows.push((
            "base64 in percent",
            percent(&general_purpose::STANDARD.encode(&inside)),
        ));
    }
    for before in ["", "x", "xy", "xyz", "xyzw"] {
        let inside = format!("{before}{SECRET}zz");
        rows.push(("base32", base32(inside.as_bytes(), UPPER)));
        rows.push((
            "base32, lower case",
            base32(inside.as_bytes(), UPPER).to_lowercase(),
        ));
    }
    rows
}

fn named(c: char) -> String {
    match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        '/' => "&sol;".to_owned(),
        '+' => "&plus;".to_owned(),
        '=' => "&equals;".to_owned(),
        '_' => "&lowbar;".to_owned(),
        c => c.to_string(),
    }
}

/// The secret within text of each row.
fn rows() -> Vec<(&'static str, Vec<u8>)> {
    let unicode = |text: &str| each(text, |c| format!("\\u{:04x}", u32::from(c)));
    let percent = |text: &str| bytes(text, |out, byte| write!(out, "%{byte:02X}").unwrap());
    let mut rows: Vec<(&'static str, String)> = vec![
        ("raw", SECRET.to_owned()),
        (
            "hex",
            bytes(SECRET, |out, byte| write!(out, "{byte:02x}").unwrap()),
        ),
        (
            "hex, upper case",
            bytes(SECRET, |out, byte| write!(out, "{byte:02X}").unwrap()),
        ),
        ("percent", percent(SECRET)),
        (
            "percent, lower case",
            bytes(SECRET, |out, byte| write!(out, "%{byte:02x}").unwrap()),
        ),
        ("percent twice", percent(&percent(SECRET))),
        (
            "percent of percent signs",
            percent(SECRET).replace('%', "%25"),
        ),
        ("JSON", json_text(SECRET)),
        ("JSON twice", json_text(&json_text(SECRET))),
        ("JSON with \\/", json_text(SECRET).replace('/', "\\/")),
        ("\\u", unicode(SECRET)),
        ("\\u twice", unicode(SECRET).replace('\\', "\\\\")),
        ("\\u of \\u", unicode(&unicode(SECRET))),
        (
            "\\x",
            bytes(SECRET, |out, byte| write!(out, "\\x{byte:02x}").unwrap()),
        ),
        (
            "HTML, decimal",
            each(SECRET, |c| format!("&#{};", u32::from(c))),
        ),
        (
            "HTML, hexadecimal",
            each(SECRET, |c| format!("&#x{:x};", u32::from(c))),
        ),
        ("HTML, named", each(SECRET, named)),
        ("HTML in JSON", json_text(&each(SECRET, named))),
        ("percent of JSON", percent(&json_text(SECRET))),
    ];
    rows.extend(aligned(percent));
    let mut all: Vec<(&'static str, Vec<u8>)> = rows
        .into_iter()
        .map(|(name, text)| (name, text.into_bytes()))
        .collect();
    let wide = |order: fn(u16) -> [u8; 2]| SECRET.encode_utf16().flat_map(order).collect();
    all.push(("UTF-16, little endian", wide(u16::to_le_bytes)));
    all.push(("UTF-16, big endian", wide(u16::to_be_bytes)));
    all
}

fn compiled() -> Arc<Patterns> {
    let secret = Secret::new(SECRET.as_bytes().to_vec());
    Arc::new(Patterns::compile(&[("table", &secret)], &[]).unwrap())
}

fn redact(patterns: &Arc<Patterns>, chunks: &[&[u8]]) -> Vec<u8> {
    let mut stream = Stream::with_formats(Arc::clone(patterns), Formats::Redact);
    let mut out = Vec::new();
    for chunk in chunks {
        stream.push(chunk, &mut out);
    }
    stream.finish(&mut out);
    out
}

#[test]
fn no_row_comes_through_at_any_cut() {
    let patterns = compiled();
    for (name, written) in rows() {
        // Letters of the encodings themselves around it, as it would stand in a longer text.
        let text = [b"{\"a\":\"".as_slice(), &written, b"\",\"b\":1}"].concat();
        let whole = redact(&patterns, &[&text]);
        let shown = String::from_utf8_lossy(&whole).into_owned();
        assert!(shown.contains("[redacted:table]"), "{name}: {shown}");
        // Besides the text around it, only characters that encode its neighbours are left: ten of them, three bytes each.
        let marker = "[redacted:table]".len();
        assert!(whole.len() <= 6 + 10 + marker + 30, "{name}: {shown}");
        for cut in 1..text.len() {
            let (one, other) = text.split_at(cut);
            assert_eq!(
                redact(&patterns, &[one, other]),
                whole,
                "{name}, cut at {cut}"
            );
        }
        let single: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(redact(&patterns, &single), whole, "{name}, byte by byte");
    }
}
