//! Proofs of possession (RFC 9449): each says that whoever sends this request holds this key, and is good for one attempt.
//!
//! Owns the proof and the nonces that servers ask for. Requests that carry a bound token are in `bound.rs`; the token
//! endpoint is its issuer's.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use exeat_types::{DeviceFailure, Origin, Secret, Signer, Timestamp, random_bytes};
use http::{HeaderMap, HeaderName, Method};
use ring::digest::{SHA256, digest};
use serde::Serialize;
use serde_json::Value;

use crate::{NotIssued, jose::Jwk};

/// The field that carries a proof.
pub(crate) const PROOF: HeaderName = HeaderName::from_static("dpop");
/// The field in which a server says what its next proof has to contain.
const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
/// How many servers' nonces are kept.
const NONCES_MAX: usize = 256;
/// Longest nonce that is kept, in bytes.
const NONCE_BYTES_MAX: usize = 512;

/// What a proof speaks of.
pub struct Proof<'a> {
    /// The key that is proven.
    pub signer: &'a Arc<dyn Signer>,
    /// The method of the request.
    pub method: &'a Method,
    /// Where it goes.
    pub origin: &'a Origin,
    /// Path and query; the query is left out of the proof.
    pub target: &'a str,
    /// What the server asked for, if it did.
    pub nonce: Option<&'a str>,
    /// The token that goes with it; none at a token endpoint.
    pub token: Option<&'a Secret>,
    /// The time.
    pub now: Timestamp,
}

/// The claims of a proof, in the order of the examples.
#[derive(Serialize)]
struct Claims<'a> {
    jti: String,
    htm: &'a str,
    htu: String,
    iat: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ath: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

/// A fresh proof: no two are equal.
///
/// # Errors
/// When the device does not sign, or there are no random bytes.
///
/// # Spec
/// RFC 9449 section 4.2.
pub fn proof(of: &Proof<'_>) -> Result<String, NotIssued> {
    let jti = random_bytes::<16>().map_err(|failure| NotIssued::Signer(failure.0))?;
    signed(of, URL_SAFE_NO_PAD.encode(jti))
}

fn signed(of: &Proof<'_>, jti: String) -> Result<String, NotIssued> {
    let signer = &**of.signer;
    let failed = |failure: DeviceFailure| NotIssued::Signer(failure.0);
    let jwk = Value::Object(Jwk::of(signer).map_err(failed)?.members());
    let alg = signer.algorithm().name();
    let header = format!(r#"{{"typ":"dpop+jwt","alg":"{alg}","jwk":{jwk}}}"#);
    let path = of.target.split(['?', '#']).next().unwrap_or_default();
    let claims = Claims {
        jti,
        htm: of.method.as_str(),
        htu: format!("{}{path}", of.origin),
        iat: of.now.millis() / 1000,
        ath: of.token.map(hash),
        nonce: of.nonce,
    };
    let claims = serde_json::to_vec(&claims)
        .map_err(|_cause| NotIssued::Signer("a proof cannot be written"))?;
    let mut proof = URL_SAFE_NO_PAD.encode(header);
    proof.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut proof);
    let signature = signer.sign(proof.as_bytes()).map_err(failed)?;
    proof.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut proof);
    Ok(proof)
}

/// What binds a proof to a token.
#[expect(
    clippy::disallowed_methods,
    reason = "a proof contains the hash of its token"
)]
fn hash(token: &Secret) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, token.open()))
}

/// What a server is when it asks for a nonce. The same host may be both, with two nonces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It issues tokens.
    Issuer,
    /// It is asked with one.
    Resource,
}

/// What servers want their next proof to contain (RFC 9449 sections 8 and 9).
#[derive(Debug, Default)]
pub struct Nonces(Mutex<HashMap<(Origin, Role), Arc<str>>>);

impl Nonces {
    /// Nobody has asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What this server asked for last.
    pub fn of(&self, origin: &Origin, role: Role) -> Option<Arc<str>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(origin.clone(), role)).cloned()
    }

    /// Learns from any answer of a server, also from a success. Says whether it asks for something new.
    pub fn learn(&self, origin: &Origin, role: Role, headers: &HeaderMap) -> bool {
        let mut given = headers.get_all(NONCE).iter();
        let (Some(nonce), None) = (given.next(), given.next()) else {
            return false;
        };
        let Some(nonce) = nonce.to_str().ok().filter(|nonce| is_nonce(nonce)) else {
            return false;
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (origin.clone(), role);
        if known.get(&key).is_some_and(|before| **before == *nonce) {
            return false;
        }
        if known.len() >= NONCES_MAX {
            known.clear();
        }
        known.insert(key, nonce.into());
        true
    }
}

/// `1*NQCHAR` (RFC 9449 section 8.1), and no longer than a nonce has to be.
fn is_nonce(text: &str) -> bool {
    let allowed = |byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    (1..=NONCE_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use exeat_types::Algorithm;
    use http::HeaderValue;
    use ring::{
        rand::SystemRandom,
        signature::{
            ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
            UnparsedPublicKey,
        },
    };
    use serde_json::json;

    use super::*;

    /// The public key of RFC 9449's examples; it signs nothing.
    struct Example(Vec<u8>);

    impl Signer for Example {
        fn algorithm(&self) -> Algorithm {
            Algorithm::Es256
        }
        fn public_key(&self) -> &[u8] {
            &self.0
        }
        fn sign(&self, _: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
            Err(DeviceFailure("the device is gone"))
        }
    }

    fn example() -> Example {
        let mut key = vec![4];
        for half in [
            "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
            "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
        ] {
            key.extend(URL_SAFE_NO_PAD.decode(half).unwrap());
        }
        Example(key)
    }

    struct Held(EcdsaKeyPair);

    impl Signer for Held {
        fn algorithm(&self) -> Algorithm {
            Algorithm::Es256
        }
        fn public_key(&self) -> &[u8] {
            self.0.public_key().as_ref()
        }
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
            let signature = self.0.sign(&SystemRandom::new(), message);
            Ok(signature.unwrap().as_ref().to_vec())
        }
    }

    fn held() -> Arc<dyn Signer> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random);
        Arc::new(Held(pair.unwrap()))
    }

    fn origin() -> Origin {
        Origin::parse("https://resource.example.org").unwrap()
    }

    fn of<'a>(signer: &'a Arc<dyn Signer>, origin: &'a Origin, token: &'a Secret) -> Proof<'a> {
        Proof {
            signer,
            method: &Method::GET,
            origin,
            target: "/protectedresource?page=2",
            nonce: Some("eyJ7S_zG.eyJH0-Z.HX4w-7v"),
            token: Some(token),
            now: Timestamp::from_millis(1_562_262_618_999),
        }
    }

    #[test]
    fn the_claims_are_those_of_the_rfc_and_the_signature_holds() {
        // proves RFC 9449 section 7.1: the claims of its example, `ath` included
        let signer = held();
        let token = Secret::new(b"Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU".to_vec());
        let origin = origin();
        let of = of(&signer, &origin, &token);
        let proof = signed(&of, "e1j3V_bKic8-LAEB".to_owned()).unwrap();
        let parts: Vec<&str> = proof.split('.').collect();
        let read = |part: &str| -> Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        assert_eq!(
            read(parts[1]),
            json!({
                "jti": "e1j3V_bKic8-LAEB", "htm": "GET",
                "htu": "https://resource.example.org/protectedresource",
                "iat": 1_562_262_618_u64,
                "ath": "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo",
                "nonce": "eyJ7S_zG.eyJH0-Z.HX4w-7v",
            })
        );
        let header = read(parts[0]);
        assert_eq!(
            (&header["typ"], &header["alg"]),
            (&json!("dpop+jwt"), &json!("ES256"))
        );
        assert!(header["jwk"].get("d").is_none());
        let message = format!("{}.{}", parts[0], parts[1]);
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, signer.public_key())
            .verify(
                message.as_bytes(),
                &URL_SAFE_NO_PAD.decode(parts[2]).unwrap(),
            )
            .unwrap();
        // A proof is never sent twice.
        assert_ne!(super::proof(&of).unwrap(), super::proof(&of).unwrap());
    }

    #[test]
    fn the_key_of_the_example_has_its_thumbprint_and_a_device_that_is_gone_proves_nothing() {
        // proves RFC 9449 section 6.1, `jkt` of its example
        let signer: Arc<dyn Signer> = Arc::new(example());
        let thumbprint = Jwk::of(&*signer).unwrap().thumbprint();
        assert_eq!(thumbprint, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
        let token = Secret::new(b"CANARY-dpop-token".to_vec());
        let refused = proof(&of(&signer, &origin(), &token)).unwrap_err();
        assert_eq!(refused, NotIssued::Signer("the device is gone"));
    }

    #[test]
    fn nonces_are_kept_for_each_server_and_role() {
        let nonces = Nonces::new();
        let (one, other) = (origin(), Origin::parse("https://other.example").unwrap());
        let told =
            |text: &str| HeaderMap::from_iter([(NONCE, HeaderValue::from_str(text).unwrap())]);
        assert!(nonces.learn(&one, Role::Resource, &told("first")));
        assert!(!nonces.learn(&one, Role::Resource, &told("first")));
        assert!(nonces.learn(&one, Role::Resource, &told("second")));
        assert!(nonces.learn(&one, Role::Issuer, &told("third")));
        assert_eq!(nonces.of(&one, Role::Resource).as_deref(), Some("second"));
        assert_eq!(nonces.of(&one, Role::Issuer).as_deref(), Some("third"));
        assert_eq!(nonces.of(&other, Role::Resource), None);
        for bad in ["", "with space", "quo\"te", "back\\slash", &"x".repeat(600)] {
            assert!(!nonces.learn(&other, Role::Resource, &told(bad)), "{bad}");
        }
        let mut twice = told("one");
        twice.append(NONCE, HeaderValue::from_static("two"));
        assert!(!nonces.learn(&other, Role::Resource, &twice));
        for index in 0..NONCES_MAX * 2 {
            let origin = Origin::parse(&format!("https://h{index}.example")).unwrap();
            nonces.learn(&origin, Role::Issuer, &told("n"));
        }
        assert!(nonces.0.lock().unwrap().len() <= NONCES_MAX);
    }
}
