//! A key that another machine of the operator's holds, asked over mutual TLS in two questions:
//!
//! `GET BASE/keys/NAME` answers `{"public_key": SPKI}`, `POST BASE/keys/NAME/sign` with `{"algorithm": "ES256", "message":
//! M}` answers `{"signature": S}`; SPKI, M and S are base64, S has the form of RFC 7518 section 3. The path is all that is
//! said of the key, the client certificate all that is said of the gate.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use exeat_types::{Algorithm, DeviceFailure, Origin, Signer};
use serde::Deserialize;
use serde_json::json;

use super::{Question, Service, UNKNOWN_KEY, base64, open, outside, secret};
use crate::{
    ClientIdentity, Error, IdentityKey, Outside, SecretRef,
    issue::Url,
    signer::{Opening, SignerKind, encoding},
};

/// A key that another machine holds.
#[derive(Debug, Clone)]
pub struct PeerKey {
    /// What the questions begin with.
    pub base: Url,
    /// The name of the key there: letters, digits, `-`, `_` and `.`.
    pub key: String,
    /// The certificate by which the gate is known there, and what it chains to, PEM.
    pub certificate: Vec<u8>,
    /// Where the key of that certificate lies.
    pub secret: SecretRef,
}

impl SignerKind for PeerKey {
    fn word(&self) -> &'static str {
        "remote"
    }

    fn secrets(&self) -> Vec<&SecretRef> {
        vec![&self.secret]
    }

    fn origins(&self) -> Vec<&Origin> {
        vec![&self.base.origin]
    }

    fn open(&self, with: &Opening<'_>) -> Result<Arc<dyn Signer>, Error> {
        let unfit = |problem: &'static str| with.failed(problem);
        let key = IdentityKey::from_pem(secret(with, 0)?).map_err(unfit)?;
        let identity = ClientIdentity::from_pem(&self.certificate, key).map_err(unfit)?;
        let peer = Peer {
            kind: self.clone(),
            identity: Arc::new(identity),
            outside: outside(with)?,
        };
        open(with, peer)
    }
}

struct Peer {
    kind: PeerKey,
    identity: Arc<ClientIdentity>,
    outside: Arc<dyn Outside>,
}

#[derive(Deserialize)]
struct PublicKey {
    public_key: String,
}

#[derive(Deserialize)]
struct Signed {
    signature: String,
}

impl Peer {
    fn target(&self, end: &str) -> String {
        let base = self.kind.base.target.trim_end_matches('/');
        format!("{base}/keys/{}{end}", self.kind.key)
    }

    fn shown<'a>(&self, mut question: Question<'a>) -> Question<'a> {
        question.identity = Some(Arc::clone(&self.identity));
        question
    }
}

impl Service for Peer {
    fn public(&self) -> Result<(Algorithm, Vec<u8>), DeviceFailure> {
        let question = Question::get(&self.kind.base.origin, self.target(""));
        let found: PublicKey = self.shown(question).ask(&*self.outside)?;
        encoding::public_key(&base64(&found.public_key)?).ok_or(UNKNOWN_KEY)
    }

    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
        let message = BASE64_STANDARD.encode(message);
        let asked = json!({ "algorithm": algorithm.name(), "message": message });
        let question = Question::post(&self.kind.base.origin, self.target("/sign"), &asked);
        let signed: Signed = self.shown(question).ask(&*self.outside)?;
        base64(&signed.signature)
    }
}
