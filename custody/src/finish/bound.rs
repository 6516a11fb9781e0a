//! Requests that carry a token bound to a key: each attempt gets a proof of its own, with the nonce that this server asked
//! for last (RFC 9449 sections 7 and 9).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use exeat_types::Signer;
use http::{HeaderValue, StatusCode};

use super::{
    Answer, Draft, Finish, Verdict,
    dpop::{self, Nonces, PROOF, Proof, Role},
    judge,
};
use crate::{NotIssued, Token, issue::oauth::challenges};

/// Proves possession of the key of one token.
pub struct Dpop {
    signer: Arc<dyn Signer>,
    token: Arc<Token>,
    nonces: Arc<Nonces>,
    /// The nonce of the last attempt: others may have learned another one meanwhile.
    used: Mutex<Option<Arc<str>>>,
}

impl Dpop {
    /// Proves this token with this key, and keeps nonces there.
    pub const fn new(signer: Arc<dyn Signer>, token: Arc<Token>, nonces: Arc<Nonces>) -> Self {
        Self {
            signer,
            token,
            nonces,
            used: Mutex::new(None),
        }
    }

    fn used(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Finish for Dpop {
    fn blocks(&self) -> bool {
        self.signer.blocks()
    }

    fn finish(&self, draft: &mut Draft<'_>) -> Result<(), NotIssued> {
        let nonce = self.nonces.of(draft.origin, Role::Resource);
        let proof = dpop::proof(&Proof {
            signer: &self.signer,
            method: draft.method,
            origin: draft.origin,
            target: draft.target,
            nonce: nonce.as_deref(),
            token: Some(&self.token.secret),
            now: draft.now,
        })?;
        let value = HeaderValue::try_from(proof)
            .map_err(|_cause| NotIssued::Signer("a proof cannot be written"))?;
        draft.headers.insert(PROOF, value);
        *self.used() = nonce;
        Ok(())
    }

    fn inspect(&self, answer: &Answer<'_>) -> Verdict {
        self.nonces
            .learn(answer.origin, Role::Resource, answer.headers);
        let asks = || {
            let told = challenges(answer.headers);
            told.iter()
                .any(|it| it.scheme == "dpop" && it.param("error") == Some("use_dpop_nonce"))
        };
        if answer.status == StatusCode::UNAUTHORIZED && asks() {
            let next = self.nonces.of(answer.origin, Role::Resource);
            // Without another nonce another proof would be refused like this one.
            return if next.is_some() && next != *self.used() {
                Verdict::Again
            } else {
                Verdict::Deliver
            };
        }
        judge(answer)
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use exeat_types::{Origin, Secret, Timestamp};
    use http::{HeaderMap, Method};

    use super::*;
    use crate::{DraftBody, Presented, SoftwareSigner};

    fn bound() -> (Dpop, Arc<Nonces>) {
        let signer = SoftwareSigner::from_seed(&Secret::new(vec![7; 32])).unwrap();
        let nonces = Arc::new(Nonces::new());
        let token = Token {
            secret: Secret::new(b"CANARY-bound-token".to_vec()),
            presented: Presented::Dpop,
            expires: None,
            obtained: Timestamp::from_millis(0),
            scopes: Vec::new(),
            bound: None,
        };
        let dpop = Dpop::new(Arc::new(signer), Arc::new(token), Arc::clone(&nonces));
        (dpop, nonces)
    }

    fn origin() -> Origin {
        Origin::parse("https://api.test").unwrap()
    }

    /// The proof of one attempt, and its claims.
    fn attempt(dpop: &Dpop) -> (HeaderMap, serde_json::Value) {
        let mut headers = HeaderMap::new();
        dpop.finish(&mut Draft {
            method: &Method::POST,
            origin: &origin(),
            target: &mut "/things?x=1".to_owned(),
            headers: &mut headers,
            body: DraftBody::Streamed,
            now: Timestamp::from_millis(1000),
        })
        .unwrap();
        let proof = headers[PROOF].to_str().unwrap();
        let claims = URL_SAFE_NO_PAD.decode(proof.split('.').nth(1).unwrap());
        let claims = serde_json::from_slice(&claims.unwrap()).unwrap();
        (headers, claims)
    }

    fn answer(dpop: &Dpop, status: u16, headers: &[(&'static str, &'static str)]) -> Verdict {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_static(value));
        }
        dpop.inspect(&Answer {
            origin: &origin(),
            status: StatusCode::from_u16(status).unwrap(),
            headers: &map,
            now: Timestamp::from_millis(1000),
        })
    }

    #[test]
    fn a_server_that_asks_for_a_nonce_is_answered_once_with_a_fresh_proof() {
        let (dpop, _) = bound();
        let (first, claims) = attempt(&dpop);
        assert_eq!(claims["htu"], "https://api.test/things");
        assert!(claims.get("nonce").is_none() && claims["ath"].is_string());
        let asks = ("www-authenticate", "DPoP error=\"use_dpop_nonce\"");
        let nonce = [asks, ("dpop-nonce", "n-1")];
        assert_eq!(answer(&dpop, 401, &nonce), Verdict::Again);
        let (second, claims) = attempt(&dpop);
        assert_eq!(claims["nonce"], "n-1");
        assert_ne!(first[PROOF], second[PROOF]);
        assert_eq!(answer(&dpop, 401, &nonce), Verdict::Deliver, "asked again");
        assert_eq!(answer(&dpop, 401, &[asks]), Verdict::Deliver, "none given");
    }

    #[test]
    fn calls_that_are_told_the_same_nonce_at_once_are_all_sent_again() {
        let (one, nonces) = bound();
        let other = Dpop::new(
            Arc::clone(&one.signer),
            Arc::clone(&one.token),
            Arc::clone(&nonces),
        );
        let asks = ("www-authenticate", "DPoP error=\"use_dpop_nonce\"");
        let nonce = [asks, ("dpop-nonce", "n-1")];
        drop((attempt(&one), attempt(&other)));
        assert_eq!(answer(&one, 401, &nonce), Verdict::Again);
        assert_eq!(answer(&other, 401, &nonce), Verdict::Again);
    }

    #[test]
    fn a_nonce_is_learned_from_any_answer_of_this_server() {
        let (dpop, nonces) = bound();
        let verdict = answer(&dpop, 200, &[("dpop-nonce", "n-2")]);
        assert_eq!(verdict, Verdict::Deliver);
        assert_eq!(attempt(&dpop).1["nonce"], "n-2");
        assert_eq!(nonces.of(&origin(), Role::Issuer), None);
        let refused = [("www-authenticate", "DPoP error=\"invalid_token\"")];
        assert_eq!(answer(&dpop, 401, &refused), Verdict::Renew);
    }
}
