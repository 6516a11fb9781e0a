//! OAuth 2: tokens that an authorization server issues, for a person or for the gate itself.
//!
//! The `oauth2` crate writes and reads the grants that it has; what it lacks (pushed requests, JWT bearer, token exchange,
//! client assertions, proofs, discovery, the `iss` check) is here. Every request goes through `wire.rs`: to a declared
//! host, without redirects, bounded. What a server says in words never leaves this folder: it may be meant for a model.
//! `issuer.rs` is what the pipeline asks; `person.rs` is what a person goes through.

mod assertion;
mod authorize;
mod challenge;
mod client;
mod config;
mod device;
mod discover;
mod exchange;
mod grant;
mod introspect;
mod issuer;
mod metadata;
mod person;
mod reply;
mod revoke;
mod wire;

pub use challenge::{Challenge, challenges};
pub use config::{ClientAuth, Dpop, Endpoints, Flow, Oauth, Subject};
pub use metadata::{Metadata, ProtectedResource};
pub use reply::TokenReply;
