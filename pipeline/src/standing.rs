//! A call that is on its way, as policy sees it: what is needed to decide it again when the rules change.
//!
//! A front door keeps it for as long as the exchange lasts. It asks again when [`crate::Gate::changes`] says so, and cuts
//! what no longer holds. It must never make a call hold that the rules in force would refuse.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use exeat_ledger::Means;
use exeat_policy::{Arguments, Tool};
use exeat_types::{AgentId, CallId, CredentialId, Origin, Reason};
use http::Method;

use crate::{
    Agent, Gate, Rules, Run,
    call::Watched,
    decide::Asked,
    limits::{self, Who},
    resolve::{Basis, Wanted},
    usage::Seen,
};

/// What a call stands on.
pub struct Standing {
    ground: Ground,
    /// The rules it was last found to hold under.
    under: Mutex<Arc<Rules>>,
    refused: OnceLock<Reason>,
}

/// What a standing is made of, as the call was decided.
pub(crate) struct Ground {
    pub(crate) call: CallId,
    pub(crate) rules: Arc<Rules>,
    pub(crate) agent: Agent,
    pub(crate) run: Arc<Run>,
    pub(crate) origin: Origin,
    pub(crate) method: Method,
    /// In its canonical form.
    pub(crate) path: String,
    pub(crate) tool: Arc<Tool>,
    pub(crate) arguments: Arguments,
    pub(crate) basis: Basis,
    pub(crate) watched: Watched,
    /// How a human approved it.
    pub(crate) approved: Option<Means>,
    /// The credential that lets it in.
    pub(crate) credential: Option<CredentialId>,
    /// The budgets that its bytes are counted against.
    pub(crate) seen: Seen,
}

impl Standing {
    pub(crate) fn new(ground: Ground) -> Self {
        let under = Mutex::new(Arc::clone(&ground.rules));
        Self {
            ground,
            under,
            refused: OnceLock::new(),
        }
    }

    /// Whether the call holds under the rules in force. Once it does not, it never does again.
    ///
    /// # Errors
    /// The reason why it must be cut.
    pub fn holds(&self, gate: &Gate) -> Result<(), Reason> {
        if let Some(reason) = self.refused.get() {
            return Err(*reason);
        }
        if gate.agents().is_paused(&self.ground.agent.id) {
            return Err(*self.refused.get_or_init(|| Reason::AgentPaused));
        }
        let rules = gate.rules();
        let limited = limits::holds(gate, &rules.policy, &self.who(), &self.ground.seen);
        let mut under = self.under.lock().unwrap_or_else(PoisonError::into_inner);
        let same = Arc::ptr_eq(&under, &rules);
        let held = limited.and_then(|()| match same {
            true => Ok(()),
            false => self.decide(gate, &rules),
        });
        match held {
            Ok(()) => {
                *under = rules;
                Ok(())
            }
            Err(reason) => {
                let Ground {
                    call, agent, tool, ..
                } = &self.ground;
                tracing::info!(
                    %call, agent = %agent.id, tool = %tool.name, reason = reason.code(),
                    "an open call is cut, as it does not hold any more"
                );
                Err(*self.refused.get_or_init(|| reason))
            }
        }
    }

    /// How long to wait before asking again, though no rules change; nothing if there is no need.
    pub fn ask_again_in(&self, gate: &Gate) -> Option<Duration> {
        let can_end = limits::can_end(&gate.rules().policy, &self.who());
        can_end.then_some(limits::LOOK_EVERY)
    }

    fn who(&self) -> Who<'_> {
        let Ground {
            agent,
            run,
            origin,
            tool,
            ..
        } = &self.ground;
        Who {
            agent: &agent.id,
            run,
            host: &origin.host,
            name: tool.name.as_str(),
            category: tool.category.as_str(),
        }
    }

    /// The tool that was called.
    pub(crate) const fn tool(&self) -> &Arc<Tool> {
        &self.ground.tool
    }

    /// Who called.
    pub(crate) const fn agent(&self) -> &AgentId {
        &self.ground.agent.id
    }

    /// What it was called with.
    pub(crate) const fn arguments(&self) -> &Arguments {
        &self.ground.arguments
    }

    /// Why the call was cut, if it was.
    pub(crate) fn refused(&self) -> Option<Reason> {
        self.refused.get().copied()
    }

    fn decide(&self, gate: &Gate, rules: &Rules) -> Result<(), Reason> {
        let ground = &self.ground;
        let watched = match ground.agent.regime.observes(gate.clock.now()) {
            true => ground.watched,
            false => Watched::No,
        };
        let wanted = Wanted {
            policy: &rules.policy,
            regime: ground.agent.regime,
            watched,
            origin: &ground.origin,
            method: &ground.method,
            path: &ground.path,
        };
        let (found, basis) = wanted
            .find(gate)
            .map_err(|_missing| Reason::PolicyForbids)?;
        let found = found.settle_again(&ground.arguments);
        let found = found.ok_or(Reason::PolicyForbids)?;
        let (tool, was) = (found.tool, &ground.tool);
        // What would be another call by now is not the one that was allowed.
        let same = basis == ground.basis
            && tool.name == was.name
            && tool.origin == was.origin
            && tool.template == was.template
            && tool.credential == was.credential
            && tool.otherwise == was.otherwise
            && tool.local == was.local;
        if !same {
            return Err(Reason::PolicyForbids);
        }
        let credential = ground.credential.as_ref();
        if credential.is_some_and(|id| rules.custody.describe(id).is_none()) {
            return Err(Reason::CredentialMissing);
        }
        let asked = Asked {
            policy: &rules.policy,
            agent: &ground.agent,
            tool: &tool,
            arguments: &ground.arguments,
            watched,
            approved: ground.approved,
            now: gate.clock.now(),
        };
        if asked.allows() {
            Ok(())
        } else {
            Err(Reason::PolicyForbids)
        }
    }
}

impl std::fmt::Debug for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standing")
            .field("call", &self.ground.call)
            .finish_non_exhaustive()
    }
}
