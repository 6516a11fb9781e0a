//! WebSocket frames: no message brings a secret out, and byte by byte the answer is as for the whole.
#![cfg_attr(fuzzing, no_main)]

use std::sync::{Arc, OnceLock};

use exeat_custody::{
    Custody, Live, Watch,
    redact::{Deflate, Patterns, TextRules, Unsafe, WebSocketScrubber, WebSocketWatch},
};
use exeat_types::Secret;

const SECRET: &[u8] = b"CANARY-fuzz-frames";

/// Takes the bytes as frames from a server, and as frames from a client, with compression and without.
pub(crate) fn run(bytes: &[u8]) {
    static PATTERNS: OnceLock<Option<Arc<Patterns>>> = OnceLock::new();
    static WATCH: OnceLock<Option<Arc<Watch>>> = OnceLock::new();
    let Some(patterns) = PATTERNS.get_or_init(compiled) else {
        return;
    };
    let Some(watch) = WATCH.get_or_init(watch) else {
        return;
    };
    for deflate in [Deflate::Off, Deflate::On] {
        from_server(patterns, deflate, bytes);
        let look = |size: usize| {
            let mut frames = WebSocketWatch::new(Arc::clone(watch), deflate);
            bytes.chunks(size).try_for_each(|chunk| frames.push(chunk))
        };
        assert_eq!(look(usize::MAX), look(1));
    }
}

fn watch() -> Option<Arc<Watch>> {
    let key = Secret::new(b"CANARY-fuzz-placeholder-key-0001".to_vec());
    let custody = Custody::build(Vec::new(), &[], &key, &Live::new().ok()?).ok()?;
    Some(custody.watch())
}

fn from_server(patterns: &Arc<Patterns>, deflate: Deflate, bytes: &[u8]) {
    let scrub = |size: usize| -> (Vec<u8>, Result<(), Unsafe>) {
        let rules = TextRules::default();
        let mut scrubber = WebSocketScrubber::with_rules(Arc::clone(patterns), &rules, deflate);
        let mut out = Vec::new();
        let end = bytes
            .chunks(size)
            .try_for_each(|chunk| scrubber.push(chunk, &mut out));
        (out, end)
    };
    let (whole, single) = (scrub(usize::MAX), scrub(1));
    assert_eq!(whole.1, single.1);
    // Long payloads go out in fragments, which depend on how they came.
    if bytes.len() < 60_000 && deflate == Deflate::Off {
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
