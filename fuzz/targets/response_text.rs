//! What a tool asks of its texts: however a text is cut, the same comes out; no secret, no hidden control, no held rest.
#![cfg_attr(fuzzing, no_main)]

use std::sync::{Arc, OnceLock};

use exeat_custody::redact::{
    BodyRules, BodyScrubber, DeltaPath, Hidden, Looking, Patterns, Pieces, PiiKind, TextRules,
    Written,
};
use exeat_types::Secret;

const SECRET: &str = "CANARY-fuzz-text";

/// The first byte is the size of the chunks, the second says how the text is written and whether it is a stream of deltas.
pub(crate) fn run(bytes: &[u8]) {
    static PATTERNS: OnceLock<Option<Arc<Patterns>>> = OnceLock::new();
    let Some(patterns) = PATTERNS.get_or_init(compiled) else {
        return;
    };
    let [size, kind, text @ ..] = bytes else {
        return;
    };
    let rules = rules(*kind);
    let whole = clean(patterns, &rules, text, usize::MAX);
    assert_eq!(whole, clean(patterns, &rules, text, usize::from(*size) + 1));
    let Some(whole) = whole else { return };
    let secret = SECRET.as_bytes();
    assert!(!whole.windows(secret.len()).any(|window| window == secret));
    assert!(!whole.contains(&0x1b), "a terminal control came out");
}

fn rules(kind: u8) -> BodyRules {
    let written = match kind % 4 {
        0 => Written::Plain,
        1 => Written::Markup,
        _ => Written::Json,
    };
    let paths = || vec![DeltaPath::of_pointer("/d"), DeltaPath::of_pointer("/c/t")];
    BodyRules {
        text: TextRules {
            pii: PiiKind::ALL.to_vec(),
            hidden: Hidden::Strip,
            markers: Looking::On,
        },
        written,
        deltas: match kind & 0xc0 {
            0x40 => Some((Pieces::Events, paths())),
            0x80 => Some((Pieces::Lines, paths())),
            _ => None,
        },
        bytes_max: None,
    }
}

fn compiled() -> Option<Arc<Patterns>> {
    let secret = Secret::new(SECRET.as_bytes().to_vec());
    let patterns = Patterns::compile(&[("name", &secret)], &[]);
    patterns.ok().map(Arc::new)
}

fn clean(patterns: &Arc<Patterns>, rules: &BodyRules, text: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut scrubber = BodyScrubber::with_rules(Arc::clone(patterns), None, rules).ok()?;
    let mut out = Vec::new();
    for chunk in text.chunks(size) {
        scrubber.push(chunk, &mut out).ok()?;
    }
    scrubber.finish(&mut out).ok()?;
    assert_eq!(scrubber.held(), 0);
    Some(out)
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
