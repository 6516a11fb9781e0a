//! Frames in and frames out, plain and compressed, in chunks of any size.

use std::sync::Arc;

use exeat_types::Secret;

use super::{super::Patterns, frame::BINARY, *};

fn scrubber() -> WebSocketScrubber {
    let secret = Secret::new(b"CANARY-frames-01".to_vec());
    WebSocketScrubber::new(Arc::new(Patterns::compile(&[("k", &secret)], &[]).unwrap()))
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write(first, payload, &mut out);
    out
}

#[track_caller]
fn check(frames: &[Vec<u8>], expected: &[Vec<u8>]) {
    let input = frames.concat();
    for size in [1, 2, 5, 1 << 20] {
        let (mut scrubber, mut out) = (scrubber(), Vec::new());
        for chunk in input.chunks(size) {
            scrubber.push(chunk, &mut out).unwrap();
        }
        assert_eq!(out, expected.concat(), "chunks of {size}");
    }
}

#[test]
fn payloads_are_redacted_and_lengths_rewritten() {
    check(
        &[frame(FINAL | TEXT, b"a CANARY-frames-01 b")],
        &[frame(FINAL | TEXT, b"a [redacted:k] b")],
    );
    check(&[frame(FINAL | BINARY, b"")], &[frame(FINAL | BINARY, b"")]);
    let long = [b"CANARY-frames-01".as_slice(), &[b'x'; 300]].concat();
    let clean = [b"[redacted:k]".as_slice(), &[b'x'; 300]].concat();
    check(
        &[frame(FINAL | BINARY, &long)],
        &[frame(FINAL | BINARY, &clean)],
    );
}

#[test]
fn a_secret_over_fragments_with_a_ping_between_is_found() {
    let input = [
        frame(TEXT, b"a CANARY-"),
        frame(FINAL | 9, b"CANARY-frames-01"),
        frame(CONTINUATION, b"frames"),
        frame(FINAL | CONTINUATION, b"-01 b"),
        frame(FINAL | TEXT, b"CANARY-"),
    ];
    let output = [
        frame(TEXT, b"a "),
        frame(FINAL | 9, b"[redacted:k]"),
        frame(CONTINUATION, b""),
        frame(FINAL | CONTINUATION, b"[redacted:k] b"),
        frame(FINAL | TEXT, b"CANARY-"),
    ];
    check(&input, &output);
}

#[test]
fn a_close_frame_keeps_its_code() {
    let input = [&[3u8, 232][..], b"bye CANARY-frames-01"].concat();
    let output = [&[3u8, 232][..], b"bye [redacted:k]"].concat();
    check(
        &[frame(FINAL | CLOSE, &input)],
        &[frame(FINAL | CLOSE, &output)],
    );
    check(&[frame(FINAL | CLOSE, b"")], &[frame(FINAL | CLOSE, b"")]);
    check(
        &[frame(FINAL | CLOSE, b"CANARY-frames-01")],
        &[frame(FINAL | CLOSE, b"")],
    );
}

#[test]
fn a_long_frame_goes_out_in_fragments_with_the_same_bytes() {
    let payload = vec![b' '; 200_000];
    let (mut scrubber, mut out) = (scrubber(), Vec::new());
    for chunk in frame(FINAL | BINARY, &payload).chunks(10_000) {
        scrubber.push(chunk, &mut out).unwrap();
    }
    assert!(out.len() > payload.len() && out[0] == BINARY);
    assert_eq!(
        out.iter().filter(|byte| **byte == b' ').count(),
        payload.len()
    );
}

#[test]
fn what_cannot_be_read_is_refused_and_stays_refused() {
    let cases: [&[u8]; 10] = [
        &[0xc1, 0],
        &[0x83, 0],
        &[0x81, 0x81],
        &[0x80, 0],
        &[0x01, 0, 0x81, 0],
        &[0x09, 0],
        &[0x89, 126],
        &[0x81, 126, 0, 5],
        &[0x81, 127, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x81, 127, 0xff, 0, 0, 0, 0, 0, 0, 0],
    ];
    for case in cases {
        let (mut scrubber, mut out) = (scrubber(), Vec::new());
        assert!(scrubber.push(case, &mut out).is_err(), "{case:x?}");
        assert!(scrubber.push(&[0x81, 0], &mut out).is_err(), "{case:x?}");
    }
}

/// A message as a server compresses it, with the window of the messages before.
fn deflated(encoder: &mut flate2::write::DeflateEncoder<Vec<u8>>, text: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let before = encoder.get_ref().len();
    encoder.write_all(text).unwrap();
    encoder.flush().unwrap();
    let message = encoder.get_ref().get(before..).unwrap();
    message.strip_suffix(&[0, 0, 0xff, 0xff]).unwrap().to_vec()
}

#[track_caller]
fn check_deflated(frames: &[Vec<u8>], expected: &[Vec<u8>]) {
    let secret = Secret::new(b"CANARY-frames-01".to_vec());
    let patterns = Arc::new(Patterns::compile(&[("k", &secret)], &[]).unwrap());
    for size in [1, 2, 5, 1 << 20] {
        let rules = TextRules::default();
        let (mut out, input) = (Vec::new(), frames.concat());
        let mut scrubber =
            WebSocketScrubber::with_rules(Arc::clone(&patterns), &rules, Deflate::On);
        for chunk in input.chunks(size) {
            scrubber.push(chunk, &mut out).unwrap();
        }
        assert_eq!(out, expected.concat(), "chunks of {size}");
    }
}

#[test]
fn compressed_messages_are_read_over_fragments_and_with_the_window_of_those_before() {
    let mut encoder =
        flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    let first = deflated(&mut encoder, b"hello CANARY-frames-01, hello");
    let second = deflated(&mut encoder, b"hello CANARY-frames-01, hello again");
    assert!(second.len() < 20, "it refers to the first");
    let (begin, end) = second.split_at(4);
    check_deflated(
        &[
            frame(FINAL | 0x40 | TEXT, &first),
            frame(0x40 | TEXT, begin),
            frame(FINAL | 9, b"ping"),
            frame(FINAL | CONTINUATION, end),
            frame(FINAL | BINARY, b"plain"),
        ],
        &[
            frame(FINAL | TEXT, b"hello [redacted:k], hello"),
            frame(TEXT, b"hello"),
            frame(FINAL | 9, b"ping"),
            frame(FINAL | CONTINUATION, b" [redacted:k], hello again"),
            frame(FINAL | BINARY, b"plain"),
        ],
    );
}

#[test]
fn a_compressed_message_may_end_its_stream() {
    use std::io::Write as _;
    let whole = |text: &[u8]| {
        let mut encoder =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        let mut out = encoder.finish().unwrap();
        out.push(0);
        frame(FINAL | 0x40 | TEXT, &out)
    };
    check_deflated(
        &[whole(b"a CANARY-frames-01"), whole(b"b CANARY-frames-01")],
        &[
            frame(FINAL | TEXT, b"a [redacted:k]"),
            frame(FINAL | TEXT, b"b [redacted:k]"),
        ],
    );
}

#[test]
fn a_compressed_message_that_explodes_or_is_none_is_refused() {
    use std::io::Write as _;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![0; 64 << 20]).unwrap();
    let bomb = encoder.finish().unwrap();
    for (payload, failure) in [
        (bomb, Unsafe::Expanding("permessage-deflate")),
        (vec![0xff; 9], Unsafe::Corrupt("permessage-deflate")),
    ] {
        let patterns = Arc::new(Patterns::compile(&[], &[]).unwrap());
        let rules = TextRules::default();
        let mut scrubber = WebSocketScrubber::with_rules(patterns, &rules, Deflate::On);
        let sent = scrubber.push(&frame(FINAL | 0x40 | TEXT, &payload), &mut Vec::new());
        assert_eq!(sent, Err(failure));
    }
}

#[test]
fn texts_follow_the_rules_of_their_tool_and_other_messages_do_not() {
    let rules = TextRules {
        pii: vec![crate::redact::PiiKind::Email],
        ..TextRules::default()
    };
    let patterns = Arc::new(Patterns::compile(&[], &[]).unwrap());
    let mut scrubber = WebSocketScrubber::with_rules(patterns, &rules, Deflate::Off);
    let (mut out, mail) = (Vec::new(), b"jane@example.org ");
    let frames = [frame(FINAL | TEXT, mail), frame(FINAL | BINARY, mail)];
    scrubber.push(&frames.concat(), &mut out).unwrap();
    let expected = [
        frame(FINAL | TEXT, b"[redacted:email] "),
        frame(FINAL | BINARY, mail),
    ];
    assert_eq!(out, expected.concat());
    assert_eq!(scrubber.hits()["email"], 1);
}
