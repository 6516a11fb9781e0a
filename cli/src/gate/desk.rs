//! Answers the gate's socket. Everything here is an operator's request; nothing here decides about a call. `desk/reload.rs`
//! reads everything again, `desk/receipts.rs` shows receipts.

mod connect;
mod landing;
mod receipts;
mod reload;
mod signers;

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use exeat_custody::Vault;
use exeat_ledger::{Change, Record, TokenChange};
use exeat_pipeline::Gate;
use exeat_types::{AgentId, CallId, CredentialId, Secret, Timestamp};
use serde_json::Value;
use tokio::sync::{RwLock, RwLockReadGuard, watch};

use super::{notes::PLACE, replace::Replacing, sandboxes::Sandboxes, state::State};
use crate::socket::{
    Answer, Attach, Attached, Attachment, ConnectionEntry, ConnectionQuery, DisconnectOrder,
    Exported, Failure, Handed, Lines, PolicyShown, ReceiptFilter, SecretEntry, SelfTest,
    SignerEntry, Status, TokenMade, TokenOrder, Upgraded,
};

/// The parts that exist only while a gate serves.
pub(crate) struct Running {
    pub(crate) gate: Arc<Gate>,
    pub(crate) sandboxes: Sandboxes,
    pub(crate) listeners: Vec<String>,
    pub(crate) metrics: Option<String>,
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

/// Receipts that a list shows when no limit is asked for.
const LIST_MAX: usize = 1000;
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

    fn running(&self) -> Result<&Running, Failure> {
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

    async fn entry(&self, name: &str) -> Result<Option<SecretEntry>, Failure> {
        let entries = self.entries().await?;
        Ok(entries.into_iter().find(|entry| entry.name == name))
    }

    async fn entries(&self) -> Result<Vec<SecretEntry>, Failure> {
        let list = self.in_vault(|vault| Ok(vault.list())).await?;
        Ok(list
            .into_iter()
            .filter(|entry| !entry.name.starts_with(PLACE))
            .map(|entry| SecretEntry {
                name: entry.name,
                version: entry.version,
                created: entry.created,
            })
            .collect())
    }

    /// Uses the vault on a thread that may wait for it, and for the disk.
    async fn in_vault<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Vault) -> Result<T, exeat_custody::Error> + Send + 'static,
    ) -> Result<T, Failure> {
        let state = Arc::clone(&self.state);
        let acted = tokio::task::spawn_blocking(move || act(&mut state.vault()));
        let acted = acted.await.map_err(anyhow::Error::new)?;
        Ok(acted.map_err(anyhow::Error::new)?)
    }
}

#[async_trait]
impl Answer for Desk {
    async fn status(&self) -> Result<Status, Failure> {
        let running = self.running()?;
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: self.since,
            policy: running.gate.rules().policy.digest(),
            listeners: running.listeners.clone(),
            metrics: running.metrics.clone(),
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
        Ok(PolicyShown {
            digest: policy.digest(),
            tools: policy.tools().count(),
            cedar: policy.cedar_text(),
        })
    }

    async fn receipt_export(&self, filter: ReceiptFilter, into: File) -> Result<Exported, Failure> {
        let ledger = self.state.ledger().clone();
        let filter = receipts::ledger_filter(&filter);
        let written = tokio::task::spawn_blocking(move || {
            let mut out = BufWriter::new(into);
            let records = ledger.export(&mut out, &filter)?;
            out.flush()?;
            anyhow::Ok(records)
        });
        let records = written
            .await
            .map_err(|error| Failure::from(anyhow::Error::new(error)))??;
        Ok(Exported { records })
    }

    async fn receipt_key(&self) -> Result<String, Failure> {
        Ok(self.state.ledger().key().to_string())
    }

    async fn receipt_list(&self, filter: ReceiptFilter) -> Result<Vec<Value>, Failure> {
        let ledger = self.state.ledger().clone();
        let mut filter = receipts::ledger_filter(&filter);
        filter.limit.get_or_insert(LIST_MAX);
        let list = tokio::task::spawn_blocking(move || ledger.list(&filter)).await;
        let receipts = list
            .map_err(anyhow::Error::new)?
            .map_err(anyhow::Error::new)?;
        // The ledger gives the newest first; a list that scrolls ends with it.
        receipts
            .iter()
            .rev()
            .map(|receipt| {
                serde_json::to_value(receipt)
                    .map_err(anyhow::Error::new)
                    .map_err(Failure::from)
            })
            .collect()
    }

    async fn receipt_show(&self, call: CallId) -> Result<Value, Failure> {
        let ledger = self.state.ledger().clone();
        let found = tokio::task::spawn_blocking(move || ledger.show(call))
            .await
            .map_err(anyhow::Error::new)?;
        let found = found.map_err(anyhow::Error::new)?;
        let receipt = found.ok_or_else(|| Failure::new(format!("there is no receipt `{call}`")))?;
        Ok(serde_json::to_value(receipt).map_err(anyhow::Error::new)?)
    }

    async fn secret_list(&self) -> Result<Vec<SecretEntry>, Failure> {
        self.entries().await
    }

    async fn secret_remove(&self, name: String) -> Result<SecretEntry, Failure> {
        let _turn = self.turn().await?;
        let absent = || {
            Failure::new(format!("there is no secret `{name}`"))
                .help("`exeat secret list` shows them")
        };
        let entry = self.entry(&name).await?.ok_or_else(absent)?;
        let now = self.state.clock().now();
        let removed = name.clone();
        self.in_vault(move |vault| vault.remove(&removed, now))
            .await?;
        self.secret_changed(&name, entry.version, Change::Revoked)
            .await?;
        Ok(entry)
    }

    async fn secret_set(&self, name: String, secret: Secret) -> Result<SecretEntry, Failure> {
        let _turn = self.turn().await?;
        if name.starts_with(PLACE) {
            return Err(Failure::new(format!(
                "names that begin with `{PLACE}` are the gate's own"
            )));
        }
        let now = self.state.clock().now();
        let kept = name.clone();
        let set = self.in_vault(move |vault| vault.set(&kept, &secret, now));
        let version = set.await?;
        let change = if version > 1 {
            Change::Rotated
        } else {
            Change::Created
        };
        self.secret_changed(&name, version, change).await?;
        self.entry(&name)
            .await?
            .ok_or_else(|| Failure::new("the secret was removed at once by somebody else"))
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
        let mut records = self.state.ledger().tail();
        loop {
            let entries = records.next().await.map_err(anyhow::Error::new)?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in entries {
                let Some(line) = self.line(&entry, agent.as_ref()).await? else {
                    continue;
                };
                if lines.send(line).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    async fn token_create(&self, order: TokenOrder) -> Result<TokenMade, Failure> {
        let _turn = self.turn().await?;
        let settings = self.state.settings();
        if settings.is_some_and(|settings| !settings.agents.contains_key(&order.agent)) {
            return Err(Failure::new(format!(
                "the agent `{}` is not in [agents]",
                order.agent
            )));
        }
        let made = self
            .state
            .tokens()
            .found_family()
            .map_err(anyhow::Error::new)?;
        let claim = made.claim.clone();
        let expires = self
            .state
            .clock()
            .now()
            .after(Duration::from_secs(order.life_secs));
        let change = TokenChange {
            agent: order.agent.clone(),
            change: Change::Created,
            digest: claim.digest,
            expires,
            family: claim.family.clone(),
            generation: claim.generation,
            listener: order.listener,
        };
        let durable = self.state.ledger().append(&Record::TokenChange(change));
        durable
            .done()
            .await
            .map_err(|error| Failure::from(anyhow::Error::new(error)))?;
        Ok(TokenMade {
            token: made.reveal().to_string(),
            family: claim.family,
            agent: order.agent,
            expires,
        })
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
