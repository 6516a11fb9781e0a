//! JOSE objects (RFC 7515, RFC 7519), put together and taken apart by `josekit`: any [`Signer`] signs, `ring` verifies.
//!
//! Algorithms are those of [`exeat_types::Algorithm`] and no others, so `none`, keys named by a token's own header and
//! secrets taken for public keys do not exist here. What a token says is read only after its signature holds.

mod jwk;

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use exeat_types::{Algorithm, DeviceFailure, Signer, unique_json};
use josekit::{
    JoseError,
    jws::{
        ES256, EdDSA, JwsAlgorithm, JwsHeader, JwsSigner, JwsVerifier, RS256, deserialize_compact,
        serialize_compact,
    },
};
use serde_json::{Map, Value};

pub use jwk::Jwk;

/// The members of a JSON object.
pub type Members = Map<String, Value>;

/// A compact JWS over these claims; `alg` in the header is that of the key.
///
/// # Errors
/// When the key does not sign, or the header has a member of the wrong type.
pub fn jwt(
    signer: &Arc<dyn Signer>,
    header: Members,
    claims: &Members,
) -> Result<String, DeviceFailure> {
    let header = JwsHeader::from_map(header).map_err(failure)?;
    let payload = serde_json::to_vec(claims)
        .map_err(|_cause| DeviceFailure("the claims of a token cannot be written"))?;
    serialize_compact(&payload, &header, &Signing(Arc::clone(signer))).map_err(failure)
}

/// The members of a value that was written as an object; of any other value, none.
pub fn members(value: Value) -> Members {
    match value {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Members::new()
        }
    }
}

/// A compact JWS whose signature holds.
#[derive(Debug, Clone)]
pub struct Verified {
    /// Its protected header.
    pub header: Members,
    /// Its claims.
    pub claims: Members,
}

/// Checks a compact JWS against these keys and nothing else; the first that fits decides.
///
/// # Errors
/// A phrase that follows the name of the token: `has no signature of a known key`.
pub fn verify(token: &str, keys: &[Jwk]) -> Result<Verified, &'static str> {
    let header = token.split('.').next().unwrap_or_default();
    let header = object(header).ok_or("has a header that is no JSON object")?;
    // RFC 7515 section 4.1.11: an extension that is not understood refuses; none is.
    if header.contains_key("crit") {
        return Err("has an extension that must be understood");
    }
    let kid = header.get("kid").and_then(Value::as_str);
    let named = |key: &&Jwk| kid.is_none() || key.kid().is_none() || key.kid() == kid;
    let payload = keys
        .iter()
        .filter(named)
        .find_map(|key| deserialize_compact(token, &Verifying(key.clone())).ok())
        .map(|(payload, _header)| payload)
        .ok_or("has no signature of a known key")?;
    match unique_json(&payload) {
        Ok(Value::Object(claims)) => Ok(Verified { header, claims }),
        Ok(_) | Err(_) => Err("has claims that are no JSON object"),
    }
}

/// One part of a token, read as a JSON object.
pub(crate) fn object(part: &str) -> Option<Members> {
    match unique_json(&URL_SAFE_NO_PAD.decode(part).ok()?) {
        Ok(Value::Object(members)) => Some(members),
        Ok(_) | Err(_) => None,
    }
}

fn algorithm(algorithm: Algorithm) -> &'static dyn JwsAlgorithm {
    match algorithm {
        Algorithm::EdDsa => &EdDSA,
        Algorithm::Es256 => &ES256,
        Algorithm::Rs256 => &RS256,
    }
}

/// What a device said, out of what josekit made of it.
fn failure(error: JoseError) -> DeviceFailure {
    match error {
        JoseError::InvalidSignature(cause) => cause.downcast_ref::<DeviceFailure>().copied(),
        JoseError::UnsupportedSignatureAlgorithm(_)
        | JoseError::InvalidJwtFormat(_)
        | JoseError::InvalidJwkFormat(_)
        | JoseError::InvalidJwsFormat(_)
        | JoseError::InvalidJweFormat(_)
        | JoseError::InvalidKeyFormat(_)
        | JoseError::InvalidJson(_)
        | JoseError::InvalidClaim(_) => None,
    }
    .unwrap_or(DeviceFailure("a token cannot be written"))
}

/// Our signer in josekit's terms.
#[derive(Clone)]
struct Signing(Arc<dyn Signer>);

impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signing").field(&self.0.algorithm()).finish()
    }
}

impl JwsSigner for Signing {
    fn algorithm(&self) -> &dyn JwsAlgorithm {
        algorithm(self.0.algorithm())
    }

    fn key_id(&self) -> Option<&str> {
        None
    }

    fn signature_len(&self) -> usize {
        match self.0.algorithm() {
            Algorithm::EdDsa | Algorithm::Es256 => 64,
            Algorithm::Rs256 => 256,
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, JoseError> {
        self.0
            .sign(message)
            .map_err(|failure| JoseError::InvalidSignature(failure.into()))
    }

    fn box_clone(&self) -> Box<dyn JwsSigner> {
        Box::new(self.clone())
    }
}

/// A public key in josekit's terms.
#[derive(Debug, Clone)]
struct Verifying(Jwk);

impl JwsVerifier for Verifying {
    fn algorithm(&self) -> &dyn JwsAlgorithm {
        algorithm(self.0.algorithm())
    }

    fn key_id(&self) -> Option<&str> {
        None
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), JoseError> {
        if self.0.verifies(message, signature) {
            return Ok(());
        }
        let wrong = DeviceFailure("the signature does not hold");
        Err(JoseError::InvalidSignature(wrong.into()))
    }

    fn box_clone(&self) -> Box<dyn JwsVerifier> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests;
