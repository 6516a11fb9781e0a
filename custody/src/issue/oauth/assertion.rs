//! Assertions that the gate signs: of itself as a client, and as a grant (RFC 7523).

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use exeat_types::{Digest, Signer, Timestamp, random_bytes};
use serde_json::json;

use crate::{
    NotIssued,
    jose::{self, Members},
};

/// How long an assertion is good: it is used at once.
const LIFE_SECS: u64 = 60;

/// Who says what to whom.
pub(super) struct Statement<'a> {
    /// Who says it.
    pub(super) issuer: &'a str,
    /// Of whom.
    pub(super) subject: &'a str,
    /// To whom.
    pub(super) audience: &'a str,
    /// The name of the key, where the server wants one.
    pub(super) key_id: Option<&'a str>,
    /// The certificate of the key, DER, where the server wants its thumbprint.
    pub(super) certificate: Option<&'a [u8]>,
}

impl Statement<'_> {
    /// Signs it, good for a minute and never equal to another.
    pub(super) fn sign(
        &self,
        signer: &Arc<dyn Signer>,
        now: Timestamp,
    ) -> Result<String, NotIssued> {
        let mut header = Members::new();
        header.insert("typ".to_owned(), json!("JWT"));
        if let Some(key_id) = self.key_id {
            header.insert("kid".to_owned(), json!(key_id));
        }
        if let Some(certificate) = self.certificate {
            let thumbprint = URL_SAFE_NO_PAD.encode(Digest::of(certificate).as_bytes());
            header.insert("x5t#S256".to_owned(), json!(thumbprint));
        }
        let secs = now.millis() / 1000;
        // RFC 7523 section 3: issuer, subject, audience and expiry; `jti` makes it good for once.
        let claims = jose::members(json!({
            "iss": self.issuer,
            "sub": self.subject,
            "aud": self.audience,
            "jti": fresh()?,
            "iat": secs,
            "exp": secs.saturating_add(LIFE_SECS),
        }));
        Ok(jose::jwt(signer, header, &claims)?)
    }
}

/// A value that nobody can guess, as text.
pub(super) fn fresh() -> Result<String, NotIssued> {
    Ok(URL_SAFE_NO_PAD.encode(random_bytes::<32>()?))
}
