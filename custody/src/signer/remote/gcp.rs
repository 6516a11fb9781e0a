//! A key in Google Cloud KMS. The gate shows itself by a JWT that its service account signs, without a round trip.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use exeat_types::{Algorithm, Clock, DeviceFailure, Origin, Secret, Signer};
use http::header::AUTHORIZATION;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use super::{
    Question, Service, UNKNOWN_FORM, base64, bearer, from_der, from_pem, open, outside, secret,
};
use crate::{
    Error, Outside, SecretRef, SoftwareSigner, jose,
    signer::{Opening, SignerKind},
};

/// How long the JWT that accompanies one request is good.
const LIFETIME_SECONDS: u64 = 300;

/// A version of a key in Google Cloud KMS.
#[derive(Debug, Clone)]
pub struct GcpKmsKey {
    /// Where KMS is.
    pub origin: Origin,
    /// `projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/V`.
    pub version: String,
    /// Where the key file of the service account lies.
    pub secret: SecretRef,
}

impl GcpKmsKey {
    /// Whether a text names a version of a key.
    pub fn is_version(text: &str) -> bool {
        let words = [
            "projects",
            "locations",
            "keyRings",
            "cryptoKeys",
            "cryptoKeyVersions",
        ];
        let parts: Vec<&str> = text.split('/').collect();
        let plain = |part: &&str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_:.".contains(&byte);
            !part.is_empty() && part.bytes().all(allowed)
        };
        parts.len() == 10
            && parts.iter().all(plain)
            && parts
                .iter()
                .step_by(2)
                .zip(words)
                .all(|(part, word)| *part == word)
    }
}

impl SignerKind for GcpKmsKey {
    fn word(&self) -> &'static str {
        "gcp-kms"
    }

    fn secrets(&self) -> Vec<&SecretRef> {
        vec![&self.secret]
    }

    fn origins(&self) -> Vec<&Origin> {
        vec![&self.origin]
    }

    fn open(&self, with: &Opening<'_>) -> Result<Arc<dyn Signer>, Error> {
        let account = Account::read(secret(with, 0)?).map_err(|problem| with.failed(problem))?;
        let kms = Kms {
            kind: self.clone(),
            account,
            outside: outside(with)?,
            clock: Arc::clone(with.clock),
        };
        open(with, kms)
    }
}

/// The service account as which the gate asks.
struct Account {
    email: String,
    key_id: String,
    signer: Arc<dyn Signer>,
}

#[derive(Deserialize)]
struct KeyFile {
    client_email: String,
    private_key_id: String,
    private_key: String,
}

impl Account {
    #[expect(
        clippy::disallowed_methods,
        reason = "the key is read out of the key file"
    )]
    fn read(secret: &Secret) -> Result<Self, &'static str> {
        let file: KeyFile = serde_json::from_slice(secret.open())
            .map_err(|_cause| "has a secret that is no key file of a service account (JSON)")?;
        let key = Secret::new(file.private_key.into_bytes());
        Ok(Self {
            email: file.client_email,
            key_id: file.private_key_id,
            signer: Arc::new(SoftwareSigner::from_key(&key)?),
        })
    }
}

struct Kms {
    kind: GcpKmsKey,
    account: Account,
    outside: Arc<dyn Outside>,
    clock: Arc<dyn Clock>,
}

#[derive(Deserialize)]
struct PublicKey {
    pem: String,
    name: String,
}

#[derive(Deserialize)]
struct Signed {
    signature: String,
    name: String,
}

impl Kms {
    /// `Authorization` of this moment.
    fn shown(&self) -> Result<http::HeaderValue, DeviceFailure> {
        let now = self.clock.now().millis() / 1000;
        let email = &self.account.email;
        let claims = json!({
            "iss": email, "sub": email, "aud": format!("{}/", self.kind.origin),
            "iat": now, "exp": now.saturating_add(LIFETIME_SECONDS),
        });
        let header = json!({ "typ": "JWT", "kid": self.account.key_id });
        let signer = &self.account.signer;
        bearer(&jose::jwt(
            signer,
            jose::members(header),
            &jose::members(claims),
        )?)
    }

    fn ask<T: DeserializeOwned>(&self, mut question: Question<'_>) -> Result<T, DeviceFailure> {
        question.headers.insert(AUTHORIZATION, self.shown()?);
        question.ask(&*self.outside)
    }

    fn is_ours(&self, name: &str) -> Result<(), DeviceFailure> {
        (name == self.kind.version)
            .then_some(())
            .ok_or(UNKNOWN_FORM)
    }
}

impl Service for Kms {
    fn public(&self) -> Result<(Algorithm, Vec<u8>), DeviceFailure> {
        let target = format!("/v1/{}/publicKey", self.kind.version);
        let found: PublicKey = self.ask(Question::get(&self.kind.origin, target))?;
        self.is_ours(&found.name)?;
        from_pem(&found.pem)
    }

    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
        let target = format!("/v1/{}:asymmetricSign", self.kind.version);
        let asked = match algorithm {
            Algorithm::Es256 | Algorithm::Rs256 => {
                let hash = BASE64_STANDARD.encode(digest(&SHA256, message));
                json!({ "digest": { "sha256": hash } })
            }
            Algorithm::EdDsa => json!({ "data": BASE64_STANDARD.encode(message) }),
        };
        let question = Question::post(&self.kind.origin, target, &asked);
        let signed: Signed = self.ask(question)?;
        self.is_ours(&signed.name)?;
        from_der(algorithm, base64(&signed.signature)?)
    }
}
