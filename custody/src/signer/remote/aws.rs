//! A key in AWS KMS. Requests are signed with an access key, by the same code that signs for agents.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use exeat_types::{Algorithm, Clock, DeviceFailure, Origin, Signer};
use http::{HeaderName, HeaderValue, header};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Question, Service, UNKNOWN_FORM, UNKNOWN_KEY, base64, from_der, open, outside, secret,
};
use crate::{
    Error, NotIssued, Outside, SecretRef,
    finish::sigv4::{Keys, Own},
    signer::{Opening, SignerKind, encoding},
};

/// The longest message that KMS hashes itself.
const RAW_BYTES_MAX: usize = 4096;
const TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// A key in AWS KMS.
#[derive(Debug, Clone)]
pub struct AwsKmsKey {
    /// Where KMS is.
    pub origin: Origin,
    /// Its region.
    pub region: String,
    /// The key: its id, its ARN, or `alias/NAME`.
    pub key: String,
    /// The id of the access key, unless the secret tells it.
    pub access_key_id: Option<String>,
    /// Where the secret access key lies.
    pub secret: SecretRef,
}

impl SignerKind for AwsKmsKey {
    fn word(&self) -> &'static str {
        "aws-kms"
    }

    fn secrets(&self) -> Vec<&SecretRef> {
        vec![&self.secret]
    }

    fn origins(&self) -> Vec<&Origin> {
        vec![&self.origin]
    }

    fn open(&self, with: &Opening<'_>) -> Result<Arc<dyn Signer>, Error> {
        let keys = Keys::read(self.access_key_id.as_deref(), secret(with, 0)?);
        let kms = Kms {
            kind: self.clone(),
            keys: keys.map_err(|problem| with.failed(problem))?,
            outside: outside(with)?,
            clock: Arc::clone(with.clock),
        };
        open(with, kms)
    }
}

struct Kms {
    kind: AwsKmsKey,
    keys: Keys,
    outside: Arc<dyn Outside>,
    clock: Arc<dyn Clock>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PublicKey {
    public_key: String,
    key_usage: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Signed {
    signature: String,
}

impl Kms {
    fn call<T: DeserializeOwned>(&self, action: &str, body: &Value) -> Result<T, DeviceFailure> {
        let origin = &self.kind.origin;
        let mut question = Question::post(origin, "/".to_owned(), body);
        let json = HeaderValue::from_static("application/x-amz-json-1.1");
        question.headers.insert(header::CONTENT_TYPE, json);
        let action = HeaderValue::from_str(&format!("TrentService.{action}"));
        let action = action.map_err(|_cause| UNKNOWN_FORM)?;
        question.headers.insert(TARGET, action);
        let own = Own {
            origin,
            target: "/",
            body: question.body.as_deref().unwrap_or_default(),
            region: &self.kind.region,
            service: "kms",
        };
        let signed = own.sign(&mut question.headers, &self.keys, self.clock.now());
        signed.map_err(|why| match why {
            NotIssued::Dead(why) => DeviceFailure(why),
            _ => DeviceFailure("the request to the key service cannot be signed"),
        })?;
        question.ask(&*self.outside)
    }
}

impl Service for Kms {
    fn public(&self) -> Result<(Algorithm, Vec<u8>), DeviceFailure> {
        let found: PublicKey = self.call("GetPublicKey", &json!({ "KeyId": self.kind.key }))?;
        if found.key_usage != "SIGN_VERIFY" {
            return Err(UNKNOWN_KEY);
        }
        encoding::public_key(&base64(&found.public_key)?).ok_or(UNKNOWN_KEY)
    }

    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
        let word = match algorithm {
            Algorithm::Es256 => "ECDSA_SHA_256",
            Algorithm::Rs256 => "RSASSA_PKCS1_V1_5_SHA_256",
            Algorithm::EdDsa => "ED25519_SHA_512",
        };
        let short = message.len() <= RAW_BYTES_MAX;
        let (kind, message) = match algorithm {
            _ if short => ("RAW", BASE64_STANDARD.encode(message)),
            Algorithm::Es256 | Algorithm::Rs256 => {
                ("DIGEST", BASE64_STANDARD.encode(digest(&SHA256, message)))
            }
            Algorithm::EdDsa => {
                return Err(DeviceFailure(
                    "the key service signs at most 4096 bytes with Ed25519",
                ));
            }
        };
        let asked = json!({
            "KeyId": self.kind.key, "Message": message, "MessageType": kind, "SigningAlgorithm": word,
        });
        let signed: Signed = self.call("Sign", &asked)?;
        from_der(algorithm, base64(&signed.signature)?)
    }
}
