//! WebSocket frames from upstream to the agent (RFC 6455 section 5): payloads are redacted, frames written anew.
//!
//! Text and binary messages are redacted as one stream over all their fragments, control frames one by one. A frame goes
//! out when it has come in whole, or a fragment of it when it is long. It must never pass what it cannot read: extension
//! bits, masked frames and broken order are [`Unsafe`], and the connection must be cut.

use std::sync::Arc;

use super::{Formats, Hits, Patterns, Stream, Unsafe};

/// Redacts the frames of one WebSocket connection, from upstream to the agent.
pub struct WebSocketScrubber {
    patterns: Arc<Patterns>,
    stream: Stream,
    /// Bytes of a head that is not whole yet.
    head: Vec<u8>,
    /// The frame whose payload is coming.
    frame: Option<Frame>,
    /// The opcode that the next fragment of the message goes out with; `None` outside a message.
    message: Option<u8>,
    /// Payload that has not gone out yet: redacted of a message, as it came of a control frame.
    payload: Vec<u8>,
    control_hits: Hits,
    failure: Option<Unsafe>,
}

#[derive(Clone, Copy)]
struct Frame {
    last: bool,
    opcode: u8,
    left: u64,
}

const FINAL: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PONG: u8 = 10;
const CONTROL_BYTES_MAX: usize = 125;
/// A longer frame goes out in fragments of about this size.
const FRAGMENT_BYTES: usize = 64 * 1024;

impl WebSocketScrubber {
    /// A scrubber for a connection whose handshake negotiated no extension.
    pub fn new(patterns: Arc<Patterns>) -> Self {
        let stream = Stream::new(Arc::clone(&patterns));
        let (head, payload, control_hits) = (Vec::new(), Vec::new(), Hits::new());
        let (frame, message, failure) = (None, None, None);
        Self {
            patterns,
            stream,
            head,
            frame,
            message,
            payload,
            control_hits,
            failure,
        }
    }

    /// Takes bytes as they came from upstream and appends clean frames to `out`.
    ///
    /// # Errors
    /// When a frame breaks the rules of RFC 6455 or uses an extension; the connection must be cut.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Unsafe> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let read = self.read(chunk, out);
        self.failure = read.as_ref().err().cloned();
        read
    }

    /// The redactions made so far.
    pub fn hits(&self) -> Hits {
        let mut all = self.stream.hits().clone();
        for (label, count) in &self.control_hits {
            let sum = all.entry(Arc::clone(label)).or_default();
            *sum = sum.saturating_add(*count);
        }
        all
    }

    fn read(&mut self, mut chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Unsafe> {
        loop {
            let Some(frame) = self.frame else {
                let Some((byte, rest)) = chunk.split_first() else {
                    return Ok(());
                };
                self.head.push(*byte);
                chunk = rest;
                if let Some(frame) = parse(&self.head)? {
                    self.head.clear();
                    self.begin(frame)?;
                    self.take(frame, &[], out);
                }
                continue;
            };
            let size = usize::try_from(frame.left)
                .unwrap_or(usize::MAX)
                .min(chunk.len());
            if size == 0 {
                return Ok(());
            }
            let (payload, rest) = chunk.split_at_checked(size).unwrap_or((chunk, &[]));
            chunk = rest;
            self.take(frame, payload, out);
        }
    }

    /// Checks a frame against the message it belongs to.
    fn begin(&mut self, frame: Frame) -> Result<(), Unsafe> {
        match (frame.opcode, self.message) {
            (CONTINUATION, None) => return Err(Unsafe::Frame("continues no message")),
            (TEXT | BINARY, Some(_)) => {
                return Err(Unsafe::Frame("begins a message within another"));
            }
            (TEXT | BINARY, None) => self.message = Some(frame.opcode),
            _ => {}
        }
        Ok(())
    }

    /// Takes some payload of a frame; with the last of it the frame goes out.
    fn take(&mut self, frame: Frame, payload: &[u8], out: &mut Vec<u8>) {
        let taken = u64::try_from(payload.len()).unwrap_or(u64::MAX);
        let left = frame.left.saturating_sub(taken);
        self.frame = (left > 0).then_some(Frame { left, ..frame });
        if frame.opcode >= CLOSE {
            self.payload.extend_from_slice(payload);
            if left == 0 {
                self.end_control(frame.opcode, out);
            }
            return;
        }
        self.stream.push(payload, &mut self.payload);
        let ends = left == 0 && frame.last;
        if ends {
            self.stream.finish(&mut self.payload);
        }
        if left == 0 || self.payload.len() >= FRAGMENT_BYTES {
            let opcode = self.message.unwrap_or(CONTINUATION);
            write(
                if ends { FINAL | opcode } else { opcode },
                &self.payload,
                out,
            );
            self.payload.clear();
            self.message = if ends { None } else { Some(CONTINUATION) };
        }
    }

    fn end_control(&mut self, opcode: u8, out: &mut Vec<u8>) {
        let hits = &mut self.control_hits;
        let clean = self
            .patterns
            .scrub_counting(&self.payload, Formats::Redact, hits);
        let mut payload = clean.unwrap_or_else(|| self.payload.clone());
        // A close frame begins with a status code, which a marker must not replace.
        if opcode == CLOSE && payload.get(..2) != self.payload.get(..2) {
            payload.clear();
        }
        payload.truncate(CONTROL_BYTES_MAX);
        write(FINAL | opcode, &payload, out);
        self.payload.clear();
    }
}

/// Reads a head; `None` while it is not whole.
fn parse(head: &[u8]) -> Result<Option<Frame>, Unsafe> {
    let [first, rest @ ..] = head else {
        return Ok(None);
    };
    let (last, opcode) = (first & FINAL != 0, first & 15);
    if first & 0x70 != 0 {
        return Err(Unsafe::Frame("uses an extension"));
    }
    if !matches!(opcode, CONTINUATION..=BINARY | CLOSE..=PONG) {
        return Err(Unsafe::Frame("has an unknown opcode"));
    }
    let [second, rest @ ..] = rest else {
        return Ok(None);
    };
    if second & 0x80 != 0 {
        return Err(Unsafe::Frame("is masked though it comes from a server"));
    }
    if opcode >= CLOSE && (!last || usize::from(*second) > CONTROL_BYTES_MAX) {
        return Err(Unsafe::Frame("is a control frame in fragments or too long"));
    }
    let (left, least) = match (second, rest) {
        (126, rest) => match rest.first_chunk() {
            Some(length) => (u64::from(u16::from_be_bytes(*length)), 126),
            None => return Ok(None),
        },
        (127, rest) => match rest.first_chunk() {
            Some(length) => (u64::from_be_bytes(*length), 65_536),
            None => return Ok(None),
        },
        (length, _) => (u64::from(*length), 0),
    };
    if left < least || left > u64::MAX / 2 {
        return Err(Unsafe::Frame(
            "does not write its length in the shortest form",
        ));
    }
    Ok(Some(Frame { last, opcode, left }))
}

/// Writes an unmasked frame, given its first byte.
fn write(first: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..126), _) => out.push(length),
        (_, Ok(length)) => {
            out.push(126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(127);
            let length = u64::try_from(payload.len()).unwrap_or(u64::MAX);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use exeat_types::Secret;

    use super::*;

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
}
