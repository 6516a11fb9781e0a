//! A passkey made of software, with the browser before it: P-256, the user always verified unless a test says otherwise.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use exeat_ledger::{
    Approval, Assertion, Enrolment, Vote,
    passkey::{Challenge, Nonce, Vouch},
};
use exeat_types::Digest;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};

pub(crate) const ORIGIN: &str = "http://localhost:8089";
const RP_ID: &str = "localhost";
const PRESENT_AND_VERIFIED: u8 = 5;

/// One key of one person.
pub(crate) struct Device {
    pub(crate) user: String,
    pub(crate) id: String,
    pub(crate) flags: u8,
    pub(crate) origin: String,
    key: EcdsaKeyPair,
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Device {
    pub(crate) fn new(user: &str) -> Self {
        let random = SystemRandom::new();
        let scheme = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(scheme, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(scheme, pkcs8.as_ref(), &random).unwrap();
        Self {
            user: user.to_owned(),
            id: encode(Digest::of(key.public_key().as_ref()).as_bytes()),
            flags: PRESENT_AND_VERIFIED,
            origin: ORIGIN.to_owned(),
            key,
        }
    }

    /// The public key as COSE has it.
    pub(crate) fn cose(&self) -> Vec<u8> {
        let point = self.key.public_key().as_ref();
        let head = [0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32];
        [&head[..], &point[1..33], &[0x22, 0x58, 32], &point[33..]].concat()
    }

    pub(crate) fn sign(&self, challenge: &Digest) -> Assertion {
        let client = format!(
            "{{\"type\":\"webauthn.get\",\"challenge\":\"{}\",\"origin\":\"{}\",\"crossOrigin\":false}}",
            encode(challenge.as_bytes()),
            self.origin
        );
        let site = Digest::of(RP_ID.as_bytes());
        let words = [&site.as_bytes()[..], &[self.flags], &[0; 4]].concat();
        let hash = Digest::of(client.as_bytes());
        let message = [&words[..], hash.as_bytes()].concat();
        let signature = self.key.sign(&SystemRandom::new(), &message).unwrap();
        Assertion {
            authenticator_data: encode(&words),
            client_data: encode(client.as_bytes()),
            key: self.id.clone(),
            signature: encode(signature.as_ref()),
        }
    }

    pub(crate) fn enrolment(&self) -> Enrolment {
        Enrolment {
            device: Some("laptop".to_owned()),
            key: self.id.clone(),
            origin: Some(ORIGIN.to_owned()),
            public_key: Some(encode(&self.cose())),
            rp_id: Some(RP_ID.to_owned()),
            user: self.user.clone(),
            vouched: None,
        }
    }

    /// Vouches for a change.
    pub(crate) fn vouch(&self, mut enrolment: Enrolment, nonce: u8) -> Enrolment {
        let nonce = Nonce::new([nonce; 32]);
        let vouch = Vouch {
            enrolment: &enrolment,
            nonce,
        };
        let vote = Vote {
            assertion: Some(self.sign(&vouch.digest())),
            extent: None,
            nonce: Some(nonce.to_string()),
            user: self.user.clone(),
        };
        enrolment.vouched = Some(Box::new(vote));
        enrolment
    }

    /// Signs what a record grants.
    pub(crate) fn grant(&self, mut step: Approval, nonce: u8) -> Approval {
        let vote = step.vote.as_mut().unwrap();
        vote.user.clone_from(&self.user);
        vote.nonce = Some(Nonce::new([nonce; 32]).to_string());
        let challenge = Challenge::of(&step).unwrap();
        step.vote.as_mut().unwrap().assertion = Some(self.sign(&challenge.digest()));
        step
    }
}
