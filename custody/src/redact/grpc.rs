//! gRPC messages: each is redacted by itself, so that none waits for the next one.
//!
//! In a two-way stream the next message may come only when this one has been answered, and whatever is held back
//! holds up both sides. It must never pass a compressed message, which it cannot read. A message that holds a secret ends
//! the call: its length has been said, and lengths stand inside it too.

use super::{Formats, Hits, Newest, Stream, Unsafe};

/// Redacts the messages of one gRPC response.
///
/// # Spec
/// gRPC over HTTP/2, `Length-Prefixed-Message`: a flag that says whether it is compressed, four bytes of length, a message.
pub struct GrpcScrubber {
    stream: Stream,
    place: Place,
    failure: Option<Unsafe>,
}

/// Where in the body the next byte belongs.
enum Place {
    Prefix(Vec<u8>),
    Message(usize),
}

/// The flag and the length before a message.
const PREFIX_BYTES: usize = 5;

impl GrpcScrubber {
    /// A scrubber for the body of one response.
    pub fn new(patterns: impl Into<Newest>) -> Self {
        Self {
            stream: Stream::with_formats(patterns, Formats::Redact),
            place: Place::Prefix(Vec::new()),
            failure: None,
        }
    }

    /// Takes the next chunk and appends clean bytes to `out`; a message is out when its last byte is in.
    ///
    /// # Errors
    /// When a message is compressed or holds a secret; every later call fails too.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Unsafe> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let taken = self.take(chunk, out);
        self.failure = taken.as_ref().err().cloned();
        taken
    }

    /// Ends the body.
    ///
    /// # Errors
    /// When it ends in the middle of a message; what was held is then lost.
    pub fn finish(&mut self) -> Result<(), Unsafe> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        match &self.place {
            Place::Prefix(seen) if seen.is_empty() => Ok(()),
            Place::Prefix(_) | Place::Message(_) => Err(Unsafe::Truncated("gRPC")),
        }
    }

    /// What was found; more than nothing means that the call was cut.
    pub fn hits(&self) -> &Hits {
        self.stream.hits()
    }

    fn take(&mut self, mut chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Unsafe> {
        while !chunk.is_empty() {
            match &mut self.place {
                Place::Prefix(seen) => {
                    let missing = PREFIX_BYTES.saturating_sub(seen.len());
                    let (head, rest) = chunk.split_at(missing.min(chunk.len()));
                    seen.extend_from_slice(head);
                    chunk = rest;
                    if let &[flag, a, b, c, d] = seen.as_slice() {
                        if flag != 0 {
                            return Err(Unsafe::Message(
                                "compressed, though nobody asked for that",
                            ));
                        }
                        let length = usize::try_from(u32::from_be_bytes([a, b, c, d]));
                        out.extend_from_slice(seen);
                        self.message(length.unwrap_or(usize::MAX));
                    }
                }
                Place::Message(left) => {
                    let (piece, rest) = chunk.split_at((*left).min(chunk.len()));
                    let left = left.saturating_sub(piece.len());
                    chunk = rest;
                    self.stream.push(piece, out);
                    if left == 0 {
                        self.stream.finish(out);
                    }
                    if !self.stream.hits().is_empty() {
                        return Err(Unsafe::Message("holds a secret"));
                    }
                    self.message(left);
                }
            }
        }
        Ok(())
    }

    /// So much of the message is still to come.
    fn message(&mut self, left: usize) {
        self.place = match left {
            0 => Place::Prefix(Vec::new()),
            left => Place::Message(left),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use exeat_types::Secret;

    use super::{super::Patterns, *};

    const SECRET: &[u8] = b"CANARY-grpc-0123456789";

    fn scrubber() -> GrpcScrubber {
        let secret = Secret::new(SECRET.to_vec());
        let patterns = Patterns::compile(&[("rpc", &secret)], &[]).unwrap();
        GrpcScrubber::new(Arc::new(patterns))
    }

    fn message(content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap();
        [&[0][..], &length.to_be_bytes(), content].concat()
    }

    /// The body in pieces of a size; what comes out, or what was wrong.
    fn scrub(body: &[u8], size: usize) -> Result<Vec<u8>, Unsafe> {
        let (mut scrubber, mut out) = (scrubber(), Vec::new());
        for piece in body.chunks(size) {
            scrubber.push(piece, &mut out)?;
        }
        scrubber.finish()?;
        Ok(out)
    }

    #[test]
    fn a_message_is_out_when_it_is_in_even_if_it_ends_like_the_beginning_of_a_secret() {
        let (mut scrubber, mut out) = (scrubber(), Vec::new());
        let mut sent = Vec::new();
        for end in 0..SECRET.len() {
            let one = message(SECRET.get(..end).unwrap());
            scrubber.push(&one, &mut out).unwrap();
            sent.extend(one);
            assert_eq!(out, sent);
        }
    }

    #[test]
    fn messages_pass_unchanged_in_pieces_of_any_size() {
        let body = [
            message(b""),
            message(b"hello"),
            message(&[7; 3000]),
            message(b""),
        ]
        .concat();
        for size in [1, 2, 3, 5, 7, 1000, body.len()] {
            assert_eq!(scrub(&body, size), Ok(body.clone()));
        }
    }

    #[test]
    fn a_message_with_a_secret_ends_the_call_and_no_byte_of_the_secret_is_out() {
        let body = message(&[b"the key is ", SECRET, b", I think"].concat());
        for size in 1..body.len() {
            let (mut scrubber, mut out) = (scrubber(), Vec::new());
            let ended = body
                .chunks(size)
                .try_for_each(|piece| scrubber.push(piece, &mut out));
            assert_eq!(ended, Err(Unsafe::Message("holds a secret")));
            let held = out
                .windows(4)
                .any(|window| SECRET.windows(4).any(|part| part == window));
            assert!(!held, "{out:?}");
            assert_eq!(scrubber.hits().len(), 1);
        }
    }

    #[test]
    fn what_is_compressed_or_cut_off_is_refused() {
        let mut compressed = message(b"hello");
        *compressed.first_mut().unwrap() = 1;
        let refused = Unsafe::Message("compressed, though nobody asked for that");
        assert_eq!(scrub(&compressed, 3), Err(refused));
        let whole = message(b"hello");
        for end in 1..whole.len() {
            assert_eq!(
                scrub(whole.get(..end).unwrap(), 100),
                Err(Unsafe::Truncated("gRPC"))
            );
        }
        assert_eq!(scrub(&[], 1), Ok(Vec::new()));
    }
}
