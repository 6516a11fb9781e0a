//! Placeholders: what agents hold instead of secrets, and how one is recognised wherever it stands.
//!
//! A placeholder is derived, never stored: HMAC over account, agent, credential and version, under a key of the gate.
//! Its first random characters are the same in every placeholder of this gate (its *tag*), so that one small set of
//! patterns finds any of them, in any usual encoding, whoever it belongs to and however old it is.

use std::{borrow::Cow, sync::Arc};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use exeat_types::{AccountId, AgentId, CredentialId, DeviceFailure, Secret, random_bytes};
use ring::hmac;

use crate::{Error, Refused, Shape, shape::Piece};

/// Characters of the tag: 47 bits, so that no other text has it by chance.
const TAG_LEN: usize = 8;
/// Characters of the random part, and of the proof behind it, in placeholders that are not derived from a credential.
const NONCE_LEN: usize = 14;
/// How much of a stream is kept to find a tag that was cut in two: more than its longest encoding.
const CARRY_LEN: usize = 256;
/// How many layers of percent and JSON escapes are looked through.
const LAYERS: usize = 3;

/// Makes the placeholders of one gate.
pub(crate) struct Mint {
    key: hmac::Key,
    tag: String,
}

/// Tells secrets apart, under a key without which it tells nothing about them.
pub fn thumbprint(key: &Secret, secret: &Secret) -> Arc<str> {
    Mint::new(key).thumbprint(secret)
}

impl Mint {
    #[expect(
        clippy::disallowed_methods,
        reason = "placeholders are derived from this key"
    )]
    pub(crate) fn new(placeholder_key: &Secret) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, placeholder_key.open());
        let tag = Letters::new(&key, "tag").take(TAG_LEN).collect();
        Self { key, tag }
    }

    /// The placeholder of this agent for this version of this credential.
    pub(crate) fn make(
        &self,
        shape: Shape,
        agent: &AgentId,
        credential: &CredentialId,
        version: u32,
    ) -> String {
        let account = AccountId::local();
        let purpose = format!("placeholder|{account}|{agent}|{credential}|{version}");
        let mut letters = Letters::new(&self.key, &purpose);
        let mut tag = Some(self.tag.as_str());
        let mut text = String::new();
        for piece in shape.pieces() {
            match piece {
                Piece::Text(fixed) => text.push_str(fixed),
                Piece::Random(count) => {
                    let tag = tag.take().unwrap_or_default();
                    text.push_str(tag);
                    text.extend(letters.by_ref().take(count.saturating_sub(tag.len())));
                }
            }
        }
        text
    }

    /// A fresh placeholder for a token that this agent would have got, behind what such tokens begin with. It tells by
    /// itself that it was made for this agent, so that one whose token is forgotten is known for what it is.
    pub(crate) fn fresh(&self, prefix: &str, agent: &AgentId) -> Result<String, DeviceFailure> {
        let random: [u8; 32] = random_bytes()?;
        let nonce = Letters::new(&self.key, &format!("nonce|{}", hex(&random)));
        let nonce: String = nonce.take(NONCE_LEN).collect();
        let proof = self.proof(&nonce, agent);
        Ok(format!("{prefix}{}{nonce}{proof}", self.tag))
    }

    /// Whether a text is a placeholder that [`Mint::fresh`] made for this agent.
    pub(crate) fn is_fresh_of(&self, agent: &AgentId, text: &str) -> bool {
        let Some((_, rest)) = text.split_once(&self.tag) else {
            return false;
        };
        rest.split_at_checked(NONCE_LEN)
            .is_some_and(|(nonce, proof)| proof == self.proof(nonce, agent))
    }

    fn proof(&self, nonce: &str, agent: &AgentId) -> String {
        let account = AccountId::local();
        let purpose = format!("minted|{account}|{agent}|{nonce}");
        Letters::new(&self.key, &purpose).take(NONCE_LEN).collect()
    }

    /// A name for a secret that tells nothing about it to whoever lacks the key.
    #[expect(
        clippy::disallowed_methods,
        reason = "the thumbprint is a keyed hash of the secret"
    )]
    pub(crate) fn thumbprint(&self, secret: &Secret) -> Arc<str> {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(b"thumbprint|");
        context.update(secret.open());
        let tag = context.sign();
        hex(tag.as_ref())
            .chars()
            .take(16)
            .collect::<String>()
            .into()
    }

    /// What finds every placeholder of this gate.
    pub(crate) fn watch(&self) -> Result<Watch, Error> {
        Watch::new(&self.tag)
    }
}

/// Letters and digits drawn evenly from HMAC in counter mode.
struct Letters<'a> {
    key: &'a hmac::Key,
    purpose: String,
    block: u32,
    waiting: std::vec::IntoIter<u8>,
}

impl<'a> Letters<'a> {
    fn new(key: &'a hmac::Key, purpose: &str) -> Self {
        Self {
            key,
            purpose: purpose.to_owned(),
            block: 0,
            waiting: Vec::new().into_iter(),
        }
    }
}

impl Iterator for Letters<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        const LETTERS: &[u8; 62] =
            b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        loop {
            let Some(byte) = self.waiting.next() else {
                let block = format!("{}|{}", self.purpose, self.block);
                self.block = self.block.checked_add(1)?;
                self.waiting = hmac::sign(self.key, block.as_bytes())
                    .as_ref()
                    .to_vec()
                    .into_iter();
                continue;
            };
            // 248 is the largest multiple of 62 in a byte; what lies above would favour the first letters.
            if byte < 248 {
                return LETTERS.get(usize::from(byte % 62)).copied().map(char::from);
            }
        }
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// Finds placeholders, in whole texts and, through [`Scan`], in streams.
pub struct Watch {
    finder: AhoCorasick,
}

impl Watch {
    fn new(tag: &str) -> Result<Self, Error> {
        let mut patterns = vec![tag.as_bytes().to_vec(), hex(tag.as_bytes()).into_bytes()];
        patterns.push(hex(tag.as_bytes()).to_ascii_uppercase().into_bytes());
        patterns.extend((0..3).map(|shift| base64_within(tag.as_bytes(), shift)));
        // Leftmost matching lets the searcher skip with vector instructions.
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .kind(Some(AhoCorasickKind::DFA))
            .build(patterns);
        let finder = finder.map_err(|source| Error::Patterns {
            what: "placeholders",
            source,
        })?;
        Ok(Self { finder })
    }

    /// Whether a placeholder of this gate stands in the text: plain, in base64, in hexadecimal, or behind percent or
    /// JSON escapes.
    pub fn found_in(&self, text: &[u8]) -> bool {
        if self.finder.is_match(text) {
            return true;
        }
        let mut view = Cow::Borrowed(text);
        for _ in 0..LAYERS {
            let Some(next) = unescape(&view) else {
                return false;
            };
            if self.finder.is_match(&next) {
                return true;
            }
            view = Cow::Owned(next);
        }
        false
    }
}

/// The characters of the base64 of `bytes` that do not depend on what stands around them, when `shift` bytes of the
/// same group of three stand before. The tag is ASCII, so that both base64 alphabets agree.
fn base64_within(bytes: &[u8], shift: usize) -> Vec<u8> {
    let mut padded = vec![0u8; shift];
    padded.extend_from_slice(bytes);
    let text = BASE64_STANDARD_NO_PAD.encode(&padded).into_bytes();
    let first = shift.saturating_mul(8).div_ceil(6);
    let last = padded.len().saturating_mul(8).div_euclid(6);
    text.get(first..last).unwrap_or_default().to_vec()
}

/// Takes one layer of `%XX`, `\uXXXX` and `\\` away; `None` when there is none.
fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    memchr::memchr2(b'%', b'\\', text)?;
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr2(b'%', b'\\', rest) {
        let (plain, from) = rest.split_at_checked(at)?;
        out.extend_from_slice(plain);
        let (byte, taken) = match from {
            [b'%', high, low, ..] => (hex_value(&[*high, *low]), 3),
            [b'\\', b'u', b'0', b'0', high, low, ..] => (hex_value(&[*high, *low]), 6),
            [b'\\', b'\\', ..] => (Some(b'\\'), 2),
            _ => (None, 1),
        };
        let taken = if byte.is_some() { taken } else { 1 };
        let (escape, after) = from.split_at_checked(taken)?;
        match byte {
            Some(byte) => out.push(byte),
            None => out.extend_from_slice(escape),
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    (out.len() < text.len()).then_some(out)
}

fn hex_value(digits: &[u8; 2]) -> Option<u8> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    let [high, low] = digits;
    Some((digit(*high)? << 4) | digit(*low)?)
}

/// Looks for placeholders in a body that streams by, wherever the stream is cut.
pub struct Scan {
    watch: Arc<Watch>,
    carry: Vec<u8>,
    tripped: bool,
}

impl Scan {
    /// Starts with nothing seen.
    pub fn new(watch: Arc<Watch>) -> Self {
        Self {
            watch,
            carry: Vec::with_capacity(CARRY_LEN.saturating_mul(2)),
            tripped: false,
        }
    }

    /// Looks at the next piece, which may be sent on only when the answer is `Ok`.
    ///
    /// # Errors
    /// [`Refused::Misused`] when a placeholder ends in this piece, and from then on for every piece.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), Refused> {
        let (head, tail) = chunk.split_at_checked(CARRY_LEN).unwrap_or((chunk, &[]));
        self.carry.extend_from_slice(head);
        self.tripped = self.tripped || self.watch.found_in(&self.carry);
        if !tail.is_empty() {
            self.tripped = self.tripped || self.watch.found_in(chunk);
            self.carry.clear();
            let from = chunk.len().saturating_sub(CARRY_LEN);
            self.carry
                .extend_from_slice(chunk.get(from..).unwrap_or_default());
        }
        let spare = self.carry.len().saturating_sub(CARRY_LEN);
        self.carry.drain(..spare);
        if self.tripped {
            Err(Refused::Misused {
                what: "body".to_owned(),
            })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::any, prop_assert, proptest};

    use super::*;

    fn mint() -> Mint {
        Mint::new(&Secret::new(b"CANARY-placeholder-1".to_vec()))
    }

    fn example(shape: Shape) -> String {
        let (agent, credential) = (
            AgentId::new("claude").unwrap(),
            CredentialId::new("github").unwrap(),
        );
        mint().make(shape, &agent, &credential, 1)
    }

    #[test]
    fn placeholders_of_every_shape_are_found_and_those_of_another_gate_are_not() {
        let watch = mint().watch().unwrap();
        let other = Mint::new(&Secret::new(b"CANARY-placeholder-2".to_vec()))
            .watch()
            .unwrap();
        for (_, shape) in Shape::words() {
            let placeholder = example(shape);
            assert!(watch.found_in(placeholder.as_bytes()), "{placeholder}");
            assert!(!other.found_in(placeholder.as_bytes()), "{placeholder}");
        }
    }

    #[test]
    fn a_placeholder_stays_the_same_from_release_to_release() {
        // A change here makes every placeholder that an agent holds unknown.
        insta::assert_snapshot!(example(Shape::Auto), @"exeat_ph_sUCPa02p39FlFS4tjlCjJlmPdOnb0A9B");
    }

    #[test]
    fn a_fresh_placeholder_says_whose_it_is() {
        let (mint, agent) = (mint(), AgentId::new("claude").unwrap());
        let one = mint.fresh("ghs_", &agent).unwrap();
        assert!(one.starts_with("ghs_") && one.len() == 40, "{one}");
        assert!(mint.watch().unwrap().found_in(one.as_bytes()));
        assert_ne!(one, mint.fresh("ghs_", &agent).unwrap());
        assert!(mint.is_fresh_of(&agent, &one));
        let mut other = one.clone();
        let last = other.pop().unwrap();
        other.push(if last == 'a' { 'b' } else { 'a' });
        for wrong in [
            other,
            format!("{one}x"),
            example(Shape::Github),
            String::new(),
        ] {
            assert!(!mint.is_fresh_of(&agent, &wrong), "{wrong}");
        }
        assert!(!mint.is_fresh_of(&AgentId::new("codex").unwrap(), &one));
    }

    #[test]
    fn escapes_are_taken_away_layer_by_layer() {
        assert_eq!(unescape(b"plain"), None);
        assert_eq!(unescape(b"100%"), None);
        assert_eq!(unescape(b"\\n"), None);
        assert_eq!(unescape(b"%2561%").unwrap(), b"%61%");
        assert_eq!(unescape(b"\\u0061\\u00e").unwrap(), b"a\\u00e");
        assert_eq!(unescape(b"\\\\u0061").unwrap(), b"\\u0061");
        assert_eq!(unescape(b"%zz%41").unwrap(), b"%zzA");
    }

    #[test]
    fn letters_are_drawn_evenly() {
        let mint = mint();
        let mut counts = std::collections::BTreeMap::new();
        for letter in Letters::new(&mint.key, "evenness").take(62_000) {
            *counts.entry(letter).or_insert(0_u32) += 1;
        }
        assert_eq!(counts.len(), 62);
        assert!(
            counts.values().all(|count| (800..1200).contains(count)),
            "{counts:?}"
        );
    }

    proptest! {
        #[test]
        fn base64_is_found_at_every_alignment(before in proptest::collection::vec(any::<u8>(), 0..9)) {
            let text = [before, example(Shape::Github).into_bytes()].concat();
            let encoded = BASE64_STANDARD_NO_PAD.encode(text);
            prop_assert!(mint().watch().unwrap().found_in(encoded.as_bytes()));
        }
    }
}
