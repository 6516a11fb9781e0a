//! Where a body ends: bytes are counted, chunks are read strictly, trailers are judged like headers.
//!
//! Works on either direction and on any split of the bytes. Never keeps body bytes, only the trailer line in hand.

use exeat_types::limits;

use super::{Framing, Violation, is_token, name_of, scan::field};

/// The place reached in one body.
#[derive(Debug)]
pub struct Body {
    place: Place,
}

#[derive(Debug)]
enum Place {
    Done,
    Endless,
    Counted(u64),
    Size { value: u64, digits: u8 },
    Extension { value: u64, bytes: u16 },
    SizeEnd(u64),
    Payload(u64),
    PayloadCr,
    PayloadEnd,
    Trailer(Trailer),
}

/// The trailer section of a chunked body, one line at a time.
#[derive(Debug, Default)]
struct Trailer {
    line: Vec<u8>,
    bytes: usize,
    fields: usize,
}

/// Longest chunk extension, in bytes. Nobody uses them; some parsers disagree on them.
const EXTENSION_BYTES_MAX: u16 = 256;
/// Most hex digits of a chunk size.
const SIZE_DIGITS_MAX: u8 = 16;
/// Longest trailer section, in bytes.
const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// Fields that change how a message is framed, routed, authenticated or decoded: never in a trailer (RFC 9110 section 6.5.1).
const NOT_IN_TRAILERS: [&str; 18] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "range",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-http-method-override",
];

impl Body {
    /// The body that a head announces.
    pub fn new(framing: Framing) -> Self {
        let place = match framing {
            Framing::None | Framing::Length(0) => Place::Done,
            Framing::Length(length) => Place::Counted(length),
            Framing::Chunked => Place::Size {
                value: 0,
                digits: 0,
            },
        };
        Self { place }
    }

    /// A body that ends with its connection.
    pub const fn endless() -> Self {
        Self {
            place: Place::Endless,
        }
    }

    /// Whether the body has ended.
    pub const fn is_done(&self) -> bool {
        matches!(self.place, Place::Done)
    }

    /// Takes the bytes that belong to the body and says how many they are: all, unless the body ends among them or the
    /// byte behind them breaks a rule. That byte, offered again, is the error.
    ///
    /// # Errors
    /// When the first byte breaks the grammar of chunks or trailers.
    ///
    /// # Spec
    /// RFC 9112 section 7.1.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            let step = match &mut self.place {
                Place::Done => break,
                Place::Endless => Ok(rest.len()),
                Place::Counted(left) => {
                    let count = take(left, rest);
                    if *left == 0 {
                        self.place = Place::Done;
                    }
                    Ok(count)
                }
                Place::Payload(left) => {
                    let count = take(left, rest);
                    if *left == 0 {
                        self.place = Place::PayloadCr;
                    }
                    Ok(count)
                }
                _ => self
                    .line_byte(rest.first().copied().unwrap_or_default())
                    .map(|()| 1),
            };
            match step {
                Ok(count) => taken += count,
                Err(violation) if taken == 0 => return Err(violation),
                Err(_) => break,
            }
        }
        Ok(taken)
    }

    /// One byte that is not content: a chunk's size line, its closing CRLF, or a trailer. An error changes nothing.
    fn line_byte(&mut self, byte: u8) -> Result<(), Violation> {
        let next = match (&mut self.place, byte) {
            (Place::Size { value, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F')
                if *digits < SIZE_DIGITS_MAX =>
            {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                Place::Size {
                    value: *value << 4 | u64::from(digit),
                    digits: *digits + 1,
                }
            }
            (Place::Size { value, digits: 1.. }, b';') => Place::Extension {
                value: *value,
                bytes: 1,
            },
            (Place::Size { value, digits: 1.. } | Place::Extension { value, .. }, b'\r') => {
                Place::SizeEnd(*value)
            }
            (Place::Size { .. }, _) => {
                return Err(Violation::new(
                    "chunk-size",
                    "expected up to 16 hex digits and CRLF as a chunk's size",
                ));
            }
            (Place::Extension { value, bytes }, b'\t' | 0x20..=0x7e)
                if *bytes < EXTENSION_BYTES_MAX =>
            {
                Place::Extension {
                    value: *value,
                    bytes: *bytes + 1,
                }
            }
            (Place::Extension { .. }, _) => {
                return Err(Violation::new(
                    "chunk-extension",
                    "a chunk extension is too long or has odd characters",
                ));
            }
            (Place::SizeEnd(0), b'\n') => Place::Trailer(Trailer::default()),
            (Place::SizeEnd(size), b'\n') => Place::Payload(*size),
            (Place::PayloadCr, b'\r') => Place::PayloadEnd,
            (Place::PayloadEnd, b'\n') => Place::Size {
                value: 0,
                digits: 0,
            },
            (Place::SizeEnd(_) | Place::PayloadCr | Place::PayloadEnd, _) => {
                return Err(Violation::new(
                    "chunk-end",
                    "expected CRLF behind a chunk's size and content",
                ));
            }
            (Place::Trailer(trailer), _) => {
                if !trailer.byte(byte)? {
                    return Ok(());
                }
                Place::Done
            }
            (Place::Done | Place::Endless | Place::Counted(_) | Place::Payload(_), _) => {
                return Ok(());
            }
        };
        self.place = next;
        Ok(())
    }
}

/// Counts as much of `rest` as is still expected.
fn take(left: &mut u64, rest: &[u8]) -> usize {
    let count = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
    *left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
    count
}

impl Trailer {
    /// Takes one byte; `true` when the section has ended.
    fn byte(&mut self, byte: u8) -> Result<bool, Violation> {
        let wrong = |code, detail: &str| Err(Violation::new(code, detail));
        if self.bytes >= TRAILER_BYTES_MAX {
            return wrong("trailer", "the trailers are too long");
        }
        match (self.line.last(), byte) {
            (Some(b'\r'), b'\n') => {
                let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
                if line.is_empty() {
                    return Ok(true);
                }
                judge_trailer(line)?;
                self.fields += 1;
                if self.fields > limits::HEADER_FIELDS_MAX {
                    return wrong("trailer", "too many trailers");
                }
                self.line.clear();
            }
            (Some(b'\r'), _) => return wrong("bare-cr", "a trailer has a CR without LF"),
            (_, b'\n') => return wrong("bare-lf", "a trailer ends in LF without CR"),
            (None, b' ' | b'\t') => {
                return wrong("obs-fold", "a trailer line begins with white space");
            }
            (_, 0..=8 | 11..=12 | 14..=31 | 127) => {
                return wrong("control-character", "a trailer has a control character");
            }
            _ => self.line.push(byte),
        }
        self.bytes += 1;
        Ok(false)
    }
}

fn judge_trailer(line: &[u8]) -> Result<(), Violation> {
    let name = field(line).map(|(name, _)| name).unwrap_or_default();
    if !is_token(name) {
        return Err(Violation::new("trailer", "a trailer is not a header line"));
    }
    if NOT_IN_TRAILERS
        .iter()
        .any(|other| name.eq_ignore_ascii_case(other.as_bytes()))
    {
        return Err(Violation::new(
            "trailer",
            format!("{} does not belong in a trailer", name_of(line)),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: Framing = Framing::Chunked;

    /// Offers the bytes in every split into two and one by one; all agree on what is taken and why it stops.
    #[track_caller]
    fn check(framing: Framing, text: &str, taken: usize, end: Result<bool, &str>) {
        let bytes = text.as_bytes();
        for piece in [1, 2, 3, bytes.len().max(1)] {
            let mut body = Body::new(framing);
            let mut at = 0;
            let mut error = None;
            while at < bytes.len() && !body.is_done() && error.is_none() {
                let to = (at + piece).min(bytes.len());
                match body.advance(&bytes[at..to]) {
                    Ok(count) => at += count,
                    Err(violation) => error = Some(violation.code),
                }
            }
            assert_eq!(at, taken, "{text:?} by {piece}");
            assert_eq!(
                error.map_or(Ok(body.is_done()), Err),
                end,
                "{text:?} by {piece}"
            );
        }
    }

    #[test]
    fn a_counted_body_ends_with_its_last_byte() {
        check(Framing::Length(0), "GET", 0, Ok(true));
        check(Framing::None, "GET", 0, Ok(true));
        check(Framing::Length(3), "abcGET", 3, Ok(true));
        check(Framing::Length(4), "abc", 3, Ok(false));
        check(Framing::Length(u64::MAX), "abc", 3, Ok(false));
    }

    #[test]
    fn chunks_are_read_to_their_end_and_no_further() {
        check(CHUNKED, "0\r\n\r\nGET", 5, Ok(true));
        check(CHUNKED, "3\r\nabc\r\n0\r\n\r\n", 13, Ok(true));
        check(CHUNKED, "00A\r\n0123456789\r\n0\r\n\r\n", 22, Ok(true));
        check(
            CHUNKED,
            "a;x=\"y\"\r\n0123456789\r\n0\r\n\r\n",
            26,
            Ok(true),
        );
        check(CHUNKED, "0\r\nChecksum: 1\r\nX-B:\r\n\r\nGET", 24, Ok(true));
        check(CHUNKED, "3\r\nab", 5, Ok(false));
        check(CHUNKED, "ffffffffffffffff\r\nab", 20, Ok(false));
    }

    #[test]
    fn chunks_with_two_readings_are_refused() {
        check(CHUNKED, "\r\n", 0, Err("chunk-size"));
        check(CHUNKED, ";x\r\n", 0, Err("chunk-size"));
        check(CHUNKED, "-1\r\n", 0, Err("chunk-size"));
        check(CHUNKED, "+1\r\n", 0, Err("chunk-size"));
        check(CHUNKED, " 1\r\n", 0, Err("chunk-size"));
        check(CHUNKED, "0x3\r\nabc", 1, Err("chunk-size"));
        check(CHUNKED, "3 \r\nabc", 1, Err("chunk-size"));
        check(CHUNKED, "3\nabc", 1, Err("chunk-size"));
        check(CHUNKED, "00000000000000003\r\n", 16, Err("chunk-size"));
        check(CHUNKED, "3\rabc", 2, Err("chunk-end"));
        check(CHUNKED, "3;\nabc", 2, Err("chunk-extension"));
        check(CHUNKED, "3;a\rb\r\nabc", 4, Err("chunk-end"));
        check(CHUNKED, "3;a\x00\r\nabc", 3, Err("chunk-extension"));
        check(CHUNKED, "3;a\u{e9}\r\nabc", 3, Err("chunk-extension"));
        check(
            CHUNKED,
            &format!("3;{}\r\n", "a".repeat(300)),
            257,
            Err("chunk-extension"),
        );
        check(CHUNKED, "3\r\nabcd\r\n", 6, Err("chunk-end"));
        check(CHUNKED, "3\r\nabc\n0\r\n\r\n", 6, Err("chunk-end"));
        check(CHUNKED, "3\r\nabc\rX0\r\n\r\n", 7, Err("chunk-end"));
        check(CHUNKED, "0\r\nGET / HTTP/1.1\r\n", 18, Err("trailer"));
        check(
            CHUNKED,
            "0\r\nContent-Length: 5\r\n\r\n",
            21,
            Err("trailer"),
        );
        check(CHUNKED, "0\r\nauthorization: x\r\n\r\n", 20, Err("trailer"));
        check(CHUNKED, "0\r\nA : x\r\n\r\n", 9, Err("trailer"));
        check(CHUNKED, "0\r\nA: x\r\n B\r\n\r\n", 9, Err("obs-fold"));
        check(CHUNKED, "0\r\nA: x\n\r\n", 7, Err("bare-lf"));
        check(CHUNKED, "0\r\nA: x\ry", 8, Err("bare-cr"));
        check(CHUNKED, "0\r\nA: \x01", 6, Err("control-character"));
        check(
            CHUNKED,
            &format!("0\r\nA: {}", "a".repeat(9000)),
            3 + 8192,
            Err("trailer"),
        );
        check(
            CHUNKED,
            &format!("0\r\n{}", "A: b\r\n".repeat(200)),
            3 + 129 * 6 - 1,
            Err("trailer"),
        );
    }
}
