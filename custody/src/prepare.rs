//! What custody does to one request: claimed slots are emptied, the credential is put in, and a placeholder anywhere
//! else is refused.
//!
//! Nothing here scans and substitutes. A placeholder resolves only for its agent, on an origin its credential is bound
//! to, in the kind's own slot or one that the tool declares; the same placeholder in an issue body or a file name is an
//! attempt to smuggle it out. An answer names places, never values.

use std::sync::Arc;

use bytes::Bytes;
use exeat_types::{AgentId, CredentialId, Origin, Reason};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{Custody, Slot, custody::Entry, desk::Desk};

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
    /// The credential that the tool uses.
    pub credential: Option<&'a CredentialId>,
    /// Where else the tool lets a placeholder resolve.
    pub slots: &'a [Slot],
}

/// How the request changes before it leaves.
#[derive(Default)]
pub struct Prepared {
    /// `None` removes every value of the name, `Some` replaces them by this one.
    pub headers: Vec<(HeaderName, Option<HeaderValue>)>,
    /// `Some` replaces the query; `Some(None)` removes it.
    pub query: Option<Option<String>>,
    /// `Some` replaces the body.
    pub body: Option<Bytes>,
    /// The credential that was put in.
    pub used: Option<Used>,
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
    /// Custody does not hold this credential.
    #[error("custody holds no credential `{0}`")]
    Missing(CredentialId),
    /// The credential is not bound to the origin of the request.
    #[error("credential `{0}` is not bound to this origin")]
    WrongOrigin(CredentialId),
    /// The secret does not fit the slot that the tool declares.
    #[error("the secret of credential `{0}` does not fit a slot of this tool")]
    Unfit(CredentialId),
}

impl Refused {
    /// The reason the agent is given.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Misused { .. } => Reason::PlaceholderMisused,
            Self::Missing(_) => Reason::CredentialMissing,
            Self::WrongOrigin(_) | Self::Unfit(_) => Reason::CredentialDead,
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
        if self.watch.found_in(ask.path.as_bytes()) {
            return Err(Refused::misused("path"));
        }
        Ok(Prepared {
            headers: desk.headers()?,
            query: desk.query()?,
            body: desk.body()?,
            used: desk.entry().map(Entry::used),
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
