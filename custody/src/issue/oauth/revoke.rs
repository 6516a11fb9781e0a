//! Gives tokens back (RFC 7009).

use super::{
    client::Client,
    metadata::Metadata,
    reply::refused,
    wire::{Wire, error_code},
};
use crate::NotIssued;

/// A token that is held.
pub(super) enum Held {
    Refresh(String),
    Access(String),
}

impl Client {
    /// Gives a token back; one that the server does not know is gone already. A server without an endpoint for it keeps
    /// its tokens until they expire.
    pub(super) async fn give_back(
        &self,
        at: &Metadata,
        wire: &Wire<'_>,
        token: Held,
    ) -> Result<(), NotIssued> {
        let Some(endpoint) = &at.revocation else {
            return Ok(());
        };
        let (token, hint) = match &token {
            Held::Refresh(token) => (token.as_str(), "refresh_token"),
            Held::Access(token) => (token.as_str(), "access_token"),
        };
        let pairs = [("token", token), ("token_type_hint", hint)];
        let form = self.form(endpoint, &pairs)?;
        let reply = wire.exchange(form).await?;
        // Section 2.2: what the body says does not matter.
        if reply.status.is_success() {
            return Ok(());
        }
        let code = error_code(&reply).unwrap_or_default();
        // Section 2.2.1: a server that does not take back tokens of this kind; they end by themselves.
        if code == "unsupported_token_type" {
            return Ok(());
        }
        Err(refused(&code))
    }
}
