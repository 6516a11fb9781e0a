//! Grants that nobody has to agree to: client credentials, an assertion (RFC 7523), another token (RFC 8693).

use exeat_types::Secret;
use http::StatusCode;
use oauth2::Scope;

use super::{
    assertion::Statement,
    client::{Client, audience, lacking},
    config::Oauth,
    metadata::Metadata,
    reply::{TokenReply, refusal, refused},
    wire::{Wire, error_code},
};
use crate::NotIssued;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// A token that is exchanged.
pub(super) struct Exchanged<'a> {
    pub(super) token: &'a Secret,
    /// Its type.
    pub(super) kind: &'a str,
    /// The type of what is asked for.
    pub(super) requested: Option<&'a str>,
}

impl Oauth {
    /// Where tokens will be used, as parameters (RFC 8707 section 2).
    pub(super) fn targets(&self) -> Vec<(&'static str, String)> {
        let resources = self.resources.iter();
        let resources = resources.map(|resource| ("resource", resource.clone()));
        let audience = self.audience.iter();
        resources
            .chain(audience.map(|audience| ("audience", audience.clone())))
            .collect()
    }
}

impl Client {
    /// RFC 6749 section 4.4.
    pub(super) async fn client_credentials(
        &self,
        at: &Metadata,
        wire: &Wire<'_>,
        scopes: &[String],
    ) -> Result<TokenReply, NotIssued> {
        let engine = self.engine(at)?;
        let mut request = engine.exchange_client_credentials().map_err(lacking)?;
        request = request.add_scopes(scopes.iter().cloned().map(Scope::new));
        for (name, value) in self.spec.targets() {
            request = request.add_extra_param(name, value);
        }
        let reply = request.request_async(wire).await;
        reply.map_err(|error| refusal(&error))
    }

    /// RFC 7523 section 2.1.
    pub(super) async fn jwt_bearer(
        &self,
        at: &Metadata,
        wire: &Wire<'_>,
        (subject, scopes): (&str, &[String]),
    ) -> Result<TokenReply, NotIssued> {
        let key = self.key.as_ref();
        let told = self.spec.audience.clone();
        let told = told.unwrap_or_else(|| audience(at));
        let statement = Statement {
            issuer: &self.spec.client_id,
            subject,
            audience: &told,
            key_id: self.spec.key_id.as_deref(),
            certificate: self.certificate.as_deref(),
        };
        let key = key.ok_or(NotIssued::Dead("there is no key for assertions"))?;
        let assertion = statement.sign(key, wire.now())?;
        let mut pairs = vec![
            ("grant_type", JWT_BEARER),
            ("assertion", assertion.as_str()),
        ];
        let resources = self.spec.resources.iter();
        pairs.extend(resources.map(|resource| ("resource", resource.as_str())));
        let scopes = scopes.join(" ");
        if !scopes.is_empty() {
            pairs.push(("scope", &scopes));
        }
        self.asked(at, wire, &pairs).await
    }

    /// RFC 8693 section 2.1.
    pub(super) async fn token_exchange(
        &self,
        at: &Metadata,
        wire: &Wire<'_>,
        (exchanged, scopes): (Exchanged<'_>, &[String]),
    ) -> Result<TokenReply, NotIssued> {
        let token = text(exchanged.token)?;
        let mut pairs = vec![
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", token),
            ("subject_token_type", exchanged.kind),
        ];
        pairs.extend(
            exchanged
                .requested
                .map(|kind| ("requested_token_type", kind)),
        );
        let targets = self.spec.targets();
        pairs.extend(targets.iter().map(|(name, value)| (*name, value.as_str())));
        let scopes = scopes.join(" ");
        if !scopes.is_empty() {
            pairs.push(("scope", &scopes));
        }
        self.asked(at, wire, &pairs).await
    }

    /// Asks the token endpoint in a form of our own.
    #[expect(clippy::disallowed_methods, reason = "the answer is read")]
    async fn asked(
        &self,
        at: &Metadata,
        wire: &Wire<'_>,
        pairs: &[(&str, &str)],
    ) -> Result<TokenReply, NotIssued> {
        let form = self.form(&at.token, pairs)?;
        let reply = wire.exchange(form).await?;
        if let Some(code) = error_code(&reply) {
            return Err(refused(&code));
        }
        if reply.status != StatusCode::OK {
            return Err(NotIssued::Unavailable("its answer cannot be read"));
        }
        TokenReply::read(reply.body.open()).map_err(NotIssued::Unavailable)
    }
}

#[expect(clippy::disallowed_methods, reason = "the token is exchanged")]
fn text(token: &Secret) -> Result<&str, NotIssued> {
    std::str::from_utf8(token.open())
        .map_err(|_cause| NotIssued::Dead("the token to exchange is no text"))
}
