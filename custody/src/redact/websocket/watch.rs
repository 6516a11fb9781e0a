//! WebSocket frames from the agent to upstream: they go on as they came, and what they say is searched for placeholders.
//!
//! It must never change a byte, and never let pass what it could not read: the connection must then be cut.

use std::sync::Arc;

use super::{
    super::Unsafe,
    deflate::Inflater,
    frame::{CLOSE, Deflate, Frame, Heads, Sender},
};
use crate::placeholder::{Scan, Watch};

/// Looks into the frames of one WebSocket connection, from the agent to upstream.
pub struct WebSocketWatch {
    watch: Arc<Watch>,
    heads: Heads,
    frame: Option<Frame>,
    inflater: Option<Inflater>,
    message: Scan,
    control: Scan,
    plain: Vec<u8>,
}

/// Why frames may not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// A placeholder stands in a message, where nothing resolves it.
    #[error("a placeholder stands in a WebSocket message")]
    Misused,
    /// The frames cannot be read.
    #[error("the frames of the client cannot be read")]
    Unreadable(#[source] Unsafe),
}

impl WebSocketWatch {
    /// A watch over frames under what the handshake agreed on.
    pub fn new(watch: Arc<Watch>, deflate: Deflate) -> Self {
        Self {
            heads: Heads::new(deflate),
            frame: None,
            inflater: (deflate == Deflate::On).then(Inflater::new),
            message: Scan::new(Arc::clone(&watch)),
            control: Scan::new(Arc::clone(&watch)),
            watch,
            plain: Vec::new(),
        }
    }

    /// Looks at bytes that may be sent on only when the answer is `Ok`.
    ///
    /// # Errors
    /// When a placeholder stands in a message, or the frames cannot be read.
    pub fn push(&mut self, mut chunk: &[u8]) -> Result<(), Stopped> {
        loop {
            let Some(mut frame) = self.frame.take() else {
                let Some((byte, rest)) = chunk.split_first() else {
                    return Ok(());
                };
                chunk = rest;
                let head = self.heads.push(*byte, Sender::Client);
                if let Some(frame) = head.map_err(Stopped::Unreadable)? {
                    self.look(frame, &[])?;
                    self.frame = (frame.left > 0).then_some(frame);
                }
                continue;
            };
            if chunk.is_empty() {
                self.frame = Some(frame);
                return Ok(());
            }
            let mut plain = std::mem::take(&mut self.plain);
            let (payload, rest) = frame.take(chunk);
            chunk = rest;
            frame.unmask(payload, &mut plain);
            let seen = self.look(frame, &plain);
            self.plain = plain;
            seen?;
            self.frame = (frame.left > 0).then_some(frame);
        }
    }

    fn look(&mut self, frame: Frame, plain: &[u8]) -> Result<(), Stopped> {
        let misused = |_| Stopped::Misused;
        if frame.opcode >= CLOSE {
            self.control.push(plain).map_err(misused)?;
            if frame.left == 0 {
                self.control = Scan::new(Arc::clone(&self.watch));
            }
            return Ok(());
        }
        let ends = frame.left == 0 && frame.last;
        match &mut self.inflater {
            Some(inflater) if frame.compressed => {
                let (message, mut found) = (&mut self.message, Ok(()));
                let mut see = |piece: &[u8]| {
                    if found.is_ok() {
                        found = message.push(piece).map_err(misused);
                    }
                    Ok(())
                };
                let mut read = inflater.push(plain, &mut see);
                if ends && read.is_ok() {
                    read = inflater.end(&mut see);
                }
                read.map_err(Stopped::Unreadable)?;
                found?;
            }
            _ => self.message.push(plain).map_err(misused)?,
        }
        if ends {
            self.message = Scan::new(Arc::clone(&self.watch));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use exeat_types::{AgentId, CredentialId, Secret};
    use flate2::{Compression, write::DeflateEncoder};

    use super::*;
    use crate::{Shape, placeholder::Mint};

    fn mint() -> Mint {
        Mint::new(&Secret::new(b"CANARY-placeholder-1".to_vec()))
    }

    fn placeholder() -> String {
        let (agent, credential) = (
            AgentId::new("claude").unwrap(),
            CredentialId::new("github").unwrap(),
        );
        mint().make(Shape::Generic, &agent, &credential, 1)
    }

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [7u8, 200, 0, 33];
        let mut out = vec![first, 0x80 | 126];
        let length = u16::try_from(payload.len()).unwrap();
        if let Ok(short @ 0..126) = u8::try_from(length) {
            out = vec![first, 0x80 | short];
        } else {
            out.extend_from_slice(&length.to_be_bytes());
        }
        out.extend_from_slice(&mask);
        let masked = payload.iter().zip(mask.iter().cycle());
        out.extend(masked.map(|(byte, mask)| byte ^ mask));
        out
    }

    fn deflated(payload: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(payload).unwrap();
        encoder.flush().unwrap();
        let mut out = encoder.get_ref().clone();
        out.truncate(out.len() - 4);
        out
    }

    #[track_caller]
    fn check(deflate: Deflate, frames: &[Vec<u8>], expected: &Result<(), Stopped>) {
        let bytes = frames.concat();
        for size in [1, 3, 1000] {
            let mut watch = WebSocketWatch::new(mint().watch().unwrap().into(), deflate);
            let result = bytes.chunks(size).try_for_each(|chunk| watch.push(chunk));
            assert_eq!(&result, expected, "chunks of {size}");
        }
    }

    #[test]
    fn a_placeholder_is_found_under_masks_fragments_and_compression() {
        let text = format!("tell me {} please", placeholder());
        let (first, second) = text.as_bytes().split_at(20);
        let stopped = Err(Stopped::Misused);
        check(Deflate::Off, &[frame(0x81, text.as_bytes())], &stopped);
        let fragments = [frame(1, first), frame(0x89, b"ping"), frame(0x80, second)];
        check(Deflate::Off, &fragments, &stopped);
        let whole = deflated(text.as_bytes());
        check(Deflate::On, &[frame(0xc1, &whole)], &stopped);
        let (first, second) = whole.split_at(whole.len() / 2);
        let fragments = [frame(0x41, first), frame(0x80, second)];
        check(Deflate::On, &fragments, &stopped);
        check(Deflate::On, &[frame(0x89, text.as_bytes())], &stopped);
    }

    #[test]
    fn other_messages_pass() {
        let text = placeholder();
        let (first, second) = text.split_at(10);
        let apart = [
            frame(0x81, first.as_bytes()),
            frame(0x81, second.as_bytes()),
        ];
        check(Deflate::Off, &apart, &Ok(()));
        let compressed = deflated(b"hello hello hello hello");
        check(
            Deflate::On,
            &[frame(0xc1, &compressed), frame(0x82, b"plain")],
            &Ok(()),
        );
        let unreadable = |frames: &[Vec<u8>], deflate| {
            let mut watch = WebSocketWatch::new(mint().watch().unwrap().into(), deflate);
            assert!(matches!(
                watch.push(&frames.concat()),
                Err(Stopped::Unreadable(_))
            ));
        };
        unreadable(&[frame(0xc1, &compressed)], Deflate::Off);
        unreadable(&[vec![0x81, 1, b'x']], Deflate::Off);
        unreadable(&[frame(0xc1, b"\xff\xff\xff\xff")], Deflate::On);
    }
}
