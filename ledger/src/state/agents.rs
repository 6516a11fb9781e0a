//! Which agents an operator has paused.

use std::collections::BTreeMap;

use exeat_types::{AgentId, Timestamp};
use serde::Serialize;

use crate::event::{AgentChange, AgentStep};

/// That an agent is paused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Paused {
    /// Who paused it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// The agents that are paused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Agents(BTreeMap<AgentId, Paused>);

impl Agents {
    pub(super) const fn paused(&self) -> &BTreeMap<AgentId, Paused> {
        &self.0
    }

    pub(super) fn take_in(&mut self, step: &AgentChange, at: Timestamp) {
        match step.change {
            AgentStep::Paused => {
                let by = step.by.clone();
                self.0.insert(step.agent.clone(), Paused { by, at });
            }
            AgentStep::Resumed => {
                self.0.remove(&step.agent);
            }
        }
    }
}
