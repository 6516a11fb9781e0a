//! Writing: batches of records, each closed by a signed checkpoint, made durable by one sync.
//!
//! Owned by the one writer thread. A batch lies in one segment and is one write, so that a crash can only cut the last
//! one short. Nothing in memory moves on until the bytes are durable.

use std::sync::Arc;

use exeat_types::{Signer, Timestamp};

use crate::{
    Error,
    envelope::{self, Link},
    event::Checkpoint,
    frame::{self, FRAME_BYTES, HEADER_BYTES, Header, RECORD_BYTES_MAX},
    load::{self, Loaded, Seen},
    merkle::leaf_hash,
    note::{Head, NoteKey},
    record::{Kind, Record},
    scan::{Chain, Position, Walk, wide},
    storage::Storage,
};

/// What an envelope adds to a body at most.
const ENVELOPE_BYTES: usize = 256;
/// What a checkpoint takes at most, frame included.
const CHECKPOINT_BYTES: usize = 1024;
/// The longest batch.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// A body that waits to be wrapped.
pub(crate) struct Item {
    pub(crate) kind: Kind,
    pub(crate) body: Vec<u8>,
}

impl Item {
    /// What it takes in a segment at most.
    pub(crate) fn bytes(&self) -> usize {
        self.body.len() + ENVELOPE_BYTES + FRAME_BYTES
    }
}

pub(crate) struct Journal {
    storage: Arc<dyn Storage>,
    signer: Arc<dyn Signer>,
    key: NoteKey,
    segment_bytes: u64,
    chain: Chain,
    segment: u32,
    offset: u64,
    length: u64,
    /// How many bytes behind the offset a failed write may have touched.
    dirty: usize,
    buffer: Vec<u8>,
}

/// A batch that is durable.
pub(crate) struct Written {
    /// The places of the records, in order.
    pub(crate) positions: Vec<Position>,
    /// The place behind the batch.
    pub(crate) end: Position,
    /// The note of its checkpoint.
    pub(crate) note: String,
}

impl Journal {
    /// Continues where a walk ended, after anything it said to cut was cut.
    pub(crate) fn resume(
        storage: Arc<dyn Storage>,
        signer: Arc<dyn Signer>,
        key: NoteKey,
        segment_bytes: u64,
        walk: Walk,
    ) -> Self {
        Self {
            storage,
            signer,
            key,
            segment_bytes,
            chain: walk.chain,
            segment: walk.segment,
            offset: walk.offset,
            length: walk.length,
            dirty: 0,
            buffer: Vec::new(),
        }
    }

    /// The most that a batch may hold, by [`Item::bytes`].
    pub(crate) fn batch_bytes_max(segment_bytes: u64) -> usize {
        let segment = usize::try_from(segment_bytes).unwrap_or(usize::MAX);
        segment
            .saturating_sub(HEADER_BYTES + CHECKPOINT_BYTES)
            .min(BATCH_BYTES_MAX)
    }

    /// The longest body that fits a batch and a record.
    pub(crate) fn body_bytes_max(segment_bytes: u64) -> usize {
        let room =
            Self::batch_bytes_max(segment_bytes).saturating_sub(ENVELOPE_BYTES + FRAME_BYTES);
        room.min(RECORD_BYTES_MAX - ENVELOPE_BYTES)
    }

    /// The place behind the last durable record.
    pub(crate) fn end(&self) -> Position {
        Position {
            segment: self.segment,
            offset: self.offset,
            seq: self.chain.tree.size(),
        }
    }

    /// The segment that will be needed next.
    pub(crate) fn next_segment(&self) -> u32 {
        self.segment + 1
    }

    /// Whether more than half of the segment is used.
    pub(crate) fn is_half_full(&self) -> bool {
        self.offset > self.length / 2
    }

    /// Whether a batch of this size can be written as things are.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let header = if self.offset == 0 { HEADER_BYTES } else { 0 };
        let need = self.offset + wide(header + bytes + CHECKPOINT_BYTES);
        self.dirty == 0 && self.segment > 0 && need <= self.length
    }

    /// Sees to it that a batch of this size has a segment to go to. Changes nothing that was written.
    pub(crate) fn make_room(&mut self, bytes: usize) -> Result<(), Error> {
        self.clean()?;
        if self.has_room(bytes) {
            return Ok(());
        }
        let too_large = Error::TooLarge {
            bytes,
            bytes_max: Self::batch_bytes_max(self.length),
        };
        if self.segment > 0 && self.offset == 0 {
            return Err(too_large);
        }
        let next = self.next_segment();
        let known = self
            .storage
            .segments()
            .map_err(Error::disk("read the journal"))?;
        if !known.contains(&next) {
            self.storage
                .prepare(next, self.segment_bytes)
                .map_err(Error::disk("make room in the journal"))?;
        }
        let length = self
            .storage
            .length(next)
            .map_err(Error::disk("read the journal"))?;
        if wide(bytes + HEADER_BYTES + CHECKPOINT_BYTES) > length {
            return Err(too_large);
        }
        (self.segment, self.offset, self.length) = (next, 0, length);
        Ok(())
    }

    /// Overwrites what a failed write may have left, so that the next one does not end inside it.
    ///
    /// After a failed sync nobody knows which pages the disk has; writing all of them again is the only way to know.
    pub(crate) fn clean(&mut self) -> Result<(), Error> {
        if self.dirty == 0 {
            return Ok(());
        }
        let zeros = vec![0; self.dirty];
        self.storage
            .write(self.segment, self.offset, &zeros)
            .and_then(|()| self.storage.sync(self.segment))
            .map_err(Error::disk("take back a failed write"))?;
        self.dirty = 0;
        Ok(())
    }

    /// Opens the same journal again, as what is on the disk may be more than this process wrote.
    pub(crate) fn reload(&self) -> Result<Loaded, Error> {
        let (storage, signer) = (&self.storage, &self.signer);
        load::load(
            storage,
            signer,
            &self.key,
            self.segment_bytes,
            Seen::nothing(),
        )
    }

    /// Writes a batch and its checkpoint and makes them durable.
    pub(crate) fn append(&mut self, items: &[&Item], now: Timestamp) -> Result<Written, Error> {
        let time = now.to_string();
        let mut chain = self.chain.clone();
        let mut positions = Vec::with_capacity(items.len());
        let mut out = std::mem::take(&mut self.buffer);
        out.clear();
        if self.offset == 0 {
            let seq = chain.tree.size();
            let header = Header {
                segment: self.segment,
                seq,
                prev: chain.last,
            };
            out.extend_from_slice(&header.encode());
        }
        for item in items {
            let place = self.offset + wide(out.len());
            let seq = chain.tree.size();
            positions.push(Position {
                segment: self.segment,
                offset: place,
                seq,
            });
            push(&mut out, &mut chain, item, &time)?;
        }
        let (size, root) = (chain.tree.size(), chain.tree.root());
        let origin = self.key.name().to_owned();
        let head = Head {
            origin,
            size,
            root,
            time: time.clone(),
        };
        let note = head.sign(&*self.signer, &self.key)?;
        let record = Record::Checkpoint(Checkpoint { note: note.clone() });
        let item = Item {
            kind: Kind::Checkpoint,
            body: record.body()?,
        };
        push(&mut out, &mut chain, &item, &time)?;

        self.dirty = out.len();
        self.storage
            .write(self.segment, self.offset, &out)
            .map_err(Error::disk("write the journal"))?;
        self.storage
            .sync(self.segment)
            .map_err(Error::disk("make the journal durable"))?;

        self.dirty = 0;
        self.offset += wide(out.len());
        self.chain = chain;
        self.buffer = out;
        Ok(Written {
            positions,
            end: self.end(),
            note,
        })
    }
}

fn push(out: &mut Vec<u8>, chain: &mut Chain, item: &Item, time: &str) -> Result<(), Error> {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_BYTES]);
    let link = Link {
        prev: chain.last,
        seq: chain.tree.size(),
        time,
    };
    envelope::wrap(out, item.kind, &item.body, &link);
    let payload = out.get(start + FRAME_BYTES..).unwrap_or_default();
    chain.last = leaf_hash(payload);
    chain.tree.append(chain.last);
    let bytes = item.bytes();
    frame::close_frame(out, start).ok_or(Error::TooLarge {
        bytes,
        bytes_max: RECORD_BYTES_MAX,
    })
}
