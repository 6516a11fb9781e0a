//! The commits in a pack, and their parents.
//!
//! Everything in the pack is inflated, once, to find where it ends; only commits are kept. Deltas are resolved when they
//! lead to a commit inside the pack; one that builds on an object outside it proves nothing and is passed over. Every
//! amount is bounded before it is spent.

use std::collections::{HashMap, HashSet};

use exeat_types::Malformed;
use flate2::{Decompress, FlushDecompress, Status};

use super::{Format, Id, delta, parse_id, wrong};

/// The parents of every commit in a pack.
pub(super) type Commits = HashMap<Id, Vec<Id>>;

/// Most objects in a pack.
const OBJECTS_MAX: u32 = 1_000_000;
/// Most bytes that a pack inflates to, resolved deltas included.
const INFLATED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Most bytes of commits and of deltas that may become commits, kept at a time.
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Reads a whole pack, its checksum included.
pub(super) fn commits(bytes: &[u8], format: Format) -> Result<Commits, Malformed> {
    let end = bytes.len().checked_sub(format.id_bytes());
    let (body, checksum) = end
        .and_then(|end| bytes.split_at_checked(end))
        .ok_or_else(|| wrong("the pack is cut off"))?;
    let (head, _) = body
        .split_first_chunk::<12>()
        .ok_or_else(|| wrong("the pack is cut off"))?;
    let [b'P', b'A', b'C', b'K', 0, 0, 0, 2, count @ ..] = *head else {
        return Err(wrong("expected a pack of version 2"));
    };
    let count = u32::from_be_bytes(count);
    if count > OBJECTS_MAX {
        return Err(wrong(format!("a pack of more than {OBJECTS_MAX} objects")));
    }
    if ring::digest::digest(format.algorithm(), body).as_ref() != checksum {
        return Err(wrong("the pack's checksum is wrong"));
    }
    let mut reader = Reader::new(body, format);
    for _ in 0..count {
        reader.object()?;
    }
    if reader.at != body.len() {
        return Err(wrong("the pack goes on behind its last object"));
    }
    reader.found.parents()
}

/// What a delta builds on: an object further back in the pack, or one named by id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Base {
    Offset(usize),
    Id(Id),
}

struct Reader<'a> {
    body: &'a [u8],
    format: Format,
    at: usize,
    inflate: Decompress,
    scratch: Box<[u8; 16 * 1024]>,
    found: Found,
}

/// Which kinds of object there are, as far as this matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Commit,
    Other,
    OffsetDelta,
    IdDelta,
}

impl<'a> Reader<'a> {
    fn new(body: &'a [u8], format: Format) -> Self {
        let found = Found {
            format,
            commits: HashMap::new(),
            offsets: HashMap::new(),
            others: HashSet::new(),
            waiting: HashMap::new(),
            inflated: 0,
            kept: 0,
        };
        let (inflate, scratch) = (Decompress::new(true), Box::new([0; 16 * 1024]));
        Self {
            body,
            format,
            at: 12,
            inflate,
            scratch,
            found,
        }
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let byte = self
            .body
            .get(self.at)
            .copied()
            .ok_or_else(|| wrong("the pack is cut off"))?;
        self.at += 1;
        Ok(byte)
    }

    /// Reads one object, and keeps it when it is a commit or may become one.
    fn object(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        let (kind, size) = self.header()?;
        let base = match kind {
            Type::Commit | Type::Other => None,
            Type::OffsetDelta => Some(Base::Offset(self.offset(start)?)),
            Type::IdDelta => {
                let end = self.at + self.format.id_bytes();
                let id = self
                    .body
                    .get(self.at..end)
                    .ok_or_else(|| wrong("the pack is cut off"))?;
                self.at = end;
                Some(Base::Id(id.to_vec()))
            }
        };
        let dead =
            matches!(&base, Some(Base::Offset(offset)) if self.found.others.contains(offset));
        if dead || kind == Type::Other {
            self.content(size, None)?;
            self.found.others.insert(start);
            return Ok(());
        }
        self.found.keep(size)?;
        let mut content = Vec::with_capacity(size);
        self.content(size, Some(&mut content))?;
        match base {
            None => self.found.commit(start, content),
            Some(base) => self.found.delta(start, base, content),
        }
    }

    /// The type and the inflated size.
    fn header(&mut self) -> Result<(Type, usize), Malformed> {
        let first = self.byte()?;
        let mut size = u64::from(first & 0x0f);
        let mut more = first & 0x80 != 0;
        let mut shift = 4;
        while more {
            let byte = self.byte()?;
            if shift > 32 {
                return Err(wrong("an object's size is out of bounds"));
            }
            size |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            more = byte & 0x80 != 0;
        }
        let kind = match first >> 4 & 7 {
            1 => Type::Commit,
            2..=4 => Type::Other,
            6 => Type::OffsetDelta,
            7 => Type::IdDelta,
            _ => return Err(wrong("an object of an unknown type")),
        };
        let size = usize::try_from(size).ok();
        let size = size.ok_or_else(|| wrong("an object's size is out of bounds"))?;
        Ok((kind, size))
    }

    /// Where the base of an offset delta begins.
    fn offset(&mut self, start: usize) -> Result<usize, Malformed> {
        let far = || wrong("a delta's base is outside the pack");
        let mut byte = self.byte()?;
        let mut back = u64::from(byte & 0x7f);
        while byte & 0x80 != 0 {
            byte = self.byte()?;
            back = back
                .checked_add(1)
                .and_then(|back| back.checked_mul(128))
                .ok_or_else(far)?;
            back |= u64::from(byte & 0x7f);
        }
        let back = usize::try_from(back)
            .ok()
            .filter(|&back| back > 0)
            .ok_or_else(far)?;
        start
            .checked_sub(back)
            .filter(|&base| base >= 12)
            .ok_or_else(far)
    }

    /// Inflates the next object, into `sink` when it is to be kept.
    fn content(&mut self, size: usize, mut sink: Option<&mut Vec<u8>>) -> Result<(), Malformed> {
        self.found.spend(size)?;
        self.inflate.reset(true);
        let mut written = 0;
        loop {
            let input = self.body.get(self.at..).unwrap_or_default();
            let (read_before, written_before) = (self.inflate.total_in(), self.inflate.total_out());
            let status =
                self.inflate
                    .decompress(input, self.scratch.as_mut_slice(), FlushDecompress::None);
            let status =
                status.map_err(|error| wrong(format!("an object is not zlib: {error}")))?;
            let step = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
            let read = step(self.inflate.total_in(), read_before);
            let fresh = step(self.inflate.total_out(), written_before);
            self.at += read;
            written += fresh;
            if written > size {
                return Err(wrong("an object is larger than it says"));
            }
            if let Some(sink) = &mut sink {
                sink.extend_from_slice(self.scratch.get(..fresh).unwrap_or_default());
            }
            match status {
                Status::StreamEnd if written == size => return Ok(()),
                Status::StreamEnd => return Err(wrong("an object is smaller than it says")),
                Status::Ok | Status::BufError if read == 0 && fresh == 0 => {
                    return Err(wrong("the pack is cut off"));
                }
                Status::Ok | Status::BufError => {}
            }
        }
    }
}

/// The commits found so far, and the deltas that wait for their base.
struct Found {
    format: Format,
    commits: HashMap<Id, Vec<u8>>,
    /// Which commit begins where.
    offsets: HashMap<usize, Id>,
    /// Where objects begin that are not commits and never will be.
    others: HashSet<usize>,
    waiting: HashMap<Base, Vec<(usize, Vec<u8>)>>,
    inflated: usize,
    kept: usize,
}

impl Found {
    fn spend(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.inflated = self.inflated.saturating_add(bytes);
        let most = INFLATED_BYTES_MAX;
        if self.inflated > most {
            return Err(wrong(format!(
                "the pack inflates to more than {most} bytes"
            )));
        }
        Ok(())
    }

    fn keep(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.kept = self.kept.saturating_add(bytes);
        let most = KEPT_BYTES_MAX;
        if self.kept > most {
            return Err(wrong(format!(
                "the commits in the pack take more than {most} bytes"
            )));
        }
        Ok(())
    }

    /// Takes a delta in: resolved at once when its base is known, else when it comes.
    fn delta(&mut self, start: usize, base: Base, delta: Vec<u8>) -> Result<(), Malformed> {
        let id = match &base {
            Base::Offset(offset) => self.offsets.get(offset),
            Base::Id(id) => Some(id),
        };
        let Some(commit) = id.and_then(|id| self.commits.get(id)) else {
            self.waiting.entry(base).or_default().push((start, delta));
            return Ok(());
        };
        let commit = delta::apply(commit, &delta)?;
        self.spend(commit.len())?;
        self.keep(commit.len())?;
        self.commit(start, commit)
    }

    /// Takes a commit in, and whatever waited for it, without recursion.
    fn commit(&mut self, start: usize, content: Vec<u8>) -> Result<(), Malformed> {
        let mut open = vec![(start, content)];
        while let Some((start, content)) = open.pop() {
            let id = self.id(&content);
            let by_offset = self.waiting.remove(&Base::Offset(start));
            let by_id = self.waiting.remove(&Base::Id(id.clone()));
            for (start, delta) in by_offset.into_iter().chain(by_id).flatten() {
                let commit = delta::apply(&content, &delta)?;
                self.spend(commit.len())?;
                self.keep(commit.len())?;
                open.push((start, commit));
            }
            self.offsets.insert(start, id.clone());
            if self
                .commits
                .insert(id, content.clone())
                .is_some_and(|other| other != content)
            {
                return Err(wrong("two commits with the same id"));
            }
        }
        Ok(())
    }

    fn id(&self, content: &[u8]) -> Id {
        let mut digest = ring::digest::Context::new(self.format.algorithm());
        digest.update(format!("commit {}\0", content.len()).as_bytes());
        digest.update(content);
        digest.finish().as_ref().to_vec()
    }

    fn parents(self) -> Result<Commits, Malformed> {
        let format = self.format;
        self.commits
            .into_iter()
            .map(|(id, content)| Ok((id, parents(&content, format)?)))
            .collect()
    }
}

/// The parents that git sees: the lines right behind the tree.
fn parents(commit: &[u8], format: Format) -> Result<Vec<Id>, Malformed> {
    let mut lines = commit.split(|&byte| byte == b'\n');
    let tree = lines.next().and_then(|line| line.strip_prefix(b"tree "));
    parse_id(
        tree.ok_or_else(|| wrong("a commit without a tree"))?,
        format,
    )?;
    lines
        .map_while(|line| line.strip_prefix(b"parent "))
        .map(|id| parse_id(id, format))
        .collect()
}
