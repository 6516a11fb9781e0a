//! What a passkey signs: the SHA-256 of canonical JSON (RFC 8785) that says all of it. No two kinds can be mistaken for one
//! another, as each has a member that the others lack: `approval`, `enrolment`, `session`, `deed`.

use std::{fmt, str::FromStr};

use exeat_types::{AgentId, ApprovalId, Digest, Malformed, Timestamp, canonical_json};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{decode, encode};
use crate::approval::{Approval, Enrolment, Extent};

/// The version of these forms.
const VERSION: u32 = 1;

/// 32 bytes that were never used before, printed in base64url.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce([u8; 32]);

impl Nonce {
    /// Takes fresh random bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&self.0))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Nonce {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let bytes = decode(text, 32, "not a nonce").ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes
            .map(Self)
            .ok_or_else(|| Malformed::new("nonce", "expected 32 bytes in base64url"))
    }
}

impl Serialize for Nonce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What is signed to approve: which call, how often, for whom, until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Challenge {
    /// The agent that may use it.
    pub agent: AgentId,
    /// The approval.
    pub approval: ApprovalId,
    /// The digest of the canonical request.
    pub digest: Digest,
    /// How far it goes.
    #[serde(rename = "effect")]
    pub extent: Extent,
    /// When what is granted ends: the `expires` of the record that keeps the answer.
    pub expires: Timestamp,
    /// Never used before.
    pub nonce: Nonce,
}

impl Challenge {
    /// What must have been signed for the answer that a record keeps; nothing if the record does not say enough.
    pub fn of(approval: &Approval) -> Option<Self> {
        let vote = approval.vote.as_deref()?;
        Some(Self {
            agent: approval.agent.clone(),
            approval: approval.approval.clone(),
            digest: approval.digest,
            extent: vote.extent?,
            expires: approval.expires,
            nonce: vote.nonce.as_deref()?.parse().ok()?,
        })
    }

    /// The canonical JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical(self)
    }

    /// The challenge that the browser is given: the SHA-256 of [`Self::to_bytes`].
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }
}

/// What is signed by a key that is there to have another one added, or taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouch<'a> {
    /// The record that it vouches for, without its `vouched`.
    pub enrolment: &'a Enrolment,
    /// Never used before.
    pub nonce: Nonce,
}

impl Vouch<'_> {
    /// The challenge that the browser is given.
    pub fn digest(&self) -> Digest {
        #[derive(Serialize)]
        struct Form<'a> {
            device: Option<&'a str>,
            enrolment: &'static str,
            key: &'a str,
            nonce: Nonce,
            origin: Option<&'a str>,
            public_key: Option<&'a str>,
            rp_id: Option<&'a str>,
            user: &'a str,
        }
        let Enrolment {
            device,
            key,
            origin,
            public_key,
            rp_id,
            user,
            vouched: _,
        } = self.enrolment;
        let enrolment = match public_key {
            Some(_) => "add",
            None => "remove",
        };
        Digest::of(&canonical(&Form {
            device: device.as_deref(),
            enrolment,
            key,
            nonce: self.nonce,
            origin: origin.as_deref(),
            public_key: public_key.as_deref(),
            rp_id: rp_id.as_deref(),
            user,
        }))
    }
}

/// What is signed to come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SignIn<'a> {
    /// The origin of the console.
    #[serde(rename = "session")]
    pub origin: &'a str,
    /// Never used before.
    pub nonce: Nonce,
}

impl SignIn<'_> {
    /// The challenge that the browser is given.
    pub fn digest(&self) -> Digest {
        Digest::of(&canonical(self))
    }
}

/// What is signed to confirm something that loosens what holds: to let an agent go on, say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Deed<'a> {
    /// What is done, and to what.
    pub deed: &'a str,
    /// The origin of the console.
    pub origin: &'a str,
    /// Never used before.
    pub nonce: Nonce,
}

impl Deed<'_> {
    /// The challenge that the browser is given.
    pub fn digest(&self) -> Digest {
        Digest::of(&canonical(self))
    }
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    #[serde(flatten)]
    form: &'a T,
    v: u32,
}

/// These forms hold texts and one small number: nothing that canonical JSON cannot carry.
fn canonical(form: &impl Serialize) -> Vec<u8> {
    canonical_json(&Versioned { form, v: VERSION }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_one_line_of_canonical_json() {
        let challenge = Challenge {
            agent: AgentId::new("claude").unwrap(),
            approval: ApprovalId::new("a1").unwrap(),
            digest: Digest::of(b"request"),
            extent: Extent::Uses(3),
            expires: "2026-01-02T03:04:05.000Z".parse().unwrap(),
            nonce: Nonce::new([7; 32]),
        };
        let text = String::from_utf8(challenge.to_bytes()).unwrap();
        let expected = format!(
            "{{\"agent\":\"claude\",\"approval\":\"{}\",\"digest\":\"{}\",\"effect\":\"uses:3\",\
             \"expires\":\"2026-01-02T03:04:05.000Z\",\"nonce\":\"{}\",\"v\":1}}",
            challenge.approval, challenge.digest, challenge.nonce
        );
        assert_eq!(text, expected);
        assert_eq!(challenge.digest(), Digest::of(expected.as_bytes()));
    }

    #[test]
    fn a_nonce_is_32_bytes() {
        let nonce = Nonce::new([9; 32]);
        assert_eq!(nonce.to_string().parse::<Nonce>().unwrap(), nonce);
        for bad in ["", "AA", &"A".repeat(44), &format!("{nonce}="), "*"] {
            bad.parse::<Nonce>().unwrap_err();
        }
    }
}
