//! Small serde forms that keep records canonical: amounts as decimal text, counts that stay exact, sorted names.
//!
//! RFC 8785 numbers are doubles. Counts therefore end at 2^53 - 1, and money, which may not round, is text.

use std::collections::BTreeMap;

use serde::{Serializer, ser::SerializeMap as _};

/// The largest count that canonical JSON carries exactly.
pub const COUNT_MAX: u64 = (1 << 53) - 1;

/// A count that saturates at [`COUNT_MAX`].
pub(crate) mod count {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::COUNT_MAX;

    pub(crate) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64((*value).min(COUNT_MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        u64::deserialize(deserializer)
    }
}

/// An amount of money in the smallest unit, as decimal text.
pub(crate) mod amount {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn parse(text: &str) -> Option<u64> {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let minimal = text == "0" || !text.starts_with('0');
        if plain && minimal {
            text.parse().ok()
        } else {
            None
        }
    }

    pub(crate) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| D::Error::custom("expected an amount as decimal text"))
    }
}

/// The same for an amount that may be absent.
pub(crate) mod amount_maybe {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[expect(clippy::ref_option, reason = "serde asks for this signature")]
    pub(crate) fn serialize<S: Serializer>(
        value: &Option<u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(amount) => serializer.collect_str(amount),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
        let Some(text) = Option::<String>::deserialize(d)? else {
            return Ok(None);
        };
        let wrong = || D::Error::custom("expected an amount as decimal text");
        super::amount::parse(&text).ok_or_else(wrong).map(Some)
    }
}

/// Writes names in the order of RFC 8785 (UTF-16 code units), counts saturating.
pub(crate) fn counts<S: Serializer>(
    value: &BTreeMap<String, u64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut rows: Vec<_> = value.iter().collect();
    if value.keys().any(|name| !name.is_ascii()) {
        rows.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    }
    let mut map = serializer.serialize_map(Some(rows.len()))?;
    for (name, count) in rows {
        map.serialize_entry(name, &(*count).min(COUNT_MAX))?;
    }
    map.end()
}
