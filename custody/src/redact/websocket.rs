//! WebSocket frames (RFC 6455 section 5): from upstream payloads are redacted and frames written anew; those of the agent
//! are searched for placeholders.
//!
//! Text and binary messages are redacted as one stream over all their fragments, control frames one by one. A frame goes
//! out when it has come in whole, or a fragment of it when it is long. Compressed messages are inflated and go on
//! uncompressed. It must never pass what it cannot read: other extensions, wrong masks and broken order are
//! [`Unsafe`], and the connection must be cut.

mod deflate;
mod frame;
mod watch;

use super::{
    Formats, Hits, Newest, Text, TextRules, Unsafe, Written, markers::Flags, pii::add_hits,
};
use deflate::Inflater;
pub use frame::Deflate;
use frame::{CLOSE, CONTINUATION, CONTROL_BYTES_MAX, FINAL, Frame, Heads, Sender, TEXT, write};
pub use watch::{Stopped, WebSocketWatch};

/// Redacts the frames of one WebSocket connection, from upstream to the agent.
pub struct WebSocketScrubber {
    patterns: Newest,
    /// Cleans texts as their tool says.
    text: Text,
    /// Cleans other messages of secrets.
    binary: Text,
    heads: Heads,
    inflater: Option<Inflater>,
    /// The frame whose payload is coming.
    frame: Option<Frame>,
    /// Whether a frame of the message is out.
    begun: bool,
    /// Payload that has not gone out yet: redacted of a message, as it came of a control frame.
    payload: Vec<u8>,
    control_hits: Hits,
    failure: Option<Unsafe>,
}

/// A longer frame goes out in fragments of about this size.
const FRAGMENT_BYTES: usize = 64 * 1024;

impl WebSocketScrubber {
    /// A scrubber for a connection whose handshake agreed on no extension, and a tool without rules.
    pub fn new(patterns: impl Into<Newest>) -> Self {
        Self::with_rules(patterns, &TextRules::default(), Deflate::Off)
    }

    /// A scrubber that follows a tool's rules, for frames under what the handshake agreed on.
    pub fn with_rules(patterns: impl Into<Newest>, rules: &TextRules, deflate: Deflate) -> Self {
        let patterns = patterns.into();
        Self {
            text: Text::new(patterns.clone(), Formats::Redact, (rules, Written::Json)),
            binary: Text::secrets(patterns.clone(), Formats::Redact),
            patterns,
            heads: Heads::new(deflate),
            inflater: (deflate == Deflate::On).then(Inflater::new),
            frame: None,
            begun: false,
            payload: Vec::new(),
            control_hits: Hits::new(),
            failure: None,
        }
    }

    /// Takes bytes as they came from upstream and appends clean frames to `out`.
    ///
    /// # Errors
    /// When a frame breaks the rules of RFC 6455 or cannot be read; the connection must be cut.
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
        let mut all = self.text.hits();
        add_hits(&self.binary.hits(), &mut all);
        add_hits(&self.control_hits, &mut all);
        all
    }

    /// The flags raised so far.
    pub fn flags(&self) -> Flags {
        self.text.flags()
    }

    fn read(&mut self, mut chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Unsafe> {
        loop {
            let Some(mut frame) = self.frame.take() else {
                let Some((byte, rest)) = chunk.split_first() else {
                    return Ok(());
                };
                chunk = rest;
                if let Some(frame) = self.heads.push(*byte, Sender::Server)? {
                    self.take(frame, &[], out)?;
                    self.frame = (frame.left > 0).then_some(frame);
                }
                continue;
            };
            if chunk.is_empty() {
                self.frame = Some(frame);
                return Ok(());
            }
            let (payload, rest) = frame.take(chunk);
            chunk = rest;
            self.take(frame, payload, out)?;
            self.frame = (frame.left > 0).then_some(frame);
        }
    }

    /// Takes some payload of a frame; with the last of it the frame goes out.
    fn take(&mut self, frame: Frame, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Unsafe> {
        if frame.opcode >= CLOSE {
            self.take_control(frame, payload, out);
            return Ok(());
        }
        let text = if frame.opcode == TEXT {
            &mut self.text
        } else {
            &mut self.binary
        };
        let ends = frame.left == 0 && frame.last;
        let mut sink = Sink {
            text,
            payload: &mut self.payload,
            begun: &mut self.begun,
            opcode: frame.opcode,
            out,
        };
        match &mut self.inflater {
            Some(inflater) if frame.compressed => {
                inflater.push(payload, |piece| sink.take(piece))?;
                if ends {
                    inflater.end(|piece| sink.take(piece))?;
                }
            }
            _ => sink.take(payload)?,
        }
        if ends {
            sink.end();
        } else if frame.left == 0 {
            sink.send(0);
        }
        Ok(())
    }

    fn take_control(&mut self, frame: Frame, payload: &[u8], out: &mut Vec<u8>) {
        self.payload.extend_from_slice(payload);
        if frame.left > 0 {
            return;
        }
        let hits = &mut self.control_hits;
        let clean = self
            .patterns
            .load()
            .scrub_counting(&self.payload, Formats::Redact, hits);
        let mut payload = clean.unwrap_or_else(|| self.payload.clone());
        // A close frame begins with a status code, which a marker must not replace.
        if frame.opcode == CLOSE && payload.get(..2) != self.payload.get(..2) {
            payload.clear();
        }
        payload.truncate(CONTROL_BYTES_MAX);
        write(FINAL | frame.opcode, &payload, out);
        self.payload.clear();
    }
}

/// Where the plain payload of a message goes.
struct Sink<'a> {
    text: &'a mut Text,
    payload: &'a mut Vec<u8>,
    begun: &'a mut bool,
    opcode: u8,
    out: &'a mut Vec<u8>,
}

impl Sink<'_> {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "the inflater asks whether to go on"
    )]
    fn take(&mut self, piece: &[u8]) -> Result<(), Unsafe> {
        self.text.push(piece, self.payload);
        if self.payload.len() >= FRAGMENT_BYTES {
            self.send(0);
        }
        Ok(())
    }

    fn end(&mut self) {
        self.text.finish(self.payload);
        self.send(FINAL);
        *self.begun = false;
    }

    /// Sends what is clean as one frame.
    fn send(&mut self, last: u8) {
        let opcode = if *self.begun {
            CONTINUATION
        } else {
            self.opcode
        };
        write(last | opcode, self.payload, self.out);
        self.payload.clear();
        *self.begun = true;
    }
}

#[cfg(test)]
mod tests;
