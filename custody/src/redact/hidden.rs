//! Text that people do not see and machines read: tags, zero-width characters, variation selectors used as data, bidi
//! controls and terminal controls. They are dropped, also where they are written as escapes.
//!
//! Owns the stage that drops them from text that arrives in chunks, before secrets are looked for: a secret with such
//! characters between its own would else come out whole. What is part of visible writing stays: one joiner or one
//! variation selector behind a character that can take it, tabs and line breaks. It reads UTF-8; stray bytes that some
//! terminals take for controls are dropped too.

use super::Written;

/// Drops hidden characters from one text.
pub struct HiddenText {
    written: Written,
    /// The beginning of a character or an escape that is not whole yet.
    held: Vec<u8>,
    behind: Behind,
    dropped: u64,
}

/// What stands before the next character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    /// Nothing that takes a joiner or a selector.
    Plain,
    /// A digit, `#` or `*`, which become keycaps.
    Keycap,
    /// A character beyond ASCII.
    Wide,
    /// A selector, which a joiner may follow, as in emoji.
    Selected,
}

/// What stands at a place in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// A character, written in so many bytes.
    Char(char, usize),
    /// Bytes that are no character: as they are.
    Bytes(usize),
    /// The text ends before that is known.
    Cut,
}

/// The longest reference by name: `&NegativeVeryThinSpace;`.
const NAME_BYTES_MAX: usize = 23;
/// The longest reference by number that is waited for; it may begin with any number of zeros.
const NUMBER_BYTES_MAX: usize = 64;

impl HiddenText {
    /// A stage for text whose escapes are written in this way.
    pub fn new(written: Written) -> Self {
        Self {
            written,
            held: Vec::new(),
            behind: Behind::Plain,
            dropped: 0,
        }
    }

    /// Takes the next chunk and appends what is visible.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        if self.held.is_empty() {
            let from = self.read(chunk, out);
            self.held
                .extend_from_slice(chunk.get(from..).unwrap_or_default());
            return;
        }
        let mut text = std::mem::take(&mut self.held);
        text.extend_from_slice(chunk);
        let from = self.read(&text, out);
        self.held = text.split_off(from);
    }

    /// Ends the text; what never became whole is passed on.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let mut rest = std::mem::take(&mut self.held);
        // An escape or character that was cut: its first byte stands for itself.
        while let Some((first, others)) = rest.split_first() {
            // But a reference may lack its semicolon, and ends with the text as it would before a tag.
            if *first == b'&'
                && let Unit::Char(character, length) = entity(&[&rest, &b"<"[..]].concat())
            {
                match self.keeps(character) {
                    true => out.extend_from_slice(rest.get(..length).unwrap_or_default()),
                    false => self.dropped = self.dropped.saturating_add(1),
                }
                rest.drain(..length.min(rest.len()));
                continue;
            }
            out.push(*first);
            let others = others.to_vec();
            let from = self.read(&others, out);
            rest = others.get(from..).unwrap_or_default().to_vec();
        }
        self.behind = Behind::Plain;
    }

    /// How many characters were dropped.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many bytes are held back.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Reads as far as the text is whole, and tells how far.
    fn read(&mut self, text: &[u8], out: &mut Vec<u8>) -> usize {
        let mut at = 0;
        while at < text.len() {
            let rest = text.get(at..).unwrap_or_default();
            let plain = rest
                .iter()
                .position(|byte| self.needs_a_look(*byte))
                .unwrap_or(rest.len());
            if plain > 0 {
                let seen = rest.get(..plain).unwrap_or_default();
                out.extend_from_slice(seen);
                self.behind = seen.last().map_or(Behind::Plain, |last| behind(*last));
                at += plain;
                continue;
            }
            let written = match self.unit(rest) {
                Unit::Cut => return at,
                Unit::Char(character, length) => {
                    let kept = self.keeps(character);
                    at += length;
                    kept.then(|| rest.get(..length).unwrap_or_default())
                }
                Unit::Bytes(length) => {
                    at += length;
                    self.behind = Behind::Plain;
                    rest.get(..length)
                        .filter(|bytes| !matches!(bytes, [0x80..=0x9f]))
                }
            };
            match written {
                Some(bytes) => out.extend_from_slice(bytes),
                None => self.dropped = self.dropped.saturating_add(1),
            }
        }
        at
    }

    fn needs_a_look(&self, byte: u8) -> bool {
        match byte {
            b'\t' | b'\n' | b'\r' => false,
            0..0x20 | 0x7f.. => true,
            b'\\' => self.written == Written::Json,
            b'&' => self.written == Written::Markup,
            _ => false,
        }
    }

    fn unit(&self, text: &[u8]) -> Unit {
        match text.first() {
            Some(b'\\') => json_escape(text),
            Some(b'&') => entity(text),
            Some(0x80..) => utf8(text),
            Some(byte) => Unit::Char(char::from(*byte), 1),
            None => Unit::Cut,
        }
    }

    /// Whether a character stays; remembers it as the one before the next.
    fn keeps(&mut self, character: char) -> bool {
        let before = self.behind;
        let (kept, behind) = match character {
            // A joiner or a selector, once, behind a character that takes it. The next one finds none.
            '\u{200c}' | '\u{200d}' => (
                matches!(before, Behind::Wide | Behind::Selected),
                Behind::Plain,
            ),
            '\u{180b}'..='\u{180d}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => {
                match before {
                    Behind::Wide | Behind::Keycap => (true, Behind::Selected),
                    Behind::Plain | Behind::Selected => (false, before),
                }
            }
            _ if is_hidden(character) => (false, before),
            _ if character.is_ascii() => {
                (true, behind(u8::try_from(character).unwrap_or_default()))
            }
            _ => (true, Behind::Wide),
        };
        self.behind = behind;
        kept
    }
}

fn behind(byte: u8) -> Behind {
    match byte {
        b'0'..=b'9' | b'#' | b'*' => Behind::Keycap,
        _ => Behind::Plain,
    }
}

/// Characters that show nothing or change how others are shown.
fn is_hidden(character: char) -> bool {
    matches!(character,
        // Controls of terminals, but for tab and the ends of lines.
        '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        // Soft hyphen, grapheme joiner, fillers.
        | '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}' | '\u{180f}'
        | '\u{3164}' | '\u{ffa0}'
        // Zero width, invisible operators, byte order mark, annotations.
        | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{1d173}'..='\u{1d17a}'
        // Bidi marks, embeddings, overrides, isolates.
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        // Tags.
        | '\u{e0000}'..='\u{e007f}')
}

fn utf8(text: &[u8]) -> Unit {
    let shown = text.get(..4).unwrap_or(text);
    let valid = match std::str::from_utf8(shown) {
        Ok(valid) => valid,
        Err(wrong) if wrong.valid_up_to() > 0 => {
            let whole = shown.get(..wrong.valid_up_to()).unwrap_or_default();
            std::str::from_utf8(whole).unwrap_or_default()
        }
        Err(wrong) => {
            return match wrong.error_len() {
                None => Unit::Cut,
                Some(_) => Unit::Bytes(1),
            };
        }
    };
    let character = valid.chars().next();
    character.map_or(Unit::Bytes(1), |c| Unit::Char(c, c.len_utf8()))
}

/// An escape of JSON; two that are a surrogate pair are one character.
fn json_escape(text: &[u8]) -> Unit {
    let short = match text.get(1) {
        None => return Unit::Cut,
        Some(b'u') => None,
        Some(b'b') => Some('\u{8}'),
        Some(b'f') => Some('\u{c}'),
        Some(b'"' | b'\\' | b'/' | b'n' | b'r' | b't') => Some('x'),
        // No escape of JSON: the backslash stands for itself, and what follows is looked at.
        Some(_) => return Unit::Char('\\', 1),
    };
    if let Some(character) = short {
        return Unit::Char(character, 2);
    }
    let first = match code_unit(text) {
        Ok(Some(code)) => code,
        Ok(None) => return Unit::Bytes(2),
        Err(Cut) => return Unit::Cut,
    };
    if !(0xd800..0xdc00).contains(&first) {
        let character = char::from_u32(first.into());
        return character.map_or(Unit::Bytes(6), |c| Unit::Char(c, 6));
    }
    let rest = text.get(6..).unwrap_or_default();
    if !b"\\u".starts_with(rest) && !rest.starts_with(b"\\u") {
        return Unit::Bytes(6);
    }
    match code_unit(rest) {
        Err(Cut) => Unit::Cut,
        Ok(second) => {
            let pair = [first, second.unwrap_or_default()];
            let decoded = char::decode_utf16(pair).next();
            match decoded {
                Some(Ok(character)) => Unit::Char(character, 12),
                _ => Unit::Bytes(6),
            }
        }
    }
}

/// The text ends within an escape.
struct Cut;

/// The value of `\uXXXX`; nothing if these are no digits.
fn code_unit(text: &[u8]) -> Result<Option<u16>, Cut> {
    let digits = text.get(2..6).or(text.get(2..)).unwrap_or_default();
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return Ok(None);
    }
    if digits.len() < 4 {
        return Err(Cut);
    }
    let digits = std::str::from_utf8(digits).unwrap_or_default();
    Ok(u16::from_str_radix(digits, 16).ok())
}

/// A character reference of HTML.
fn entity(text: &[u8]) -> Unit {
    match text.get(1) {
        None => Unit::Cut,
        Some(b'#') => numbered(text),
        Some(_) => named(text),
    }
}

/// A reference by number, which browsers read without its semicolon too.
fn numbered(text: &[u8]) -> Unit {
    let (start, radix) = match text.get(2) {
        None => return Unit::Cut,
        Some(b'x' | b'X') => (3, 16),
        Some(_) => (2, 10),
    };
    let shown = text.get(..NUMBER_BYTES_MAX).unwrap_or(text);
    let digits = shown.get(start..).unwrap_or_default();
    let Some(count) = digits.iter().position(|b| !char::from(*b).is_digit(radix)) else {
        return match text.get(NUMBER_BYTES_MAX - 1) {
            None => Unit::Cut,
            // Nobody writes a character with so many zeros to have it seen.
            Some(_) => Unit::Char('\0', NUMBER_BYTES_MAX),
        };
    };
    let end = start + count;
    let digits = std::str::from_utf8(digits.get(..count).unwrap_or_default()).unwrap_or_default();
    let code = u32::from_str_radix(digits, radix).ok();
    match code.and_then(char::from_u32) {
        Some(character) => Unit::Char(character, end + usize::from(shown.get(end) == Some(&b';'))),
        None => Unit::Bytes(1),
    }
}

/// A reference by name. Of the hidden characters only the soft hyphen has a name that needs no semicolon.
fn named(text: &[u8]) -> Unit {
    let shown = text.get(1..NAME_BYTES_MAX).or(text.get(1..));
    let shown = shown.unwrap_or_default();
    let end = shown.iter().position(|byte| !byte.is_ascii_alphanumeric());
    if end.is_none() && text.len() < NAME_BYTES_MAX {
        return Unit::Cut;
    }
    let name = shown.get(..end.unwrap_or(shown.len())).unwrap_or_default();
    let known = NAMED.iter().find(|(known, _)| known.as_bytes() == name);
    match known {
        Some((_, character)) if shown.get(name.len()) == Some(&b';') => {
            Unit::Char(*character, name.len() + 2)
        }
        _ if name.starts_with(b"shy") => Unit::Char('\u{ad}', 4),
        _ => Unit::Bytes(1),
    }
}

/// The hidden characters that HTML has names for.
const NAMED: [(&str, char); 17] = [
    ("shy", '\u{ad}'),
    ("ZeroWidthSpace", '\u{200b}'),
    ("NegativeVeryThinSpace", '\u{200b}'),
    ("NegativeThinSpace", '\u{200b}'),
    ("NegativeMediumSpace", '\u{200b}'),
    ("NegativeThickSpace", '\u{200b}'),
    ("zwnj", '\u{200c}'),
    ("zwj", '\u{200d}'),
    ("lrm", '\u{200e}'),
    ("rlm", '\u{200f}'),
    ("NoBreak", '\u{2060}'),
    ("ApplyFunction", '\u{2061}'),
    ("af", '\u{2061}'),
    ("InvisibleTimes", '\u{2062}'),
    ("it", '\u{2062}'),
    ("InvisibleComma", '\u{2063}'),
    ("ic", '\u{2063}'),
];

#[cfg(test)]
mod tests;
