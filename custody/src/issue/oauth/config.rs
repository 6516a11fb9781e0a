//! What the configuration says of an OAuth credential, and how that becomes an issuer.

use std::sync::Arc;

use exeat_types::{Algorithm, Origin, Secret};

use super::{client::Client, issuer::OauthIssuer};
use crate::{ClientIdentity, IdentityKey, Landing, Made, Make, Material, SoftwareSigner, Url};

/// An OAuth credential as it is declared.
#[derive(Debug, Clone)]
pub struct Oauth {
    /// The identifier of the authorization server (RFC 8414), exactly as the server writes it.
    pub issuer: Option<String>,
    /// A protected resource whose metadata names the authorization server (RFC 9728).
    pub protected_resource: Option<String>,
    /// Endpoints that are not looked up.
    pub endpoints: Endpoints,
    /// Further hosts that endpoints, or the issuer that a protected resource names, may lie on, besides that of the issuer.
    pub token_hosts: Vec<Origin>,
    /// Who the gate is to the server.
    pub client_id: String,
    /// How it proves that.
    pub auth: ClientAuth,
    /// How tokens come about.
    pub flow: Flow,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// Where tokens will be used (RFC 8707).
    pub resources: Vec<String>,
    /// The same in the words of servers that know `audience`.
    pub audience: Option<String>,
    /// Whether tokens are bound to a key.
    pub dpop: Dpop,
    /// Whether authorization requests are pushed even where the server does not insist (RFC 9126).
    pub pushed: bool,
    /// Where the browser comes back to.
    pub landing: Landing,
    /// What this server wants to be told besides, in the authorization request.
    pub parameters: Vec<(String, String)>,
    /// The name of the key in assertions, where the server wants one.
    pub key_id: Option<String>,
    /// The certificate of the client and what it chains to, PEM: for mutual TLS, and named in client assertions.
    pub certificate: Option<String>,
}

/// Endpoints that are not looked up; absent ones do not exist unless the token endpoint is absent too.
#[derive(Debug, Clone, Default)]
pub struct Endpoints {
    /// Where a person agrees.
    pub authorization: Option<Url>,
    /// Where tokens come from; with it nothing is looked up.
    pub token: Option<Url>,
    /// Where a code to type comes from.
    pub device: Option<Url>,
    /// Where authorization requests are pushed to.
    pub pushed: Option<Url>,
    /// Where tokens are given back.
    pub revocation: Option<Url>,
    /// Where tokens are asked about.
    pub introspection: Option<Url>,
}

/// How the gate proves to a server who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// Not at all: a public client.
    None,
    /// Its secret in `Authorization: Basic` (RFC 6749 section 2.3.1).
    Basic,
    /// Its secret in the form.
    Post,
    /// A signed assertion (RFC 7523 section 2.2).
    PrivateKeyJwt,
    /// A certificate in TLS (RFC 8705).
    Mtls,
}

/// How tokens come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flow {
    /// A person agrees in a browser (RFC 6749 section 4.1, with PKCE).
    AuthorizationCode,
    /// A person types a code on any device (RFC 8628).
    Device,
    /// The gate is the client and nobody else is asked (RFC 6749 section 4.4).
    ClientCredentials,
    /// An assertion that the gate signs (RFC 7523 section 2.1).
    JwtBearer {
        /// Whom it speaks of.
        subject: String,
    },
    /// Another token is exchanged (RFC 8693).
    TokenExchange {
        /// Which.
        subject: Subject,
        /// Its type.
        subject_type: String,
        /// The type of what is asked for.
        requested_type: Option<String>,
    },
}

/// The token that is exchanged for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The secret of the credential.
    Secret,
    /// A token of the same client, which comes about in this way.
    Own(Box<Flow>),
}

/// Whether tokens are bound to a key (RFC 9449).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dpop {
    /// No.
    Off,
    /// Yes, if the server does it.
    Asked,
    /// Yes, or there is no token.
    Required,
}

impl Flow {
    /// The part of it that a person has to agree to, if there is one.
    pub(super) fn personal(&self) -> Option<&Self> {
        match self {
            Self::AuthorizationCode | Self::Device => Some(self),
            Self::ClientCredentials | Self::JwtBearer { .. } => None,
            Self::TokenExchange { subject, .. } => match subject {
                Subject::Secret => None,
                Subject::Own(flow) => flow.personal(),
            },
        }
    }

    fn exchanges_secret(&self) -> bool {
        match self {
            Self::TokenExchange { subject, .. } => *subject == Subject::Secret,
            Self::AuthorizationCode
            | Self::Device
            | Self::ClientCredentials
            | Self::JwtBearer { .. } => false,
        }
    }

    const fn signs(&self) -> bool {
        matches!(self, Self::JwtBearer { .. })
    }
}

impl Oauth {
    fn identity(&self, key: IdentityKey) -> Result<ClientIdentity, &'static str> {
        let pem = self.certificate.as_deref();
        let pem = pem.ok_or("has no certificate")?;
        ClientIdentity::from_pem(pem.as_bytes(), key)
    }
}

impl Make for Oauth {
    fn name(&self) -> &'static str {
        "oauth"
    }

    fn make(&self, material: Material<'_>) -> Result<Made, &'static str> {
        let mut secret = material.secret.map(Secret::duplicate);
        let needs_key = self.flow.signs() || self.auth == ClientAuth::PrivateKeyJwt;
        let mut key = material.signer.map(Arc::clone);
        let mut identity = None;
        if self.auth == ClientAuth::Mtls {
            let held = match (&key, secret.take()) {
                (Some(signer), _) => IdentityKey::Device(Arc::clone(signer)),
                (None, Some(pem)) => IdentityKey::from_pem(&pem)?,
                (None, None) => return Err("needs the key of its certificate"),
            };
            identity = Some(Arc::new(self.identity(held)?));
        } else if needs_key && key.is_none() {
            let pem = secret.take().ok_or("needs a key to sign with")?;
            key = Some(Arc::new(SoftwareSigner::from_key(&pem)?));
        }
        let certificate = match (&self.certificate, &identity, &key) {
            (None, _, _) | (Some(_), Some(_), _) | (Some(_), None, None) => None,
            (Some(_), None, Some(key)) => {
                let shown = self.identity(IdentityKey::Device(Arc::clone(key)))?;
                shown.chain.into_iter().next()
            }
        };
        let subject = if self.flow.exchanges_secret() {
            Some(secret.take().ok_or("has no token to exchange")?)
        } else {
            None
        };
        if matches!(self.auth, ClientAuth::Basic | ClientAuth::Post) && secret.is_none() {
            return Err("has no client secret");
        }
        // RFC 9449 section 4.2: an asymmetric key; RSA makes every request larger and slower and gains nothing.
        // The key of the client proves who it is, and nothing else.
        let bound = material
            .signer
            .filter(|key| key.algorithm() != Algorithm::Rs256)
            .map(Arc::clone);
        let client = Client {
            spec: self.clone(),
            id: material.id.clone(),
            secret,
            key,
            identity,
            certificate,
            subject,
            allowed: self.hosts(),
        };
        let issuer: Arc<OauthIssuer> = Arc::new(OauthIssuer::new(client, bound));
        Ok(Made {
            issuer: Some(issuer),
            ..Made::default()
        })
    }

    fn origins(&self) -> Vec<Origin> {
        let mut origins = self.hosts();
        let resource = self.protected_resource.as_ref();
        let resource = resource.and_then(|text| text.parse::<Url>().ok());
        origins.extend(resource.map(|url| url.origin));
        origins.sort();
        origins.dedup();
        origins
    }
}

impl Oauth {
    /// Where the authorization server may lie.
    fn hosts(&self) -> Vec<Origin> {
        let endpoints = &self.endpoints;
        let declared = [
            &endpoints.authorization,
            &endpoints.token,
            &endpoints.device,
            &endpoints.pushed,
            &endpoints.revocation,
            &endpoints.introspection,
        ];
        let declared = declared.into_iter().flatten();
        let issuer = self.issuer.as_ref();
        let issuer = issuer.and_then(|text| text.parse::<Url>().ok());
        let mut origins: Vec<Origin> = declared
            .map(|url| url.origin.clone())
            .chain(issuer.map(|url| url.origin))
            .chain(self.token_hosts.iter().cloned())
            .collect();
        origins.sort();
        origins.dedup();
        origins
    }
}
