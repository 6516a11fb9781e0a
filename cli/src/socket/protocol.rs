//! The words of the gate's socket: requests and what comes back. No value in here is a secret, but for a fresh agent
//! token, which is shown once.

use std::{collections::BTreeMap, path::PathBuf};

use exeat_types::{AgentId, CallId, CredentialId, Digest, FamilyId, Timestamp};
use serde::{Deserialize, Serialize};

/// What a client asks of the gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Who runs, on what.
    Status {},
    /// Serve a sandbox whose listeners come as descriptors, until this connection closes.
    Attach(Attach),
    /// Make the first root.
    CaInit {},
    /// Make a new root; the old one stays trusted for an overlap.
    CaRotate {},
    /// Have a person grant a credential; steps come until it is granted.
    Connect {
        /// Which.
        credential: CredentialId,
        /// Scopes to ask for besides those that are declared.
        scopes: Vec<String>,
    },
    /// Give back what a person granted.
    Disconnect(DisconnectOrder),
    /// What persons have granted.
    ConnectionList(ConnectionQuery),
    /// The policy in force.
    PolicyShow {},
    /// Write receipts and checkpoints to the descriptor that comes along.
    ReceiptExport(ReceiptFilter),
    /// The public key that verifies receipts.
    ReceiptKey {},
    /// Receipts, newest last.
    ReceiptList(ReceiptFilter),
    /// One receipt in full.
    ReceiptShow {
        /// Which.
        call: CallId,
    },
    /// Names and versions of sealed secrets.
    SecretList {},
    /// Forget a sealed secret.
    SecretRemove {
        /// Which.
        name: String,
    },
    /// Seal the secret that can be read from the descriptor that comes along.
    SecretSet {
        /// Under which name.
        name: String,
    },
    /// Keep what a test of a sandbox found.
    SelfTest(SelfTest),
    /// Signers and their public keys.
    SignerList {},
    /// Make the key of a signer.
    SignerCreate {
        /// Which.
        name: String,
        /// What it signs with, by its JOSE name.
        algorithm: String,
    },
    /// Receipts as they are closed, until the client goes.
    Tail {
        /// Only of this agent.
        agent: Option<AgentId>,
    },
    /// Make an agent token.
    TokenCreate(TokenOrder),
    /// Hand everything to another program.
    Upgrade {
        /// Which; an absolute path.
        program: PathBuf,
    },
}

/// A sandbox that wants to be served. Its listeners come as descriptors in this order: explicit proxy, DNS over UDP,
/// DNS over TCP, then `http` redirected HTTP listeners and `https` redirected TLS listeners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Attach {
    /// Who runs in it.
    pub(crate) agent: AgentId,
    /// How it is to be held.
    pub(crate) hold: Hold,
    /// The rules that the client takes to be in force; a gate that has others does not serve it.
    pub(crate) policy: PathBuf,
    /// How many listeners take redirected HTTP.
    pub(crate) http: usize,
    /// How many listeners take redirected TLS.
    pub(crate) https: usize,
}

/// How an agent is held; `exeat_types::Regime` says what that means. Until when one is observed, the gate decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Hold {
    /// As the rules say.
    Declared,
    /// What needs no credential passes too, for a while.
    Observed,
    /// As the rules say, and nothing passes unread.
    Strict,
}

/// What came through a sandbox that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Summary {
    /// Different hosts that calls went to.
    pub(crate) hosts: u64,
    /// Requests, refused ones among them.
    pub(crate) requests: u64,
    /// Requests that were refused.
    pub(crate) refused: u64,
    /// Calls whose receipt is not closed yet.
    pub(crate) open: u64,
    /// What was paid, by unit.
    pub(crate) spent: BTreeMap<String, u64>,
}

/// What a served sandbox needs inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Attached {
    /// The root of this sandbox, PEM.
    pub(crate) root_pem: String,
    /// The system's roots and this one, PEM, for clients that replace their roots.
    pub(crate) bundle_pem: String,
    /// Variables that hold placeholders, by name.
    pub(crate) variables: BTreeMap<String, String>,
    /// Until when the agent is observed, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) observed_until: Option<Timestamp>,
    /// Tools that sign commits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) signing: Vec<Signing>,
}

/// A tool that signs commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Signing {
    /// The form of its signatures.
    pub(crate) format: SigningFormat,
    /// Where it is called.
    pub(crate) url: String,
    /// The public half of its key, for SSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) public_key: Option<String>,
}

/// The forms of signatures, as git calls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SigningFormat {
    /// OpenPGP.
    Openpgp,
    /// SSH.
    Ssh,
}

/// Which receipts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ReceiptFilter {
    /// Of this agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) agent: Option<AgentId>,
    /// Of this tool; `github.*` means every tool below `github`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tool: Option<String>,
    /// Accepted at or after this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Timestamp>,
    /// Accepted before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<Timestamp>,
    /// Only refused calls, or only admitted ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<bool>,
    /// At most so many, the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<u32>,
}

/// A gate that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Status {
    /// Its version.
    pub(crate) version: String,
    /// Its process.
    pub(crate) pid: u32,
    /// When it began.
    pub(crate) since: Timestamp,
    /// The policy in force.
    pub(crate) policy: Digest,
    /// Its bound addresses, in the order of the configuration, ports known.
    pub(crate) listeners: Vec<String>,
    /// Where metrics are served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metrics: Option<String>,
    /// Sandboxes it serves.
    pub(crate) sandboxes: usize,
}

/// What was tried from inside a sandbox, by the stable names of the checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct SelfTest {
    /// Whose sandbox it was.
    pub(crate) agent: AgentId,
    /// What held.
    pub(crate) passed: Vec<String>,
    /// What did not.
    pub(crate) failed: Vec<String>,
}

/// A sealed secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct SecretEntry {
    /// Its name.
    pub(crate) name: String,
    /// Counts its changes.
    pub(crate) version: u32,
    /// When this version was stored.
    pub(crate) created: Timestamp,
}

/// What is to be given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct DisconnectOrder {
    /// Which.
    pub(crate) credential: CredentialId,
    /// Whether it is forgotten even if its issuer cannot be told.
    pub(crate) forget: bool,
}

/// What is asked of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ConnectionQuery {
    /// Whether each issuer is asked if it still holds.
    pub(crate) ask: bool,
}

/// A step on the way to a granted credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub(crate) enum ConnectStep {
    /// A person has to agree there.
    #[serde(rename_all = "kebab-case")]
    Visit {
        /// The page.
        url: String,
        /// What to type there, if anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// The same page with the code filled in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        whole_url: Option<String>,
        /// What is asked for.
        scopes: Vec<String>,
    },
    /// It is granted.
    Connected(ConnectionEntry),
}

/// What a person granted, without any token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ConnectionEntry {
    /// The credential.
    pub(crate) credential: CredentialId,
    /// `absent`, `live`, `ended`, `revoked` or `dead`.
    pub(crate) state: String,
    /// Who granted it.
    pub(crate) issuer: String,
    /// What was granted.
    pub(crate) scopes: Vec<String>,
    /// What servers asked for besides; the next connect asks for it.
    pub(crate) wanted: Vec<String>,
    /// When the last token was obtained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) obtained: Option<Timestamp>,
    /// When that ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<Timestamp>,
    /// Whether it is renewed without a person.
    pub(crate) renews: bool,
    /// Whether tokens are bound to a key.
    pub(crate) bound: bool,
    /// What its issuer says, if it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) active: Option<bool>,
}

/// A signer, and its public key when it can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct SignerEntry {
    /// Its name.
    pub(crate) name: String,
    /// Where its key lies.
    pub(crate) kind: String,
    /// What it signs with, by its JOSE name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) algorithm: Option<String>,
    /// Its public key as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pem: Option<String>,
    /// Its public key as a line of OpenSSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ssh: Option<String>,
    /// Its public key as a JSON Web Key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) jwk: Option<serde_json::Value>,
    /// Why it cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// The policy in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct PolicyShown {
    /// Its digest, as receipts name it.
    pub(crate) digest: Digest,
    /// How many tools it knows.
    pub(crate) tools: usize,
    /// What its rules compiled to.
    pub(crate) cedar: String,
}

/// Which token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct TokenOrder {
    /// For whom.
    pub(crate) agent: AgentId,
    /// For how long, in seconds.
    pub(crate) life_secs: u64,
    /// The listener address it is good on; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) listener: Option<String>,
}

/// A fresh token. It has no `Debug`, as `token` is a bearer secret that is shown to the operator once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct TokenMade {
    /// The token itself.
    pub(crate) token: String,
    /// The family it belongs to, by which it is revoked.
    pub(crate) family: FamilyId,
    /// For whom.
    pub(crate) agent: AgentId,
    /// Until when.
    pub(crate) expires: Timestamp,
}

/// A gate that another has taken the place of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Upgraded {
    /// The process that was the gate, and ends when its calls have.
    pub(crate) before: u32,
    /// The gate.
    pub(crate) now: Status,
    /// For how long calls waited, in milliseconds.
    pub(crate) waited_ms: u64,
}

/// What an export wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Exported {
    /// How many records.
    pub(crate) records: u64,
}
