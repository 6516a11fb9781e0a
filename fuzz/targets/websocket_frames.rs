//! WebSocket frames: no message brings a secret out, and byte by byte the answer is as for the whole.
#![cfg_attr(fuzzing, no_main)]

use std::sync::{Arc, OnceLock};

use exeat_custody::redact::{Patterns, Unsafe, WebSocketScrubber};
use exeat_types::Secret;

const SECRET: &[u8] = b"CANARY-fuzz-frames";

/// Takes the bytes as frames from a server.
pub(crate) fn run(bytes: &[u8]) {
    static PATTERNS: OnceLock<Option<Arc<Patterns>>> = OnceLock::new();
    let Some(patterns) = PATTERNS.get_or_init(compiled) else {
        return;
    };
    let scrub = |size: usize| -> (Vec<u8>, Result<(), Unsafe>) {
        let mut scrubber = WebSocketScrubber::new(Arc::clone(patterns));
        let mut out = Vec::new();
        let end = bytes
            .chunks(size)
            .try_for_each(|chunk| scrubber.push(chunk, &mut out));
        (out, end)
    };
    let (whole, single) = (scrub(usize::MAX), scrub(1));
    assert_eq!(whole.1, single.1);
    if bytes.len() < 60_000 {
        assert_eq!(whole.0, single.0);
    }
    check_messages(&whole.0);
}

/// Reads the frames that came out: they are whole, and no control frame and no message holds the secret.
fn check_messages(mut frames: &[u8]) {
    let mut message = Vec::new();
    while !frames.is_empty() {
        let read = frame(frames);
        assert!(read.is_some(), "a broken frame came out");
        let Some((first, payload, rest)) = read else {
            return;
        };
        frames = rest;
        if first & 8 != 0 {
            assert!(!holds_secret(payload));
            continue;
        }
        message.extend_from_slice(payload);
        if first & 0x80 != 0 {
            assert!(!holds_secret(&message));
            message.clear();
        }
    }
    assert!(!holds_secret(&message));
}

/// The first byte, the payload, and what comes behind the frame.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (first, length, rest) = match bytes {
        [first, 126, rest @ ..] => {
            let (length, rest) = rest.split_first_chunk()?;
            (first, u64::from(u16::from_be_bytes(*length)), rest)
        }
        [first, 127, rest @ ..] => {
            let (length, rest) = rest.split_first_chunk()?;
            (first, u64::from_be_bytes(*length), rest)
        }
        [first, length, rest @ ..] => (first, u64::from(*length), rest),
        _ => return None,
    };
    let (payload, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((*first, payload, rest))
}

fn holds_secret(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET)
}

fn compiled() -> Option<Arc<Patterns>> {
    let secret = Secret::new(SECRET.to_vec());
    let patterns = Patterns::compile(&[("name", &secret)], &[]);
    patterns.ok().map(Arc::new)
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
