//! The words of the gate's socket: requests and what comes back, by theme in the files below. No value in here is a
//! secret, but for a fresh agent token and a one-time code, which are shown once.

mod access;
mod credentials;
mod receipts;
mod rules;
mod sandbox;

use std::path::PathBuf;

use exeat_pipeline::Order;
use exeat_types::{AgentId, ApprovalId, CallId, CredentialId, Digest, Timestamp};
use serde::{Deserialize, Serialize};

use super::approvals::ApprovalOrder;
pub(crate) use access::{Device, Enrolling, TokenMade, TokenOrder};
pub(crate) use credentials::{
    ConnectStep, ConnectionEntry, ConnectionQuery, DisconnectOrder, SecretEntry, SignerEntry,
};
pub(crate) use receipts::{AskedCall, Exported, PastCall, PastEnd, ReceiptFilter};
pub(crate) use rules::{BudgetEntry, GrantAnswer, GrantOrder, PolicyShown, PolicyTexts};
pub(crate) use sandbox::{Attach, Attached, Hold, SelfTest, Signing, SigningFormat, Summary};

/// What a client asks of the gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Who runs, on what.
    Status {},
    /// Serve a sandbox whose listeners come as descriptors, until this connection closes.
    Attach(Attach),
    /// Budgets and what they have come to.
    BudgetList {},
    /// Set a limit below what policy says.
    BudgetSet {
        /// Of which budget.
        budget: String,
        /// The limit as people write it; nothing takes back what was set.
        limit: Option<String>,
    },
    /// Every agent that is known.
    AgentList {},
    /// Refuse whatever an agent asks for.
    AgentPause {
        /// Which.
        agent: AgentId,
    },
    /// Let an agent go on.
    AgentResume {
        /// Which.
        agent: AgentId,
    },
    /// What waits for a human, and what was answered of late.
    ApprovalList {},
    /// One question in full.
    ApprovalShow {
        /// Which.
        id: ApprovalId,
    },
    /// An operator's answer.
    ApprovalAnswer(ApprovalOrder),
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
    /// The passkeys that may approve.
    ConsoleDevices {},
    /// A one-time code with which a browser enrols a passkey.
    ConsoleEnroll {
        /// Whose it will be.
        user: String,
    },
    /// Give back what a person granted.
    Disconnect(DisconnectOrder),
    /// What persons have granted.
    ConnectionList(ConnectionQuery),
    /// The policy in force.
    PolicyShow {},
    /// The texts that the policy in force was compiled from.
    PolicySources {},
    /// Ask for capabilities in the name of an agent.
    CapabilityAsk {
        /// Who may use them.
        agent: AgentId,
        /// What.
        order: Order,
    },
    /// Capability requests and grants.
    CapabilityList {},
    /// Answer a capability request, or take a grant back.
    GrantAnswer(GrantOrder),
    /// Calls as their receipts and captures tell them, newest first.
    Past(ReceiptFilter),
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
    /// Where people answer and look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) console: Option<String>,
    /// The port that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) console_port: Option<u16>,
    /// Sandboxes it serves.
    pub(crate) sandboxes: usize,
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
