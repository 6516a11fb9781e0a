//! Amounts: money, bytes and counts, always whole numbers of a smallest unit. Nothing here rounds.

use std::{fmt, str::FromStr};

use crate::Malformed;

/// Millionths in one unit of a currency.
const MILLION: u64 = 1_000_000;
/// Digits behind the point that are kept.
const DECIMALS: usize = 6;
/// Behind this the unit says how many decimals its amounts have.
const SUFFIX: &str = "-6";
/// Units of bytes, longest word first where one ends in another.
const BYTE_UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// An amount of money in millionths, such as `0.05 USD`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Money {
    /// Millionths of the currency.
    pub amount: u64,
    currency: String,
}

impl Money {
    /// Names an amount in millionths.
    ///
    /// # Errors
    /// When the currency is not three to five capital letters.
    pub fn new(amount: u64, currency: &str) -> Result<Self, Malformed> {
        let plain = currency.bytes().all(|byte| byte.is_ascii_uppercase());
        if !plain || !(3..=5).contains(&currency.len()) {
            let rule = "expected a currency of three to five capital letters, such as `USD`";
            return Err(Malformed::new("money", rule));
        }
        Ok(Self {
            amount,
            currency: currency.to_owned(),
        })
    }

    /// The currency, such as `USD`.
    pub fn currency(&self) -> &str {
        &self.currency
    }

    /// The unit of its amount in receipts and budgets: `USD-6` for millionths of a dollar.
    pub fn unit(&self) -> String {
        format!("{}{SUFFIX}", self.currency)
    }
}

impl FromStr for Money {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wrong = || Malformed::new("money", "expected an amount such as `0.05 USD`");
        let (number, currency) = text.split_once(' ').ok_or_else(wrong)?;
        Self::new(decimal(number)?, currency)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millionths = format!("{:06}", self.amount % MILLION);
        let short = millionths.trim_end_matches('0');
        write!(f, "{}.{short:0<2} {}", self.amount / MILLION, self.currency)
    }
}

/// A decimal number with at most six digits behind the point, in millionths.
fn decimal(text: &str) -> Result<u64, Malformed> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) if digits(fraction) => (whole, fraction),
        Some(_) => return Err(Malformed::new("money", "expected digits behind the point")),
        None => (text, ""),
    };
    if !digits(whole) {
        let rule = "expected an amount such as `0.05 USD`, without a sign";
        return Err(Malformed::new("money", rule));
    }
    if fraction.len() > DECIMALS {
        let rule = "expected at most six digits behind the point";
        return Err(Malformed::new("money", rule));
    }
    let too_large = |_cause| Malformed::new("money", "it is too large");
    let whole: u64 = whole.parse().map_err(too_large)?;
    let padded = format!("{fraction:0<DECIMALS$}");
    let fraction: u64 = padded.parse().map_err(too_large)?;
    whole
        .checked_mul(MILLION)
        .and_then(|whole| whole.checked_add(fraction))
        .ok_or_else(|| Malformed::new("money", "it is too large"))
}

/// Reads a number of bytes, such as `10 MB` or `64 KiB`.
///
/// # Errors
/// When it is not a whole number and a unit.
pub fn parse_bytes(text: &str) -> Result<u64, Malformed> {
    let wrong = || Malformed::new("bytes", "expected an amount such as `10 MB` or `64 KiB`");
    let (number, unit) = BYTE_UNITS
        .iter()
        .find_map(|(word, size)| Some((text.strip_suffix(word)?, *size)))
        .ok_or_else(wrong)?;
    let number = number.strip_suffix(' ').unwrap_or(number);
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = number.parse().map_err(|_cause| wrong())?;
    let too_large = || Malformed::new("bytes", "it is too large");
    number.checked_mul(unit).ok_or_else(too_large)
}

/// Reads an amount of a unit, the way [`amount_in_words`] writes it; the word of a unit that is counted may be left out.
///
/// # Errors
/// When it is no amount, or one of another unit.
pub fn parse_amount(text: &str, unit: &str) -> Result<u64, Malformed> {
    if unit == "bytes" {
        return parse_bytes(text);
    }
    if unit.strip_suffix(SUFFIX).is_some() {
        let money: Money = text.parse()?;
        if money.unit() == unit {
            return Ok(money.amount);
        }
        let problem = format!("it is counted in `{}`", unit.trim_end_matches(SUFFIX));
        return Err(Malformed::new("money", problem));
    }
    let singular = unit.strip_suffix('s').unwrap_or(unit);
    let number = [unit, singular]
        .into_iter()
        .find_map(|word| text.strip_suffix(word))
        .map_or(text, str::trim_end);
    let wrong = |_cause| Malformed::new("amount", format!("expected a whole number of {unit}"));
    number.parse().map_err(wrong)
}

/// An amount of a unit as people write it: `3.00 USD`, `10 MiB`, `5 calls`.
pub fn amount_in_words(amount: u64, unit: &str) -> String {
    if unit == "bytes" {
        return bytes_in_words(amount);
    }
    let money = unit
        .strip_suffix(SUFFIX)
        .and_then(|currency| Money::new(amount, currency).ok());
    match (money, amount, unit.strip_suffix('s')) {
        (Some(money), ..) => money.to_string(),
        (None, 1, Some(singular)) => format!("1 {singular}"),
        (None, ..) => format!("{amount} {unit}"),
    }
}

/// Exact, in the largest unit that divides the number.
fn bytes_in_words(amount: u64) -> String {
    let fits = |(_, size): &&(&str, u64)| amount > 0 && amount.is_multiple_of(*size);
    let best = BYTE_UNITS.iter().filter(fits).max_by_key(|(_, size)| *size);
    match best {
        Some((word, size)) => format!("{} {word}", amount / size),
        None => format!("{amount} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, amount: Option<u64>, shown: &str) {
        let money = text.parse::<Money>().ok();
        assert_eq!(money.as_ref().map(|money| money.amount), amount, "{text}");
        assert_eq!(
            money.map(|money| money.to_string()).unwrap_or_default(),
            shown
        );
    }

    #[test]
    fn money_is_read_exactly_or_not_at_all() {
        check("0.05 USD", Some(50_000), "0.05 USD");
        check("3 USD", Some(3_000_000), "3.00 USD");
        check("3.5 EUR", Some(3_500_000), "3.50 EUR");
        check("0.000001 USDC", Some(1), "0.000001 USDC");
        check(
            "18446744073709.551615 USD",
            Some(u64::MAX),
            "18446744073709.551615 USD",
        );
        for wrong in [
            "",
            "USD",
            "3",
            "3USD",
            "3 usd",
            "-3 USD",
            "+3 USD",
            "3. USD",
            ".5 USD",
            "3,5 USD",
            "0.0000001 USD",
            "1e3 USD",
            "18446744073709.551616 USD",
            "3  USD",
            "3 US",
            "3 DOLLAR",
        ] {
            check(wrong, None, "");
        }
        assert_eq!("0.05 USD".parse::<Money>().unwrap().unit(), "USD-6");
    }

    #[test]
    fn bytes_are_read_with_their_unit() {
        for (text, expect) in [
            ("10 MB", Some(10_000_000)),
            ("10 MiB", Some(10 << 20)),
            ("64KiB", Some(65_536)),
            ("7 B", Some(7)),
            ("7", None),
            ("1.5 MB", None),
            ("-1 B", None),
            ("99999999999 TB", None),
            ("1 mb", None),
        ] {
            assert_eq!(parse_bytes(text).ok(), expect, "{text}");
        }
    }

    #[test]
    fn amounts_are_written_as_they_are_read() {
        for (amount, unit, words) in [
            (3_000_000, "USD-6", "3.00 USD"),
            (10 << 20, "bytes", "10 MiB"),
            (10_000_000, "bytes", "10 MB"),
            (0, "bytes", "0 B"),
            (1, "calls", "1 call"),
            (5, "tokens", "5 tokens"),
        ] {
            assert_eq!(amount_in_words(amount, unit), words);
            assert_eq!(parse_amount(words, unit).ok(), Some(amount), "{words}");
        }
        assert_eq!(parse_amount("5", "calls").ok(), Some(5));
        assert!(parse_amount("5 EUR", "USD-6").is_err());
        assert!(parse_amount("5 USD", "calls").is_err());
    }
}
