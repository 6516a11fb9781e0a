//! Finds thousands of patterns in text at memory speed: a Wu-Manber filter over hashed groups of four bytes.
//!
//! Every pattern is at least as long as the window. The last four bytes of the window are hashed; the table says how far
//! the window may jump because no pattern has that group nearer. Where it may not jump, the patterns that begin with the
//! window are compared. Patterns are kept sorted, which also answers how much of a text's tail begins some pattern.

use zeroize::Zeroizing;

use super::encodings::Wiped;

/// The widest window: a jump fits in a byte and gains little beyond.
const WINDOW_BYTES_MAX: usize = 64;
/// Bytes that are hashed together.
const GRAM: usize = 4;
/// Bytes at the end of the window that tell groups of patterns apart.
const CHECK: usize = 8;

/// Bits for beginnings of one byte and of two, which are not hashed.
const EXACT_BITS: usize = 256 + 65536;

/// A compiled set of patterns of at least eight bytes each.
pub(super) struct Filter {
    /// All patterns one behind another.
    bytes: Zeroizing<Vec<u8>>,
    /// Sorted by their bytes, each once.
    patterns: Vec<Pattern>,
    window: usize,
    longest: usize,
    /// By hash: how far the window may jump.
    jumps: Vec<u8>,
    /// `jumps` has two to the power of this many entries.
    width: u32,
    /// Patterns with the same first window, by hash slot.
    groups: Vec<Group>,
    /// By hash slot: where its groups begin; one entry more than slots.
    slots: Vec<u32>,
    /// By hash: a bit that says whether some pattern begins with these bytes; exact for one byte and for two.
    beginnings: Vec<u64>,
    /// The bytes that occur in patterns.
    alphabet: [bool; 256],
}

/// An occurrence of a pattern: the longest at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Occurrence {
    /// Its first byte.
    pub(super) start: usize,
    /// Behind its last byte.
    pub(super) end: usize,
    /// The number of its label.
    pub(super) label: u32,
}

#[derive(Clone, Copy)]
struct Pattern {
    from: u32,
    to: u32,
    label: u32,
}

#[derive(Clone, Copy)]
struct Group {
    check: u64,
    first: u32,
    last: u32,
}

impl Filter {
    /// Compiles patterns with the numbers of their labels; of equal patterns the smallest number stays.
    pub(super) fn new(mut patterns: Vec<(Wiped, u32)>) -> Self {
        patterns.retain(|(pattern, _)| pattern.len() >= CHECK);
        patterns.sort_by(|one, other| one.0.as_slice().cmp(&other.0).then(one.1.cmp(&other.1)));
        patterns.dedup_by(|later, earlier| later.0 == earlier.0);
        let shortest = patterns
            .iter()
            .map(|(pattern, _)| pattern.len())
            .min()
            .unwrap_or(CHECK);
        let total = patterns.iter().map(|(pattern, _)| pattern.len()).sum();
        let window = shortest.min(WINDOW_BYTES_MAX);
        let grams = patterns.len().saturating_mul(window);
        let width = grams.saturating_mul(4).max(1).ilog2().clamp(8, 20);
        let mut filter = Self {
            bytes: Zeroizing::new(Vec::with_capacity(total)),
            patterns: Vec::with_capacity(patterns.len()),
            window,
            longest: patterns
                .iter()
                .map(|(pattern, _)| pattern.len())
                .max()
                .unwrap_or(0),
            jumps: vec![u8::try_from(window - GRAM + 1).unwrap_or(1); 1 << width],
            width,
            groups: Vec::new(),
            slots: Vec::new(),
            beginnings: vec![0; (EXACT_BITS + (1 << width)) / 64],
            alphabet: [false; 256],
        };
        for (pattern, label) in &patterns {
            filter.add(pattern, *label);
        }
        filter.group();
        filter
    }

    /// The length of the longest pattern.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// Whether a byte occurs in a pattern.
    pub(super) fn uses(&self, byte: u8) -> bool {
        self.alphabet
            .get(usize::from(byte))
            .is_some_and(|used| *used)
    }

    /// Reports, for every place in the text where patterns occur, the longest one.
    pub(super) fn scan(&self, text: &[u8], mut found: impl FnMut(Occurrence)) {
        if self.patterns.is_empty() {
            return;
        }
        let mut from = self.window - GRAM;
        while let Some(gram) = text.get(from..).and_then(|rest| rest.first_chunk()) {
            let code = scramble(*gram);
            let jump = self
                .jumps
                .get((code >> (32 - self.width)) as usize)
                .copied()
                .unwrap_or(0);
            if jump > 0 {
                from += usize::from(jump);
                continue;
            }
            let start = from + GRAM - self.window;
            if let Some(occurrence) = self.compare(text, start, code) {
                found(occurrence);
            }
            from += 1;
        }
    }

    /// The length of the longest end of the text that is the beginning, and not the whole, of a pattern.
    pub(super) fn held(&self, text: &[u8]) -> usize {
        let most = self.longest.saturating_sub(1);
        let run = text
            .iter()
            .rev()
            .take(most)
            .take_while(|byte| self.uses(**byte))
            .count();
        let tail = text.get(text.len() - run..).unwrap_or_default();
        (0..run)
            .filter_map(|from| tail.get(from..))
            .find(|end| self.known_to_begin(end).unwrap_or_else(|| self.begins(end)))
            .map_or(0, <[u8]>::len)
    }

    fn add(&mut self, pattern: &[u8], label: u32) {
        let from = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(pattern);
        let to = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.patterns.push(Pattern { from, to, label });
        for byte in pattern {
            if let Some(used) = self.alphabet.get_mut(usize::from(*byte)) {
                *used = true;
            }
        }
        let width = self.width;
        let place = |gram: &[u8]| {
            gram.first_chunk()
                .map(|gram| (scramble(*gram) >> (32 - width)) as usize)
        };
        for length in 1..=GRAM {
            let bit = self.beginning(pattern.get(..length).unwrap_or_default());
            if let Some(word) = self.beginnings.get_mut(bit / 64) {
                *word |= 1 << (bit % 64);
            }
        }
        let grams = pattern.get(..self.window).unwrap_or(pattern).windows(GRAM);
        for (left, gram) in grams.rev().enumerate() {
            let jump = u8::try_from(left).unwrap_or(u8::MAX);
            if let Some(slot) = place(gram).and_then(|code| self.jumps.get_mut(code)) {
                *slot = jump.min(*slot);
            }
        }
    }

    /// Collects patterns that share their first window, and files the groups by the hash of the window's end.
    fn group(&mut self) {
        let mut filed: Vec<(u32, Group)> = Vec::new();
        let mut first = 0;
        while let Some(head) = self.text(first).get(..self.window) {
            let same = |pattern: &Pattern| self.bytes_of(pattern).starts_with(head);
            let rest = self.patterns.get(first..).unwrap_or_default();
            let last = first + rest.partition_point(same).max(1);
            if let (Some(gram), Some(check)) = (head.last_chunk(), head.last_chunk()) {
                let group = Group {
                    check: u64::from_le_bytes(*check),
                    first: narrow(first),
                    last: narrow(last),
                };
                filed.push((self.slot(scramble(*gram)), group));
            }
            first = last;
        }
        filed.sort_by_key(|(slot, _)| *slot);
        let count = 1u32 << self.slot_width();
        self.slots = (0..=count)
            .map(|slot| narrow(filed.partition_point(|(s, _)| *s < slot)))
            .collect();
        self.groups = filed.into_iter().map(|(_, group)| group).collect();
    }

    fn slot_width(&self) -> u32 {
        self.width.saturating_sub(4)
    }

    fn slot(&self, code: u32) -> u32 {
        code >> (32 - self.slot_width())
    }

    /// The longest pattern at `start`, given the hash of the end of the window there.
    fn compare(&self, text: &[u8], start: usize, code: u32) -> Option<Occurrence> {
        let slot = self.slot(code) as usize;
        let (from, to) = (*self.slots.get(slot)?, *self.slots.get(slot + 1)?);
        let rest = text.get(start..)?;
        let check = u64::from_le_bytes(*rest.get(..self.window)?.last_chunk()?);
        let groups = self.groups.get(from as usize..to as usize)?;
        let longest = groups
            .iter()
            .filter(|group| group.check == check)
            .filter_map(|group| self.longest_in(group, rest))
            .max_by_key(|(length, _)| *length);
        longest.map(|(length, label)| Occurrence {
            start,
            end: start + length,
            label,
        })
    }

    /// The longest pattern of a group that the text begins with, as length and label.
    fn longest_in(&self, group: &Group, text: &[u8]) -> Option<(usize, u32)> {
        let mut rest = self
            .patterns
            .get(group.first as usize..group.last as usize)?;
        let head = self.bytes_of(rest.first()?).get(..self.window)?;
        if !text.starts_with(head) {
            return None;
        }
        let mut depth = self.window;
        let mut best = None;
        while let Some((pattern, others)) = rest.split_first() {
            let bytes = self.bytes_of(pattern);
            if bytes.len() == depth {
                best = Some((depth, pattern.label));
                rest = others;
                continue;
            }
            if others.is_empty() {
                return if text.starts_with(bytes) {
                    Some((bytes.len(), pattern.label))
                } else {
                    best
                };
            }
            let Some(byte) = text.get(depth) else { break };
            let next = |pattern: &Pattern| self.bytes_of(pattern).get(depth).copied();
            let below = rest.partition_point(|pattern| next(pattern) < Some(*byte));
            rest = rest.get(below..).unwrap_or_default();
            let equal = rest.partition_point(|pattern| next(pattern) == Some(*byte));
            rest = rest.get(..equal).unwrap_or_default();
            depth += 1;
        }
        best
    }

    /// Whether a pattern begins with this text, if that is known without a search.
    fn known_to_begin(&self, text: &[u8]) -> Option<bool> {
        let shown = text.get(..GRAM).unwrap_or(text);
        let bit = self.beginning(shown);
        let marked = self
            .beginnings
            .get(bit / 64)
            .is_some_and(|word| word >> (bit % 64) & 1 == 1);
        if marked && shown.len() > 2 {
            None
        } else {
            Some(marked)
        }
    }

    /// The bit of the first one to four bytes of a pattern.
    fn beginning(&self, bytes: &[u8]) -> usize {
        match *bytes {
            [] => 0,
            [one] => usize::from(one),
            [one, two] => 256 + usize::from(u16::from_le_bytes([one, two])),
            [one, two, three] => self.hashed([one, two, three, 0]),
            [one, two, three, four, ..] => self.hashed([one, two, three, four]),
        }
    }

    fn hashed(&self, gram: [u8; GRAM]) -> usize {
        EXACT_BITS + (scramble(gram) >> (32 - self.width)) as usize
    }

    /// Whether a pattern begins with this text and goes on.
    fn begins(&self, text: &[u8]) -> bool {
        let first = self
            .patterns
            .partition_point(|pattern| self.bytes_of(pattern) <= text);
        self.text(first).starts_with(text)
    }

    fn text(&self, index: usize) -> &[u8] {
        self.patterns
            .get(index)
            .map(|pattern| self.bytes_of(pattern))
            .unwrap_or_default()
    }

    fn bytes_of(&self, pattern: &Pattern) -> &[u8] {
        self.bytes
            .get(pattern.from as usize..pattern.to as usize)
            .unwrap_or_default()
    }
}

/// Multiplicative hash of four bytes; its upper bits are good.
fn scramble(gram: [u8; GRAM]) -> u32 {
    u32::from_le_bytes(gram).wrapping_mul(0x9e37_79b1)
}

fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(patterns: &[&str]) -> Filter {
        let numbered = patterns.iter().zip(0..);
        Filter::new(
            numbered
                .map(|(p, n)| (Zeroizing::new(p.as_bytes().to_vec()), n))
                .collect(),
        )
    }

    #[track_caller]
    fn check(patterns: &[&str], text: &str, expected: &[(usize, usize, u32)]) {
        let mut found = Vec::new();
        filter(patterns).scan(text.as_bytes(), |o| found.push((o.start, o.end, o.label)));
        assert_eq!(found, expected);
    }

    #[test]
    fn every_place_reports_its_longest_pattern() {
        check(&["abcdefgh", "abcdefghij"], "..abcdefghi", &[(2, 10, 0)]);
        check(&["abcdefgh", "abcdefghij"], "..abcdefghij", &[(2, 12, 1)]);
        check(
            &["abcdefgh", "defghijk"],
            "abcdefghijk",
            &[(0, 8, 0), (3, 11, 1)],
        );
        check(
            &["aaaaaaaa"],
            "aaaaaaaaaa",
            &[(0, 8, 0), (1, 9, 0), (2, 10, 0)],
        );
        check(&["abcdefgh", "abcdefgh"], "abcdefgh", &[(0, 8, 0)]);
        check(
            &["abcdefgh-1x", "abcdefgh-2x", "abcdefgh-2y"],
            "abcdefgh-2y",
            &[(0, 11, 2)],
        );
        check(&[], "abcdefgh", &[]);
        check(&["abcdefgh"], "abc", &[]);
    }

    #[test]
    fn the_held_end_is_the_longest_beginning_of_a_pattern() {
        let filter = filter(&["abcdefgh", "abcdefghij", "bcdxxxxx"]);
        for (text, expected) in [
            ("", 0),
            ("zzz", 0),
            ("za", 1),
            ("abcd", 4),
            ("xbcd", 3),
            ("abcdefg", 7),
            ("abcdefgh", 8),
            ("abcdefghij", 0),
            ("abc\n", 0),
        ] {
            assert_eq!(filter.held(text.as_bytes()), expected, "{text:?}");
        }
    }
}
