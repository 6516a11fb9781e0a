//! Keep secrets, build credential injections, find secrets in streams.
//!
//! Owns the master key, the vault, the credentials of one moment ([`Custody`]), placeholders, agent tokens, signers
//! and redaction. It never sees a policy: it is told which credential a call uses and answers how the request
//! changes. Secrets are opened here and nowhere else but in the pipeline's injection stage. Read `custody.rs`, then
//! `prepare.rs`; for storage `vault.rs`, for responses `redact/mod.rs`.

mod command;
mod credential;
mod custody;
mod desk;
mod error;
mod file;
mod finish;
mod hashicorp;
mod identity;
mod inject;
mod issue;
pub mod jose;
mod json;
mod keyring;
mod live;
mod master;
mod minted;
pub mod notice;
mod outside;
mod placeholder;
mod prepare;
pub mod redact;
mod reference;
mod seal;
mod shape;
pub mod signer;
pub mod token;
mod vault;

pub use credential::{CredentialSpec, InSlots, Kind, Made, Make, Material, Signs, Slot};
pub use custody::{Custody, Loaded, Plan};
pub use error::Error;
pub use finish::sigv4::SigV4;
pub use finish::{
    Answer, BodyChange, Dpop, Draft, DraftBody, Finish, Last, Verdict, dpop, judge, signature,
};
pub use hashicorp::{VaultClient, VaultLogin, VaultPlace, VaultServer};
pub use identity::{ClientIdentity, IdentityKey, Mtls};
pub use issue::entitlement;
pub use issue::{
    Asked, Begun, Connect, Connection, Issuer, Keep, Landing, NotIssued, Pending, Presented,
    Standing, Token, Want, Way, Work, oauth,
};
pub use issue::{
    GCP_TOKEN_ENDPOINT, Gcp, GcpToken, GithubApp, Permissions, Registry, Repository, Url,
};
pub use keyring::{Keyring, OsKeyring};
pub use live::Live;
pub use master::{Cost, MasterKey};
pub use minted::{MintRule, MintedAt, MintedPart, Minting, Rewritten};
pub use outside::{NoReply, Outside, OwnRequest, Reply, Waiting};
pub use placeholder::{Scan, Watch, thumbprint};
pub use prepare::{Ask, Prepared, Refused, Used};
pub use reference::{Sealed, SecretRef, Stores};
pub use shape::Shape;
pub use signer::{Devices, NewKey, Opening, SignerKind, SoftwareKey, SoftwareSigner};
pub use vault::{Vault, VaultEntry};
