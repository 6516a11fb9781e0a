//! Keeps a secret that somebody wrote into `exeat.toml` out of every message: its characters are replaced before the file
//! is checked, so that no caret can point at them. Places stay the same, as each byte becomes one `*`.

use std::ops::Range;

use exeat_types::{Report, Source, config::Document};

/// What a reference to a secret begins with.
const SCHEMES: [&str; 4] = ["sealed:", "keyring:", "env:", "cmd:"];

/// Keys of a credential whose values are shown in messages.
const PLAIN_KEYS: [&str; 7] = [
    "kind", "hosts", "header", "query", "username", "env", "shape",
];

/// Keys that suggest a secret wherever they stand, for files that do not parse.
const SECRET_KEYS: [&str; 6] = [
    "secret",
    "token",
    "password",
    "passphrase",
    "api-key",
    "key",
];

/// Whether a text names a secret rather than being one.
pub(super) fn is_reference(text: &str) -> bool {
    SCHEMES.iter().any(|scheme| {
        text.strip_prefix(scheme)
            .is_some_and(|rest| !rest.trim().is_empty())
    })
}

/// The same text with everything that may be a secret replaced by `*`.
pub(super) fn without_secrets(source: &Source) -> Source {
    let mut report = Report::new();
    let document = Document::parse(source, &mut report);
    let mut spans = Vec::new();
    let credentials = document
        .root()
        .get("credentials")
        .and_then(|item| item.table(&mut report));
    for (_, _, item) in credentials.map(|table| table.entries()).unwrap_or_default() {
        let Some(credential) = item.table(&mut report) else {
            continue;
        };
        for (key, _, value) in credential.entries() {
            let named = value.text(&mut report).is_some_and(is_reference);
            if !PLAIN_KEYS.contains(&key) && !named {
                spans.push(value.span());
            }
        }
    }
    spans.extend(suspect_lines(&source.text));
    spans.extend(user_informations(&source.text));
    let mut text = source.text.as_bytes().to_vec();
    for span in spans {
        for byte in text.get_mut(span).into_iter().flatten() {
            if !matches!(byte, b'"' | b'\'' | b'\n' | b'\r') {
                *byte = b'*';
            }
        }
    }
    Source::new(&source.name, &String::from_utf8_lossy(&text))
}

/// What stands between `://` and `@`: a name and a password, in a URL that should hold none.
fn user_informations(text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut from = 0_usize;
    for piece in text.split_inclusive("://") {
        let end_of = |piece: &str| piece.find(|c: char| "/?#\"' \t\r\n".contains(c));
        let authority = end_of(piece).map_or(piece, |end| piece.get(..end).unwrap_or(piece));
        if let Some(at) = authority.rfind('@').filter(|_| from > 0) {
            spans.push(from..from.saturating_add(at));
        }
        from = from.saturating_add(piece.len());
    }
    spans
}

/// The right-hand sides of `secret = ...` lines that hold no reference, whether or not the file parses.
fn suspect_lines(text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut start = 0_usize;
    for line in text.split_inclusive('\n') {
        if let Some((key, value)) = line.split_once('=') {
            let bare = value.trim().trim_matches(['"', '\'']);
            if SECRET_KEYS.contains(&key.trim()) && !is_reference(bare) {
                let begin = start.saturating_add(key.len()).saturating_add(1);
                let blank = value.len().saturating_sub(value.trim_start().len());
                let end = begin.saturating_add(value.trim_end().len());
                spans.push(begin.saturating_add(blank)..end);
            }
        }
        start = start.saturating_add(line.len());
    }
    spans
}
