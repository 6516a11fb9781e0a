//! What the console is told of the rest of the gate, and has done by it: agents, credentials, budgets, health. Never a secret.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use exeat_console::{
    AgentDeclared, ConnectionShown, CredentialShown, Failed, Forget, Health, Operator, Visit,
};
use exeat_types::{AgentId, CredentialId};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::task::TaskTracker;

use super::{
    desk::{Desk, Running},
    health,
};
use crate::{
    settings::Settings,
    socket::{
        Answer as _, ConnectStep, ConnectionEntry, ConnectionQuery, DisconnectOrder, Failure, Lines,
    },
};

/// How long an issuer may take to say where a person has to agree.
const FIRST_STEP: Duration = Duration::from_secs(30);
/// Steps that may wait to be read.
const STEPS: usize = 4;

/// The gate as the console sees it.
pub(super) struct Seen {
    desk: Arc<Desk>,
    tasks: TaskTracker,
}

impl Seen {
    pub(super) const fn new(desk: Arc<Desk>, tasks: TaskTracker) -> Self {
        Self { desk, tasks }
    }

    fn settings(&self) -> Result<Settings, Failed> {
        let none = || failed("there is no configuration", None);
        self.desk.state().settings().ok_or_else(none)
    }

    fn running(&self) -> Result<&Running, Failed> {
        self.desk.running().map_err(told)
    }
}

#[async_trait]
impl Operator for Seen {
    async fn agents(&self) -> Result<Vec<AgentDeclared>, Failed> {
        let mut sandboxes: BTreeMap<AgentId, usize> = BTreeMap::new();
        for agent in self.running()?.sandboxes.roll().agents() {
            let count = sandboxes.entry(agent).or_default();
            *count = count.saturating_add(1);
        }
        let declared = self.settings()?.agents.into_iter();
        let shown = declared.map(|(id, groups)| AgentDeclared {
            sandboxes: sandboxes.get(&id).copied().unwrap_or(0),
            id,
            groups,
        });
        Ok(shown.collect())
    }

    async fn credentials(&self) -> Result<Vec<CredentialShown>, Failed> {
        let connections = self.desk.connections(ConnectionQuery { ask: false }).await;
        let connections = connections.map_err(told)?;
        let rules = self.running()?.gate.rules();
        let declared = self.settings()?.credentials.into_values();
        let shown = declared.map(|credential| {
            let spec = credential.spec;
            let used = rules.custody.describe(&spec.id);
            let connection = connections.iter().find(|one| one.credential == spec.id);
            let state = match (connection, rules.unreachable.get(&spec.id), &used) {
                (_, Some(reason), _) => reason.code(),
                (Some(connection), None, _) => &connection.state,
                (None, None, Some(_)) => "ready",
                (None, None, None) => "absent",
            };
            CredentialShown {
                state: state.to_owned(),
                kind: spec.kind.name().to_owned(),
                origins: spec.origins.iter().map(ToString::to_string).collect(),
                connects: connection.is_some(),
                version: used.as_ref().map(|used| used.version),
                thumbprint: used.map(|used| used.thumbprint.to_string()),
                connection: connection.filter(|one| !one.issuer.is_empty()).map(granted),
                id: spec.id,
            }
        });
        Ok(shown.collect())
    }

    async fn connect(&self, credential: CredentialId) -> Result<Visit, Failed> {
        let (sender, mut steps) = mpsc::channel(STEPS);
        let (desk, id) = (Arc::clone(&self.desk), credential.clone());
        let connecting = self.tasks.spawn(async move {
            let ended = desk
                .connect(id.clone(), Vec::new(), Lines::new(sender))
                .await;
            if let Err(failure) = &ended {
                tracing::warn!(credential = %id, problem = %failure, "a person did not connect it");
            }
            ended
        });
        let late = || failed("the issuer did not answer in time", Some("try again"));
        let first = timeout(FIRST_STEP, steps.recv());
        let Some(step) = first.await.map_err(|_late| late())? else {
            let ended = connecting.await.map_err(|_panicked| late())?;
            return Err(ended.map_or_else(told, |()| late()));
        };
        // What follows is read to the end, so that nothing that a person does is lost.
        self.tasks
            .spawn(async move { while steps.recv().await.is_some() {} });
        match serde_json::from_value(step) {
            Ok(ConnectStep::Visit {
                url,
                code,
                whole_url,
                scopes,
            }) => Ok(Visit {
                url: whole_url.unwrap_or(url),
                code,
                scopes,
            }),
            Ok(ConnectStep::Connected(_)) | Err(_) => Err(late()),
        }
    }

    async fn disconnect(&self, credential: CredentialId, forget: Forget) -> Result<(), Failed> {
        let order = DisconnectOrder {
            credential,
            forget: forget == Forget::InAnyCase,
        };
        self.desk.disconnect(order).await.map(drop).map_err(told)
    }

    async fn set_budget(
        &self,
        budget: String,
        limit: Option<String>,
        by: &str,
    ) -> Result<(), Failed> {
        let gate = &self.running()?.gate;
        let set = gate.set_budget(&budget, limit.as_deref(), by).await;
        set.map(drop)
            .map_err(|problem| failed(problem.to_string(), None))
    }

    async fn health(&self) -> Result<Health, Failed> {
        let status = self.desk.status().await.map_err(told)?;
        Ok(Health {
            checks: health::checks(&self.desk, self.running()?).await,
            listeners: health::listeners(&self.settings()?, &status),
            version: status.version,
            pid: status.pid,
            since: status.since,
        })
    }
}

fn granted(entry: &ConnectionEntry) -> ConnectionShown {
    ConnectionShown {
        issuer: entry.issuer.clone(),
        scopes: entry.scopes.clone(),
        wanted: entry.wanted.clone(),
        obtained: entry.obtained,
        expires: entry.expires,
        renews: entry.renews,
    }
}

fn failed(problem: impl Into<String>, help: Option<&str>) -> Failed {
    Failed {
        problem: problem.into(),
        help: help.map(str::to_owned),
    }
}

fn told(failure: Failure) -> Failed {
    Failed {
        problem: failure.message,
        help: failure.help,
    }
}
