//! Agent tokens: `exa_<family>_<generation>_<random>_<mac>`, each part in lower-case base32.
//!
//! The MAC lets the gate throw away what it never made without looking anywhere; whether a genuine token is still good is
//! said by the record of its family, which holds only the digest of the random part.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use exeat_types::{Digest, FamilyId, Secret, random_bytes};
use ring::hmac;
use zeroize::Zeroizing;

use crate::Error;

const PREFIX: &str = "exa";
const FAMILY_LEN: usize = 10;
const GENERATION_LEN: usize = 4;
const RANDOM_LEN: usize = 16;
const MAC_LEN: usize = 16;
/// No header that carries a token is longer; a username stands before it in Basic.
const HEADER_BYTES_MAX: usize = 512;

/// Makes and checks the tokens of one gate.
pub struct TokenKey(hmac::Key);

/// A token that was just made: the only moment at which it exists outside the agent.
pub struct Minted {
    /// The token itself.
    pub token: Secret,
    /// What the family's record has to say about it.
    pub claim: Claim,
}

/// What a genuine token says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The family it belongs to.
    pub family: FamilyId,
    /// Its place in the family; each refresh is one higher.
    pub generation: u32,
    /// The digest of its random part, to be compared with the family's record.
    pub digest: Digest,
}

impl TokenKey {
    /// Works with a key derived for this purpose.
    #[expect(
        clippy::disallowed_methods,
        reason = "tokens are authenticated with this key"
    )]
    pub fn new(key: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.open()))
    }

    /// Makes the first token of a new family.
    ///
    /// # Errors
    /// When the operating system yields no random bytes.
    pub fn found_family(&self) -> Result<Minted, Error> {
        let family = FamilyId::new(&base32(&random_bytes::<FAMILY_LEN>()?))?;
        self.mint(&family, 1)
    }

    /// Makes a token of this generation of a family.
    ///
    /// # Errors
    /// When the family is not one that [`TokenKey::found_family`] made, or there are no random bytes.
    pub fn mint(&self, family: &FamilyId, generation: u32) -> Result<Minted, Error> {
        if unbase32::<FAMILY_LEN>(family.as_str()).is_none() {
            let rule = "expected a family that was made with its first token";
            return Err(exeat_types::Malformed::new("token family", rule).into());
        }
        let random = Zeroizing::new(random_bytes::<RANDOM_LEN>()?);
        let digest = Digest::of(random.as_slice());
        let (number, random) = (
            base32(&generation.to_be_bytes()),
            Zeroizing::new(base32(random.as_slice())),
        );
        let body = Zeroizing::new(format!("{PREFIX}_{family}_{number}_{}", *random));
        let mac = hmac::sign(&self.0, body.as_bytes());
        let mac = mac
            .as_ref()
            .first_chunk::<MAC_LEN>()
            .copied()
            .unwrap_or_default();
        let token = format!("{}_{}", *body, base32(&mac));
        let claim = Claim {
            family: family.clone(),
            generation,
            digest,
        };
        Ok(Minted {
            token: Secret::new(token.into_bytes()),
            claim,
        })
    }

    /// What the token says, if this gate made it.
    pub fn check(&self, token: &str) -> Option<Claim> {
        let (body, mac) = token.rsplit_once('_')?;
        let presented = unbase32::<MAC_LEN>(mac)?;
        let mut parts = body.split('_');
        let (prefix, family, number, random) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if prefix != PREFIX || parts.next().is_some() {
            return None;
        }
        unbase32::<FAMILY_LEN>(family)?;
        let generation = u32::from_be_bytes(unbase32::<GENERATION_LEN>(number)?);
        let random = Zeroizing::new(unbase32::<RANDOM_LEN>(random)?);
        let expected = hmac::sign(&self.0, body.as_bytes());
        let expected = Secret::new(expected.as_ref().first_chunk::<MAC_LEN>()?.to_vec());
        if !expected.matches(&presented) {
            return None;
        }
        Some(Claim {
            family: FamilyId::new(family).ok()?,
            generation,
            digest: Digest::of(random.as_slice()),
        })
    }

    /// What the token in a `Proxy-Authorization` value says: `Bearer <token>`, or `Basic` with the token as password, as
    /// clients send it for `http://name:token@gate`.
    pub fn check_header(&self, value: &[u8]) -> Option<Claim> {
        if value.len() > HEADER_BYTES_MAX {
            return None;
        }
        let text = std::str::from_utf8(value).ok()?;
        let (scheme, rest) = text.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.check(rest.trim_ascii());
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let pair = Zeroizing::new(BASE64_STANDARD.decode(rest.trim_ascii()).ok()?);
        let (_name, password) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
        self.check(password)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey").finish_non_exhaustive()
    }
}

impl Minted {
    /// The token as text, to be shown once to whoever asked for it.
    #[expect(
        clippy::disallowed_methods,
        reason = "the token is handed to its agent"
    )]
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(String::from_utf8_lossy(self.token.open()).into_owned())
    }
}

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// RFC 4648 section 6, lower case, without padding.
fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(8).div_ceil(5));
    let (mut held, mut bits) = (0u32, 0u32);
    let mut put = |five: u32| {
        let index = usize::try_from(five & 31).unwrap_or_default();
        text.push(char::from(ALPHABET.get(index).copied().unwrap_or(b'a')));
    };
    for byte in bytes {
        held = (held << 8) | u32::from(*byte);
        bits = bits.saturating_add(8);
        while bits >= 5 {
            bits = bits.saturating_sub(5);
            put(held >> bits);
        }
        held &= 0xff;
    }
    if bits > 0 {
        put(held << 5_u32.saturating_sub(bits));
    }
    text
}

/// Reads exactly `N` bytes in the one form [`base32`] writes; bits that are left over must be zero.
fn unbase32<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N.saturating_mul(8).div_ceil(5) {
        return None;
    }
    let mut bytes = [0u8; N];
    let mut places = bytes.iter_mut();
    let (mut held, mut bits) = (0u32, 0u32);
    for c in text.bytes() {
        let digit = match c {
            b'a'..=b'z' => c.saturating_sub(b'a'),
            b'2'..=b'7' => c.saturating_sub(b'2').saturating_add(26),
            _ => return None,
        };
        held = ((held << 5) | u32::from(digit)) & 0xfff;
        bits = bits.saturating_add(5);
        if bits >= 8 {
            bits = bits.saturating_sub(8);
            *places.next()? = u8::try_from((held >> bits) & 0xff).ok()?;
        }
    }
    let spare = held & (1_u32 << bits).saturating_sub(1);
    (spare == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn key(name: &str) -> TokenKey {
        TokenKey::new(&Secret::new(name.as_bytes().to_vec()))
    }

    #[test]
    fn base32_is_that_of_rfc_4648() {
        // proves RFC 4648 section 10
        for (bytes, text) in [
            ("f", "my"),
            ("fo", "mzxq"),
            ("foo", "mzxw6"),
            ("foob", "mzxw6yq"),
            ("foobar", "mzxw6ytboi"),
        ] {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
        assert_eq!(unbase32::<6>("mzxw6ytboi").unwrap(), *b"foobar");
        assert_eq!(
            unbase32::<4>("mzxw6yr"),
            None,
            "left-over bits must be zero"
        );
        assert_eq!(unbase32::<6>("MZXW6YTBOI"), None);
    }

    #[test]
    fn a_token_is_understood_by_the_gate_that_made_it_and_by_no_other() {
        let minted = key("CANARY-token-1").found_family().unwrap();
        let token = minted.reveal();
        assert_eq!(
            token.len(),
            4 + 16 + 1 + 7 + 1 + 26 + 1 + 26,
            "{}",
            token.len()
        );
        assert_eq!(key("CANARY-token-1").check(&token).unwrap(), minted.claim);
        assert_eq!(key("CANARY-token-2").check(&token), None);
        let next = key("CANARY-token-1").mint(&minted.claim.family, 2).unwrap();
        assert_eq!(
            (next.claim.generation, &next.claim.family),
            (2, &minted.claim.family)
        );
        assert_ne!(next.claim.digest, minted.claim.digest);
        assert!(
            key("CANARY-token-1")
                .mint(&FamilyId::new("someone").unwrap(), 1)
                .is_err()
        );
    }

    #[test]
    fn the_header_may_be_bearer_or_basic() {
        let key = key("CANARY-token-3");
        let minted = key.found_family().unwrap();
        let token = minted.reveal();
        let pair = BASE64_STANDARD.encode(format!("claude:{}", *token));
        for value in [
            format!("Bearer {}", *token),
            format!("bearer  {} ", *token),
            format!("BASIC {pair}"),
        ] {
            assert_eq!(
                key.check_header(value.as_bytes()).as_ref(),
                Some(&minted.claim),
                "{value}"
            );
        }
        let long = format!("Bearer {}{}", " ".repeat(600), *token);
        for value in [
            token.to_string(),
            "Basic !".to_owned(),
            "Digest x".to_owned(),
            "Bearer".to_owned(),
            long,
        ] {
            assert_eq!(key.check_header(value.as_bytes()), None);
        }
    }

    #[test]
    fn a_token_with_any_character_changed_is_refused() {
        let key = key("CANARY-token-4");
        let token = key.found_family().unwrap().reveal();
        for at in 0..token.len() {
            for other in ["a", "b", "_", "A", "="] {
                let mut changed = token.to_string();
                changed.replace_range(at..=at, other);
                assert!(
                    changed == *token || key.check(&changed).is_none(),
                    "{at} {other}"
                );
            }
        }
        for changed in [
            format!("{}a", *token),
            format!("{}_", *token),
            format!(" {}", *token),
        ] {
            assert_eq!(key.check(&changed), None);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_fail_other_than_by_refusing(text in "(exa_)?[a-z2-7_]{0,90}|\\PC{0,40}") {
            assert_eq!(key("CANARY-token-5").check(&text), None);
            assert_eq!(key("CANARY-token-5").check_header(text.as_bytes()), None);
        }

        #[test]
        fn base32_reads_back(bytes in any::<[u8; 16]>()) {
            assert_eq!(unbase32::<16>(&base32(&bytes)), Some(bytes));
        }
    }
}
