//! What a credential is: its name, its kind, the origins it is bound to, and where its secret lies.

use std::{fmt, ops::Range, sync::Arc};

use exeat_types::{BasicPart, CredentialId, Origin, Secret, Signer};
use http::{HeaderMap, HeaderName};

use crate::{Ask, ClientIdentity, Finish, Issuer, Refused, SecretRef, Shape};

/// One credential as the operator declared it; the secret itself is loaded beside it.
#[derive(Debug, Clone)]
pub struct CredentialSpec {
    /// Its name in the configuration.
    pub id: CredentialId,
    /// How it is presented.
    pub kind: Kind,
    /// The only origins it is ever sent to.
    pub origins: Vec<Origin>,
    /// Where the secret lies; kinds whose key is in a signer may have none.
    pub secret: Option<SecretRef>,
    /// What its placeholders look like.
    pub shape: Shape,
}

/// How a credential is presented to its provider.
#[derive(Debug, Clone)]
pub enum Kind {
    /// `Authorization: Bearer <secret>` (RFC 6750 section 2.1).
    Bearer,
    /// The secret alone in a header, such as `x-api-key`.
    ApiKeyHeader(HeaderName),
    /// The secret alone in a query parameter, such as `key`.
    ApiKeyQuery(String),
    /// `Authorization: Basic <username:secret>` (RFC 7617 section 2).
    Basic {
        /// The username before the colon.
        username: String,
    },
    /// More than a secret put somewhere.
    Made(Arc<dyn Make>),
}

/// A kind of credential that obtains tokens, signs requests or shows a certificate. What it is made of comes from the
/// configuration; the secret and the key come when it is loaded.
pub trait Make: fmt::Debug + Send + Sync {
    /// The word used in configuration and receipts.
    fn name(&self) -> &'static str;
    /// Makes it ready for use.
    ///
    /// # Errors
    /// When the secret or the key does not fit, as a phrase that follows the name of the credential: `has a key that ...`.
    fn make(&self, material: Material<'_>) -> Result<Made, &'static str>;
    /// Where it sends requests of its own, as its configuration says: issuers, token endpoints, lists of revoked things.
    fn origins(&self) -> Vec<Origin> {
        Vec::new()
    }
}

/// What a credential is made from.
#[derive(Clone, Copy)]
pub struct Material<'a> {
    /// Its name.
    pub id: &'a CredentialId,
    /// Its secret, if it has one.
    pub secret: Option<&'a Secret>,
    /// Its key, if that is in a signer.
    pub signer: Option<&'a Arc<dyn Signer>>,
}

/// A kind, ready for use. What is absent does not happen.
#[derive(Default)]
pub struct Made {
    /// Obtains the token that a request carries.
    pub issuer: Option<Arc<dyn Issuer>>,
    /// Signs requests without a token.
    pub signs: Option<Arc<dyn Signs>>,
    /// The certificate shown to upstream.
    pub identity: Option<Arc<ClientIdentity>>,
    /// Headers that are taken off the agent's request, besides those of every kind.
    pub headers: Vec<HeaderName>,
    /// Query parameters that are taken off the agent's request.
    pub queries: Vec<String>,
    /// What of the secret is secret by itself. With any, these are found in responses, and the rest of the secret is not.
    pub parts: Vec<Secret>,
}

/// Signs requests of one credential.
pub trait Signs: Send + Sync {
    /// Reads from the agent's own request how it is to be signed.
    ///
    /// # Errors
    /// When the request is in a form that cannot be signed.
    fn begin(&self, request: &Ask<'_>) -> Result<Arc<dyn Finish>, Refused>;

    /// Whether a body must be read whole before a request with these headers can be signed. Asked before it is read.
    fn needs_body(&self, _headers: &HeaderMap) -> bool {
        false
    }
}

impl Kind {
    /// The word used in configuration and receipts.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::ApiKeyHeader(_) => "api-key-header",
            Self::ApiKeyQuery(_) => "api-key-query",
            Self::Basic { .. } => "basic",
            Self::Made(kind) => kind.name(),
        }
    }
}

/// A place besides the kind's own where a tool lets a placeholder resolve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// This header.
    Header(HeaderName),
    /// This query parameter, by its decoded name.
    Query(String),
    /// The string at this JSON pointer (RFC 6901); in a form body `/name` is the field of that name.
    Body(String),
    /// This part of the path. The secret goes there whatever stands there.
    Path(Range<usize>),
    /// This part of an `Authorization: Basic` pair. The secret goes there whatever stands there.
    Basic(BasicPart),
    /// The item of `Sec-WebSocket-Protocol` that begins so. The secret goes behind that whatever stands there.
    Protocol(String),
}

/// A secret that goes into the slots that a tool declares, and nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct InSlots;

impl Make for InSlots {
    fn name(&self) -> &'static str {
        "slots"
    }

    fn make(&self, material: Material<'_>) -> Result<Made, &'static str> {
        match material.secret {
            Some(_) => Ok(Made::default()),
            None => Err("has no secret"),
        }
    }
}
