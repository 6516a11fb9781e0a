//! Redaction seen from outside: random secrets, planted by encoders that are not ours, in text cut anywhere.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{fmt::Write as _, sync::Arc};

use base64::{Engine as _, engine::general_purpose};
use exeat_custody::redact::{BodyScrubber, Formats, Patterns, Stream};
use exeat_types::Secret;
use proptest::prelude::*;

fn compiled(secrets: &[&[u8]]) -> Arc<Patterns> {
    let secrets: Vec<Secret> = secrets
        .iter()
        .map(|bytes| Secret::new(bytes.to_vec()))
        .collect();
    let named: Vec<(&str, &Secret)> = secrets.iter().map(|secret| ("name", secret)).collect();
    Arc::new(Patterns::compile(&named, &[]).unwrap())
}

fn redact(patterns: &Arc<Patterns>, text: &[u8], chunk: usize) -> Vec<u8> {
    let mut stream = Stream::with_formats(Arc::clone(patterns), Formats::Keep);
    let mut out = Vec::new();
    for piece in text.chunks(chunk) {
        stream.push(piece, &mut out);
    }
    stream.finish(&mut out);
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn base32(bytes: &[u8]) -> String {
    let letters: Vec<char> = ('A'..='Z').chain('2'..='7').collect();
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let padded = |chunk: &[u8]| format!("{:0<5}", String::from_utf8_lossy(chunk));
    let chunks = bits.as_bytes().chunks(5).map(padded);
    chunks
        .map(|five| letters[usize::from_str_radix(&five, 2).unwrap()])
        .collect()
}

/// The secret as encoders write it, each with something before it and behind it.
fn written(secret: &str) -> Vec<String> {
    let percent = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let json = |text: &str| serde_json::to_string(text).unwrap();
    let mut all = vec![
        secret.to_owned(),
        hex(secret.as_bytes()),
        hex(secret.as_bytes()).to_uppercase(),
        percent(secret),
        percent(secret).to_lowercase(),
        percent(&percent(secret)),
        json(secret),
        json(&json(secret)),
        percent(&json(secret)),
        secret
            .chars()
            .map(|c| format!("\\u{:04x}", u32::from(c)))
            .collect(),
        secret
            .chars()
            .map(|c| format!("&#{};", u32::from(c)))
            .collect(),
        secret
            .replace('&', "&amp;")
            .replace('"', "&quot;")
            .replace('<', "&lt;"),
    ];
    for before in ["", "u", "us", "user", "user:"] {
        let text = format!("{before}{secret}--");
        all.push(general_purpose::STANDARD.encode(&text));
        all.push(general_purpose::URL_SAFE_NO_PAD.encode(&text));
        all.push(percent(&general_purpose::STANDARD.encode(&text)));
        all.push(base32(text.as_bytes()));
    }
    all
}

/// A case-mixed form is only lower-cased above where that keeps its meaning.
fn keeps_case(secret: &str) -> bool {
    !secret.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// Such a secret is undone together with what is around it, and only what is left of it can be found.
fn reads_escaped(secret: &str) -> bool {
    let percent = |part: &str| part.bytes().take_while(u8::is_ascii_hexdigit).count() >= 2;
    secret.contains('\\') || secret.split('%').skip(1).any(percent)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_planted_secret_never_comes_out(
        secret in "[!-~]{8,90}".prop_filter("reads like escapes", |secret| !reads_escaped(secret)),
        before in "[ -~]{0,30}",
        chunk in 1usize..40,
    ) {
        let patterns = compiled(&[secret.as_bytes()]);
        for form in written(&secret).into_iter().filter(|form| keeps_case(&secret) || *form != form.to_lowercase()) {
            let text = format!("{before}\n{form}\nrest");
            let out = redact(&patterns, text.as_bytes(), chunk);
            let out = String::from_utf8(out).unwrap();
            prop_assert!(out.contains("[redacted:name]"), "{form}");
            // What is left around the marker is an edge shared with neighbours, or quotes.
            let left = out.lines().nth(1).unwrap_or_default().replace("[redacted:name]", "");
            prop_assert!(left.len() <= 24, "{left} is left of {form}");
        }
    }

    #[test]
    fn text_without_secrets_is_unchanged_byte_for_byte(
        text in prop::collection::vec(any::<u8>(), 0..2000),
        chunk in 1usize..100,
    ) {
        let patterns = compiled(&[b"CANARY-outside-0001", b"CANARY-out/2"]);
        prop_assert_eq!(redact(&patterns, &text, chunk), text);
    }

    #[test]
    fn random_bytes_as_a_body_never_panic_and_never_pass_undecoded(
        body in prop::collection::vec(any::<u8>(), 1..300),
        coding in prop::sample::select(vec!["gzip", "deflate", "br", "zstd", "br, gzip"]),
    ) {
        let mut scrubber = BodyScrubber::new(compiled(&[]), Some(coding)).unwrap();
        let mut out = Vec::new();
        let pushed = scrubber.push(&body, &mut out).and_then(|()| scrubber.finish(&mut out));
        prop_assert!(pushed.is_err() || out != body);
    }
}

#[test]
fn every_event_of_a_stream_leaves_as_soon_as_it_comes() {
    let mut stream = Stream::new(compiled(&[b"CANARY-outside-0001", b"data: \"CANARY\""]));
    for number in 0..100 {
        let event = format!("id: {number}\ndata: {{\"delta\":\"CANARY-outside-000\"}}\n\n");
        let mut out = Vec::new();
        stream.push(event.as_bytes(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), event);
    }
}

#[test]
fn a_private_key_of_many_lines_is_found_line_by_line_and_inside_base64() {
    let line = |n: u8| format!("CANARY{}", char::from(b'a' + n).to_string().repeat(58));
    let lines: Vec<String> = (0..6).map(line).collect();
    let key = format!(
        "-----BEGIN X KEY-----\n{}\n-----END X KEY-----\n",
        lines.join("\n")
    );
    let patterns = compiled(&[key.as_bytes()]);
    for text in [
        key.clone(),
        serde_json::to_string(&key).unwrap(),
        general_purpose::STANDARD.encode(&key),
    ] {
        let out = String::from_utf8(redact(&patterns, text.as_bytes(), 50)).unwrap();
        let inner = general_purpose::STANDARD.encode(&lines[3]);
        assert!(
            !out.contains("CANARY") && !out.contains(inner.get(8..40).unwrap()),
            "{out}"
        );
    }
}

#[test]
fn a_part_of_a_long_secret_is_found_from_47_bytes_on() {
    let secret: String = (0..400u32)
        .filter_map(|n| char::from_digit(n * n % 31 % 36, 36))
        .collect();
    let patterns = compiled(&[secret.as_bytes()]);
    for from in 0..secret.len() - 47 {
        let out = redact(&patterns, &secret.as_bytes()[from..from + 47], 1000);
        assert!(
            out.starts_with(b"[redacted") || out.ends_with(b"]") || out.contains(&b'['),
            "{from}"
        );
    }
}
