//! The local certificate authority: one root, leaves for the hosts that are inspected, bundles for clients that trust both.
//!
//! It holds the root key and signs nothing but itself and leaves. It never installs a root anywhere, never talks to the
//! network, and reads and writes only the folder it is given. Read `authority.rs` next.

mod authority;
mod bundle;
mod error;
#[cfg(test)]
mod fakes;
mod key;
mod root;
mod store;
mod truststore;

pub use authority::Authority;
pub use bundle::{SystemRoots, bundle, system_roots};
pub use error::Error;
pub use root::{Root, Sealed};
pub use store::Store;
pub use truststore::trust_store;
