//! Personal numbers and addresses: payment cards, US social security numbers, IBANs and e-mail addresses.
//!
//! Owns the stage that takes them out of text that arrives in chunks. Each kind has a form and a check behind it (Luhn,
//! ranges, mod 97), so that ordinary numbers stay. It reads plain text and strings of JSON; numbers that are written
//! in escapes are not looked for. It never holds more than one candidate, and nothing at the end of a line.

mod forms;

use std::{collections::BTreeMap, sync::Arc};

use super::{Hits, Written, formats::Ending};

/// What kind of personal information.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PiiKind {
    /// The number of a payment card.
    Card,
    /// A US social security number.
    Ssn,
    /// An international bank account number.
    Iban,
    /// An e-mail address.
    Email,
}

impl PiiKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Card, Self::Ssn, Self::Iban, Self::Email];

    /// The word in markers and receipts.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Ssn => "ssn",
            Self::Iban => "iban",
            Self::Email => "email",
        }
    }
}

/// Takes personal information out of one text that arrives in chunks.
pub struct PiiStream {
    kinds: Vec<PiiKind>,
    written: Written,
    /// Bytes that are out already and are looked back at, and behind them those that are not decided.
    held: Vec<u8>,
    /// How many bytes of `held` are out.
    out_bytes: usize,
    quotes: Quotes,
    hits: Hits,
}

/// How far back a candidate looks: one JSON escape.
const LOOK_BACK: usize = 6;

/// What a form says of the text from a place on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It is none.
    No,
    /// It is one, of so many bytes.
    Is(usize),
    /// The next chunk decides.
    Open,
}

struct Hit {
    start: usize,
    end: usize,
    kind: PiiKind,
}

impl PiiStream {
    /// A stage for these kinds.
    pub fn new(kinds: &[PiiKind], written: Written) -> Self {
        Self {
            kinds: kinds.to_vec(),
            written,
            held: Vec::new(),
            out_bytes: 0,
            quotes: Quotes::default(),
            hits: Hits::new(),
        }
    }

    /// Takes the next chunk and appends to `out` what is decided.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        self.held.extend_from_slice(chunk);
        self.pass(Ending::Open, out);
    }

    /// Ends the text and appends the rest; another one may follow.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.pass(Ending::Final, out);
        self.held.clear();
        self.out_bytes = 0;
        self.quotes = Quotes::default();
    }

    /// How many bytes are held back.
    pub fn held(&self) -> usize {
        self.held.len().saturating_sub(self.out_bytes)
    }

    /// What was taken out so far.
    pub fn hits(&self) -> &Hits {
        &self.hits
    }

    fn pass(&mut self, ending: Ending, out: &mut Vec<u8>) {
        let text = std::mem::take(&mut self.held);
        let (hits, settled) = self.find(&text, ending);
        let mut at = self.out_bytes;
        for hit in hits.iter().take_while(|hit| hit.start < settled) {
            let plain = text.get(at..hit.start).unwrap_or_default();
            out.extend_from_slice(plain);
            self.quotes.advance(plain);
            // Of these only the digits of a card can stand in JSON outside a string.
            let bare =
                hit.kind == PiiKind::Card && self.written == Written::Json && !self.quotes.inside;
            mark(hit.kind, if bare { b"\"" } else { b"" }, out);
            self.quotes
                .advance(text.get(hit.start..hit.end).unwrap_or_default());
            let count = self.hits.entry(Arc::from(hit.kind.label())).or_default();
            *count = count.saturating_add(1);
            at = hit.end;
        }
        let plain = text.get(at..settled).unwrap_or_default();
        out.extend_from_slice(plain);
        self.quotes.advance(plain);
        let from = settled.saturating_sub(LOOK_BACK);
        self.out_bytes = settled - from;
        self.held = text;
        self.held.drain(..from);
    }

    /// Everything in the text, merged, and how much of the text is settled.
    fn find(&self, text: &[u8], ending: Ending) -> (Vec<Hit>, usize) {
        let mut search = Search {
            text,
            from: self.out_bytes,
            ending,
            written: self.written,
            hits: Vec::new(),
            settled: text.len(),
        };
        let has = |kind| self.kinds.contains(&kind);
        if has(PiiKind::Email) {
            search.emails();
        }
        let fresh = text.get(self.out_bytes..).unwrap_or_default();
        // Most text has no digits, and is done with here.
        if fresh.iter().any(u8::is_ascii_digit) {
            if has(PiiKind::Card) {
                search.cards();
            }
            if has(PiiKind::Ssn) {
                search.ssns();
            }
        }
        if has(PiiKind::Iban) {
            search.ibans();
        }
        search.merge()
    }
}

/// One pass over a text.
struct Search<'a> {
    text: &'a [u8],
    from: usize,
    ending: Ending,
    written: Written,
    hits: Vec<Hit>,
    settled: usize,
}

impl Search<'_> {
    fn judge(&mut self, start: usize, kind: PiiKind, verdict: Verdict) {
        match verdict {
            Verdict::No => {}
            Verdict::Is(length) => self.hits.push(Hit {
                start,
                end: start + length,
                kind,
            }),
            Verdict::Open => self.settled = self.settled.min(start),
        }
    }

    fn cards(&mut self) {
        self.words(u8::is_ascii_digit, |search, at, rest| {
            search.judge(at, PiiKind::Card, forms::card(rest, search.ending));
        });
    }

    fn ssns(&mut self) {
        self.words(u8::is_ascii_digit, |search, at, rest| {
            let before = at.checked_sub(1).and_then(|place| search.text.get(place));
            if before != Some(&b'-') {
                search.judge(at, PiiKind::Ssn, forms::ssn(rest, search.ending));
            }
        });
    }

    fn ibans(&mut self) {
        self.words(u8::is_ascii_uppercase, |search, at, rest| {
            search.judge(at, PiiKind::Iban, forms::iban(rest, search.ending));
        });
    }

    /// Shows every place where a word begins with such a byte, and the text from there on.
    fn words(&mut self, first: impl Fn(&u8) -> bool, mut see: impl FnMut(&mut Self, usize, &[u8])) {
        let text = self.text;
        let fresh = text.get(self.from..).unwrap_or_default();
        let mut before = self
            .from
            .checked_sub(1)
            .and_then(|at| text.get(at))
            .copied();
        for (place, byte) in fresh.iter().enumerate() {
            let inside = before
                .replace(*byte)
                .is_some_and(|before| before.is_ascii_alphanumeric());
            if first(byte) && (!inside || self.is_behind_escape(self.from + place)) {
                see(
                    self,
                    self.from + place,
                    fresh.get(place..).unwrap_or_default(),
                );
            }
        }
    }

    fn emails(&mut self) {
        let text = self.text;
        let fresh = text.get(self.from..).unwrap_or_default();
        for place in memchr::memchr_iter(b'@', fresh) {
            let at = self.from + place;
            let start = self.local_start(at);
            if start < at {
                let rest = text.get(start..).unwrap_or_default();
                self.judge(
                    start,
                    PiiKind::Email,
                    forms::email(rest, at - start, self.ending),
                );
            }
        }
        if self.ending == Ending::Open {
            let start = self.local_start(text.len());
            if start < text.len() {
                self.settled = self.settled.min(start);
            }
        }
    }

    /// Where the local part of an address that ends here begins.
    fn local_start(&self, end: usize) -> usize {
        let before = self.text.get(self.from..end).unwrap_or_default();
        let run = before
            .iter()
            .rev()
            .take(forms::LOCAL_BYTES_MAX)
            .take_while(|byte| forms::is_local(**byte))
            .count();
        let start = end - run;
        let escaped = start.checked_sub(1).and_then(|at| self.text.get(at)) == Some(&b'\\');
        if self.written == Written::Json && escaped {
            let length = if self.text.get(start) == Some(&b'u') {
                5
            } else {
                1
            };
            return (start + length).min(end);
        }
        start
    }

    /// Whether a word may begin here although a letter or digit stands before: the end of an escape.
    fn is_behind_escape(&self, at: usize) -> bool {
        let back = |by: usize| at.checked_sub(by).and_then(|place| self.text.get(place));
        self.written == Written::Json
            && (back(2) == Some(&b'\\') || (back(6) == Some(&b'\\') && back(5) == Some(&b'u')))
    }

    /// Hits that overlap become one; none is cut by the settled place.
    fn merge(mut self) -> (Vec<Hit>, usize) {
        self.hits
            .sort_by_key(|hit| (hit.start, std::cmp::Reverse(hit.end), hit.kind));
        let mut merged: Vec<Hit> = Vec::with_capacity(self.hits.len());
        for hit in self.hits {
            match merged.last_mut() {
                Some(last) if hit.start < last.end => last.end = last.end.max(hit.end),
                _ => merged.push(hit),
            }
        }
        for hit in merged.iter().rev() {
            if hit.start < self.settled && self.settled < hit.end {
                self.settled = hit.start;
            }
        }
        (merged, self.settled)
    }
}

/// A marker in the place of what was found; where JSON has a bare number, the marker becomes a string.
fn mark(kind: PiiKind, quote: &[u8], out: &mut Vec<u8>) {
    for part in [quote, b"[redacted:", kind.label().as_bytes(), b"]", quote] {
        out.extend_from_slice(part);
    }
}

/// Whether a place in JSON lies within a string.
#[derive(Default)]
struct Quotes {
    inside: bool,
    escaped: bool,
}

impl Quotes {
    fn advance(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                // A string never goes over the end of a line, so every event begins outside.
                b'\n' => *self = Self::default(),
                _ if self.escaped => self.escaped = false,
                b'\\' if self.inside => self.escaped = true,
                b'"' => self.inside = !self.inside,
                _ => {}
            }
        }
    }
}

/// What is counted by kind, under its label.
pub(super) fn add_hits(from: &Hits, into: &mut BTreeMap<Arc<str>, u64>) {
    for (label, count) in from {
        let sum = into.entry(Arc::clone(label)).or_default();
        *sum = sum.saturating_add(*count);
    }
}

#[cfg(test)]
mod tests;
