//! Credentials that are obtained before they are used: what a token is, who issues it, and why there may be none.
//!
//! Each kind is one file (or folder) here that implements [`Issuer`]. It builds exchanges and reads what comes back; how
//! often it is asked, that only one asks at a time, and where tokens are cached is the pipeline's business.

mod connect;
pub mod entitlement;
mod exchange;
mod gcp;
mod github_app;
pub mod oauth;
mod registry;
#[cfg(test)]
pub(crate) mod stand_in;
mod url;

use std::{sync::Arc, time::Duration};

use exeat_types::{CredentialId, DeviceFailure, Origin, Reason, Secret, Signer, Timestamp};
use http::{HeaderName, HeaderValue, header::AUTHORIZATION};

use crate::{
    Error, Outside, Waiting,
    inject::{basic, sensitive},
};

pub use connect::{Begun, Connect, Connection, Landing, Pending, Standing, Way};
pub use gcp::{GCP_TOKEN_ENDPOINT, Gcp, GcpToken};
pub use github_app::{GithubApp, Permissions, Repository};
pub use registry::Registry;
pub use url::Url;

/// Which token of a credential a call needs. Two calls with equal wants share one token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Want {
    /// The credential.
    pub credential: CredentialId,
    /// What the token is narrowed to, in words of its kind; empty for the whole credential.
    pub narrowed: Vec<String>,
    /// Where it will be sent.
    pub origin: Origin,
}

/// A short-lived token.
pub struct Token {
    /// The token itself.
    pub secret: Secret,
    /// How it is presented.
    pub presented: Presented,
    /// When it ends, if its issuer says so.
    pub expires: Option<Timestamp>,
    /// When it was asked for.
    pub obtained: Timestamp,
    /// The scopes it was granted.
    pub scopes: Vec<String>,
    /// The key it is bound to, if it is (RFC 9449).
    pub bound: Option<Arc<dyn Signer>>,
}

/// How a token stands in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    /// `Authorization: Bearer` (RFC 6750).
    Bearer,
    /// `Authorization: DPoP` with a proof (RFC 9449).
    Dpop,
    /// `Authorization: Basic` with this user name.
    Basic(String),
    /// Alone in this header.
    Header(HeaderName),
    /// `Authorization: <word> <token>`, such as `token`.
    Scheme(&'static str),
}

/// A token is no longer used this long before it ends, or a tenth of its life before, and at most half of it.
const SKEW: Duration = Duration::from_secs(30);

impl Token {
    /// Until when it is used; without an end, for as long as it is taken.
    pub fn used_until(&self) -> Option<Timestamp> {
        let life = self.expires?.since(self.obtained);
        let skew = SKEW.max(life / 10).min(life / 2);
        Some(self.obtained.after(life.saturating_sub(skew)))
    }

    /// Everything that stands for it in a request, to be looked for in responses.
    pub fn forms(&self) -> Vec<Secret> {
        let mut forms = vec![self.secret.duplicate()];
        if let Presented::Basic(username) = &self.presented {
            let pair = basic::pair_text(username, &self.secret);
            forms.push(Secret::new(pair.as_bytes().to_vec()));
        }
        forms.extend(entitlement::disclosures(&self.secret));
        forms
    }

    /// The header field that presents it, as no log prints it.
    ///
    /// # Errors
    /// When it cannot stand in a header.
    pub fn field(&self) -> Result<(HeaderName, HeaderValue), NotIssued> {
        let (name, value) = self.header();
        let value = sensitive(&value).ok_or(NotIssued::Unavailable("its token fits no header"))?;
        Ok((name, value))
    }

    /// The header field that presents it.
    #[expect(
        clippy::disallowed_methods,
        reason = "the injected header is made of the token"
    )]
    pub(crate) fn header(&self) -> (HeaderName, Secret) {
        let after = |word: &str| {
            let mut value = Vec::with_capacity(word.len().saturating_add(self.secret.len()));
            value.extend_from_slice(word.as_bytes());
            value.extend_from_slice(self.secret.open());
            Secret::new(value)
        };
        match &self.presented {
            Presented::Bearer => (AUTHORIZATION, after("Bearer ")),
            Presented::Dpop => (AUTHORIZATION, after("DPoP ")),
            Presented::Scheme(word) => (AUTHORIZATION, after(&format!("{word} "))),
            Presented::Header(name) => (name.clone(), after("")),
            Presented::Basic(username) => {
                let pair = basic::pair_text(username, &self.secret);
                let value = [b"Basic ", pair.as_bytes()].concat();
                (AUTHORIZATION, Secret::new(value))
            }
        }
    }
}

/// Why there is no token. Holds no text of a server: it may carry a secret, or instructions for a reader.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotIssued {
    /// Nothing was ever granted: somebody has to run `exeat connect`.
    #[error("nothing was granted yet")]
    Absent,
    /// What was granted is revoked, expired or refused. Asking again changes nothing.
    #[error("the issuer refused: {0}")]
    Dead(&'static str),
    /// A scope is lacking.
    #[error("a scope is lacking")]
    Scope(Vec<String>),
    /// The issuer cannot be reached or does not answer properly; later it may.
    #[error("the issuer is unavailable: {0}")]
    Unavailable(&'static str),
    /// A device did not sign.
    #[error("the signer is unavailable: {0}")]
    Signer(&'static str),
    /// Whether what was granted still holds is not known.
    #[error("its status is not known")]
    Unknown,
    /// The same, where somebody may approve of it.
    #[error("its status is not known, and nobody approved of that")]
    Approval,
    /// It is refused at the moment, and may be good again.
    #[error("the issuer suspended it")]
    Suspended,
}

impl From<DeviceFailure> for NotIssued {
    fn from(failure: DeviceFailure) -> Self {
        Self::Signer(failure.0)
    }
}

impl NotIssued {
    /// The reason an agent is given.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Absent => Reason::CredentialMissing,
            Self::Dead(_) | Self::Suspended => Reason::CredentialDead,
            Self::Approval => Reason::ApprovalRequired,
            Self::Scope(_) => Reason::ScopeMissing,
            Self::Unavailable(_) => Reason::IssuerUnavailable,
            Self::Signer(_) => Reason::SignerUnavailable,
            Self::Unknown => Reason::EntitlementUnknown,
        }
    }
}

/// Durable notes of an issuer, sealed: refresh tokens, registrations, cached credentials. Blocks.
pub trait Keep: Send + Sync {
    /// What was kept under a name.
    ///
    /// # Errors
    /// When the store fails.
    fn load(&self, name: &str) -> Result<Option<Secret>, Error>;
    /// Keeps it durably: when this returns it survives a crash.
    ///
    /// # Errors
    /// When the store fails; then what would have been kept must not be used.
    fn store(&self, name: &str, secret: &Secret) -> Result<(), Error>;
    /// Forgets it.
    ///
    /// # Errors
    /// When the store fails.
    fn remove(&self, name: &str) -> Result<(), Error>;
}

/// What an issuer works with. It runs off the reactor, so it may block on devices and stores.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    /// The world.
    pub outside: &'a dyn Outside,
    /// Its notes.
    pub keep: &'a dyn Keep,
    /// The time.
    pub now: Timestamp,
    /// When the token was obtained that is no longer good enough, if there was one.
    pub spent: Option<Timestamp>,
}

/// Issues tokens for one credential.
pub trait Issuer: Send + Sync {
    /// Obtains a token. Called by one caller at a time for equal wants; never cancelled half way.
    fn issue<'a>(&'a self, want: &'a Want, work: Work<'a>)
    -> Waiting<'a, Result<Token, NotIssued>>;

    /// Whether one token of the credential must be obtained before the next, also for different wants: each uses up what
    /// the one before left, such as a refresh token.
    fn alone(&self) -> bool {
        true
    }

    /// What the token is narrowed to for this request, beyond its origin.
    fn narrow(&self, _request: &Asked<'_>) -> Vec<String> {
        Vec::new()
    }

    /// What signs each request that carries the token, if requests are signed.
    fn finish(&self, _token: &Arc<Token>) -> Option<Arc<dyn crate::Finish>> {
        None
    }

    /// Gives back at the issuer what was granted, and forgets it.
    fn revoke<'a>(&'a self, work: Work<'a>) -> Waiting<'a, Result<(), NotIssued>>;

    /// How a person grants it, if one has to.
    fn connects(&self) -> Option<&dyn Connect> {
        None
    }
}

/// A request that needs a token, as an issuer may see it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Where it goes.
    pub origin: &'a Origin,
    /// The canonical path.
    pub path: &'a str,
    /// The name of the tool.
    pub tool: &'a str,
    /// What the tool does: `read`, `write`, `delete` or a word of the operator.
    pub category: &'a str,
}
