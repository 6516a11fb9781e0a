//! The bytes of a segment: its header, its frames, and how a torn write is told from damage.
//!
//! A frame is `length u32le, crc32(payload) u32le, crc32(of those eight bytes) u32le, payload`. Zeros follow the last
//! frame. All defined in `docs/RECEIPTS.md`.

use exeat_types::Digest;

use crate::{envelope::Envelope, record::Kind};

/// The first bytes of a segment.
const MAGIC: [u8; 8] = *b"EXEATSEG";
const FORMAT: u32 = 1;
/// The length of a segment's header.
pub(crate) const HEADER_BYTES: usize = 64;
/// The length of a frame's header.
pub(crate) const FRAME_BYTES: usize = 12;
/// Disks write whole sectors of at least this size.
const SECTOR_BYTES: usize = 512;
/// The longest record.
pub const RECORD_BYTES_MAX: usize = 256 * 1024;

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) segment: u32,
    /// The first record in it.
    pub(crate) seq: u64,
    /// The leaf hash of the record before that.
    pub(crate) prev: Digest,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&self.segment.to_le_bytes());
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(self.prev.as_bytes());
        out.extend_from_slice(&[0; 4]);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header; says what is wrong with it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let bytes: &[u8; HEADER_BYTES] =
            bytes.first_chunk().ok_or("shorter than a segment header")?;
        let (body, crc) = bytes.split_at(HEADER_BYTES - 4);
        if crc32fast::hash(body).to_le_bytes() != crc {
            return Err("the checksum of the segment header is wrong");
        }
        let rest = body
            .strip_prefix(&MAGIC)
            .ok_or("not a segment of a journal")?;
        let (format, rest) = word(rest).ok_or("not a segment of a journal")?;
        if format != FORMAT {
            return Err("a segment of another format version");
        }
        let (segment, rest) = word(rest).ok_or("not a segment of a journal")?;
        let (seq, rest) = rest
            .split_first_chunk()
            .ok_or("not a segment of a journal")?;
        let (prev, _) = rest
            .split_first_chunk()
            .ok_or("not a segment of a journal")?;
        Ok(Self {
            segment,
            seq: u64::from_le_bytes(*seq),
            prev: Digest::from_bytes(*prev),
        })
    }
}

fn word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*word), rest))
}

/// Fills in the header of the frame that began at `start` and whose payload follows it.
pub(crate) fn close_frame(out: &mut [u8], start: usize) -> Option<()> {
    let (head, payload) = out.get_mut(start..)?.split_at_mut_checked(FRAME_BYTES)?;
    let length = u32::try_from(payload.len()).ok()?;
    let (front, check) = head.split_at_mut_checked(8)?;
    let (length_bytes, crc_bytes) = front.split_at_mut_checked(4)?;
    length_bytes.copy_from_slice(&length.to_le_bytes());
    crc_bytes.copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    check.copy_from_slice(&crc32fast::hash(front).to_le_bytes());
    Some(())
}

/// What stands at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// A whole frame, and where the next one begins.
    Frame { payload: &'a [u8], next: usize },
    /// Zeros to the end of the segment.
    End,
    /// Neither.
    Bad(&'static str),
}

/// Reads what stands at an offset of a segment.
pub(crate) fn step(bytes: &[u8], at: usize) -> Step<'_> {
    let Some(rest) = bytes.get(at..) else {
        return Step::End;
    };
    let Some((head, body)) = rest.split_at_checked(FRAME_BYTES) else {
        return if all_zero(rest) {
            Step::End
        } else {
            Step::Bad("bytes behind the last record")
        };
    };
    if all_zero(head) {
        return if all_zero(body) {
            Step::End
        } else {
            Step::Bad("bytes behind the last record")
        };
    }
    let Some((length, crc)) = read_head(head) else {
        return Step::Bad("the checksum of a frame's header is wrong");
    };
    let Some((payload, _)) = body.split_at_checked(length) else {
        return Step::Bad("a frame reaches beyond its segment");
    };
    if crc32fast::hash(payload) != crc {
        return Step::Bad("the checksum of a record is wrong");
    }
    Step::Frame {
        payload,
        next: at + FRAME_BYTES + length,
    }
}

fn read_head(head: &[u8]) -> Option<(usize, u32)> {
    let (front, check) = head.split_at_checked(8)?;
    if crc32fast::hash(front).to_le_bytes() != check {
        return None;
    }
    let (length, rest) = word(front)?;
    let (crc, _) = word(rest)?;
    Some((usize::try_from(length).ok()?, crc))
}

pub(crate) fn all_zero(bytes: &[u8]) -> bool {
    bytes
        .chunks(4096)
        .all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}

/// Whether the bytes from `start` (the end of the last checkpoint) on can be a write that a crash cut short, the first
/// bad frame being at `bad`. A disk leaves whole sectors, or a whole end, as the zeros they were; anything else, and
/// anything with a later write behind it, is damage.
///
/// In a segment that has no checkpoint yet the write began with the segment's header.
pub(crate) fn is_torn(bytes: &[u8], start: usize, bad: usize) -> bool {
    let Some(last) = bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .filter(|&last| last >= bad)
    else {
        return true;
    };
    if later_write(bytes, bad, last) {
        return false;
    }
    let head_bytes = if bad == 0 { HEADER_BYTES } else { FRAME_BYTES };
    if last < bad + head_bytes {
        return true;
    }
    let head = bytes.get(bad..bad + FRAME_BYTES).and_then(read_head);
    if head.is_some_and(|(length, _)| bad + FRAME_BYTES + length > last + 1) {
        return true;
    }
    let first_sector = bad / SECTOR_BYTES * SECTOR_BYTES;
    (first_sector..=last).step_by(SECTOR_BYTES).any(|sector| {
        let from = sector.max(start);
        let to = (sector + SECTOR_BYTES).min(bytes.len());
        bytes
            .get(from..to)
            .is_some_and(|part| !part.is_empty() && all_zero(part))
    })
}

/// Whether whole frames of a later write stand behind a bad one: a checkpoint ends its write, so anything whole behind
/// a checkpoint was written after that checkpoint had become durable.
fn later_write(bytes: &[u8], bad: usize, last: usize) -> bool {
    let mut at = bad + 1;
    let mut checkpoint_seen = false;
    while at <= last {
        let head = bytes.get(at..at + FRAME_BYTES).and_then(read_head);
        let Some(Step::Frame { payload, next }) = head.map(|_| step(bytes, at)) else {
            at += 1;
            continue;
        };
        if checkpoint_seen {
            return true;
        }
        checkpoint_seen = Envelope::parse(payload).is_ok_and(|e| e.kind == Kind::Checkpoint);
        at = next;
    }
    false
}
