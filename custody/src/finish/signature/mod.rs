//! `signature`: HTTP Message Signatures (RFC 9421) with any signer or a shared key, and their profile Web Bot Auth.
//!
//! What is covered is declared: parts of the request that every signature names, and fields that it names when the request
//! has them. A signature that the agent brought is taken off. `base.rs` writes the text that is signed.

mod base;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use exeat_types::{Algorithm, Signer, Timestamp, random_bytes};
use http::{HeaderName, HeaderValue};
use ring::hmac;

use crate::{
    Ask, Draft, DraftBody, Finish, Made, Make, Material, NotIssued, Refused, Signs,
    jose::{Jwk, Members, members},
};

pub use base::Component;

const SIGNATURE: HeaderName = HeaderName::from_static("signature");
const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
const SIGNATURE_AGENT: HeaderName = HeaderName::from_static("signature-agent");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// A signature over each request.
#[derive(Debug, Clone)]
pub struct MessageSignature {
    /// What is covered, in this order.
    pub components: Vec<Component>,
    /// The name of the signature in its fields.
    pub label: String,
    /// What the key is called; the thumbprint of the public key unless something else is said.
    pub key_id: Option<String>,
    /// What the signature is for.
    pub tag: Option<String>,
    /// For how long it holds.
    pub lifetime: Duration,
    /// Whether each has a number that is never used again.
    pub nonce: Nonce,
    /// Who says that it signs: where its keys are published. Sent in `Signature-Agent`.
    pub agent: Option<String>,
    /// How the shared key is written, if there is one.
    pub encoding: KeyEncoding,
}

/// Whether a signature carries a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nonce {
    /// 32 random bytes.
    Random,
    /// None.
    Absent,
}

/// How a shared key is written in its secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyEncoding {
    /// The key is the text itself.
    Text,
    /// The text is base64 of the key.
    Base64,
}

impl MessageSignature {
    /// What Web Bot Auth asks for: who is called, and by whom, for a minute (draft-ietf-webbotauth-httpsig-protocol).
    pub fn web_bot_auth(agent: String) -> Self {
        let label = "sig1".to_owned();
        let signed = Component::Member(SIGNATURE_AGENT, label.clone());
        Self {
            components: vec![Component::Authority, signed],
            label,
            key_id: None,
            tag: Some("web-bot-auth".to_owned()),
            lifetime: Duration::from_secs(60),
            nonce: Nonce::Random,
            agent: Some(agent),
            encoding: KeyEncoding::Text,
        }
    }
}

impl Make for MessageSignature {
    fn name(&self) -> &'static str {
        "signature"
    }

    fn make(&self, material: Material<'_>) -> Result<Made, &'static str> {
        // RFC 9421 section 2: each part stands in a signature once.
        let mut rest = self.components.as_slice();
        while let Some((first, more)) = rest.split_first() {
            if more.contains(first) {
                return Err("names a component twice");
            }
            rest = more;
        }
        let key = match (material.secret, material.signer) {
            (Some(secret), None) => Key::Shared(shared(secret, self.encoding)?),
            (None, Some(signer)) => Key::Own(Arc::clone(signer)),
            (Some(_), Some(_)) => return Err("has a secret and a signer, and needs one of them"),
            (None, None) => return Err("needs a signer, or `secret`, a shared key"),
        };
        let key_id = match (&self.key_id, &key) {
            (Some(key_id), _) => key_id.clone(),
            (None, Key::Own(signer)) => Jwk::of(&**signer)
                .map_err(|_cause| "has a signer whose public key is in an unknown form")?
                .thumbprint(),
            (None, Key::Shared(_)) => {
                return Err("needs `key-id`, as a shared key has no thumbprint");
            }
        };
        let signing = Signing {
            declared: self.clone(),
            key,
            key_id,
        };
        Ok(Made {
            signs: Some(Arc::new(Signatures(Arc::new(signing)))),
            headers: vec![SIGNATURE, SIGNATURE_INPUT, SIGNATURE_AGENT],
            ..Made::default()
        })
    }
}

/// The key directory of Web Bot Auth: what is published at `/.well-known/http-message-signatures-directory`.
pub fn directory(keys: &[Jwk]) -> Members {
    let keys: Vec<Members> = keys
        .iter()
        .map(|key| {
            let mut all = key.members();
            all.insert("kid".to_owned(), key.thumbprint().into());
            all.insert("use".to_owned(), "sig".into());
            all
        })
        .collect();
    members(serde_json::json!({ "keys": keys }))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the key of the signature is made of the secret"
)]
fn shared(secret: &exeat_types::Secret, encoding: KeyEncoding) -> Result<hmac::Key, &'static str> {
    let key = match encoding {
        KeyEncoding::Text => zeroize::Zeroizing::new(secret.open().to_vec()),
        KeyEncoding::Base64 => zeroize::Zeroizing::new(
            STANDARD
                .decode(secret.open())
                .map_err(|_cause| "has a secret that is not base64")?,
        ),
    };
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &key))
}

/// What signs.
enum Key {
    Own(Arc<dyn Signer>),
    Shared(hmac::Key),
}

/// A declared signature and its key.
struct Signing {
    declared: MessageSignature,
    key: Key,
    key_id: String,
}

struct Signatures(Arc<Signing>);

impl Signs for Signatures {
    fn begin(&self, _request: &Ask<'_>) -> Result<Arc<dyn Finish>, Refused> {
        Ok(Arc::clone(&self.0) as Arc<dyn Finish>)
    }
}

impl Finish for Signing {
    fn blocks(&self) -> bool {
        matches!(&self.key, Key::Own(signer) if signer.blocks())
    }

    fn needs_body(&self) -> bool {
        let digest = |one: &Component| *one == Component::Field(CONTENT_DIGEST);
        self.declared.components.iter().any(digest)
    }

    fn finish(&self, draft: &mut Draft<'_>) -> Result<(), NotIssued> {
        let nonce = match self.declared.nonce {
            Nonce::Random => Some(STANDARD.encode(random_bytes::<32>()?)),
            Nonce::Absent => None,
        };
        self.sign(draft, nonce)
    }
}

impl Signing {
    fn sign(&self, draft: &mut Draft<'_>, nonce: Option<String>) -> Result<(), NotIssued> {
        let declared = &self.declared;
        if self.needs_body() {
            digest(draft)?;
        }
        if let Some(agent) = &declared.agent {
            let value = field(&format!("{}={}", declared.label, base::string(agent)))?;
            draft.headers.insert(SIGNATURE_AGENT, value);
        }
        let params = self.params(draft.now, nonce);
        let base = base::write(&declared.components, draft, &params).map_err(NotIssued::Signer)?;
        let signature = match &self.key {
            Key::Own(signer) => signer.sign(base.text.as_bytes())?,
            Key::Shared(key) => hmac::sign(key, base.text.as_bytes()).as_ref().to_vec(),
        };
        let label = &declared.label;
        let input = field(&format!("{label}={}", base.input))?;
        let value = field(&format!("{label}=:{}:", STANDARD.encode(signature)))?;
        draft.headers.insert(SIGNATURE_INPUT, input);
        draft.headers.insert(SIGNATURE, value);
        Ok(())
    }

    /// Everything after the list of what is covered.
    fn params(&self, now: Timestamp, nonce: Option<String>) -> String {
        let declared = &self.declared;
        let seconds = |at: Timestamp| at.millis() / 1000;
        let mut params = format!(";created={}", seconds(now));
        let quoted = |name: &str, text: &str| format!(";{name}={}", base::string(text));
        if !declared.lifetime.is_zero() {
            params.push_str(&format!(
                ";expires={}",
                seconds(now.after(declared.lifetime))
            ));
        }
        params.push_str(&quoted("keyid", &self.key_id));
        if declared.agent.is_some() {
            params.push_str(&quoted("alg", self.algorithm()));
        }
        if let Some(nonce) = nonce {
            params.push_str(&quoted("nonce", &nonce));
        }
        if let Some(tag) = &declared.tag {
            params.push_str(&quoted("tag", tag));
        }
        params
    }

    /// The name in the registry of RFC 9421 section 6.2.
    fn algorithm(&self) -> &'static str {
        match &self.key {
            Key::Shared(_) => "hmac-sha256",
            Key::Own(signer) => match signer.algorithm() {
                Algorithm::EdDsa => "ed25519",
                Algorithm::Es256 => "ecdsa-p256-sha256",
                Algorithm::Rs256 => "rsa-v1_5-sha256",
            },
        }
    }
}

/// The digest of the body that is sent (RFC 9530); a request without a body has none.
fn digest(draft: &mut Draft<'_>) -> Result<(), NotIssued> {
    draft.headers.remove(CONTENT_DIGEST);
    let body = match draft.body {
        DraftBody::Absent => return Ok(()),
        DraftBody::Whole(body) => body,
        DraftBody::Streamed => return Err(NotIssued::Signer("the body was not read whole")),
    };
    let digest = exeat_types::Digest::of(body);
    let value = field(&format!("sha-256=:{}:", STANDARD.encode(digest.as_bytes())))?;
    draft.headers.insert(CONTENT_DIGEST, value);
    Ok(())
}

fn field(text: &str) -> Result<HeaderValue, NotIssued> {
    HeaderValue::from_str(text)
        .map_err(|_cause| NotIssued::Signer("a part of the signature cannot stand in a field"))
}
