//! The streaming redactor: whole or in pieces, the same bytes come out.
//!
//! A chunk is joined to what was held of the one before. What is found is replaced, the union of overlapping matches by
//! one marker. Held back is exactly the end that may still become a match; as no pattern holds a line break, nothing is
//! held at the end of a line, so no server-sent event waits. No byte of a match is ever emitted: a match that begins
//! before the held end is complete, and one that begins in it is not emitted until it is decided. Each chunk is searched
//! for what is known by then: a secret that became known meanwhile cannot have begun in bytes that were sent before.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{
    Formats, Hits, Newest, Patterns,
    formats::{Ending, Running},
    patterns::{Found, Hit},
};

/// Redacts one stream of bytes that arrives in chunks.
pub struct Stream {
    patterns: Newest,
    state: State,
}

impl Stream {
    /// A redactor of known secrets and token formats.
    pub fn new(patterns: impl Into<Newest>) -> Self {
        Self::with_formats(patterns, Formats::Redact)
    }

    /// A redactor with a choice about token formats.
    pub fn with_formats(patterns: impl Into<Newest>, formats: Formats) -> Self {
        Self {
            patterns: patterns.into(),
            state: State::new(formats),
        }
    }

    /// Takes the next chunk and appends to `out` what is certain to be clean.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let patterns = self.patterns.load();
        if patterns.is_idle(self.state.formats) && self.state.held.is_empty() {
            out.extend_from_slice(chunk);
            return;
        }
        for piece in chunk.chunks(PIECE_BYTES) {
            self.state.pass(&patterns, piece, Ending::Open, out);
        }
    }

    /// Ends the stream and appends the rest; another one may follow.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let patterns = self.patterns.load();
        self.state.pass(&patterns, &[], Ending::Final, out);
    }

    /// How many bytes are held back.
    pub fn held(&self) -> usize {
        self.state.held.len()
    }

    /// The redactions made so far.
    pub fn hits(&self) -> &Hits {
        &self.state.hits
    }
}

/// Text is searched in pieces of this size, which stay in the cache while it is.
const PIECE_BYTES: usize = 16 * 1024;

/// Where a stream stands.
pub(super) struct State {
    formats: Formats,
    held: Zeroizing<Vec<u8>>,
    /// How many held bytes belong to a match whose marker is out.
    covered: usize,
    /// Tokens that may go on.
    running: Running,
    found: Found,
    /// The redactions made so far.
    pub(super) hits: Hits,
}

impl State {
    /// The beginning of a stream.
    pub(super) fn new(formats: Formats) -> Self {
        Self {
            formats,
            held: Zeroizing::new(Vec::new()),
            covered: 0,
            running: Running::default(),
            found: Found::default(),
            hits: Hits::new(),
        }
    }

    /// Joins a piece to what is held, emits what is settled and holds the rest.
    pub(super) fn pass(
        &mut self,
        patterns: &Patterns,
        piece: &[u8],
        ending: Ending,
        out: &mut Vec<u8>,
    ) {
        self.join(piece);
        let text = self.held.as_slice();
        patterns.find(text, self.formats, ending, &mut self.found);
        let settled = self.found.settled;
        let mut covered = self.covered + run_on(self.running, text, self.covered);
        if covered < text.len() || ending == Ending::Final {
            self.running = Running::default();
        } else {
            self.running = still_running(self.running, text, self.covered);
        }
        let mut at = covered;
        for hit in self.found.hits.iter().take_while(|hit| hit.start < settled) {
            if hit.start >= covered {
                out.extend_from_slice(text.get(at..hit.start).unwrap_or_default());
                mark(patterns, hit, out, &mut self.hits);
            }
            covered = covered.max(hit.end);
            at = covered;
            if let (Some(class), true) = (hit.class, hit.end == text.len()) {
                self.running.insert(class);
            }
        }
        out.extend_from_slice(text.get(at..settled).unwrap_or_default());
        if ending == Ending::Final {
            self.running = Running::default();
        }
        self.covered = covered.saturating_sub(settled);
        self.keep(settled);
    }

    /// Appends to what is held, without leaving a copy behind when it has to move.
    fn join(&mut self, piece: &[u8]) {
        let size = self.held.len() + piece.len();
        if size > self.held.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(size.next_power_of_two()));
            larger.extend_from_slice(&self.held);
            self.held = larger;
        }
        self.held.extend_from_slice(piece);
    }

    /// Drops the first bytes, and wipes what may be secret of what they leave behind: all of it if something was found.
    fn keep(&mut self, from: usize) {
        let from = from.min(self.held.len());
        let left = self.held.len() - from;
        self.held.copy_within(from.., 0);
        let clean = if self.found.hits.is_empty() {
            from.max(left)
        } else {
            left
        };
        if let Some(rest) = self.held.get_mut(clean..) {
            rest.fill(0);
            std::hint::black_box(rest);
        }
        self.held.truncate(left);
    }
}

/// How far tokens that reached the end of the last text go on from `from`.
fn run_on(running: Running, text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    running
        .classes()
        .map(|class| class.run(rest))
        .max()
        .unwrap_or(0)
}

/// Those of the tokens that reach the end of the text again.
fn still_running(running: Running, text: &[u8], from: usize) -> Running {
    let rest = text.get(from..).unwrap_or_default();
    let mut still = Running::default();
    for class in running
        .classes()
        .filter(|class| class.run(rest) == rest.len())
    {
        still.insert(class);
    }
    still
}

/// Puts a marker in the place of a match and counts it.
fn mark(patterns: &Patterns, hit: &Hit, out: &mut Vec<u8>, hits: &mut Hits) {
    let Some(label) = patterns.label(hit) else {
        return out.extend_from_slice(b"[redacted]");
    };
    out.extend_from_slice(b"[redacted:");
    out.extend_from_slice(label.as_bytes());
    out.push(b']');
    let count = hits.entry(Arc::clone(label)).or_default();
    *count = count.saturating_add(1);
}

#[cfg(test)]
mod tests;
