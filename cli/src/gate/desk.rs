//! Answers the gate's socket. Everything here is an operator's request; nothing here decides about a call. The
//! files below do what takes more than a line; `desk/reload.rs` reads everything again.

mod approvals;
mod budgets;
mod connect;
mod landing;
mod passkeys;
mod past;
mod receipts;
mod reload;
mod requests;
mod secrets;
mod signers;
mod tokens;

use std::{fs::File, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use exeat_ledger::Record;
use exeat_pipeline::{Gate, Order};
use exeat_types::{AgentId, ApprovalId, CallId, CredentialId, Seal, Secret, Timestamp};
use serde_json::Value;
use tokio::sync::{RwLock, RwLockReadGuard, watch};

pub(crate) use passkeys::Door;

use super::{replace::Replacing, sandboxes::Sandboxes, state::State};
use crate::settings::{Listener, Mode};
use crate::socket::{
    AgentEntry, Answer, ApprovalOrder, ApprovalShown, Attach, Attached, Attachment, BudgetEntry,
    ConnectionEntry, ConnectionQuery, Device, DisconnectOrder, Enrolling, Exported, Failure,
    GrantOrder, Handed, Lines, PolicyShown, PolicyTexts, ReceiptFilter, SecretEntry, SelfTest,
    SignerEntry, Status, TokenMade, TokenOrder, Upgraded,
};

/// The parts that exist only while a gate serves.
pub(crate) struct Running {
    pub(crate) gate: Arc<Gate>,
    pub(crate) sandboxes: Sandboxes,
    pub(crate) listeners: Vec<String>,
    pub(crate) metrics: Option<String>,
    pub(crate) console: Option<Door>,
    pub(crate) replacing: Replacing,
}

/// Answers for one data folder.
pub(crate) struct Desk {
    state: Arc<State>,
    running: Option<Running>,
    since: Timestamp,
    /// Held while rules are read and replaced: of two reloads the later must win, or an old secret comes back.
    reloading: tokio::sync::Mutex<()>,
    /// Read while something is changed; written while the gate is replaced, so that nothing changes meanwhile.
    standing: RwLock<Standing>,
}

/// Whether this is still the gate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Serving,
    Replaced,
}

/// Checks that one self-test may name.
const CHECKS_MAX: usize = 256;

impl Desk {
    pub(crate) fn new(state: Arc<State>, running: Option<Running>) -> Self {
        let since = state.clock().now();
        Self {
            state,
            running,
            since,
            reloading: tokio::sync::Mutex::default(),
            standing: RwLock::new(Standing::Serving),
        }
    }

    pub(super) const fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Why nothing may be granted on the command line, if so.
    ///
    /// SECURITY: the socket belongs to whoever runs the gate. Who comes in unsealed may run as the same user and reach it,
    /// in its own name or in that of a sealed agent: `exeat run --agent` is open to it.
    fn not_here(&self) -> Option<&'static str> {
        let Some(settings) = self.state.settings() else {
            return Some("there is no configuration");
        };
        let is_open =
            |listener: &Listener| listener.mode != Mode::Dns && listener.seal == Seal::None;
        settings
            .listeners
            .iter()
            .any(is_open)
            .then_some("a listener lets in who is not sealed, and could have answered itself")
    }

    fn console(&self) -> Result<&Door, Failure> {
        let none = || Failure::new("this gate has no console").help("declare `[console]`");
        self.running()?.console.as_ref().ok_or_else(none)
    }

    pub(super) fn running(&self) -> Result<&Running, Failure> {
        let none =
            || Failure::new("no gate runs on this data folder").help("start it with `exeat serve`");
        self.running.as_ref().ok_or_else(none)
    }

    /// Whether clients have to wait outside.
    pub(crate) fn door(&self) -> watch::Receiver<bool> {
        match &self.running {
            Some(running) => running.replacing.door.subscribe(),
            None => watch::channel(false).1,
        }
    }

    /// Nothing may be changed while the gate is replaced, or by one that was.
    async fn turn(&self) -> Result<RwLockReadGuard<'_, Standing>, Failure> {
        let standing = self.standing.read().await;
        if *standing == Standing::Replaced {
            return Err(replaced());
        }
        Ok(standing)
    }
}

#[async_trait]
impl Answer for Desk {
    async fn agent_list(&self) -> Result<Vec<AgentEntry>, Failure> {
        self.agents()
    }

    async fn agent_pause(&self, agent: AgentId) -> Result<AgentEntry, Failure> {
        self.paused(agent).await
    }

    async fn agent_resume(&self, agent: AgentId) -> Result<AgentEntry, Failure> {
        self.resumed(agent).await
    }

    async fn approval_list(&self) -> Result<Vec<ApprovalShown>, Failure> {
        self.listed()
    }

    async fn approval_show(&self, id: ApprovalId) -> Result<ApprovalShown, Failure> {
        self.question(&id)
    }

    async fn approval_answer(&self, order: ApprovalOrder) -> Result<ApprovalShown, Failure> {
        self.answered(order).await
    }

    async fn status(&self) -> Result<Status, Failure> {
        let running = self.running()?;
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: self.since,
            policy: running.gate.rules().policy.digest(),
            listeners: running.listeners.clone(),
            metrics: running.metrics.clone(),
            console: running
                .console
                .as_ref()
                .map(|door| door.origin.text().to_owned()),
            console_port: running.console.as_ref().map(|door| door.port),
            sandboxes: *running.sandboxes.count().borrow(),
        })
    }

    async fn attach(
        &self,
        attach: Attach,
        handed: Handed,
    ) -> Result<(Attached, Attachment), Failure> {
        let _turn = self.turn().await?;
        let settings = self.state.settings();
        if settings.is_some_and(|settings| !settings.agents.contains_key(&attach.agent)) {
            // It may have been added just now.
            self.reload().await;
        }
        self.running()?.sandboxes.attach(&attach, handed)
    }

    async fn ca_init(&self) -> Result<String, Failure> {
        let _turn = self.turn().await?;
        if self.state.ca()?.is_some() {
            return Err(
                Failure::new("there is a root already").help("`exeat ca rotate` makes a new one")
            );
        }
        Ok(self.state.ca_init()?.current().certificate_pem())
    }

    async fn ca_rotate(&self) -> Result<String, Failure> {
        let _turn = self.turn().await?;
        let rotated = self.state.ca_rotate();
        // A rotation that could not clear up behind itself has happened all the same.
        self.state.renew_root()?;
        Ok(rotated?.current().certificate_pem())
    }

    async fn connect(
        &self,
        credential: CredentialId,
        scopes: Vec<String>,
        lines: Lines,
    ) -> Result<(), Failure> {
        self.connected(credential, scopes, &lines).await
    }

    async fn disconnect(&self, order: DisconnectOrder) -> Result<ConnectionEntry, Failure> {
        self.disconnected(order).await
    }

    async fn connections(&self, query: ConnectionQuery) -> Result<Vec<ConnectionEntry>, Failure> {
        self.connected_all(query).await
    }

    async fn policy_show(&self) -> Result<PolicyShown, Failure> {
        let policy = Arc::clone(&self.running()?.gate.rules().policy);
        Ok(PolicyShown::of(&policy))
    }

    async fn request_ask(&self, agent: AgentId, order: Order) -> Result<Value, Failure> {
        self.request_asked(agent, order).await
    }

    async fn request_list(&self) -> Result<Vec<Value>, Failure> {
        self.requests_listed()
    }

    async fn grant_answer(&self, order: GrantOrder) -> Result<Value, Failure> {
        self.grant_answered(order).await
    }

    async fn policy_sources(&self) -> Result<PolicyTexts, Failure> {
        Ok(past::texts(&self.running()?.gate.rules().policy))
    }

    async fn past(&self, filter: ReceiptFilter, lines: Lines) -> Result<(), Failure> {
        self.past_calls(filter, &lines).await
    }

    async fn receipt_export(&self, filter: ReceiptFilter, into: File) -> Result<Exported, Failure> {
        self.exported(filter, into).await
    }

    async fn receipt_key(&self) -> Result<String, Failure> {
        Ok(self.state.ledger().key().to_string())
    }

    async fn receipt_list(&self, filter: ReceiptFilter) -> Result<Vec<Value>, Failure> {
        self.receipts(filter).await
    }

    async fn receipt_show(&self, call: CallId) -> Result<Value, Failure> {
        self.receipt(call).await
    }

    async fn secret_list(&self) -> Result<Vec<SecretEntry>, Failure> {
        self.entries().await
    }

    async fn secret_remove(&self, name: String) -> Result<SecretEntry, Failure> {
        self.secret_removed(name).await
    }

    async fn secret_set(&self, name: String, secret: Secret) -> Result<SecretEntry, Failure> {
        self.secret_kept(name, secret).await
    }

    async fn self_test(&self, test: SelfTest) -> Result<(), Failure> {
        let names = [&test.passed, &test.failed].map(Vec::len);
        if names.iter().sum::<usize>() > CHECKS_MAX {
            return Err(Failure::new("more checks than there are"));
        }
        let record = Record::SelfTest(exeat_ledger::SelfTest {
            agent: test.agent,
            failed: test.failed,
            passed: test.passed,
        });
        let durable = self.state.ledger().append(&record);
        let written = durable.done().await.map_err(anyhow::Error::new);
        Ok(written.map(|_| ())?)
    }

    async fn console_devices(&self) -> Result<Vec<Device>, Failure> {
        Ok(self.console()?.devices(self.state.ledger()))
    }

    async fn console_enroll(&self, user: String) -> Result<Enrolling, Failure> {
        let _turn = self.turn().await?;
        let now = self.state.clock().now();
        self.console()?.enroll(self.state.ledger(), &user, now)
    }

    async fn budgets(&self) -> Result<Vec<BudgetEntry>, Failure> {
        Ok(budgets::list(&self.running()?.gate))
    }

    async fn budget_set(
        &self,
        budget: String,
        limit: Option<String>,
    ) -> Result<BudgetEntry, Failure> {
        let _turn = self.turn().await?;
        budgets::set(&self.running()?.gate, &budget, limit.as_deref()).await
    }

    async fn signers(&self) -> Result<Vec<SignerEntry>, Failure> {
        let state = Arc::clone(&self.state);
        let listed = tokio::task::spawn_blocking(move || signers::list(&state));
        listed.await.map_err(anyhow::Error::new)?
    }

    async fn signer_create(&self, name: String, algorithm: String) -> Result<SignerEntry, Failure> {
        let _turn = self.turn().await?;
        let state = Arc::clone(&self.state);
        let made = tokio::task::spawn_blocking(move || signers::create(&state, &name, &algorithm));
        let made = made.await.map_err(anyhow::Error::new)??;
        self.reload().await;
        Ok(made)
    }

    async fn tail(&self, agent: Option<AgentId>, lines: Lines) -> Result<(), Failure> {
        self.tailed(agent.as_ref(), &lines).await
    }

    async fn token_create(&self, order: TokenOrder) -> Result<TokenMade, Failure> {
        self.token_made(order).await
    }

    async fn upgrade(&self, program: PathBuf) -> Result<Upgraded, Failure> {
        let running = self.running()?;
        let _door = running.replacing.hold_door();
        let mut standing = self.standing.write().await;
        if *standing == Standing::Replaced {
            return Err(replaced());
        }
        let (gate, roll) = ((&running.gate, &self.state), running.sandboxes.roll());
        let upgraded = running.replacing.replace(program, gate, roll).await?;
        *standing = Standing::Replaced;
        Ok(upgraded)
    }
}

fn replaced() -> Failure {
    Failure::new("another gate took over at this moment").help("do it again")
}
