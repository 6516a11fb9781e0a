//! What custody may ask of the world while it obtains a token or has something signed: requests of Exeat's own.
//!
//! Custody builds requests and reads replies; it connects nowhere. The pipeline implements [`Outside`] with classified
//! addresses, without redirects, environment proxies or cookies, with a time limit and a bound on every body.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use exeat_types::{Origin, Secret};
use http::{HeaderMap, Method, StatusCode};

use crate::ClientIdentity;

/// A future of [`Outside`].
pub type Waiting<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A request of Exeat's own: to an authorization server, a token endpoint, a key service or a store.
pub struct OwnRequest {
    /// The method.
    pub method: Method,
    /// Where it goes.
    pub origin: Origin,
    /// Path and query.
    pub target: String,
    /// Header fields but those of framing; values that are secret are marked sensitive.
    pub headers: HeaderMap,
    /// The body; empty when there is none.
    pub body: Secret,
    /// The certificate that is presented to the server, if it wants one.
    pub identity: Option<Arc<ClientIdentity>>,
}

/// What came back, read to its end.
pub struct Reply {
    /// The status; a redirection is not followed.
    pub status: StatusCode,
    /// Header fields.
    pub headers: HeaderMap,
    /// The body, which is taken to be secret.
    pub body: Secret,
}

/// Why there is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoReply {
    /// The address is one that nothing may reach.
    #[error("its address may not be reached")]
    Forbidden,
    /// No connection, or TLS failed.
    #[error("it could not be reached")]
    Unreachable,
    /// It did not answer in time.
    #[error("it did not answer in time")]
    Late,
    /// The reply broke off or is no HTTP.
    #[error("its reply broke off")]
    Broken,
    /// The reply is longer than may be held.
    #[error("its reply is too large")]
    TooLarge,
}

/// The world, as far as custody sees it.
pub trait Outside: Send + Sync {
    /// Sends one request and reads the whole reply.
    fn send(&self, request: OwnRequest) -> Waiting<'_, Result<Reply, NoReply>>;

    /// The same for callers that are on no reactor, such as a [`exeat_types::Signer`] whose key lies in a service.
    ///
    /// # Errors
    /// When there is no reply.
    fn send_and_wait(&self, request: OwnRequest) -> Result<Reply, NoReply>;

    /// Waits.
    fn pause(&self, time: Duration) -> Waiting<'_, ()>;
}
