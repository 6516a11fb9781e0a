//! One-time codes: with one of them a browser may make a passkey, for ten minutes, once.
//!
//! SECURITY: sixty random bits and ten minutes leave nothing to guess. Only digests are kept. Once there is a key, a code alone
//! enrols nothing: what it makes waits until somebody vouches for it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use exeat_types::{DeviceFailure, Digest, Timestamp, random_bytes};

/// How long a code is good.
pub const CODE_LIFE: Duration = Duration::from_secs(10 * 60);
/// Codes at a time; the oldest goes first.
const CODES_MAX: usize = 16;
/// Letters and digits that nobody mistakes for one another (Crockford).
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A fresh code, to be shown once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// Three groups of four letters.
    pub code: String,
    /// Until when.
    pub until: Timestamp,
}

/// Whom a code is for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ticket {
    user: String,
    until: Timestamp,
}

/// The codes that are good.
#[derive(Debug, Default)]
pub struct Codes(Mutex<HashMap<Digest, Ticket>>);

impl Codes {
    /// Makes a code for somebody.
    ///
    /// # Errors
    /// When no random bytes are to be had.
    pub fn issue(&self, user: &str, now: Timestamp) -> Result<Issued, DeviceFailure> {
        let letters = random_bytes::<12>()?;
        let letters = letters.map(|byte| LETTERS.get(usize::from(byte & 31)).copied());
        let mut code = String::with_capacity(14);
        for (at, letter) in letters.into_iter().flatten().enumerate() {
            if at > 0 && at % 4 == 0 {
                code.push('-');
            }
            code.push(char::from(letter));
        }
        let until = now.after(CODE_LIFE);
        let ticket = Ticket {
            user: user.to_owned(),
            until,
        };
        let mut known = self.known();
        known.retain(|_, other| now < other.until);
        if known.len() >= CODES_MAX {
            let oldest = known.iter().min_by_key(|(_, other)| other.until);
            if let Some(oldest) = oldest.map(|(digest, _)| *digest) {
                known.remove(&oldest);
            }
        }
        known.insert(digest(&code), ticket);
        Ok(Issued { code, until })
    }

    /// Whom a code is for, if it is good.
    pub(super) fn user(&self, code: &str, now: Timestamp) -> Option<String> {
        let known = self.known();
        let ticket = known.get(&digest(code)).filter(|it| now < it.until)?;
        Some(ticket.user.clone())
    }

    /// Uses a code up; true for one caller only.
    pub(super) fn spend(&self, code: &str, now: Timestamp) -> bool {
        let spent = self.known().remove(&digest(code));
        spent.is_some_and(|ticket| now < ticket.until)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Digest, Ticket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// People type capitals, spaces and no dashes.
fn digest(code: &str) -> Digest {
    let plain: String = code
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect();
    Digest::of(plain.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_good_once_and_for_ten_minutes() {
        let codes = Codes::default();
        let now = Timestamp::from_millis(1_800_000_000_000);
        let issued = codes.issue("ada", now).unwrap();
        assert_eq!(issued.code.len(), 14);
        assert_eq!(codes.user(&issued.code.to_uppercase(), now).unwrap(), "ada");
        assert_eq!(
            codes.user(&issued.code.replace('-', " "), now).unwrap(),
            "ada"
        );
        assert!(codes.user(&issued.code, now.after(CODE_LIFE)).is_none());
        assert!(codes.user("0000-0000-0000", now).is_none());
        assert!(codes.spend(&issued.code, now));
        assert!(!codes.spend(&issued.code, now));
        let late = codes.issue("ada", now).unwrap();
        assert!(!codes.spend(&late.code, now.after(CODE_LIFE)));
        for _ in 0..CODES_MAX * 2 {
            codes.issue("eve", now).unwrap();
        }
        assert_eq!(codes.known().len(), CODES_MAX);
    }
}
