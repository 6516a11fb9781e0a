//! HTTP front door: accept, identify, intercept, and drive the pipeline through Pingora. It knows HTTP and TLS and
//! decides nothing: a yes comes only from [`exeat_pipeline::admit`].
//!
//! Life of a connection: `accept.rs` -> `sniff.rs` -> (`connect.rs`) -> `intercept.rs` -> `framing/` -> `stream.rs` ->
//! Pingora -> `hooks.rs` -> `peer.rs`.

mod accept;
mod connect;
mod destination;
mod door;
mod drive;
mod error;
pub mod framing;
mod here;
mod hooks;
mod identify;
mod intercept;
mod lane;
mod own;
mod peer;
mod receive;
mod refuse;
mod requests;
mod sniff;
mod stop;
mod stream;
mod target;
mod trust;
mod tunnel;
mod upgrade;
mod write;

pub use accept::Proxy;
pub use door::{Door, Mode, Options};
pub use error::Error;
