//! What the console needs of the rest of the gate, and cannot know by itself. The binary implements it.

use async_trait::async_trait;
use exeat_types::{AgentId, CredentialId, Timestamp};
use serde::Serialize;

/// Why something was not done, in words for a page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{problem}")]
pub struct Failed {
    /// What happened, to what.
    pub problem: String,
    /// What to do next.
    pub help: Option<String>,
}

/// A credential without its value.
#[derive(Debug, Clone, Serialize)]
pub struct CredentialShown {
    /// Its name.
    pub id: CredentialId,
    /// Its kind, such as `bearer`.
    pub kind: String,
    /// The origins that it is bound to.
    pub origins: Vec<String>,
    /// `ready`, `absent`, `dead` and so on.
    pub state: String,
    /// Whether a person grants it in a browser.
    pub connects: bool,
    /// Counts its changes; nothing where nothing is kept.
    pub version: Option<u32>,
    /// Tells two versions apart, and says nothing else.
    pub thumbprint: Option<String>,
    /// What a person granted, if one did.
    pub connection: Option<ConnectionShown>,
}

/// What a person granted, without any token.
#[derive(Debug, Clone, Serialize)]
pub struct ConnectionShown {
    /// Who granted it.
    pub issuer: String,
    /// What was granted.
    pub scopes: Vec<String>,
    /// What servers asked for besides.
    pub wanted: Vec<String>,
    /// When the last token was obtained.
    pub obtained: Option<Timestamp>,
    /// When that ends.
    pub expires: Option<Timestamp>,
    /// Whether it is renewed without a person.
    pub renews: bool,
}

/// Where a person has to agree.
#[derive(Debug, Clone, Serialize)]
pub struct Visit {
    /// The page of the issuer.
    pub url: String,
    /// What to type there, if anything.
    pub code: Option<String>,
    /// What is asked for.
    pub scopes: Vec<String>,
}

/// What becomes of a credential whose issuer cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forget {
    /// It is kept, and that is a failure.
    WhenTold,
    /// It is forgotten here all the same.
    InAnyCase,
}

/// An agent of the configuration.
#[derive(Debug, Clone, Serialize)]
pub struct AgentDeclared {
    /// Its name.
    pub id: AgentId,
    /// The groups it belongs to.
    pub groups: Vec<String>,
    /// Sandboxes in which it runs at this moment.
    pub sandboxes: usize,
}

/// The gate, as it runs.
#[derive(Debug, Clone, Serialize)]
pub struct Health {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it began.
    pub since: Timestamp,
    /// Where it listens.
    pub listeners: Vec<ListenerShown>,
    /// What was looked at, and what was found.
    pub checks: Vec<Check>,
}

/// A socket of the gate.
#[derive(Debug, Clone, Serialize)]
pub struct ListenerShown {
    /// What is spoken there.
    pub purpose: String,
    /// Its address.
    pub address: String,
}

/// Something that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// How it is.
    pub state: CheckState,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckState {
    /// As it should be.
    Fine,
    /// Weaker than it could be.
    Weak,
    /// Broken.
    Broken,
}

/// The rest of the gate.
#[async_trait]
pub trait Operator: Send + Sync {
    /// Every agent that is declared.
    async fn agents(&self) -> Result<Vec<AgentDeclared>, Failed>;
    /// Every credential that is declared.
    async fn credentials(&self) -> Result<Vec<CredentialShown>, Failed>;
    /// Has a person grant a credential: says where, and waits for them elsewhere.
    async fn connect(&self, credential: CredentialId) -> Result<Visit, Failed>;
    /// Gives back what a person granted.
    async fn disconnect(&self, credential: CredentialId, forget: Forget) -> Result<(), Failed>;
    /// Sets the most that a budget may come to, below what policy says; nothing takes that back. The limit is written as
    /// people write it, such as `3.00 USD`.
    async fn set_budget(
        &self,
        budget: String,
        limit: Option<String>,
        by: &str,
    ) -> Result<(), Failed>;
    /// How the gate is.
    async fn health(&self) -> Result<Health, Failed>;
}
