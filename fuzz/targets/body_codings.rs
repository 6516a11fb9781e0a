//! Content codings: a body gives the same clean bytes, or fails, however it is cut.
#![cfg_attr(fuzzing, no_main)]

use std::sync::{Arc, OnceLock};

use exeat_custody::redact::{BodyScrubber, Patterns, Unsafe};
use exeat_types::Secret;

const CODINGS: [&str; 6] = ["gzip", "deflate", "br", "zstd", "br, gzip", "identity"];

const SECRET: &[u8] = b"CANARY-fuzz-codings";

/// The first byte picks the coding, the second the size of the chunks.
pub(crate) fn run(bytes: &[u8]) {
    static PATTERNS: OnceLock<Option<Arc<Patterns>>> = OnceLock::new();
    let [coding, size, body @ ..] = bytes else {
        return;
    };
    let coding = CODINGS.get(usize::from(*coding) % CODINGS.len()).copied();
    let Some(patterns) = PATTERNS.get_or_init(compiled) else {
        return;
    };
    let scrub = |size: usize| -> Result<Vec<u8>, Unsafe> {
        let mut scrubber = BodyScrubber::new(Arc::clone(patterns), coding)?;
        let mut out = Vec::new();
        for chunk in body.chunks(size) {
            scrubber.push(chunk, &mut out)?;
        }
        scrubber.finish(&mut out)?;
        assert!(!out.windows(SECRET.len()).any(|window| window == SECRET));
        Ok(out)
    };
    let (whole, cut) = (scrub(usize::MAX), scrub(usize::from(*size) + 1));
    // How far content may grow is judged by what has come, so a bomb may be seen sooner in smaller pieces.
    let bomb = |result: &Result<Vec<u8>, Unsafe>| matches!(result, Err(Unsafe::Expanding(_)));
    assert!(bomb(&whole) || bomb(&cut) || whole.is_err() == cut.is_err());
    if let (Ok(whole), Ok(cut)) = (whole, cut) {
        assert_eq!(whole, cut);
    }
}

fn compiled() -> Option<Arc<Patterns>> {
    let secret = Secret::new(SECRET.to_vec());
    let patterns = Patterns::compile(&[("name", &secret)], &[]);
    patterns.ok().map(Arc::new)
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
