//! Names and ids. Each constructor checks; a held value is valid.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{DeviceFailure, Malformed, Timestamp, random_bytes};

/// A name of at most 64 characters: lower-case letters, digits, `-` and `_`, beginning with a letter or digit.
fn parse_name(what: &'static str, text: &str) -> Result<Arc<str>, Malformed> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if text.is_empty() || text.len() > 64 {
        return Err(Malformed::new(what, "expected 1 to 64 characters"));
    }
    if !text.chars().all(plain) || !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        let rule =
            "expected lower-case letters, digits, `-` and `_`, beginning with a letter or digit";
        return Err(Malformed::new(what, rule));
    }
    Ok(text.into())
}

/// One to eight dot-separated parts, each a letter or digit first, then letters, digits, `-` and `_`; case is kept.
fn parse_dotted(what: &'static str, text: &str) -> Result<Arc<str>, Malformed> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let part_ok = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(plain)
    };
    if text.is_empty() || text.len() > 160 {
        return Err(Malformed::new(what, "expected 1 to 160 characters"));
    }
    if !text.split('.').all(part_ok) || text.split('.').count() > 8 {
        let rule = "expected parts of letters, digits, `-` and `_`, joined by single dots";
        return Err(Malformed::new(what, rule));
    }
    Ok(text.into())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $parse:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text.
            ///
            /// # Errors
            /// When a rule above is broken.
            pub fn new(text: &str) -> Result<Self, Malformed> {
                $parse($what, text).map(Self)
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = Malformed;

            fn from_str(text: &str) -> Result<Self, Malformed> {
                Self::new(text)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

name_type! {
    /// The account everything lives under; `local` on a machine of one's own.
    AccountId, "account", parse_name
}
name_type! {
    /// An agent: whoever the gate lets ask.
    AgentId, "agent", parse_name
}
name_type! {
    /// A credential in custody, by its name in the configuration.
    CredentialId, "credential", parse_name
}
name_type! {
    /// The family an agent token belongs to.
    FamilyId, "token family", parse_name
}
name_type! {
    /// An approval: one question to a human, and its answer.
    ApprovalId, "approval", parse_name
}
name_type! {
    /// One run of an agent: what it did in one sandbox, or without one until it was quiet for long.
    RunId, "run", parse_name
}
name_type! {
    /// The full name of a tool, such as `github.issues.create`.
    ToolName, "tool", parse_dotted
}

impl AccountId {
    /// The account of a gate that serves one machine.
    pub fn local() -> Self {
        Self("local".into())
    }
}

impl RunId {
    /// A new id, written like that of a call.
    ///
    /// # Errors
    /// When the operating system yields no random bytes.
    pub fn fresh(now: Timestamp) -> Result<Self, DeviceFailure> {
        Ok(Self(CallId::new(now)?.to_string().into()))
    }
}

/// How well an agent is cut off from every other way out; stated in each receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seal {
    /// The agent runs in a namespace whose only way out is this gate.
    Sandbox,
    /// A network routes all of the agent's traffic here.
    Gateway,
    /// Nothing stops the agent from going elsewhere.
    None,
}

impl Seal {
    /// The word used in receipts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Gateway => "gateway",
            Self::None => "none",
        }
    }
}

/// The id of one accepted call and so of its receipt: 48 bits of milliseconds, then 80 random bits, in Crockford's
/// base32, 26 characters, sortable by time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(u128);

const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const NO_DIGIT: u8 = 255;
/// The value of each byte as a digit: verifying a long ledger reads millions of ids.
#[expect(clippy::indexing_slicing, reason = "computed while compiling")]
const CROCKFORD_VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut digit = 0;
    while digit < 32 {
        values[CROCKFORD[digit as usize] as usize] = digit;
        digit += 1;
    }
    values
};

impl CallId {
    /// A new id for a call accepted at `now`.
    ///
    /// # Errors
    /// When the operating system yields no random bytes.
    pub fn new(now: Timestamp) -> Result<Self, DeviceFailure> {
        let mut bytes = [0u8; 16];
        let noise: [u8; 10] = random_bytes()?;
        let (head, tail) = bytes.split_at_mut(6);
        head.copy_from_slice(&now.millis().to_be_bytes()[2..]);
        tail.copy_from_slice(&noise);
        Ok(Self(u128::from_be_bytes(bytes)))
    }

    /// The id that [`CallId::to_bytes`] gave.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The id as 16 big-endian bytes.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; 26];
        for (place, slot) in text.iter_mut().enumerate() {
            let shift = 125_usize.saturating_sub(place.saturating_mul(5));
            let index = usize::try_from((self.0 >> shift) & 31).map_err(|_cause| fmt::Error)?;
            *slot = CROCKFORD.get(index).copied().unwrap_or(b'0');
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_cause| fmt::Error)?)
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for CallId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wrong = || Malformed::new("receipt id", "expected 26 characters of Crockford's base32");
        if text.len() != 26 || !text.starts_with(|c: char| ('0'..='7').contains(&c)) {
            return Err(wrong());
        }
        let mut value = 0u128;
        for byte in text.bytes() {
            let digit = CROCKFORD_VALUES
                .get(usize::from(byte))
                .copied()
                .unwrap_or(NO_DIGIT);
            if digit == NO_DIGIT {
                return Err(wrong());
            }
            value = (value << 5) | u128::from(digit);
        }
        Ok(Self(value))
    }
}

impl Serialize for CallId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CallId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(AgentId::new("claude").is_ok());
        for wrong in ["", "Claude", "a b", "-a", "a/b", &"a".repeat(65)] {
            assert!(AgentId::new(wrong).is_err(), "{wrong}");
        }
        assert!(ToolName::new("github.issues.create").is_ok());
        for wrong in ["", "a..b", ".a", "a.", "a b"] {
            assert!(ToolName::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn call_ids_read_back_and_sort_by_time() {
        let early = CallId::new(Timestamp::from_millis(1_000)).unwrap();
        let late = CallId::new(Timestamp::from_millis(2_000)).unwrap();
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(late.to_string().parse::<CallId>().unwrap(), late);
        assert!("zzzzzzzzzzzzzzzzzzzzzzzzzz".parse::<CallId>().is_err());
    }
}
