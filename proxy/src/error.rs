//! Why a connection ended before it became a request, or a door could not be opened.

use std::io;

/// A connection or a door failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client broke off or the socket failed.
    #[error("talking to the client")]
    Client(#[source] io::Error),
    /// The client did not finish in time.
    #[error("waiting for the client")]
    Slow,
    /// The client's TLS handshake failed.
    #[error("the client's TLS handshake")]
    Handshake(#[source] io::Error),
    /// No certificate could be made for the name.
    #[error("making a certificate")]
    Certificate(#[source] exeat_ca::Error),
    /// Pingora could not be set up.
    #[error("setting up Pingora")]
    Pingora(#[source] Box<pingora::Error>),
}
