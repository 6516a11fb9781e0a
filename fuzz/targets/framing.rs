//! HTTP/1.1 framing: a head means the same however its bytes arrive, and a body ends in one place.
#![cfg_attr(fuzzing, no_main)]

// Built in by itself when fuzzing: the rest of the front door would only be slow to instrument.
#[cfg(not(fuzzing))]
use exeat_proxy::framing;
#[cfg(fuzzing)]
#[path = "../../proxy/src/framing/mod.rs"]
#[allow(dead_code, unused_imports, reason = "only its parsers are called here")]
mod framing;

use framing::{Body, Head, Limits, parse};

const LIMITS: Limits = Limits {
    head_bytes_max: 2048,
    fields_max: 16,
    target_bytes_max: 512,
};

/// Parses the bytes as a request head with a body behind it.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(Some(head)) = parse(bytes, &LIMITS) else {
        return;
    };
    assert!(head.bytes <= bytes.len());
    let (own, rest) = bytes.split_at(head.bytes);
    assert_eq!(parse(own, &LIMITS).as_ref(), Ok(&Some(head.clone())));
    let short = own.split_last().map(|(_, short)| parse(short, &LIMITS));
    assert_eq!(
        short,
        Some(Ok(None)),
        "a head is complete with its last byte"
    );
    assert_eq!(body_end(&head, rest, usize::MAX), body_end(&head, rest, 1));
}

/// Where the body ends and whether it does, read in pieces of a size; `None` when its grammar is broken.
fn body_end(head: &Head, bytes: &[u8], size: usize) -> Option<(usize, bool)> {
    let mut body = Body::new(head.framing);
    let mut at = 0;
    while let Some(rest) = bytes
        .get(at..)
        .filter(|rest| !rest.is_empty() && !body.is_done())
    {
        let piece = rest.get(..size.min(rest.len()))?;
        at += body.advance(piece).ok()?;
    }
    Some((at, body.is_done()))
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
