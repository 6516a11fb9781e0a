//! The form of each kind, judged from its first byte on. A form is bounded, so what the next chunk decides is bounded.

use super::{Ending, Verdict};

/// The longest local part of an address (RFC 5321 section 4.5.3.1.1).
pub(super) const LOCAL_BYTES_MAX: usize = 64;
/// The longest domain (RFC 5321 section 4.5.3.1.2).
const DOMAIN_BYTES_MAX: usize = 255;
/// Digits of the longest card number.
const CARD_DIGITS_MAX: usize = 19;

/// A card number: digits in one piece, or in the groups that are printed on cards, that pass Luhn's check.
pub(super) fn card(text: &[u8], ending: Ending) -> Verdict {
    let (mut digits, mut groups, mut at) = (Vec::new(), Vec::new(), 0);
    let mut separator = None;
    let mut best = None;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let run = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits.len() + run > CARD_DIGITS_MAX {
            break;
        }
        digits.extend(rest.iter().take(run).map(|digit| digit - b'0'));
        groups.push(run);
        at += run;
        match (text.get(at), text.get(at + 1)) {
            (None, _) if ending == Ending::Open => return Verdict::Open,
            (Some(b' ' | b'-'), None) if ending == Ending::Open => return Verdict::Open,
            (Some(byte), _) if byte.is_ascii_alphanumeric() => break,
            (Some(byte @ (b' ' | b'-')), Some(next)) if next.is_ascii_digit() => {
                if is_card(&digits, &groups) {
                    best = Some(at);
                }
                if *separator.get_or_insert(*byte) != *byte {
                    break;
                }
                at += 1;
            }
            _ => {
                if is_card(&digits, &groups) {
                    best = Some(at);
                }
                break;
            }
        }
    }
    best.map_or(Verdict::No, Verdict::Is)
}

fn is_card(digits: &[u8], groups: &[usize]) -> bool {
    let printed = match groups {
        [_] | [4, 6, 4 | 5] | [4, 4, 4, 1..=4] | [4, 4, 4, 4, 1..=3] => true,
        _ => return false,
    };
    printed && issued(digits) && luhn(digits)
}

/// Whether some network issues numbers that begin so, at this length.
fn issued(digits: &[u8]) -> bool {
    let head = |count: usize| {
        let value = |sum: u32, digit: &u8| sum * 10 + u32::from(*digit);
        digits.iter().take(count).fold(0, value)
    };
    let length = digits.len();
    match (head(1), head(2), head(4)) {
        (4, ..) => matches!(length, 13 | 16 | 19),
        (_, 51..=55, _) | (_, _, 2221..=2720) => length == 16,
        (_, 34 | 37, _) => length == 15,
        (_, 30 | 36 | 38 | 39, _) => (14..=19).contains(&length),
        (_, 35 | 62 | 64 | 65, _) | (_, _, 6011) => (16..=19).contains(&length),
        (_, 50 | 56..=58 | 60 | 63 | 67, _) => (13..=19).contains(&length),
        _ => false,
    }
}

/// ISO/IEC 7812-1 annex B.
fn luhn(digits: &[u8]) -> bool {
    let weigh = |(place, digit): (usize, &u8)| {
        let digit = u32::from(*digit);
        match (place % 2, digit * 2) {
            (0, _) => digit,
            (_, double @ 0..=9) => double,
            (_, double) => double - 9,
        }
    };
    let sum: u32 = digits.iter().rev().enumerate().map(weigh).sum();
    sum.is_multiple_of(10)
}

/// A US social security number with its separators, in a range that is given out.
pub(super) fn ssn(text: &[u8], ending: Ending) -> Verdict {
    const FORM: &[u8; 11] = b"ddd-dd-dddd";
    let separator = text.get(3).copied().unwrap_or(b'-');
    for (place, form) in FORM.iter().enumerate() {
        let fits = match (text.get(place), form) {
            (None, _) => return open(ending),
            (Some(byte), b'd') => byte.is_ascii_digit(),
            (Some(byte), _) => *byte == separator && matches!(byte, b'-' | b' '),
        };
        if !fits {
            return Verdict::No;
        }
    }
    match text.get(FORM.len()) {
        None if ending == Ending::Open => return Verdict::Open,
        Some(byte) if byte.is_ascii_alphanumeric() || *byte == b'-' => return Verdict::No,
        _ => {}
    }
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to).unwrap_or_default();
        digits.iter().fold(0, |sum: u32, digit| {
            sum * 10 + u32::from(digit.saturating_sub(b'0'))
        })
    };
    let given = !matches!(number(0, 3), 0 | 666 | 900..) && number(4, 6) > 0 && number(7, 11) > 0;
    if given {
        Verdict::Is(FORM.len())
    } else {
        Verdict::No
    }
}

/// An IBAN in one piece or in groups of four (ISO 13616), whose check digits fit.
pub(super) fn iban(text: &[u8], ending: Ending) -> Verdict {
    let letter = |place: usize| text.get(place).filter(|byte| byte.is_ascii_uppercase());
    let (Some(first), second) = (letter(0), letter(1)) else {
        return Verdict::No;
    };
    let Some(second) = second else {
        return if text.len() < 2 {
            open(ending)
        } else {
            Verdict::No
        };
    };
    let country = [*first, *second];
    let Some((_, length)) = COUNTRIES.iter().find(|(code, _)| **code == country) else {
        return Verdict::No;
    };
    let (mut taken, mut at, mut left) = (0_usize, 0, 0_u32);
    let mut head = Vec::with_capacity(4);
    while taken < usize::from(*length) {
        let Some(byte) = text.get(at) else {
            return open(ending);
        };
        at += 1;
        match byte {
            b' ' if taken.is_multiple_of(4) && taken > 0 && text.get(at - 2) != Some(&b' ') => {
                continue;
            }
            b'0'..=b'9' | b'A'..=b'Z' => {}
            _ => return Verdict::No,
        }
        if (2..4).contains(&taken) && !byte.is_ascii_digit() {
            return Verdict::No;
        }
        if taken < 4 {
            head.push(*byte);
        } else {
            left = shift(left, *byte);
        }
        taken += 1;
    }
    match text.get(at) {
        None if ending == Ending::Open => return Verdict::Open,
        Some(byte) if byte.is_ascii_alphanumeric() => return Verdict::No,
        _ => {}
    }
    if head.iter().fold(left, |left, byte| shift(left, *byte)) == 1 {
        Verdict::Is(at)
    } else {
        Verdict::No
    }
}

/// The remainder by 97 with one more character behind; letters count from ten.
fn shift(left: u32, byte: u8) -> u32 {
    let value = char::from(byte).to_digit(36).unwrap_or(0);
    let scale = if value > 9 { 100 } else { 10 };
    (left * scale + value) % 97
}

/// An e-mail address whose `@` stands at `at`.
pub(super) fn email(text: &[u8], at: usize, ending: Ending) -> Verdict {
    if text.first() == Some(&b'.') {
        return Verdict::No;
    }
    let behind = text.get(at + 1..).unwrap_or_default();
    let run = behind
        .iter()
        .take(DOMAIN_BYTES_MAX)
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
        .count();
    if run == behind.len() && run < DOMAIN_BYTES_MAX && ending == Ending::Open {
        return Verdict::Open;
    }
    let mut domain = behind.get(..run).unwrap_or_default();
    loop {
        let Some(dot) = domain.iter().rposition(|byte| *byte == b'.') else {
            return Verdict::No;
        };
        let last = domain.get(dot + 1..).unwrap_or_default();
        let named = last.len() >= 2
            && (last.iter().all(u8::is_ascii_alphabetic) || last.starts_with(b"xn--"));
        if named {
            break;
        }
        domain = domain.get(..dot).unwrap_or_default();
    }
    let labels = domain.split(|byte| *byte == b'.');
    let whole = |label: &[u8]| !label.is_empty() && label.len() <= 63 && !label.starts_with(b"-");
    if labels.into_iter().all(whole) {
        Verdict::Is(at + 1 + domain.len())
    } else {
        Verdict::No
    }
}

/// Whether a byte may stand in the local part; quoted local parts are not looked for.
pub(super) fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-' | b'\'')
}

fn open(ending: Ending) -> Verdict {
    match ending {
        Ending::Open => Verdict::Open,
        Ending::Final => Verdict::No,
    }
}

/// The length of an IBAN by country (ISO 13616, registry release 99).
const COUNTRIES: [(&[u8; 2], u8); 88] = [
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];
