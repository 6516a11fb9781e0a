//! The one table of the ways in which a secret may be written. A new row is one line.
//!
//! | way of writing | found by |
//! |---|---|
//! | raw | a pattern, and one more if something in it reads like an escape |
//! | base64 and base64url at three alignments, base32 in both cases at five | patterns, without edge characters shared with neighbours |
//! | hexadecimal in both cases | patterns |
//! | UTF-16 little and big endian | patterns |
//! | percent, JSON, `\u` and `\x` escapes, HTML entities; any mixture, any case, applied once or twice, over any row above | the decoded views of `escapes.rs` |
//!
//! A secret that itself reads like escapes is found as it is; in the midst of other escapes, if eight bytes are left of it.
//! Patterns never hold a line break, so nothing is ever held back at the end of a line: a secret of several lines is
//! looked for line by line and, where an encoding hides the breaks, whole. Long secrets are cut into overlapping windows.

use zeroize::Zeroizing;

use super::escapes::undone;

/// Bytes that are wiped when dropped.
pub(super) type Wiped = Zeroizing<Vec<u8>>;

/// The shortest line of a secret that is looked for by itself; also the shortest pattern.
pub(super) const PIECE_BYTES_MIN: usize = 8;

/// A secret up to this size is looked for whole; a longer one by windows.
const WHOLE_BYTES_MAX: usize = 64;
const WINDOW_BYTES: usize = 32;
const WINDOW_STEP: usize = 16;

/// One row: writes a secret, in as many patterns as the encoding has alignments.
type Encoding = fn(&[u8]) -> Vec<Wiped>;

const ENCODINGS: [Encoding; 10] = [
    raw,
    |secret| positional(secret, BASE64, 6),
    |secret| positional(secret, BASE64_URL, 6),
    |secret| positional(secret, BASE32, 5),
    |secret| positional(secret, BASE32_LOWER, 5),
    |secret| hex(secret, b"0123456789abcdef"),
    |secret| hex(secret, b"0123456789ABCDEF"),
    |secret| utf16(secret, u16::to_le_bytes),
    |secret| utf16(secret, u16::to_be_bytes),
    surrogates,
];

const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64_URL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE32_LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Every pattern of a secret, unsorted, with repeats; empty when no line of it is long enough.
pub(super) fn patterns(secret: &[u8]) -> Vec<Wiped> {
    let broken = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let mut pieces = Vec::new();
    for line in secret.split(broken) {
        if line.len() >= PIECE_BYTES_MIN && !line.starts_with(b"-----") {
            pieces.extend(windows(line));
        }
    }
    if pieces.is_empty() {
        return Vec::new();
    }
    if secret.iter().any(broken) {
        pieces.extend(windows(secret));
    }
    let written = pieces
        .iter()
        .flat_map(|piece| ENCODINGS.iter().flat_map(|row| row(piece)));
    written
        .filter(|pattern| !pattern.iter().any(broken))
        .collect()
}

/// The whole of a short secret, or windows of a long one that overlap and end with its last byte.
fn windows(secret: &[u8]) -> Vec<&[u8]> {
    if secret.len() <= WHOLE_BYTES_MAX {
        return vec![secret];
    }
    let stepped = secret.windows(WINDOW_BYTES).step_by(WINDOW_STEP);
    stepped
        .chain(
            secret
                .last_chunk::<WINDOW_BYTES>()
                .map(<[u8; 32]>::as_slice),
        )
        .collect()
}

/// The bytes, and what is left of them when escapes that happen to stand in them are undone with those around them.
fn raw(secret: &[u8]) -> Vec<Wiped> {
    let once = undone(secret);
    let twice = undone(&once);
    let mut all = vec![Zeroizing::new(secret.to_vec()), once, twice];
    all.dedup();
    all.retain(|pattern| pattern.len() >= PIECE_BYTES_MIN);
    all
}

/// A base-2^n encoding (RFC 4648). The secret may stand anywhere in the encoded text, so each number of leading bits
/// that share a character with the byte before is tried; the last, partial character counts only at the end of the text.
fn positional(secret: &[u8], alphabet: &[u8], bits: u32) -> Vec<Wiped> {
    let step = if bits.is_multiple_of(2) { 2 } else { 1 };
    let mut out = Vec::new();
    for skipped in (0..bits).step_by(step) {
        let mut text = Zeroizing::new(Vec::with_capacity(secret.len().saturating_mul(2)));
        let (mut held, mut count) = (0u32, 0u32);
        let letter = |value: u32| alphabet.get(value as usize).copied().unwrap_or(b'=');
        for (place, byte) in secret.iter().enumerate() {
            held = (held << 8) | u32::from(*byte);
            count += 8;
            if place == 0 {
                count -= skipped;
                held &= (1 << count) - 1;
            }
            while count >= bits {
                count -= bits;
                text.push(letter(held >> count));
                held &= (1 << count) - 1;
            }
        }
        if count > 0 {
            let mut at_end = text.clone();
            at_end.push(letter(held << (bits - count)));
            out.push(at_end);
        }
        out.push(text);
    }
    out
}

fn hex(secret: &[u8], digits: &[u8; 16]) -> Vec<Wiped> {
    let mut text = Zeroizing::new(Vec::with_capacity(secret.len().saturating_mul(2)));
    for byte in secret {
        let pair = [byte >> 4, byte & 15];
        text.extend(
            pair.iter()
                .filter_map(|nibble| digits.get(usize::from(*nibble))),
        );
    }
    vec![text]
}

fn utf16(secret: &[u8], order: fn(u16) -> [u8; 2]) -> Vec<Wiped> {
    let Ok(text) = std::str::from_utf8(secret) else {
        return Vec::new();
    };
    vec![Zeroizing::new(
        text.encode_utf16().flat_map(order).collect(),
    )]
}

/// Characters beyond the basic plane as two surrogates of three bytes each: what `escapes.rs` makes of `\ud83d\ude00`.
fn surrogates(secret: &[u8]) -> Vec<Wiped> {
    let Ok(text) = std::str::from_utf8(secret) else {
        return Vec::new();
    };
    let mut out = Zeroizing::new(Vec::with_capacity(secret.len().saturating_mul(2)));
    let mut unit = [0u8; 3];
    for code in text.encode_utf16() {
        out.extend_from_slice(unit_bytes(code, &mut unit));
    }
    vec![out]
}

/// UTF-8 of one UTF-16 code unit, surrogates included (the form called CESU-8).
pub(super) fn unit_bytes(code: u16, out: &mut [u8; 3]) -> &[u8] {
    let low = |shift: u16| (code >> shift).to_le_bytes()[0] & 0x3f;
    let high = |shift: u16| (code >> shift).to_le_bytes()[0];
    match code {
        0..0x80 => {
            out[0] = high(0);
            out.get(..1).unwrap_or_default()
        }
        0x80..0x800 => {
            out[0] = 0xc0 | high(6);
            out[1] = 0x80 | low(0);
            out.get(..2).unwrap_or_default()
        }
        0x800.. => {
            *out = [0xe0 | high(12), 0x80 | low(6), 0x80 | low(0)];
            out
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose};

    use super::*;

    fn contains(haystack: &[u8], secret: &[u8]) -> bool {
        let found = |p: &Wiped| {
            haystack
                .windows(p.len())
                .any(|window| window == p.as_slice())
        };
        patterns(secret).iter().any(found)
    }

    #[test]
    fn base64_is_found_at_every_alignment_and_length() {
        for length in 8..30 {
            let secret: Vec<u8> = (0..length).map(|i| b'A' + i).collect();
            for before in 0..7 {
                for after in 0..4 {
                    let text = [vec![0xffu8; before], secret.clone(), vec![0xee; after]].concat();
                    let engines = [general_purpose::STANDARD, general_purpose::URL_SAFE];
                    for engine in engines {
                        assert!(contains(engine.encode(&text).as_bytes(), &secret));
                    }
                }
            }
        }
    }

    #[test]
    fn the_last_character_of_a_secret_alone_is_covered() {
        let encoded = general_purpose::STANDARD_NO_PAD.encode("CANARY-edge-1");
        assert!(
            patterns(b"CANARY-edge-1")
                .iter()
                .any(|p| p.as_slice() == encoded.as_bytes())
        );
    }

    #[test]
    fn base32_matches_the_published_vector() {
        // proves RFC 4648 section 10: BASE32("foobar") = "MZXW6YTBOI======"
        let words = positional(b"foobar", BASE32, 5);
        assert!(words.iter().any(|word| word.as_slice() == b"MZXW6YTBOI"));
    }

    #[test]
    fn no_pattern_holds_a_line_break_and_lines_are_found() {
        let secret =
            b"-----BEGIN X-----\nCANARY-line-one-0001\r\nCANARY-line-two-0002\n-----END X-----";
        let all = patterns(secret);
        assert!(
            all.iter()
                .all(|p| !p.contains(&b'\n') && !p.contains(&b'\r'))
        );
        assert!(all.iter().any(|p| p.as_slice() == b"CANARY-line-two-0002"));
        assert!(!all.iter().any(|p| p.starts_with(b"-----")));
        assert!(patterns(b"short\nlines").is_empty());
    }

    #[test]
    fn windows_cover_a_long_secret_to_its_last_byte() {
        let secret: Vec<u8> = (0..100).collect();
        let cut = windows(&secret);
        assert_eq!(cut.last().and_then(|w| w.last()), Some(&99));
        assert!(cut.iter().all(|w| w.len() == 32));
    }

    #[test]
    fn a_code_unit_is_written_like_utf8() {
        let mut out = [0; 3];
        for c in ['a', '\u{e9}', '\u{20ac}'] {
            let code = u16::try_from(u32::from(c)).unwrap();
            assert_eq!(unit_bytes(code, &mut out), c.to_string().as_bytes());
        }
    }
}
