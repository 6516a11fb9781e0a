//! Text of an agent, shown so that nothing hides in it: what is not seen, or turns what is seen around, is spelled out.
//!
//! SECURITY: whoever approves must read what will be sent. A right-to-left override, a zero-width letter, a soft hyphen or a
//! tag character changes the bytes and not the picture, or the picture and not the bytes; here each becomes `U+202E`.
//! Letters that are written from right to left stand in the order in which they are sent. What is drawn is bounded, whatever
//! the text; where it ends early the page says so.

use std::fmt::Write as _;

use maud::{Escaper, Markup, PreEscaped, Render};

/// The markup that one text may become; beyond that it ends, and says so.
pub(crate) const MARKUP_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Plain text that is copied before the bound is looked at again.
const STEP_BYTES: usize = 4096;

/// A piece of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// As it stands.
    Plain(&'a str),
    /// A character that would not be seen, or would mislead, what it is, and how often it follows itself.
    Hidden(char, &'static str, usize),
}

/// Takes text apart into what can be shown and what has to be spelled out. Line feeds stay.
pub const fn pieces(text: &str) -> Pieces<'_> {
    Pieces { rest: text }
}

/// What [`pieces`] finds.
#[derive(Debug, Clone)]
pub struct Pieces<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let first = self.rest.chars().next()?;
        let (end, piece) = match hidden(first) {
            Some(what) => {
                let same = self.rest.chars().take_while(|letter| *letter == first);
                let count = same.count();
                let piece = Piece::Hidden(first, what, count);
                (count.saturating_mul(first.len_utf8()), piece)
            }
            None => {
                let end = self.rest.find(|letter| hidden(letter).is_some());
                let end = end.unwrap_or(self.rest.len());
                (end, Piece::Plain(self.rest.get(..end)?))
            }
        };
        self.rest = self.rest.get(end..)?;
        Some(piece)
    }
}

/// The same as plain text for a terminal: `<U+202E>` in place of each.
pub fn spelled(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Plain(plain) => out.push_str(plain),
            Piece::Hidden(letter, _, count) => {
                out.push('<');
                code(letter, count, &mut out);
                out.push('>');
            }
        }
    }
    out
}

/// How many characters had to be spelled out.
pub fn hidden_in(text: &str) -> usize {
    text.chars()
        .filter(|letter| hidden(*letter).is_some())
        .count()
}

/// Text of an agent on a page.
pub(crate) struct Visible<'a>(pub(crate) &'a str);

impl Render for Visible<'_> {
    fn render_to(&self, page: &mut String) {
        let mut drawing = Drawing::of(MARKUP_BYTES_MAX);
        drawing.text(self.0);
        drawing.end().render_to(page);
    }
}

/// Text on its way into a page, as far as there is room.
pub(crate) struct Drawing {
    page: String,
    room: usize,
    left: usize,
    is_mixed: bool,
}

impl Drawing {
    /// An empty one with room for so much markup.
    pub(crate) const fn of(room: usize) -> Self {
        Self {
            page: String::new(),
            room,
            left: 0,
            is_mixed: false,
        }
    }

    /// Draws text.
    pub(crate) fn text(&mut self, text: &str) {
        self.is_mixed |= !text.is_ascii();
        for piece in pieces(text) {
            match piece {
                Piece::Plain(plain) => self.plain(plain),
                Piece::Hidden(letter, what, count) => {
                    let bytes = count.saturating_mul(letter.len_utf8());
                    self.framed(what, bytes, |page| code(letter, count, page));
                }
            }
        }
    }

    /// Draws bytes that should be text, and spells out those that are not.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.utf8_chunks() {
            self.text(chunk.valid());
            let bad = chunk.invalid();
            if !bad.is_empty() {
                self.framed("no text", bad.len(), |page| {
                    for byte in bad {
                        write!(page, "0x{byte:02X}").unwrap_or_default();
                    }
                });
            }
        }
    }

    /// Bytes that found no room.
    pub(crate) const fn left(&self) -> usize {
        self.left
    }

    /// Bytes of markup so far.
    pub(crate) fn drawn(&self) -> usize {
        self.page.len()
    }

    /// What was drawn.
    pub(crate) fn end(mut self) -> Markup {
        if self.left > 0 {
            let rest = format!("{} more bytes are not shown here", self.left);
            self.room = usize::MAX;
            self.framed("cut", 0, |page| page.push_str(&rest));
        }
        if self.is_mixed {
            // Overrides the direction of letters, also where no style sheet does.
            self.page.insert_str(0, "<bdo dir=\"ltr\">");
            self.page.push_str("</bdo>");
        }
        PreEscaped(self.page)
    }

    fn is_full(&self) -> bool {
        self.left > 0 || self.page.len() >= self.room
    }

    fn plain(&mut self, mut text: &str) {
        while !text.is_empty() {
            let step = text.floor_char_boundary(STEP_BYTES);
            let Some((now, later)) = text.split_at_checked(step) else {
                return;
            };
            if self.is_full() {
                self.left = self.left.saturating_add(text.len());
                return;
            }
            Escaper::new(&mut self.page)
                .write_str(now)
                .unwrap_or_default();
            text = later;
        }
    }

    fn framed(&mut self, what: &str, bytes: usize, spell: impl FnOnce(&mut String)) {
        if bytes > 0 && self.is_full() {
            self.left = self.left.saturating_add(bytes);
            return;
        }
        self.page.push_str("<span class=\"hidden\" title=\"");
        self.page.push_str(what);
        self.page.push_str("\">");
        spell(&mut self.page);
        self.page.push_str("</span>");
    }
}

fn code(letter: char, count: usize, out: &mut String) {
    write!(out, "U+{:04X}", u32::from(letter)).unwrap_or_default();
    if count > 1 {
        write!(out, " x{count}").unwrap_or_default();
    }
}

/// What a character is, if it must not be shown as it stands.
fn hidden(letter: char) -> Option<&'static str> {
    Some(match u32::from(letter) {
        0x0A => return None,
        0x09 => "tab",
        0x0D => "carriage return",
        0x1B => "escape",
        0x00..=0x1F | 0x7F..=0x9F => "control character",
        0x00A0 | 0x1680 | 0x2000..=0x200A | 0x202F | 0x205F | 0x3000 => "unusual space",
        0x00AD => "soft hyphen",
        0x034F | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x3164 | 0xFFA0 | 0x2800 => "invisible letter",
        0x061C | 0x200E | 0x200F => "direction mark",
        0x180B..=0x180F | 0xFE00..=0xFE0F | 0xE0100..=0xE01EF => "variation selector",
        0x200B..=0x200D | 0x2060..=0x2064 | 0xFEFF => "zero-width character",
        0x2028 | 0x2029 => "line separator",
        0x202A..=0x202E | 0x2066..=0x2069 => "direction override",
        0x206A..=0x206F | 0x1BCA0..=0x1BCA3 | 0x13430..=0x1343F => "format control",
        0x0600..=0x0605 | 0x06DD | 0x070F | 0x0890 | 0x0891 | 0x08E2 | 0x110BD | 0x110CD => {
            "sign around others"
        }
        0xFFF9..=0xFFFB => "annotation control",
        0xFFFC | 0xFFFD => "replacement character",
        0x1D173..=0x1D17A => "musical control",
        0xE0000..=0xE007F => "tag character",
        0x2065 | 0xFFF0..=0xFFF8 | 0xE0080..=0xE0FFF => "ignorable character",
        0xE000..=0xF8FF | 0xF0000..=0x10_FFFF => "private character",
        code if code & 0xFFFE == 0xFFFE || (0xFDD0..=0xFDEF).contains(&code) => "no character",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(spelled(text), expected);
    }

    #[test]
    fn what_is_not_seen_is_spelled_out() {
        check(
            "plain, with a line\nand \u{e9}",
            "plain, with a line\nand \u{e9}",
        );
        check("to \u{202e}moc.live", "to <U+202E>moc.live");
        check("pay\u{200b}pal", "pay<U+200B>pal");
        check("a\u{00a0}b\tc\rd", "a<U+00A0>b<U+0009>c<U+000D>d");
        check("\u{1b}[2Jx\u{7}", "<U+001B>[2Jx<U+0007>");
        check("x\u{e0041}\u{e007f}", "x<U+E0041><U+E007F>");
        check(
            "\u{feff}\u{ad}\u{3164}\u{fe0f}",
            "<U+FEFF><U+00AD><U+3164><U+FE0F>",
        );
        check("\u{2066}a\u{2069}", "<U+2066>a<U+2069>");
        check("a\u{1}\u{1}\u{1}b\u{2}", "a<U+0001 x3>b<U+0002>");
        check("", "");
        assert_eq!(hidden_in("a\u{200b}b\u{202e}\n"), 2);
    }

    #[test]
    fn a_page_escapes_the_rest() {
        assert_eq!(
            Visible("<b>\u{202e}&\"").render().into_string(),
            "<bdo dir=\"ltr\">&lt;b&gt;<span class=\"hidden\" title=\"direction override\">U+202E</span>&amp;&quot;</bdo>"
        );
        assert_eq!(
            Visible("a\u{7}")
                .render()
                .into_string()
                .matches("bdo")
                .count(),
            0
        );
    }

    #[test]
    fn letters_from_right_to_left_stand_in_the_order_in_which_they_are_sent() {
        let page = Visible("pay \u{5d0}\u{5d1} 100").render().into_string();
        assert!(
            page.starts_with("<bdo dir=\"ltr\">pay \u{5d0}\u{5d1} 100"),
            "{page}"
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_spelled_out_where_they_stand() {
        let mut drawing = Drawing::of(MARKUP_BYTES_MAX);
        drawing.bytes(b"to: bob\xFF, and <all>");
        assert_eq!(
            drawing.end().into_string(),
            "to: bob<span class=\"hidden\" title=\"no text\">0xFF</span>, and &lt;all&gt;"
        );
    }

    #[test]
    fn a_page_stays_small_whatever_the_text() {
        let one = "\u{1}".repeat(4 << 20);
        assert!(Visible(&one).render().into_string().len() < 100);
        let mixed = "\u{1}a".repeat(2 << 20);
        let page = Visible(&mixed).render().into_string();
        assert!(page.len() < MARKUP_BYTES_MAX + 4096);
        assert!(page.ends_with("more bytes are not shown here</span>"));
        let whole = "a \"word\" ".repeat(300_000);
        assert!(!Visible(&whole).render().into_string().contains("not shown"));
    }

    #[test]
    fn whatever_unicode_calls_ignorable_or_a_control_is_spelled_out() {
        let table = include_str!("../tests/unseen.txt").lines();
        let ranges = table.filter(|line| !line.starts_with('#'));
        let mut count = 0;
        for range in ranges {
            let (from, to) = range.split_once("..").unwrap();
            let number = |text| u32::from_str_radix(text, 16).unwrap();
            for letter in (number(from)..=number(to)).filter_map(char::from_u32) {
                assert!(hidden(letter).is_some(), "U+{:04X}", u32::from(letter));
                count += 1;
            }
        }
        assert!(count > 140_000, "{count}");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_hidden_is_left(text in ".*") {
            let mut again = String::new();
            for piece in pieces(&text) {
                match piece {
                    Piece::Plain(plain) => {
                        prop_assert_eq!(hidden_in(plain), 0);
                        again.push_str(plain);
                    }
                    Piece::Hidden(letter, _, count) => again.extend(std::iter::repeat_n(letter, count)),
                }
            }
            prop_assert_eq!(again, text);
        }
    }
}
