//! The redactor: however the text is cut, the same bytes come out, and no secret among them.
#![cfg_attr(fuzzing, no_main)]

use std::sync::{Arc, OnceLock};

use exeat_custody::redact::{Patterns, Stream};
use exeat_types::Secret;

const SECRETS: [&str; 4] = [
    "CANARY-fuzz-0001",
    "CANARY/fuzz+2=",
    "CANARYf3",
    "CANARY\"fuzz\\four%5&amp;six",
];
const PLACEHOLDER: &str = "ghp_PLACEHOLDERPLACEHOLDERPLACEHOLDER0000";

/// The first byte is the size of the chunks; in the text, a byte below 4 stands for a secret and 4 for a placeholder.
pub(crate) fn run(bytes: &[u8]) {
    static PATTERNS: OnceLock<Option<Arc<Patterns>>> = OnceLock::new();
    let Some(patterns) = PATTERNS.get_or_init(compiled) else {
        return;
    };
    let Some((size, text)) = bytes.split_first() else {
        return;
    };
    let text: Vec<u8> = text.iter().flat_map(written).collect();
    let whole = redact(patterns, &text, usize::MAX);
    assert_eq!(whole, redact(patterns, &text, usize::from(*size) + 1));
    for secret in SECRETS {
        assert!(
            !whole
                .windows(secret.len())
                .any(|window| window == secret.as_bytes())
        );
    }
}

fn compiled() -> Option<Arc<Patterns>> {
    let secrets = SECRETS.map(|secret| Secret::new(secret.as_bytes().to_vec()));
    let named: Vec<(&str, &Secret)> = ["a", "b", "c", "d"].into_iter().zip(&secrets).collect();
    Patterns::compile(&named, &[PLACEHOLDER]).ok().map(Arc::new)
}

fn written(byte: &u8) -> Vec<u8> {
    match (SECRETS.get(usize::from(*byte)), byte) {
        (Some(secret), _) => secret.as_bytes().to_vec(),
        (None, 4) => PLACEHOLDER.as_bytes().to_vec(),
        (None, byte) => vec![*byte],
    }
}

fn redact(patterns: &Arc<Patterns>, text: &[u8], size: usize) -> Vec<u8> {
    let mut stream = Stream::new(Arc::clone(patterns));
    let mut out = Vec::new();
    for chunk in text.chunks(size) {
        stream.push(chunk, &mut out);
    }
    stream.finish(&mut out);
    out
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
