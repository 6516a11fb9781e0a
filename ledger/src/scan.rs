//! Reading a journal back: the chain every record must fit, and the walk over the segments when a ledger is opened.
//!
//! Nothing here writes. What is not whole and signed is either an unfinished write at the very end, which the caller
//! cuts, or damage, which the caller refuses.

use exeat_types::Digest;

use crate::{
    Error,
    envelope::Envelope,
    event::Cut,
    frame::{self, FRAME_BYTES, HEADER_BYTES, Header, Step},
    merkle::{Tree, leaf_hash},
    note::{Head, NoteKey},
    record::{Kind, Record},
    storage::Storage,
};

/// The place of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The segment.
    pub segment: u32,
    /// Where its frame begins in the segment.
    pub offset: u64,
    /// Its number, from zero.
    pub seq: u64,
}

/// The tree and chain so far, and the last signed head in it.
#[derive(Clone)]
pub(crate) struct Chain {
    pub(crate) tree: Tree,
    /// The leaf hash of the last record.
    pub(crate) last: Digest,
    /// The last checkpoint's note.
    pub(crate) note: Option<String>,
}

impl Chain {
    pub(crate) fn empty() -> Self {
        let tree = Tree::empty();
        let last = tree.root();
        Self {
            tree,
            last,
            note: None,
        }
    }

    /// Adds a written record after checking that it belongs here; a checkpoint must state the tree so far.
    pub(crate) fn follow<'a>(
        &mut self,
        payload: &'a [u8],
        key: &NoteKey,
    ) -> Result<Envelope<'a>, String> {
        let envelope = Envelope::parse(payload).map_err(|e| e.problem)?;
        if envelope.seq != self.tree.size() {
            return Err(format!(
                "expected record {}, got {}",
                self.tree.size(),
                envelope.seq
            ));
        }
        if envelope.prev != self.last {
            return Err("the record does not follow the one before it".to_owned());
        }
        if envelope.kind == Kind::Checkpoint {
            self.note = Some(self.check(&envelope, key)?);
        }
        self.last = leaf_hash(payload);
        self.tree.append(self.last);
        Ok(envelope)
    }

    /// Adds a record of which only the leaf hash is known.
    pub(crate) fn follow_hidden(&mut self, leaf: Digest) {
        self.last = leaf;
        self.tree.append(leaf);
    }

    fn check(&self, envelope: &Envelope<'_>, key: &NoteKey) -> Result<String, String> {
        let record = envelope.record().map_err(|e| e.problem)?;
        let Record::Checkpoint(checkpoint) = record else {
            return Err("not a checkpoint".to_owned());
        };
        let head = Head::parse(&checkpoint.note).map_err(|e| e.problem)?;
        if head.origin != key.name() {
            return Err(format!(
                "a checkpoint of another journal, `{}`",
                head.origin
            ));
        }
        if head.size != self.tree.size() || head.root != self.tree.root() {
            return Err("the checkpoint states another tree than these records make".to_owned());
        }
        if head.time != envelope.time {
            return Err("the checkpoint states another time than its record".to_owned());
        }
        Ok(checkpoint.note)
    }

    /// Checks the signature of the last checkpoint, which vouches for every record before it.
    pub(crate) fn check_signature(&self, key: &NoteKey) -> Result<(), String> {
        match &self.note {
            Some(note) => Head::open(note, key).map(|_| ()).map_err(|e| e.problem),
            None => Ok(()),
        }
    }
}

/// What a walk over a journal found.
#[derive(Clone)]
pub(crate) struct Walk {
    pub(crate) chain: Chain,
    /// Where the next write goes: segment, offset and the segment's length. No segment yet is segment zero.
    pub(crate) segment: u32,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    /// Bytes of an unfinished write behind that.
    pub(crate) cut: Option<Cut>,
}

impl Walk {
    /// Nothing yet.
    pub(crate) fn start() -> Self {
        Self {
            chain: Chain::empty(),
            segment: 0,
            offset: 0,
            length: 0,
            cut: None,
        }
    }
}

/// Takes a signed record and its place.
pub(crate) type SeeSigned<'a> = &'a mut dyn FnMut(&Envelope<'_>, Position) -> Result<(), Error>;

/// Walks from where an earlier walk stopped to a place that is known to be durable, while somebody may be writing behind
/// it. Nothing there is looked at, so nothing unfinished is seen.
pub(crate) fn walk_to(
    storage: &dyn Storage,
    key: &NoteKey,
    end: Position,
    see: SeeSigned<'_>,
) -> Result<Walk, Error> {
    let read = || Error::disk("read the journal");
    let mut found = Walk::start();
    for segment in 1..=end.segment {
        let length = storage.length(segment).map_err(read())?;
        let used = if segment == end.segment {
            end.offset
        } else {
            length
        };
        let size = usize::try_from(used).unwrap_or(usize::MAX);
        let bytes = storage.read(segment, 0, size).map_err(read())?;
        if frame::all_zero(&bytes) {
            break;
        }
        (found.segment, found.offset, found.length) = (segment, 0, length);
        walk_segment(&bytes, key, &mut found, see)?;
    }
    if found.cut.is_some() || found.chain.tree.size() != end.seq {
        let problem = "it does not end where it is said to";
        return Err(damaged(found.segment, found.offset, problem));
    }
    Ok(found)
}

/// Walks over every segment behind what an earlier walk found, checks everything but bodies, and hands out the signed
/// records in order.
pub(crate) fn walk(
    storage: &dyn Storage,
    key: &NoteKey,
    mut found: Walk,
    see: SeeSigned<'_>,
) -> Result<Walk, Error> {
    let read = || Error::disk("read the journal");
    let known = found.segment;
    let mut spare = None;
    let numbers = storage.segments().map_err(read())?;
    for (expected, &segment) in (1..).zip(&numbers) {
        if segment != expected {
            return Err(damaged(expected, 0, "the segment is missing"));
        }
        if segment < known {
            continue;
        }
        let length = storage.length(segment).map_err(read())?;
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        let bytes = storage.read(segment, 0, size).map_err(read())?;
        if frame::all_zero(&bytes) {
            spare = spare.or(Some(segment));
            continue;
        }
        if let Some(spare) = spare {
            return Err(damaged(
                spare,
                0,
                "the segment is empty and one behind it is not",
            ));
        }
        if let Some(cut) = found.cut {
            return Err(damaged(
                cut.segment,
                cut.offset,
                "an unfinished write inside the journal",
            ));
        }
        if segment > known {
            (found.segment, found.offset, found.length) = (segment, 0, length);
        }
        walk_segment(&bytes, key, &mut found, see)?;
    }
    let problem = |problem: String| damaged(found.segment, found.offset, &problem);
    found.chain.check_signature(key).map_err(problem)?;
    Ok(found)
}

fn walk_segment(
    bytes: &[u8],
    key: &NoteKey,
    found: &mut Walk,
    see: SeeSigned<'_>,
) -> Result<(), Error> {
    let segment = found.segment;
    let mut at = usize::try_from(found.offset).unwrap_or(usize::MAX);
    if at == 0 {
        if let Err(problem) = check_header(bytes, found) {
            return end_of_walk(bytes, found, 0, problem);
        }
        at = HEADER_BYTES;
    }
    let mut chain = found.chain.clone();
    let mut unsigned = Vec::new();
    loop {
        match frame::step(bytes, at) {
            Step::Frame { payload, next } => {
                let problem = |problem: String| damaged(segment, wide(at), &problem);
                let envelope = chain.follow(payload, key).map_err(problem)?;
                unsigned.push((
                    envelope,
                    Position {
                        segment,
                        offset: wide(at),
                        seq: envelope.seq,
                    },
                ));
                if envelope.kind == Kind::Checkpoint {
                    for (envelope, position) in unsigned.drain(..) {
                        see(&envelope, position)?;
                    }
                    found.chain = chain.clone();
                    found.offset = wide(next);
                }
                at = next;
            }
            Step::End if found.offset == wide(at) => return Ok(()),
            Step::End => return end_of_walk(bytes, found, at, "records without a checkpoint"),
            Step::Bad(problem) => return end_of_walk(bytes, found, at, problem),
        }
    }
}

fn check_header(bytes: &[u8], found: &Walk) -> Result<(), &'static str> {
    let header = Header::decode(bytes)?;
    if header.segment != found.segment {
        return Err("a segment with the number of another");
    }
    if header.seq != found.chain.tree.size() || header.prev != found.chain.last {
        return Err("the segment does not follow the one before it");
    }
    Ok(())
}

/// The signed part of a segment ended before its bytes did: an unfinished write, or damage.
fn end_of_walk(bytes: &[u8], found: &mut Walk, bad: usize, problem: &str) -> Result<(), Error> {
    let start = usize::try_from(found.offset).unwrap_or(usize::MAX);
    if !frame::is_torn(bytes, start, bad) {
        return Err(damaged(found.segment, wide(bad), problem));
    }
    let end = bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(start, |last| last + 1);
    let cut = Cut {
        bytes: wide(end.saturating_sub(start)),
        offset: found.offset,
        segment: found.segment,
    };
    found.cut = Some(cut);
    Ok(())
}

/// The place of the first record.
pub(crate) fn start() -> Position {
    Position {
        segment: 1,
        offset: wide(HEADER_BYTES),
        seq: 0,
    }
}

/// The place behind a record.
pub(crate) fn after(position: Position, payload: &[u8]) -> Position {
    let offset = position.offset + wide(FRAME_BYTES + payload.len());
    Position {
        segment: position.segment,
        offset,
        seq: position.seq + 1,
    }
}

/// Takes the payload of a frame and its place.
pub(crate) type See<'a> = &'a mut dyn FnMut(&[u8], Position) -> Result<(), Error>;

/// Hands out every frame from one place up to another, trusting what an earlier walk has checked.
pub(crate) fn frames(
    storage: &dyn Storage,
    from: Position,
    end: Position,
    see: See<'_>,
) -> Result<(), Error> {
    let mut place = from;
    while place.seq < end.seq {
        let size = if place.segment == end.segment {
            end.offset
        } else {
            storage
                .length(place.segment)
                .map_err(Error::disk("read the journal"))?
        };
        let size = usize::try_from(size.saturating_sub(place.offset)).unwrap_or(usize::MAX);
        let bytes = storage
            .read(place.segment, place.offset, size)
            .map_err(Error::disk("read the journal"))?;
        let mut at = 0;
        while place.seq < end.seq
            && let Step::Frame { payload, next } = frame::step(&bytes, at)
        {
            see(payload, place)?;
            place.offset += wide(next - at);
            place.seq += 1;
            at = next;
        }
        if place.seq < end.seq {
            if place.segment >= end.segment {
                return Err(damaged(place.segment, place.offset, "a record is missing"));
            }
            place = Position {
                segment: place.segment + 1,
                offset: wide(HEADER_BYTES),
                ..place
            };
        }
    }
    Ok(())
}

pub(crate) fn damaged(segment: u32, offset: u64, problem: &str) -> Error {
    Error::Damaged {
        segment,
        offset,
        problem: problem.to_owned(),
    }
}

pub(crate) fn wide(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
