//! Who the gate is to one authorization server, and how it proves that, in every request to it.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use exeat_types::{CredentialId, Origin, Secret, Signer, Timestamp};
use http::{HeaderMap, HeaderValue, Method, header};
use oauth2::{
    AuthType, AuthUrl, ClientId, ClientSecret, ConfigurationError, DeviceAuthorizationUrl,
    EndpointMaybeSet, EndpointNotSet, IntrospectionUrl, StandardRevocableToken, TokenUrl,
    basic::{BasicErrorResponse, BasicRevocationErrorResponse},
};

use super::{
    assertion::Statement,
    config::{ClientAuth, Oauth},
    introspect::Introspected,
    metadata::Metadata,
    reply::TokenReply,
    wire::Exchange,
};
use crate::{ClientIdentity, NotIssued, Url};

/// What a server is asked with its assertion (RFC 7523 section 2.2).
pub(super) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The `oauth2` crate's client, with our types.
pub(super) type Engine = oauth2::Client<
    BasicErrorResponse,
    TokenReply,
    Introspected,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointMaybeSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
    EndpointNotSet,
    EndpointMaybeSet,
>;

/// A client of one authorization server.
pub(super) struct Client {
    /// What was declared.
    pub(super) spec: Oauth,
    /// The name of the credential.
    pub(super) id: CredentialId,
    /// Its secret.
    pub(super) secret: Option<Secret>,
    /// Signs its assertions.
    pub(super) key: Option<Arc<dyn Signer>>,
    /// What it shows in TLS.
    pub(super) identity: Option<Arc<ClientIdentity>>,
    /// The certificate of that key, DER, where assertions name it.
    pub(super) certificate: Option<Vec<u8>>,
    /// The token that it exchanges.
    pub(super) subject: Option<Secret>,
    /// Where its requests may go.
    pub(super) allowed: Vec<Origin>,
}

impl Client {
    /// The `oauth2` crate's client for this server.
    pub(super) fn engine(&self, at: &Metadata) -> Result<Engine, NotIssued> {
        let text = |url: &Option<Url>| url.as_ref().map(Url::to_string);
        let parsed = || -> Result<Engine, oauth2::url::ParseError> {
            let client = oauth2::Client::new(ClientId::new(self.spec.client_id.clone()));
            Ok(client
                .set_auth_type(match self.spec.auth {
                    ClientAuth::Basic => AuthType::BasicAuth,
                    ClientAuth::None
                    | ClientAuth::Post
                    | ClientAuth::PrivateKeyJwt
                    | ClientAuth::Mtls => AuthType::RequestBody,
                })
                .set_auth_uri_option(text(&at.authorization).map(AuthUrl::new).transpose()?)
                .set_token_uri_option(Some(TokenUrl::new(at.token.to_string())?))
                .set_device_authorization_url_option(
                    text(&at.device)
                        .map(DeviceAuthorizationUrl::new)
                        .transpose()?,
                )
                .set_introspection_url_option(
                    text(&at.introspection)
                        .map(IntrospectionUrl::new)
                        .transpose()?,
                ))
        };
        let engine =
            parsed().map_err(|_cause| NotIssued::Unavailable("an endpoint of it is no URL"))?;
        Ok(match self.shown_secret()? {
            Some(secret) => engine.set_client_secret(ClientSecret::new(secret)),
            None => engine,
        })
    }

    /// A fresh assertion of the client, if it proves itself by one.
    pub(super) fn assertion(
        &self,
        audience: &str,
        now: Timestamp,
    ) -> Result<Option<String>, NotIssued> {
        let (ClientAuth::PrivateKeyJwt, Some(key)) = (self.spec.auth, &self.key) else {
            return Ok(None);
        };
        let statement = Statement {
            issuer: &self.spec.client_id,
            subject: &self.spec.client_id,
            audience,
            key_id: self.spec.key_id.as_deref(),
            certificate: self.certificate.as_deref(),
        };
        statement.sign(key, now).map(Some)
    }

    /// A form that the `oauth2` crate does not know, with the secret of the client.
    pub(super) fn form(&self, url: &Url, pairs: &[(&str, &str)]) -> Result<Exchange, NotIssued> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(pairs);
        let secret = self.shown_secret()?;
        match (self.spec.auth, secret) {
            (ClientAuth::Basic, Some(secret)) => {
                headers.insert(header::AUTHORIZATION, basic(&self.spec.client_id, &secret)?);
            }
            (_, secret) => {
                form.append_pair("client_id", &self.spec.client_id);
                if let Some(secret) = secret {
                    form.append_pair("client_secret", &secret);
                }
            }
        }
        Ok(Exchange {
            method: Method::POST,
            url: url.to_string(),
            headers,
            body: Secret::new(form.finish().into_bytes()),
        })
    }

    /// The secret that the client sends, if it proves itself by one.
    #[expect(
        clippy::disallowed_methods,
        reason = "the client proves itself by its secret"
    )]
    fn shown_secret(&self) -> Result<Option<String>, NotIssued> {
        let sends = matches!(self.spec.auth, ClientAuth::Basic | ClientAuth::Post);
        let Some(secret) = self.secret.as_ref().filter(|_| sends) else {
            return Ok(None);
        };
        let text = std::str::from_utf8(secret.open())
            .map_err(|_cause| NotIssued::Dead("the client secret is no text"))?;
        Ok(Some(text.to_owned()))
    }
}

/// Whom assertions are for: the issuer where it is known, which no endpoint of another server can pass on.
pub(super) fn audience(at: &Metadata) -> String {
    at.issuer.clone().unwrap_or_else(|| at.token.to_string())
}

/// What was asked for is not there.
pub(super) fn lacking(_absent: ConfigurationError) -> NotIssued {
    NotIssued::Dead("it has no endpoint for this grant")
}

/// RFC 6749 section 2.3.1: name and secret are form-encoded before they are joined.
fn basic(id: &str, secret: &str) -> Result<HeaderValue, NotIssued> {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = BASE64_STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
    let mut value = HeaderValue::try_from(format!("Basic {pair}"))
        .map_err(|_cause| NotIssued::Dead("the client secret cannot stand in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}
