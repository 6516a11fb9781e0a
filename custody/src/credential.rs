//! What a credential is: its name, its kind, the origins it is bound to, and where its secret lies.

use exeat_types::{CredentialId, Origin};
use http::HeaderName;

use crate::{SecretRef, Shape};

/// One credential as the operator declared it; the secret itself is loaded beside it.
#[derive(Debug, Clone)]
pub struct CredentialSpec {
    /// Its name in the configuration.
    pub id: CredentialId,
    /// How it is presented.
    pub kind: Kind,
    /// The only origins it is ever sent to.
    pub origins: Vec<Origin>,
    /// Where the secret lies.
    pub secret: SecretRef,
    /// What its placeholders look like.
    pub shape: Shape,
}

/// How a credential is presented to its provider.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

impl Kind {
    /// The word used in configuration and receipts.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::ApiKeyHeader(_) => "api-key-header",
            Self::ApiKeyQuery(_) => "api-key-query",
            Self::Basic { .. } => "basic",
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
}
