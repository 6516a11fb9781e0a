//! `Secret`: bytes that cannot be printed, cloned, compared or serialised by accident.
//!
//! It has no `Debug`, `Display`, `Clone`, `PartialEq`, `Serialize` or `Deref`, so deriving any of those on a holder does
//! not compile. The one exit is [`Secret::open`], which clippy bans outside the few places named in ARCHITECTURE.md.

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Secret bytes on the heap, overwritten when dropped.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes ownership of the bytes; the vector is wiped when the secret is dropped.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The secret bytes. Every call is a place where a secret could leak, and is listed.
    pub fn open(&self) -> &[u8] {
        &self.0
    }

    /// The length in bytes, which is not treated as secret.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares in constant time with bytes that somebody presented.
    pub fn matches(&self, presented: &[u8]) -> bool {
        self.0.ct_eq(presented).into()
    }

    /// A second copy, for the rare holder that must outlive the first (a snapshot of credentials).
    pub fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_matches_only_its_own_bytes() {
        let secret = Secret::new(b"CANARY-types-1".to_vec());
        assert!(secret.matches(b"CANARY-types-1"));
        assert!(!secret.matches(b"CANARY-types-2"));
        assert!(!secret.matches(b"CANARY"));
        assert_eq!(secret.len(), 14);
    }
}
