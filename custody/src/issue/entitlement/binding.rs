//! Key binding of an SD-JWT (RFC 9901 section 4.3): each request shows that whoever shows the credential holds its key.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use exeat_types::{Digest, Secret, Signer, random_bytes};
use serde_json::json;

use crate::{
    Draft, Finish, NotIssued, Token, inject,
    issue::exchange,
    jose::{self, members},
};

/// Puts a proof behind the credential, afresh for each attempt.
pub(super) struct Binding {
    pub(super) signer: Arc<dyn Signer>,
    pub(super) token: Arc<Token>,
    /// Whom it is shown to; the origin of the request unless the configuration says something else.
    pub(super) audience: Option<String>,
}

impl Finish for Binding {
    fn blocks(&self) -> bool {
        self.signer.blocks()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the proof stands behind the credential in one header"
    )]
    fn finish(&self, draft: &mut Draft<'_>) -> Result<(), NotIssued> {
        let shown = self.token.secret.open();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let audience = self.audience.clone();
        let claims = json!({
            "iat": exchange::seconds(draft.now),
            "aud": audience.unwrap_or_else(|| draft.origin.to_string()),
            "nonce": text(&random_bytes::<16>()?),
            "sd_hash": text(Digest::of(shown).as_bytes()),
        });
        let header = members(json!({ "typ": "kb+jwt" }));
        let proof = jose::jwt(&self.signer, header, &members(claims))?;
        let whole = Token {
            secret: Secret::new([shown, proof.as_bytes()].concat()),
            presented: self.token.presented.clone(),
            expires: None,
            obtained: self.token.obtained,
            scopes: Vec::new(),
            bound: None,
        };
        let (name, value) = whole.header();
        let value = inject::sensitive(&value);
        let value = value.ok_or(NotIssued::Signer("the proof cannot stand in a header"))?;
        draft.headers.insert(name, value);
        Ok(())
    }
}
