//! Which agents are paused. A paused agent's calls are refused, and what it has open is cut, until an operator lets it go
//! on. The ledger remembers it.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use exeat_ledger::{AgentChange, AgentStep, Ledger, Paused, Record};
use exeat_types::{AgentId, Clock, Reason};
use tokio::sync::watch;

use crate::{NotAnswered, record::Refused};

/// The agents, as far as an operator has said something of them.
pub struct Agents {
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    paused: RwLock<BTreeMap<AgentId, Paused>>,
    changed: watch::Sender<()>,
    /// Held while a step is written: of a pause and a resumption memory and ledger keep the same one.
    writing: tokio::sync::Mutex<()>,
}

/// An agent that is paused.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AgentShown {
    /// The agent.
    pub agent: AgentId,
    /// Who paused it, and when.
    pub paused: Option<Paused>,
}

impl Agents {
    pub(crate) fn new(
        ledger: Ledger,
        clock: Arc<dyn Clock>,
        changed: watch::Sender<()>,
    ) -> Arc<Self> {
        let paused = RwLock::new(ledger.paused());
        Arc::new(Self {
            ledger,
            clock,
            paused,
            changed,
            writing: tokio::sync::Mutex::default(),
        })
    }

    /// Whether an agent is paused.
    pub fn is_paused(&self, agent: &AgentId) -> bool {
        let paused = self.paused.read().unwrap_or_else(PoisonError::into_inner);
        paused.contains_key(agent)
    }

    /// Every agent that is paused.
    pub fn list(&self) -> Vec<AgentShown> {
        let paused = self.paused.read().unwrap_or_else(PoisonError::into_inner);
        let shown = |(agent, paused): (&AgentId, &Paused)| AgentShown {
            agent: agent.clone(),
            paused: Some(paused.clone()),
        };
        paused.iter().map(shown).collect()
    }

    /// Pauses an agent: nothing it asks for passes, and what it has open is cut.
    ///
    /// # Errors
    /// When the ledger could not keep it; the agent is paused all the same, until the gate ends.
    pub async fn pause(&self, agent: &AgentId, by: &str) -> Result<(), NotAnswered> {
        // SECURITY: it is paused before the ledger is asked to keep that, which may take its time, fail or be given up.
        self.hold(agent, by);
        tracing::warn!(%agent, by, "an agent is paused");
        let _turn = self.writing.lock().await;
        self.hold(agent, by);
        self.write(agent, by, AgentStep::Paused).await
    }

    fn hold(&self, agent: &AgentId, by: &str) {
        let shown = Paused {
            by: by.to_owned(),
            at: self.clock.now(),
        };
        let mut paused = self.paused.write().unwrap_or_else(PoisonError::into_inner);
        paused.insert(agent.clone(), shown);
        drop(paused);
        self.changed.send_replace(());
    }

    /// Lets an agent go on.
    ///
    /// # Errors
    /// When the ledger could not keep it; the agent stays paused.
    pub async fn resume(&self, agent: &AgentId, by: &str) -> Result<(), NotAnswered> {
        let _turn = self.writing.lock().await;
        self.write(agent, by, AgentStep::Resumed).await?;
        self.paused
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(agent);
        self.changed.send_replace(());
        tracing::info!(%agent, by, "an agent goes on");
        Ok(())
    }

    /// Refuses a call of an agent that is paused.
    pub(crate) fn admit(&self, agent: &AgentId) -> Result<(), Box<Refused>> {
        if self.is_paused(agent) {
            let detail = "an operator has paused this agent";
            return Err(Refused::early(Reason::AgentPaused, detail));
        }
        Ok(())
    }

    async fn write(&self, agent: &AgentId, by: &str, change: AgentStep) -> Result<(), NotAnswered> {
        let record = Record::AgentChange(AgentChange {
            agent: agent.clone(),
            by: by.to_owned(),
            change,
        });
        let written = self.ledger.append(&record).done().await;
        written.map(drop).map_err(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the ledger did not keep a pause"
            );
            NotAnswered::NotKept
        })
    }
}
