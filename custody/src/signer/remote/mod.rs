//! Keys that lie in a service: it is asked over the network, once for each signature.
//!
//! The public key is read once, when the signer is opened. What comes back later is delivered only if it verifies with
//! that key, so that a service that lies or changed its key is a service that does not sign. Nothing is tried twice.

mod aws;
mod gcp;
mod peer;
mod transit;

use std::{fmt, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use exeat_types::{Algorithm, DeviceFailure, Origin, Secret, Signer};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Opening, encoding};
use crate::{ClientIdentity, Error, NoReply, Outside, OwnRequest, placeholder::hex};

pub use aws::AwsKmsKey;
pub use gcp::GcpKmsKey;
pub use peer::PeerKey;
pub use transit::TransitKey;

/// The answer is none that we know.
pub(crate) const UNKNOWN_FORM: DeviceFailure =
    DeviceFailure("the key service answers in an unknown form");
const UNKNOWN_KEY: DeviceFailure =
    DeviceFailure("the key service has no key of this name that we can use");

/// A service that holds one key of ours.
trait Service: Send + Sync {
    /// The key's public half and algorithm.
    fn public(&self) -> Result<(Algorithm, Vec<u8>), DeviceFailure>;
    /// A signature in the form of the algorithm.
    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, DeviceFailure>;
}

/// A key in a service.
struct Remote<S> {
    service: S,
    algorithm: Algorithm,
    public_key: Vec<u8>,
}

/// Opens the key of a service.
fn open<S: Service + 'static>(with: &Opening<'_>, service: S) -> Result<Arc<dyn Signer>, Error> {
    let public = service.public();
    let (algorithm, public_key) = public.map_err(|problem| unopened(with, problem))?;
    Ok(Arc::new(Remote {
        service,
        algorithm,
        public_key,
    }))
}

impl<S: Service> Signer for Remote<S> {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn blocks(&self) -> bool {
        true
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
        let signature = self.service.sign(self.algorithm, message)?;
        // SECURITY: a signature of another key, or over something else, is none.
        if !encoding::verifies(self.algorithm, &self.public_key, message, &signature) {
            return Err(DeviceFailure(
                "the key service answers with a signature that does not verify",
            ));
        }
        Ok(signature)
    }
}

impl<S> fmt::Debug for Remote<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("algorithm", &self.algorithm)
            .field("public_key", &hex(&self.public_key))
            .finish_non_exhaustive()
    }
}

fn unopened(with: &Opening<'_>, problem: DeviceFailure) -> Error {
    with.failed(format!("cannot be opened: {problem}"))
}

/// The world, which commands that run without a gate do not have.
fn outside(with: &Opening<'_>) -> Result<Arc<dyn Outside>, Error> {
    let world = with.outside.map(Arc::clone);
    world.ok_or_else(|| with.failed("lies in a service, which only a running gate asks"))
}

/// What `secrets` refers to at a place.
fn secret<'a>(with: &Opening<'a>, place: usize) -> Result<&'a Secret, Error> {
    let found = with.secrets.get(place);
    found.ok_or_else(|| with.failed("lacks a secret that opens it"))
}

/// A question to a service.
struct Question<'a> {
    method: Method,
    origin: &'a Origin,
    target: String,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
    identity: Option<Arc<ClientIdentity>>,
}

impl<'a> Question<'a> {
    fn get(origin: &'a Origin, target: String) -> Self {
        Self {
            method: Method::GET,
            origin,
            target,
            headers: HeaderMap::new(),
            body: None,
            identity: None,
        }
    }

    fn post(origin: &'a Origin, target: String, body: &Value) -> Self {
        let mut question = Self::get(origin, target);
        question.method = Method::POST;
        question.body = Some(body.to_string().into_bytes());
        let json = HeaderValue::from_static("application/json");
        question.headers.insert(header::CONTENT_TYPE, json);
        question
    }

    /// Asks, and reads the answer as JSON.
    fn ask<T: DeserializeOwned>(self, outside: &dyn Outside) -> Result<T, DeviceFailure> {
        let reply = outside.send_and_wait(OwnRequest {
            method: self.method,
            origin: self.origin.clone(),
            target: self.target,
            headers: self.headers,
            body: Secret::new(self.body.unwrap_or_default()),
            identity: self.identity,
        });
        let reply = reply.map_err(|why| match why {
            NoReply::Forbidden => DeviceFailure(
                "the key service may not be reached: no gate runs, or its address is private",
            ),
            NoReply::Unreachable | NoReply::Late | NoReply::Broken | NoReply::TooLarge => {
                DeviceFailure("the key service does not answer")
            }
        })?;
        match reply.status {
            StatusCode::OK => read(&reply.body),
            StatusCode::NOT_FOUND => Err(UNKNOWN_KEY),
            status if status.is_client_error() => {
                Err(DeviceFailure("the key service refuses to sign"))
            }
            _ => Err(DeviceFailure("the key service fails")),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the reply of a key service holds the signature"
)]
fn read<T: DeserializeOwned>(body: &Secret) -> Result<T, DeviceFailure> {
    serde_json::from_slice(body.open()).map_err(|_cause| UNKNOWN_FORM)
}

/// `Authorization: Bearer` with this token.
fn bearer(token: &str) -> Result<HeaderValue, DeviceFailure> {
    let value = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut value = value.map_err(|_cause| UNKNOWN_FORM)?;
    value.set_sensitive(true);
    Ok(value)
}

fn base64(text: &str) -> Result<Vec<u8>, DeviceFailure> {
    BASE64_STANDARD.decode(text).map_err(|_cause| UNKNOWN_FORM)
}

/// The public key in a PEM text.
fn from_pem(text: &str) -> Result<(Algorithm, Vec<u8>), DeviceFailure> {
    let inner = text.trim().strip_prefix("-----BEGIN PUBLIC KEY-----");
    let inner = inner.and_then(|rest| rest.strip_suffix("-----END PUBLIC KEY-----"));
    let letters: String = inner.ok_or(UNKNOWN_FORM)?.split_whitespace().collect();
    encoding::public_key(&base64(&letters)?).ok_or(UNKNOWN_KEY)
}

/// A signature in the form of its algorithm, where the service writes ECDSA in DER.
fn from_der(algorithm: Algorithm, signature: Vec<u8>) -> Result<Vec<u8>, DeviceFailure> {
    match algorithm {
        Algorithm::Es256 => {
            let raw = encoding::raw_of_der(&signature).ok_or(UNKNOWN_FORM)?;
            Ok(raw.to_vec())
        }
        Algorithm::EdDsa | Algorithm::Rs256 => Ok(signature),
    }
}
