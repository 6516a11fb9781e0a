//! Keep secrets, build credential injections, find secrets in streams.
//!
//! Owns the master key, the vault, the credentials of one moment ([`Custody`]), placeholders, agent tokens, the software
//! signer and redaction. It never sees a policy: it is told which credential a call uses and answers how the request
//! changes. Secrets are opened here and nowhere else but in the pipeline's injection stage. Read `custody.rs`, then
//! `prepare.rs`; for storage `vault.rs`, for responses `redact/mod.rs`.

mod command;
mod credential;
mod custody;
mod desk;
mod error;
mod file;
mod inject;
mod json;
mod keyring;
mod master;
mod placeholder;
mod prepare;
pub mod redact;
mod reference;
mod seal;
mod shape;
mod signer;
pub mod token;
mod vault;

pub use credential::{CredentialSpec, Kind, Slot};
pub use custody::Custody;
pub use error::Error;
pub use keyring::{Keyring, OsKeyring};
pub use master::{Cost, MasterKey};
pub use placeholder::{Scan, Watch};
pub use prepare::{Ask, Prepared, Refused, Used};
pub use reference::{SecretRef, Stores};
pub use shape::Shape;
pub use signer::SoftwareSigner;
pub use vault::{Vault, VaultEntry};
