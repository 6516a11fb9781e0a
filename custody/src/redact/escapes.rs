//! Text as it reads after its escapes are undone: `%41`, `\u0041`, `\x41`, `\/`, `&#65;`, `&amp;`, in any mixture.
//!
//! Undoing everything would be slow and is not needed: only an escape of a byte that some pattern holds (a *live* one)
//! can be part of a match, any other one separates. So a view holds the surroundings of live escapes, as far as a
//! match can reach, and says where in the text each byte came from. A view of a view undoes escapes that were applied
//! twice. Parsing is from left to right and depends on nothing before an escape, so it may start again at any one.

use zeroize::Zeroizing;

use super::{
    encodings::{Wiped, unit_bytes},
    formats::Ending,
};

/// Which escapes matter, and how far.
pub(super) struct Rules {
    /// By byte: whether a match, or an escape in the view, may hold it.
    live: [bool; 256],
    /// How many plain bytes next to a live escape may belong to the same match.
    reach: usize,
}

impl Rules {
    /// Rules for patterns of at most `longest` bytes, which hold the bytes that `uses` tells.
    pub(super) fn new(longest: usize, uses: impl Fn(u8) -> bool) -> Self {
        let mut live = [false; 256];
        for (byte, slot) in (0..=u8::MAX).zip(live.iter_mut()) {
            let syntax =
                byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'\\' | b'&' | b'#' | b';');
            *slot = syntax || uses(byte);
        }
        Self {
            live,
            reach: longest + 2 * ESCAPE_BYTES_MAX,
        }
    }

    fn is_live(&self, bytes: &[u8]) -> bool {
        bytes
            .iter()
            .all(|byte| self.live.get(usize::from(*byte)).is_some_and(|live| *live))
    }
}

/// A range of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Its first byte.
    pub(super) start: usize,
    /// Behind its last byte.
    pub(super) end: usize,
}

/// The surroundings of live escapes with the escapes undone; pieces are separated by line breaks.
#[derive(Default)]
pub(super) struct View {
    /// The bytes.
    pub(super) bytes: Vec<u8>,
    /// For each byte, where it came from.
    origins: Vec<Span>,
    /// Escapes near the end of the text, where a chunk may be cut.
    escapes: Vec<Span>,
    /// Whether the view reaches the end of the text, or the escape that the end cuts.
    pub(super) touches_end: bool,
    /// Where an escape begins that the end of the text cuts.
    pub(super) cut: Option<usize>,
    /// How far the text has been taken into the view.
    taken: usize,
    /// While a piece is open, how far plain bytes may still be taken.
    limit: Option<usize>,
}

/// The longest escape: `&#1114111;`.
const ESCAPE_BYTES_MAX: usize = 10;

impl View {
    /// Reads a text anew.
    pub(super) fn read(&mut self, text: &[u8], rules: &Rules, ending: Ending) {
        self.clear();
        let (mut at, mut floor) = (0, 0);
        while let Some(found) = next_escape(text, at) {
            let rest = text.get(found..).unwrap_or_default();
            match parse(rest) {
                Parsed::Cut if ending == Ending::Open => {
                    self.take_to(
                        text,
                        found,
                        floor.max(found.saturating_sub(rules.reach)),
                        rules,
                    );
                    self.cut = Some(found);
                    self.touches_end = true;
                    return;
                }
                Parsed::Cut | Parsed::Plain => at = found + 1,
                Parsed::Escape { length, unit } => {
                    at = found + length;
                    let span = Span {
                        start: found,
                        end: at,
                    };
                    if text.len() - found <= rules.reach.saturating_mul(ESCAPE_BYTES_MAX) {
                        self.escapes.push(span);
                    }
                    let mut buffer = [0; 3];
                    let bytes = unit.bytes(&mut buffer);
                    if rules.is_live(bytes) {
                        let from = floor.max(found.saturating_sub(rules.reach));
                        self.take_to(text, found, from, rules);
                        self.bytes.extend_from_slice(bytes);
                        self.origins.extend(bytes.iter().map(|_| span));
                        self.taken = at;
                        self.limit = Some(at + rules.reach);
                    } else {
                        self.close(text, found);
                        floor = at;
                    }
                }
            }
        }
        self.touches_end = self.limit.is_some_and(|limit| limit >= text.len());
        self.close(text, text.len());
    }

    /// Where a range of the view lies in the text.
    pub(super) fn origin(&self, start: usize, end: usize) -> Option<Span> {
        let first = self.origins.get(start)?;
        let last = self.origins.get(end.checked_sub(1)?)?;
        Some(Span {
            start: first.start,
            end: last.end,
        })
    }

    /// Where a place in the view, or its end, lies in the text.
    pub(super) fn place(&self, at: usize) -> Option<usize> {
        self.origins.get(at).map(|span| span.start)
    }

    /// Escapes near the end of the text.
    pub(super) fn escapes(&self) -> &[Span] {
        &self.escapes
    }

    /// Forgets everything, and wipes the bytes.
    pub(super) fn clear(&mut self) {
        if !self.bytes.is_empty() {
            self.bytes.fill(0);
            std::hint::black_box(&self.bytes);
        }
        self.bytes.clear();
        self.origins.clear();
        self.escapes.clear();
        (self.touches_end, self.cut, self.taken, self.limit) = (false, None, 0, None);
    }

    /// Takes the plain bytes before `to`: all since the open piece, if it reaches so far, else a new piece from `from`.
    fn take_to(&mut self, text: &[u8], to: usize, from: usize, rules: &Rules) {
        match self.limit {
            Some(limit) if limit + rules.reach >= to => self.copy(text, self.taken, to),
            Some(_) | None => {
                self.close(text, to);
                self.copy(text, from, to);
            }
        }
    }

    /// Ends the open piece, at `to` or where its reach ends.
    fn close(&mut self, text: &[u8], to: usize) {
        if let Some(limit) = self.limit.take() {
            self.copy(text, self.taken, limit.min(to));
            if to < text.len() {
                self.bytes.push(b'\n');
                self.origins.push(Span {
                    start: self.taken,
                    end: self.taken,
                });
            }
        }
    }

    fn copy(&mut self, text: &[u8], from: usize, to: usize) {
        self.bytes
            .extend_from_slice(text.get(from..to).unwrap_or_default());
        self.origins.extend((from..to).map(|start| Span {
            start,
            end: start + 1,
        }));
        self.taken = to;
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The whole text with its escapes undone once.
pub(super) fn undone(text: &[u8]) -> Wiped {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let mut buffer = [*byte, 0, 0];
        let parsed = parse(text.get(at..).unwrap_or_default());
        let (length, bytes) = match parsed {
            Parsed::Escape { length, unit } => (length, unit.bytes(&mut buffer)),
            Parsed::Cut | Parsed::Plain => (1, buffer.get(..1).unwrap_or_default()),
        };
        out.extend_from_slice(bytes);
        at += length;
    }
    out
}

/// What an escape stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// One byte.
    Byte(u8),
    /// A character, or half of one: a UTF-16 code unit.
    Code(u16),
}

impl Unit {
    fn bytes(self, buffer: &mut [u8; 3]) -> &[u8] {
        match self {
            Self::Byte(byte) => {
                buffer[0] = byte;
                buffer.get(..1).unwrap_or_default()
            }
            Self::Code(code) => unit_bytes(code, buffer),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    /// The first byte stands for itself.
    Plain,
    /// The text ends before that is known.
    Cut,
    /// An escape.
    Escape { length: usize, unit: Unit },
}

fn next_escape(text: &[u8], from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    memchr::memchr3(b'%', b'\\', b'&', rest).map(|found| from + found)
}

/// Reads what stands at the beginning of the text.
fn parse(text: &[u8]) -> Parsed {
    let Some((first, rest)) = text.split_first() else {
        return Parsed::Cut;
    };
    match (first, rest.first()) {
        (_, None) => Parsed::Cut,
        (b'%', Some(_)) => hex_escape(rest, 1, 2),
        (b'&', Some(_)) => entity(rest),
        (b'\\', Some(b'u')) => hex_escape(rest.get(1..).unwrap_or_default(), 2, 4),
        (b'\\', Some(b'x')) => hex_escape(rest.get(1..).unwrap_or_default(), 2, 2),
        (b'\\', Some(letter)) => {
            let byte = match letter {
                b'"' | b'\\' | b'/' | b'\'' => *letter,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'b' => 8,
                b'f' => 12,
                _ => return Parsed::Plain,
            };
            Parsed::Escape {
                length: 2,
                unit: Unit::Byte(byte),
            }
        }
        _ => Parsed::Plain,
    }
}

/// `digits` hexadecimal digits behind a mark of `mark` bytes.
fn hex_escape(text: &[u8], mark: usize, digits: usize) -> Parsed {
    let shown = text.get(..digits).unwrap_or(text);
    if shown.is_empty() {
        return Parsed::Cut;
    }
    let Some(code) = number(shown, 16) else {
        return Parsed::Plain;
    };
    if shown.len() < digits {
        return Parsed::Cut;
    }
    let unit = match (digits, u8::try_from(code), u16::try_from(code)) {
        (2, Ok(byte), _) => Unit::Byte(byte),
        (_, _, Ok(code)) => Unit::Code(code),
        _ => return Parsed::Plain,
    };
    Parsed::Escape {
        length: mark + digits,
        unit,
    }
}

/// An HTML entity behind its `&`; the text is not empty.
fn entity(text: &[u8]) -> Parsed {
    let shown = text.get(..ESCAPE_BYTES_MAX - 1).unwrap_or(text);
    let named = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'#';
    let end = shown
        .iter()
        .position(|byte| !named(byte))
        .unwrap_or(shown.len());
    if end == shown.len() {
        let undecided = text.len() < ESCAPE_BYTES_MAX - 1;
        return if undecided {
            Parsed::Cut
        } else {
            Parsed::Plain
        };
    }
    let name = shown.get(..end).unwrap_or_default();
    let code = match name {
        [b'#', b'x' | b'X', digits @ ..] => number(digits, 16),
        [b'#', digits @ ..] => number(digits, 10),
        b"amp" => Some(u32::from(b'&')),
        b"lt" => Some(u32::from(b'<')),
        b"gt" => Some(u32::from(b'>')),
        b"quot" => Some(u32::from(b'"')),
        b"apos" => Some(u32::from(b'\'')),
        b"sol" => Some(u32::from(b'/')),
        b"plus" => Some(u32::from(b'+')),
        b"equals" => Some(u32::from(b'=')),
        b"lowbar" => Some(u32::from(b'_')),
        b"colon" => Some(u32::from(b':')),
        _ => None,
    };
    match (code.map(u16::try_from), shown.get(end)) {
        (Some(Ok(code)), Some(b';')) => Parsed::Escape {
            length: end + 2,
            unit: Unit::Code(code),
        },
        _ => Parsed::Plain,
    }
}

/// The value of digits; `None` when there is another character or none, or the value is too large.
fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let mut value = digits.first().map(|_| 0u32)?;
    for digit in digits {
        let digit = char::from(*digit).to_digit(radix)?;
        value = value.checked_mul(radix)?.checked_add(digit)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules::new(10, |byte| b"ab/-+".contains(&byte))
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut view = View::default();
        view.read(text.as_bytes(), &rules(), Ending::Final);
        assert_eq!(String::from_utf8_lossy(&view.bytes), expected, "{text}");
    }

    #[test]
    fn live_escapes_are_undone_with_their_surroundings() {
        check("plain text", "");
        check("x%2fy", "x/y");
        check("x%2Fy", "x/y");
        check("a\\/b", "a/b");
        check("a\\u002Fb\\x2f", "a/b/");
        check("a&#47;b&#x2f;c&#X2F;d&sol;", "a/b/c/d/");
        check("%2541", "%41");
        check("\\\\u0041", "\\u0041");
        check("%zz%2", "");
        check("\\q", "");
    }

    #[test]
    fn dead_escapes_separate() {
        check("abc\\n", "");
        check("abc\\ndef%2fghi\\\"jkl", "def/ghi\n");
        check("\\u4f60", "");
    }

    #[test]
    fn far_pieces_are_separate_and_know_where_they_came_from() {
        let text = format!("{}%2f{}%2f", "-".repeat(100), "+".repeat(100));
        let mut view = View::default();
        view.read(text.as_bytes(), &rules(), Ending::Final);
        let reach = 30;
        let expected = format!("{0}/{1}\n{1}/", "-".repeat(reach), "+".repeat(reach));
        assert_eq!(String::from_utf8_lossy(&view.bytes), expected);
        assert_eq!(
            view.origin(reach, reach + 1),
            Some(Span {
                start: 100,
                end: 103
            })
        );
        assert!(view.touches_end);
    }

    #[test]
    fn an_escape_cut_by_the_end_is_known() {
        for (text, cut) in [
            ("ab%", Some(2)),
            ("ab%4", Some(2)),
            ("ab%4g", None),
            ("ab\\", Some(2)),
            ("ab\\u", Some(2)),
            ("ab\\u00", Some(2)),
            ("ab\\u00g", None),
            ("ab&#12", Some(2)),
            ("ab&amp", Some(2)),
            ("ab&amp ", None),
            ("ab&abcdefghijkl", None),
            ("ab%41", None),
        ] {
            let mut view = View::default();
            view.read(text.as_bytes(), &rules(), Ending::Open);
            assert_eq!(view.cut, cut, "{text}");
        }
    }
}
