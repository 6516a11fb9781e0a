//! Heads of WebSocket frames (RFC 6455 section 5.2), in both directions.

use super::super::Unsafe;

/// The bit of a message's last frame.
pub(super) const FINAL: u8 = 0x80;
/// The bit of a compressed message's first frame (RFC 7692 section 6).
pub(super) const COMPRESSED: u8 = 0x40;
/// A frame that goes on with a message.
pub(super) const CONTINUATION: u8 = 0;
/// The first frame of a text.
pub(super) const TEXT: u8 = 1;
/// The first frame of other bytes.
pub(super) const BINARY: u8 = 2;
/// The first of the opcodes of control frames.
pub(super) const CLOSE: u8 = 8;
/// The last opcode that has a meaning.
pub(super) const PONG: u8 = 10;
/// The longest payload of a control frame.
pub(super) const CONTROL_BYTES_MAX: usize = 125;
/// The longest head: two bytes, a length of eight, a mask of four.
const HEAD_BYTES_MAX: usize = 14;

/// Who sends frames; a client masks them and a server does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Server,
}

/// Whether the handshake agreed on permessage-deflate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Deflate {
    /// It did not.
    #[default]
    Off,
    /// It did.
    On,
}

/// A frame whose payload is coming.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) last: bool,
    pub(super) compressed: bool,
    pub(super) opcode: u8,
    /// Bytes of payload that have not come yet.
    pub(super) left: u64,
    mask: [u8; 4],
    /// Where in the mask the next byte stands.
    turn: usize,
}

/// Reads heads byte by byte, and holds frames to the messages they belong to.
#[derive(Default)]
pub(super) struct Heads {
    read: Vec<u8>,
    deflate: Deflate,
    message: Option<Message>,
}

#[derive(Clone, Copy)]
struct Message {
    opcode: u8,
    compressed: bool,
}

impl Heads {
    pub(super) fn new(deflate: Deflate) -> Self {
        Self {
            read: Vec::with_capacity(HEAD_BYTES_MAX),
            deflate,
            message: None,
        }
    }

    /// Takes one byte of a head; with the last one gives the frame.
    ///
    /// A frame of a message says what its message is: its opcode, and whether it is compressed.
    pub(super) fn push(&mut self, byte: u8, sender: Sender) -> Result<Option<Frame>, Unsafe> {
        self.read.push(byte);
        let Some(mut frame) = parse(&self.read, sender)? else {
            return Ok(None);
        };
        self.read.clear();
        if frame.opcode >= CLOSE {
            if frame.compressed {
                return Err(Unsafe::Frame("uses an extension"));
            }
            return Ok(Some(frame));
        }
        let message = match (frame.opcode, self.message) {
            (CONTINUATION, None) => return Err(Unsafe::Frame("continues no message")),
            (CONTINUATION, Some(_)) if frame.compressed => {
                return Err(Unsafe::Frame("uses an extension"));
            }
            (CONTINUATION, Some(message)) => message,
            (_, Some(_)) => return Err(Unsafe::Frame("begins a message within another")),
            (_, None) if frame.compressed && self.deflate == Deflate::Off => {
                return Err(Unsafe::Frame("uses an extension"));
            }
            (opcode, None) => Message {
                opcode,
                compressed: frame.compressed,
            },
        };
        self.message = (!frame.last).then_some(message);
        (frame.opcode, frame.compressed) = (message.opcode, message.compressed);
        Ok(Some(frame))
    }
}

impl Frame {
    /// Takes as much of the payload as is there: what it is as it came, and what comes behind it.
    pub(super) fn take<'a>(&mut self, chunk: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let size = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(chunk.len());
        self.left = self
            .left
            .saturating_sub(u64::try_from(size).unwrap_or(u64::MAX));
        chunk.split_at_checked(size).unwrap_or((chunk, &[]))
    }

    /// Takes the mask off the next piece of payload.
    pub(super) fn unmask(&mut self, payload: &[u8], into: &mut Vec<u8>) {
        into.clear();
        let mask = self.mask.iter().cycle().skip(self.turn);
        into.extend(payload.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
        self.turn = (self.turn + payload.len()) % self.mask.len();
    }
}

/// Reads a head; `None` while it is not whole.
fn parse(head: &[u8], sender: Sender) -> Result<Option<Frame>, Unsafe> {
    let [first, rest @ ..] = head else {
        return Ok(None);
    };
    let (last, opcode) = (first & FINAL != 0, first & 15);
    if first & 0x30 != 0 {
        return Err(Unsafe::Frame("uses an extension"));
    }
    if !matches!(opcode, CONTINUATION..=BINARY | CLOSE..=PONG) {
        return Err(Unsafe::Frame("has an unknown opcode"));
    }
    let [second, rest @ ..] = rest else {
        return Ok(None);
    };
    let (masked, length) = (second & 0x80 != 0, second & 0x7f);
    match (sender, masked) {
        (Sender::Server, true) => {
            return Err(Unsafe::Frame("is masked though it comes from a server"));
        }
        (Sender::Client, false) => {
            return Err(Unsafe::Frame("is not masked though it comes from a client"));
        }
        _ => {}
    }
    if opcode >= CLOSE && (!last || usize::from(length) > CONTROL_BYTES_MAX) {
        return Err(Unsafe::Frame("is a control frame in fragments or too long"));
    }
    let (left, least, rest) = match (length, rest) {
        (126, rest) => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), 126, rest),
            None => return Ok(None),
        },
        (127, rest) => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from_be_bytes(*length), 65_536, rest),
            None => return Ok(None),
        },
        (length, rest) => (u64::from(length), 0, rest),
    };
    if left < least || left > u64::MAX / 2 {
        return Err(Unsafe::Frame(
            "does not write its length in the shortest form",
        ));
    }
    let mask = match (masked, rest.first_chunk()) {
        (false, _) => [0; 4],
        (true, Some(mask)) => *mask,
        (true, None) => return Ok(None),
    };
    Ok(Some(Frame {
        last,
        compressed: first & COMPRESSED != 0,
        opcode,
        left,
        mask,
        turn: 0,
    }))
}

/// Writes an unmasked frame, given its first byte.
pub(super) fn write(first: u8, payload: &[u8], out: &mut Vec<u8>) {
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
