//! What the gate does for its socket, as a trait: the running gate implements it, and so does the short-lived one that a
//! command opens when none runs.

use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use exeat_pipeline::Order;
use exeat_types::{AgentId, ApprovalId, CallId, CredentialId, Secret};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

use super::approvals::{AgentEntry, ApprovalOrder, ApprovalShown};
use super::protocol::{
    Attach, Attached, BudgetEntry, ConnectionEntry, ConnectionQuery, Device, DisconnectOrder,
    Enrolling, Exported, GrantOrder, PolicyShown, PolicyTexts, ReceiptFilter, SecretEntry,
    SelfTest, SignerEntry, Status, Summary, TokenMade, TokenOrder, Upgraded,
};

/// What the gate can do for a client. Each method runs to its end, even if the client goes, but for `tail`.
#[async_trait::async_trait]
pub(crate) trait Answer: Send + Sync {
    /// Who runs, on what.
    async fn status(&self) -> Result<Status, Failure>;
    /// Serves a sandbox until the attachment is dropped, which happens when the client goes.
    async fn attach(
        &self,
        attach: Attach,
        handed: Handed,
    ) -> Result<(Attached, Attachment), Failure>;
    /// Makes the first root and returns its certificate, PEM; refuses when there is one.
    async fn ca_init(&self) -> Result<String, Failure>;
    /// Makes a new root and returns its certificate, PEM.
    async fn ca_rotate(&self) -> Result<String, Failure>;
    /// Has a person grant a credential, and sends the steps; cancelled when the client goes.
    async fn connect(
        &self,
        credential: CredentialId,
        scopes: Vec<String>,
        lines: Lines,
    ) -> Result<(), Failure>;
    /// The passkeys that may approve.
    async fn console_devices(&self) -> Result<Vec<Device>, Failure>;
    /// A one-time code with which a browser enrols a passkey.
    async fn console_enroll(&self, user: String) -> Result<Enrolling, Failure>;
    /// Gives back what a person granted, and returns what it was.
    async fn disconnect(&self, order: DisconnectOrder) -> Result<ConnectionEntry, Failure>;
    /// What persons have granted; each issuer is asked when the query says so.
    async fn connections(&self, query: ConnectionQuery) -> Result<Vec<ConnectionEntry>, Failure>;
    /// The policy in force.
    async fn policy_show(&self) -> Result<PolicyShown, Failure>;
    /// The texts that the policy in force was compiled from.
    async fn policy_sources(&self) -> Result<PolicyTexts, Failure>;
    /// Asks for capabilities in the name of an agent.
    async fn request_ask(&self, agent: AgentId, order: Order) -> Result<Value, Failure>;
    /// Capability requests and grants.
    async fn request_list(&self) -> Result<Vec<Value>, Failure>;
    /// Answers a capability request, or takes a grant back.
    async fn grant_answer(&self, order: GrantOrder) -> Result<Value, Failure>;
    /// Sends calls of the past, newest first; cancelled when the client goes.
    async fn past(&self, filter: ReceiptFilter, lines: Lines) -> Result<(), Failure>;
    /// Writes records and checkpoints, as JSON lines, for offline verification.
    async fn receipt_export(&self, filter: ReceiptFilter, into: File) -> Result<Exported, Failure>;
    /// The public key that verifies receipts, as one line of text.
    async fn receipt_key(&self) -> Result<String, Failure>;
    /// Every agent that is known.
    async fn agent_list(&self) -> Result<Vec<AgentEntry>, Failure>;
    /// Pauses an agent.
    async fn agent_pause(&self, agent: AgentId) -> Result<AgentEntry, Failure>;
    /// Lets an agent go on.
    async fn agent_resume(&self, agent: AgentId) -> Result<AgentEntry, Failure>;
    /// What waits for a human, and what was answered of late.
    async fn approval_list(&self) -> Result<Vec<ApprovalShown>, Failure>;
    /// One question in full.
    async fn approval_show(&self, id: ApprovalId) -> Result<ApprovalShown, Failure>;
    /// An operator's answer.
    async fn approval_answer(&self, order: ApprovalOrder) -> Result<ApprovalShown, Failure>;
    /// Receipts that match, newest last.
    async fn receipt_list(&self, filter: ReceiptFilter) -> Result<Vec<Value>, Failure>;
    /// One receipt in full.
    async fn receipt_show(&self, call: CallId) -> Result<Value, Failure>;
    /// Sealed secrets, without their values.
    async fn secret_list(&self) -> Result<Vec<SecretEntry>, Failure>;
    /// Forgets a sealed secret; returns what was forgotten.
    async fn secret_remove(&self, name: String) -> Result<SecretEntry, Failure>;
    /// Seals a secret, as a new version if the name is known.
    async fn secret_set(&self, name: String, secret: Secret) -> Result<SecretEntry, Failure>;
    /// Writes what a test of a sandbox found into the ledger.
    async fn self_test(&self, test: SelfTest) -> Result<(), Failure>;
    /// Every budget, and what it has come to.
    async fn budgets(&self) -> Result<Vec<BudgetEntry>, Failure>;
    /// Sets a limit of a budget below what policy says.
    async fn budget_set(
        &self,
        budget: String,
        limit: Option<String>,
    ) -> Result<BudgetEntry, Failure>;
    /// Every signer of the configuration.
    async fn signers(&self) -> Result<Vec<SignerEntry>, Failure>;
    /// Makes the key of a signer; refuses when there is one.
    async fn signer_create(&self, name: String, algorithm: String) -> Result<SignerEntry, Failure>;
    /// Sends receipts as they are closed; cancelled when the client goes.
    async fn tail(&self, agent: Option<AgentId>, lines: Lines) -> Result<(), Failure>;
    /// Makes an agent token.
    async fn token_create(&self, order: TokenOrder) -> Result<TokenMade, Failure>;
    /// Hands everything to another program, which is the gate from then on.
    async fn upgrade(&self, program: PathBuf) -> Result<Upgraded, Failure>;
}

/// Keeps a sandbox served; dropping it ends that.
pub(crate) type Attachment = Box<dyn Served>;

/// A sandbox that is served.
#[async_trait::async_trait]
pub(crate) trait Served: Send + Sync {
    /// What came through it, once its calls have ended or a moment has passed. Nothing when another gate serves it.
    async fn summary(&self) -> Option<Summary>;
}

/// The listeners of a sandbox.
pub(crate) struct Handed {
    /// A copy of the client's end of the conversation.
    pub(crate) client: OwnedFd,
    /// The explicit proxy, TCP.
    pub(crate) explicit: OwnedFd,
    /// Names over UDP.
    pub(crate) dns_udp: OwnedFd,
    /// Names over TCP.
    pub(crate) dns_tcp: OwnedFd,
    /// Redirected HTTP, TCP.
    pub(crate) http: Vec<OwnedFd>,
    /// Redirected TLS, TCP.
    pub(crate) https: Vec<OwnedFd>,
}

impl Handed {
    /// Every descriptor, in the order in which another gate takes them: the client's end first.
    pub(crate) fn all(&self) -> Vec<BorrowedFd<'_>> {
        let first = [&self.client, &self.explicit, &self.dns_udp, &self.dns_tcp];
        let all = first.into_iter().chain(&self.http).chain(&self.https);
        all.map(AsFd::as_fd).collect()
    }

    /// Sorts descriptors that came in the order [`Attach`] names.
    pub(crate) fn sort(
        attach: &Attach,
        client: OwnedFd,
        descriptors: Vec<OwnedFd>,
    ) -> Option<Self> {
        let expected = attach.http.checked_add(attach.https)?.checked_add(3)?;
        if descriptors.len() != expected {
            return None;
        }
        let mut rest = descriptors.into_iter();
        let (explicit, dns_udp, dns_tcp) = (rest.next()?, rest.next()?, rest.next()?);
        let http = rest.by_ref().take(attach.http).collect();
        Some(Self {
            client,
            explicit,
            dns_udp,
            dns_tcp,
            http,
            https: rest.collect(),
        })
    }
}

/// Why the gate did not do it, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
#[serde(deny_unknown_fields)]
pub(crate) struct Failure {
    /// What went wrong, causes included.
    pub(crate) message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) help: Option<String>,
}

impl Failure {
    /// Says what went wrong.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
        }
    }

    /// Says what to do about it.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Joins an error and its causes with colons.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(format!("{error:#}"))
    }
}

/// The client went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client went away")]
pub(crate) struct Gone;

/// Where `tail` puts its lines; bounded, so that a slow reader slows only its own tail.
#[derive(Clone)]
pub(crate) struct Lines(pub(super) mpsc::Sender<Value>);

impl Lines {
    /// Lines for somebody in this process.
    pub(crate) const fn new(to: mpsc::Sender<Value>) -> Self {
        Self(to)
    }

    /// Sends one line.
    ///
    /// # Errors
    /// When the client went away.
    pub(crate) async fn send(&self, line: Value) -> Result<(), Gone> {
        self.0.send(line).await.map_err(|_unsent| Gone)
    }
}
