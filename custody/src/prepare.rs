//! What custody does to one request: claimed slots are emptied, the credential is put in, and a placeholder anywhere
//! else is refused.
//!
//! Nothing here scans and substitutes. A placeholder resolves only for its agent, on an origin its credential is bound
//! to, in the kind's own slot or one that the tool declares; the same placeholder in an issue body or a file name is an
//! attempt to smuggle it out. An answer names places, never values.

use std::sync::Arc;

use bytes::Bytes;
use exeat_types::{AgentId, CredentialId, Origin, Reason, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::{ClientIdentity, Custody, Finish, Slot, Token, custody::Entry, desk::Desk};

/// A request, and the credential its tool uses.
pub struct Ask<'a> {
    /// Who asks.
    pub agent: &'a AgentId,
    /// Where the request goes.
    pub origin: &'a Origin,
    /// The path as it will be sent.
    pub path: &'a str,
    /// The query as it came, without `?`.
    pub query: Option<&'a str>,
    /// The header fields as they came.
    pub headers: &'a HeaderMap,
    /// The whole body, unless there is none or it streams (then [`crate::Scan`] looks at it).
    pub body: Option<&'a Bytes>,
    /// The method.
    pub method: &'a Method,
    /// The credential that the tool uses.
    pub credential: Option<&'a CredentialId>,
    /// What the tool would use in its stead: the agent may present their placeholders in slots that are emptied anyway.
    pub others: &'a [CredentialId],
    /// The token that was obtained for it, as [`Custody::plan`] asked.
    pub token: Option<&'a Arc<Token>>,
    /// Where else the tool lets a placeholder resolve.
    pub slots: &'a [Slot],
    /// The time.
    pub now: Timestamp,
}

/// How the request changes before it leaves.
#[derive(Default)]
pub struct Prepared {
    /// `None` removes every value of the name, `Some` replaces them by this one.
    pub headers: Vec<(HeaderName, Option<HeaderValue>)>,
    /// `Some` replaces the path.
    pub path: Option<String>,
    /// `Some` replaces the query; `Some(None)` removes it.
    pub query: Option<Option<String>>,
    /// `Some` replaces the body.
    pub body: Option<Bytes>,
    /// The credential that was put in.
    pub used: Option<Used>,
    /// How many placeholders of tokens were resolved that responses had handed out.
    pub minted: u64,
    /// What signs each attempt, last.
    pub finish: Option<Arc<dyn Finish>>,
    /// The certificate shown to upstream.
    pub identity: Option<Arc<ClientIdentity>>,
}

/// Which credential a request carries, for its receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// The credential.
    pub id: CredentialId,
    /// The version of its secret.
    pub version: u32,
    /// Its kind.
    pub kind: &'static str,
    /// A keyed hash of its secret: equal for equal secrets, and telling nothing else.
    pub thumbprint: Arc<str>,
}

/// Why a request may not leave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A placeholder stands where it does not resolve.
    #[error("a placeholder stands in {what}, where it does not resolve")]
    Misused {
        /// The place, never a value.
        what: String,
    },
    /// A placeholder of an earlier version of its credential, or of a token that has expired.
    #[error("a placeholder is no longer valid")]
    Stale,
    /// Custody does not hold this credential.
    #[error("custody holds no credential `{0}`")]
    Missing(CredentialId),
    /// The credential is not bound to the origin of the request.
    #[error("credential `{0}` is not bound to this origin")]
    WrongOrigin(CredentialId),
    /// The secret does not fit the slot that the tool declares.
    #[error("the secret of credential `{0}` does not fit a slot of this tool")]
    Unfit(CredentialId),
    /// The request cannot be signed as it is.
    #[error("the request cannot be signed: {0}")]
    Unsignable(&'static str),
}

impl Refused {
    /// The reason the agent is given.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Misused { .. } => Reason::PlaceholderMisused,
            Self::Stale => Reason::PlaceholderStale,
            Self::Missing(_) => Reason::CredentialMissing,
            Self::WrongOrigin(_) | Self::Unfit(_) => Reason::CredentialDead,
            Self::Unsignable(_) => Reason::MalformedRequest,
        }
    }

    pub(crate) fn misused(what: impl Into<String>) -> Self {
        Self::Misused { what: what.into() }
    }
}

impl Custody {
    /// Checks where placeholders stand and says how the request changes.
    ///
    /// # Errors
    /// When a placeholder stands in the wrong place, or the credential is absent, bound elsewhere or does not fit.
    pub fn prepare(&self, ask: &Ask<'_>) -> Result<Prepared, Refused> {
        let desk = Desk::new(self, ask)?;
        let made = desk.entry().and_then(Entry::made);
        let signs = made.and_then(|made| made.signs.as_ref());
        let issuer = made.and_then(|made| made.issuer.as_ref());
        let finish = match (signs, issuer.zip(ask.token)) {
            (Some(signs), _) => Some(signs.begin(ask)?),
            (None, Some((issuer, token))) => issuer.finish(token),
            (None, None) => desk.signs_minted(),
        };
        Ok(Prepared {
            path: desk.path()?,
            headers: desk.headers()?,
            query: desk.query()?,
            body: desk.body()?,
            used: desk.entry().map(Entry::used),
            minted: desk.minted_count(),
            finish,
            identity: made.and_then(|made| made.identity.clone()),
        })
    }
}

impl Entry {
    fn used(&self) -> Used {
        let thumbprint = Arc::clone(&self.thumbprint);
        Used {
            id: self.spec.id.clone(),
            version: self.version,
            kind: self.spec.kind.name(),
            thumbprint,
        }
    }
}
