//! Answers the gate's socket. Everything here is an operator's request; nothing here decides about a call.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use async_trait::async_trait;
use exeat_ledger::{Change, CredentialChange, Decision, Entry, Filter, Kind, Record, TokenChange};
use exeat_pipeline::Gate;
use exeat_types::{AgentId, CallId, CredentialId, Secret, Timestamp};
use serde_json::Value;

use super::{sandboxes::Sandboxes, state::State};
use crate::{
    settings::Settings,
    socket::{
        Answer, Attach, Attached, Attachment, Exported, Failure, Handed, Lines, PolicyShown,
        ReceiptFilter, SecretEntry, Status, TokenMade, TokenOrder,
    },
};

/// The parts that exist only while a gate serves.
pub(crate) struct Running {
    pub(crate) gate: Arc<Gate>,
    pub(crate) sandboxes: Sandboxes,
    pub(crate) listeners: Vec<String>,
    pub(crate) metrics: Option<String>,
}

/// Answers for one data folder.
pub(crate) struct Desk {
    state: Arc<State>,
    running: Option<Running>,
    since: Timestamp,
    /// Held while rules are read and replaced: of two reloads the later must win, or an old secret comes back.
    reloading: tokio::sync::Mutex<()>,
}

/// Receipts that a list shows when no limit is asked for.
const LIST_MAX: usize = 1000;

impl Desk {
    pub(crate) fn new(state: Arc<State>, running: Option<Running>) -> Self {
        let since = state.clock().now();
        Self {
            state,
            running,
            since,
            reloading: tokio::sync::Mutex::default(),
        }
    }

    fn running(&self) -> Result<&Running, Failure> {
        let none =
            || Failure::new("no gate runs on this data folder").help("start it with `exeat serve`");
        self.running.as_ref().ok_or_else(none)
    }

    /// Reads everything anew and puts it in force, all or nothing.
    pub(crate) async fn reload(&self) {
        let Some(running) = &self.running else { return };
        let _turn = self.reloading.lock().await;
        match self.load_again().await {
            Ok(rules) => {
                let changed = running.gate.rules().policy.digest() != rules.policy.digest();
                running.gate.replace_rules(rules);
                if changed {
                    self.state.record_policy(&running.gate);
                }
                tracing::info!(changed, "the configuration was read again");
            }
            Err(error) => {
                let problem = format!("{error:#}");
                tracing::error!(
                    problem,
                    "the new configuration is not in force; the old one stays"
                );
            }
        }
    }

    async fn load_again(&self) -> anyhow::Result<exeat_pipeline::Rules> {
        let settings = self.state.settings().context("no configuration")?;
        let fresh = Settings::load(&settings.file)?;
        let rules = self.state.rules(&fresh).await?;
        self.state.replace_settings(fresh);
        Ok(rules)
    }

    async fn secret_changed(
        &self,
        name: &str,
        version: u32,
        change: Change,
    ) -> Result<(), Failure> {
        let named = |id: CredentialId| CredentialChange {
            change,
            credential: id,
            version,
        };
        if let Ok(id) = CredentialId::new(name) {
            let durable = self
                .state
                .ledger()
                .append(&Record::CredentialChange(named(id)));
            durable
                .done()
                .await
                .map_err(|error| Failure::from(anyhow::Error::new(error)))?;
        }
        self.reload().await;
        Ok(())
    }

    /// A record as `exeat tail` shows it: a call once it has ended, an alarm at once, nothing of the rest.
    async fn line(&self, entry: &Entry, agent: Option<&AgentId>) -> Result<Option<Value>, Failure> {
        let record: Value = serde_json::from_str(&entry.text).map_err(anyhow::Error::new)?;
        let body = record.get("body").cloned().unwrap_or_default();
        match entry.kind {
            Kind::Alarm => Ok(Some(record)),
            Kind::CallOutcome | Kind::CallRefused => {
                let call = body
                    .get("call")
                    .and_then(Value::as_str)
                    .and_then(|text| text.parse().ok());
                let Some(call) = call else { return Ok(None) };
                let receipt = self.receipt_show(call).await?;
                let found =
                    |part: &str| receipt.get(part)?.get("agent")?.as_str().map(str::to_owned);
                let of = found("intent").or_else(|| found("refusal"));
                let wanted = agent.is_none_or(|agent| of.as_deref() == Some(agent.as_str()));
                Ok(wanted.then_some(receipt))
            }
            _ => Ok(None),
        }
    }

    fn entry(&self, name: &str) -> Option<SecretEntry> {
        self.entries().into_iter().find(|entry| entry.name == name)
    }

    fn entries(&self) -> Vec<SecretEntry> {
        let list = self.state.vault().list();
        list.into_iter()
            .map(|entry| SecretEntry {
                name: entry.name,
                version: entry.version,
                created: entry.created,
            })
            .collect()
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
        self.running()?
            .sandboxes
            .attach(&attach, handed)
            .map_err(Failure::from)
    }

    async fn ca_init(&self) -> Result<String, Failure> {
        if self.state.ca()?.is_some() {
            return Err(
                Failure::new("there is a root already").help("`exeat ca rotate` makes a new one")
            );
        }
        Ok(self.state.ca_init()?.current().certificate_pem())
    }

    async fn ca_rotate(&self) -> Result<String, Failure> {
        Ok(self.state.ca_rotate()?.current().certificate_pem())
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
        let filter = ledger_filter(&filter);
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
        let filter = ledger_filter(&filter);
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
        Ok(self.entries())
    }

    async fn secret_remove(&self, name: String) -> Result<SecretEntry, Failure> {
        let absent = || {
            Failure::new(format!("there is no secret `{name}`"))
                .help("`exeat secret list` shows them")
        };
        let entry = self.entry(&name).ok_or_else(absent)?;
        let now = self.state.clock().now();
        self.state
            .vault()
            .remove(&name, now)
            .map_err(anyhow::Error::new)?;
        self.secret_changed(&name, entry.version, Change::Revoked)
            .await?;
        Ok(entry)
    }

    async fn secret_set(&self, name: String, secret: Secret) -> Result<SecretEntry, Failure> {
        let now = self.state.clock().now();
        let version = self
            .state
            .vault()
            .set(&name, &secret, now)
            .map_err(anyhow::Error::new)?;
        let change = if version > 1 {
            Change::Rotated
        } else {
            Change::Created
        };
        self.secret_changed(&name, version, change).await?;
        self.entry(&name)
            .ok_or_else(|| Failure::new("the secret was removed at once by somebody else"))
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
}

fn ledger_filter(filter: &ReceiptFilter) -> Filter {
    let limit = filter.limit.and_then(|limit| usize::try_from(limit).ok());
    Filter {
        agent: filter.agent.clone(),
        tool: filter.tool.as_ref().map(ToString::to_string),
        since: filter.since,
        until: filter.until,
        decision: filter.refused.map(|refused| {
            if refused {
                Decision::Refused
            } else {
                Decision::Allowed
            }
        }),
        limit: Some(limit.unwrap_or(LIST_MAX)),
        after: None,
    }
}
