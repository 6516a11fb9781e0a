//! `gcp-service-account`: tokens of a Google service account, from its key file or a key in a signer.
//!
//! Three forms: an access token for scopes, an ID token for an audience, both by the JWT grant (RFC 7523 section 2.1),
//! and a JWT that Google's APIs take as it is, without a round trip. The key file does not say where the grant is sent:
//! that is the configuration's, as a file that somebody handed over could name any server.

use std::{sync::Arc, time::Duration};

use exeat_types::{Origin, Secret, Signer};
use serde::Deserialize;
use serde_json::json;

use super::{
    Issuer, NotIssued, Presented, Token, Url, Want, Work,
    exchange::{self, Hidden},
};
use crate::{Made, Make, Material, SoftwareSigner, Waiting, jose};

/// What Google's token endpoint is, unless the configuration names another.
pub const GCP_TOKEN_ENDPOINT: &str = "https://oauth2.googleapis.com/token";

/// Hosts that key files name, all of them Google's.
const GOOGLE_HOSTS: [&str; 3] = [
    "https://oauth2.googleapis.com/",
    "https://accounts.google.com/",
    "https://www.googleapis.com/",
];
/// Longest lifetime that Google grants.
const LIFETIME: Duration = Duration::from_secs(3600);
const JWT_GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Which token is obtained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GcpToken {
    /// An access token with these scopes.
    Access(Vec<String>),
    /// An ID token for this audience.
    Identity(String),
    /// A JWT of our own: with these scopes, or without any for the host that it is sent to.
    SelfSigned(Vec<String>),
}

/// A Google service account.
#[derive(Debug, Clone)]
pub struct Gcp {
    /// What is obtained.
    pub token: GcpToken,
    /// The user it acts for (domain-wide delegation).
    pub subject: Option<String>,
    /// Where grants are sent.
    pub endpoint: Url,
    /// Its e-mail address and the name of its key; from the key file unless the key is in a signer.
    pub account: Option<(String, String)>,
}

impl Make for Gcp {
    fn name(&self) -> &'static str {
        "gcp-service-account"
    }

    fn make(&self, material: Material<'_>) -> Result<Made, &'static str> {
        let mut parts = Vec::new();
        let (signer, email, key_id) = match (material.secret, material.signer, &self.account) {
            (Some(secret), None, None) => {
                let file = self.read_file(secret)?;
                let signer = SoftwareSigner::from_key(&file.private_key.0)?;
                parts.push(exchange::telling_lines(&file.private_key.0));
                let signer: Arc<dyn Signer> = Arc::new(signer);
                (signer, file.client_email, file.private_key_id)
            }
            (None, Some(signer), Some((email, key_id))) => {
                (Arc::clone(signer), email.clone(), key_id.clone())
            }
            (Some(_), _, _) => {
                return Err(
                    "has a key file, which names the account: remove `email`, `key-id` and `signer`",
                );
            }
            (None, Some(_), None) => return Err("needs `email` and `key-id` beside its signer"),
            (None, None, _) => return Err("needs `secret`, the key file, or a signer"),
        };
        if signer.algorithm() != exeat_types::Algorithm::Rs256 {
            return Err("has a key that is not RSA, and Google takes no other");
        }
        let issuer = Account {
            declared: self.clone(),
            signer,
            email,
            key_id,
        };
        Ok(Made {
            issuer: Some(Arc::new(issuer)),
            parts,
            ..Made::default()
        })
    }

    fn origins(&self) -> Vec<Origin> {
        match self.token {
            GcpToken::Access(_) | GcpToken::Identity(_) => vec![self.endpoint.origin.clone()],
            GcpToken::SelfSigned(_) => Vec::new(),
        }
    }
}

/// The key file that Google hands out.
#[derive(Deserialize)]
struct KeyFile {
    r#type: String,
    client_email: String,
    private_key_id: String,
    private_key: Hidden,
    token_uri: String,
}

impl Gcp {
    #[expect(
        clippy::disallowed_methods,
        reason = "the key is read out of the key file"
    )]
    fn read_file(&self, secret: &Secret) -> Result<KeyFile, &'static str> {
        let file: KeyFile = serde_json::from_slice(secret.open())
            .map_err(|_cause| "has a secret that is no key file of a service account (JSON)")?;
        if file.r#type != "service_account" {
            return Err("has a key file of another type than `service_account`");
        }
        let google = GOOGLE_HOSTS
            .iter()
            .any(|host| file.token_uri.starts_with(host));
        if !google && file.token_uri != self.endpoint.to_string() {
            return Err(
                "has a key file with a `token_uri` that is not Google's; if it is right, configure it as `token-endpoint`",
            );
        }
        Ok(file)
    }
}

/// A service account, ready to sign.
struct Account {
    declared: Gcp,
    signer: Arc<dyn Signer>,
    email: String,
    key_id: String,
}

#[derive(Deserialize)]
struct Answer {
    access_token: Option<Hidden>,
    id_token: Option<Hidden>,
    expires_in: Option<u64>,
}

impl Account {
    /// A JWT of this account with these claims besides those of every one.
    fn sign(&self, mut claims: jose::Members, work: Work<'_>) -> Result<Secret, NotIssued> {
        let header = json!({ "typ": "JWT", "kid": self.key_id });
        let now = exchange::seconds(work.now);
        claims.insert("iss".into(), self.email.as_str().into());
        claims.insert("iat".into(), now.into());
        claims.insert("exp".into(), now.saturating_add(LIFETIME.as_secs()).into());
        let jwt = jose::jwt(&self.signer, jose::members(header), &claims)?;
        Ok(Secret::new(jwt.into_bytes()))
    }

    fn token(&self, secret: Secret, seconds: u64, work: Work<'_>) -> Token {
        let scopes = match &self.declared.token {
            GcpToken::Access(scopes) | GcpToken::SelfSigned(scopes) => scopes.clone(),
            GcpToken::Identity(_) => Vec::new(),
        };
        Token {
            secret,
            presented: Presented::Bearer,
            expires: Some(exchange::ends(work.now, seconds)),
            obtained: work.now,
            scopes,
            bound: None,
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the signed grant goes to the token endpoint"
    )]
    async fn grant(&self, claims: jose::Members, work: Work<'_>) -> Result<Answer, NotIssued> {
        let jwt = self.sign(claims, work)?;
        let assertion = String::from_utf8_lossy(jwt.open());
        let fields = [("grant_type", JWT_GRANT), ("assertion", &assertion)];
        let request = exchange::form(&self.declared.endpoint, &fields);
        let reply = exchange::ask(work.outside, request).await?;
        if !reply.status.is_success() {
            return Err(exchange::refused(
                reply.status,
                "it refused the service account",
            ));
        }
        exchange::read(&reply)
    }

    async fn obtain(&self, want: &Want, work: Work<'_>) -> Result<Token, NotIssued> {
        let mut claims = jose::Members::new();
        if let Some(subject) = &self.declared.subject {
            claims.insert("sub".into(), subject.as_str().into());
        }
        let nothing = NotIssued::Unavailable("its reply holds no token");
        let lifetime = LIFETIME.as_secs();
        match &self.declared.token {
            GcpToken::SelfSigned(scopes) => {
                claims
                    .entry("sub")
                    .or_insert_with(|| self.email.as_str().into());
                if scopes.is_empty() {
                    claims.insert("aud".into(), format!("{}/", want.origin).into());
                } else {
                    claims.insert("scope".into(), scopes.join(" ").into());
                }
                Ok(self.token(self.sign(claims, work)?, lifetime, work))
            }
            GcpToken::Access(scopes) => {
                claims.insert("scope".into(), scopes.join(" ").into());
                claims.insert("aud".into(), self.declared.endpoint.to_string().into());
                let answer = self.grant(claims, work).await?;
                let Hidden(token) = answer.access_token.ok_or(nothing)?;
                Ok(self.token(token, answer.expires_in.unwrap_or(lifetime), work))
            }
            GcpToken::Identity(audience) => {
                claims.insert("target_audience".into(), audience.as_str().into());
                claims.insert("aud".into(), self.declared.endpoint.to_string().into());
                let answer = self.grant(claims, work).await?;
                let Hidden(token) = answer.id_token.ok_or(nothing)?;
                Ok(self.token(token, answer.expires_in.unwrap_or(lifetime), work))
            }
        }
    }
}

impl Issuer for Account {
    fn issue<'a>(
        &'a self,
        want: &'a Want,
        work: Work<'a>,
    ) -> Waiting<'a, Result<Token, NotIssued>> {
        Box::pin(self.obtain(want, work))
    }

    /// Google's tokens cannot be given back; they end by themselves.
    fn revoke<'a>(&'a self, _work: Work<'a>) -> Waiting<'a, Result<(), NotIssued>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn alone(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use exeat_types::Algorithm;

    use super::*;
    use crate::{
        issue::stand_in::{Nobody, issue, reply, want},
        jose::Jwk,
    };

    fn gcp(token: GcpToken) -> Gcp {
        Gcp {
            token,
            subject: None,
            endpoint: GCP_TOKEN_ENDPOINT.parse().unwrap(),
            account: Some(("robot@test.iam".to_owned(), "key-1".to_owned())),
        }
    }

    fn account(gcp: &Gcp) -> (Arc<dyn Issuer>, Jwk) {
        let key = SoftwareSigner::new_key(Algorithm::Rs256).unwrap();
        let signer: Arc<dyn Signer> = Arc::new(SoftwareSigner::from_key(&key).unwrap());
        let id = "gcp".parse().unwrap();
        let material = Material {
            id: &id,
            secret: None,
            signer: Some(&signer),
        };
        (
            gcp.make(material).unwrap().issuer.unwrap(),
            Jwk::of(&*signer).unwrap(),
        )
    }

    /// The claims of the JWT in the one form that was sent.
    fn sent(outside: &Nobody, key: Jwk) -> serde_json::Value {
        let bodies = outside.bodies();
        let fields: Vec<_> = form_urlencoded::parse(bodies[0].as_bytes()).collect();
        assert_eq!(fields[0], ("grant_type".into(), JWT_GRANT.into()));
        let verified = jose::verify(&fields[1].1, &[key]).unwrap();
        assert_eq!(verified.header["kid"], "key-1");
        verified.claims.into()
    }

    #[test]
    fn the_grant_brings_an_access_token_or_an_id_token() {
        let scopes = vec!["https://scope.test/a".to_owned(), "b".to_owned()];
        let mut kind = gcp(GcpToken::Access(scopes));
        kind.subject = Some("person@test".to_owned());
        let (issuer, key) = account(&kind);
        let outside = Nobody::answering(vec![reply(
            200,
            r#"{"access_token":"CANARY-gcp","expires_in":60}"#,
        )]);
        let token = issue(&*issuer, &want("https://storage.test"), &outside).unwrap();
        assert!(token.secret.matches(b"CANARY-gcp"));
        assert_eq!(token.expires.unwrap().millis(), 1_060_000);
        assert_eq!(
            sent(&outside, key),
            json!({
                "sub": "person@test", "scope": "https://scope.test/a b", "aud": GCP_TOKEN_ENDPOINT,
                "iss": "robot@test.iam", "iat": 1000, "exp": 4600,
            })
        );
        let (issuer, key) = account(&gcp(GcpToken::Identity("https://run.test".to_owned())));
        let outside = Nobody::answering(vec![reply(200, r#"{"id_token":"CANARY-id"}"#)]);
        let token = issue(&*issuer, &want("https://run.test"), &outside).unwrap();
        assert!(token.secret.matches(b"CANARY-id"));
        assert_eq!(sent(&outside, key)["target_audience"], "https://run.test");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test reads the token")]
    fn a_jwt_of_our_own_is_for_the_host_it_goes_to() {
        let (issuer, key) = account(&gcp(GcpToken::SelfSigned(Vec::new())));
        let outside = Nobody::answering(Vec::new());
        let token = issue(&*issuer, &want("https://pubsub.googleapis.com"), &outside).unwrap();
        let jwt = std::str::from_utf8(token.secret.open()).unwrap();
        let claims = jose::verify(jwt, &[key]).unwrap().claims;
        assert_eq!(claims["aud"], "https://pubsub.googleapis.com/");
        assert_eq!(
            (&claims["iss"], &claims["sub"]),
            (&json!("robot@test.iam"), &json!("robot@test.iam"))
        );
        assert!(outside.asked().is_empty());
    }

    #[test]
    fn refusals_are_for_good_and_failures_are_not() {
        let (issuer, _) = account(&gcp(GcpToken::Access(Vec::new())));
        let check = |status, body| {
            let outside = Nobody::answering(vec![reply(status, body)]);
            issue(&*issuer, &want("https://storage.test"), &outside)
                .err()
                .unwrap()
        };
        assert!(matches!(
            check(400, r#"{"error":"invalid_grant"}"#),
            NotIssued::Dead(_)
        ));
        for (status, body) in [
            (500, ""),
            (302, ""),
            (429, ""),
            (200, "{}"),
            (200, "nonsense"),
        ] {
            assert!(
                matches!(check(status, body), NotIssued::Unavailable(_)),
                "{status} {body}"
            );
        }
    }

    #[test]
    fn a_key_file_cannot_send_the_grant_elsewhere() {
        let mut kind = gcp(GcpToken::Access(Vec::new()));
        kind.account = None;
        let key = SoftwareSigner::new_key(Algorithm::Es256).unwrap();
        let check = |kind: &Gcp, uri: &str| {
            let file = json!({
                "type": "service_account", "client_email": "a@b", "private_key_id": "1",
                "private_key": "CANARY-no-key", "token_uri": uri,
            });
            let secret = Secret::new(file.to_string().into_bytes());
            let id = "gcp".parse().unwrap();
            let material = Material {
                id: &id,
                secret: Some(&secret),
                signer: None,
            };
            kind.make(material).err().unwrap()
        };
        assert!(check(&kind, "https://evil.test/token").contains("not Google's"));
        assert!(
            check(&kind, "https://oauth2.googleapis.com.evil.test/token").contains("not Google's")
        );
        assert!(!check(&kind, GCP_TOKEN_ENDPOINT).contains("not Google's"));
        kind.endpoint = "https://evil.test/token".parse().unwrap();
        assert!(!check(&kind, "https://evil.test/token").contains("not Google's"));
        let signer: Arc<dyn Signer> = Arc::new(SoftwareSigner::from_key(&key).unwrap());
        let id = "gcp".parse().unwrap();
        let material = Material {
            id: &id,
            secret: None,
            signer: Some(&signer),
        };
        assert!(
            gcp(GcpToken::Access(Vec::new()))
                .make(material)
                .err()
                .unwrap()
                .contains("not RSA")
        );
    }
}
