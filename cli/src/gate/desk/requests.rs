//! Capability requests as an operator answers them on the command line, and grants put in force and out of force.
//!
//! INVARIANT: who types here could be the agent itself, unless it cannot reach this machine: so the command line grants
//! only what the configuration leaves to it, and only to an agent that is cut off at every door.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use exeat_pipeline::{Confirmed, Consent, NotTaken, Order, RequestShown, Rules};
use exeat_policy::{Approver, Policy, granted};
use exeat_types::{AgentId, ApprovalId, Seal};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Desk, Running};
use crate::{
    settings::Settings,
    socket::{Failure, GrantAnswer, GrantOrder},
};

/// How often what has ended is looked for.
const ROUND: Duration = Duration::from_millis(500);
/// Who answers on the command line, in the ledger.
const USER: &str = "operator";

impl Desk {
    /// Asks in the name of an agent.
    pub(super) async fn request_asked(
        &self,
        agent: AgentId,
        order: Order,
    ) -> Result<Value, Failure> {
        let _turn = self.turn().await?;
        let running = self.running()?;
        self.is_known(&agent)?;
        let policy = Arc::clone(&running.gate.rules().policy);
        let asked = running.gate.requests().ask(&policy, &agent, order, None);
        shown(asked.await)
    }

    /// Every request.
    pub(super) fn requests_listed(&self) -> Result<Vec<Value>, Failure> {
        let all = self.running()?.gate.requests().list();
        all.into_iter().map(|one| shown(Ok(one))).collect()
    }

    /// Grants, refuses or takes back.
    pub(super) async fn grant_answered(&self, order: GrantOrder) -> Result<Value, Failure> {
        let _turn = self.turn().await?;
        let running = self.running()?;
        let requests = running.gate.requests();
        let GrantOrder { grant: id, answer } = order;
        let answered = match answer {
            GrantAnswer::Approve {
                capabilities,
                seconds,
                confirmed,
            } => {
                self.may_answer_here(running, &id)?;
                let consent = Consent {
                    user: USER.to_owned(),
                    capabilities,
                    seconds,
                    confirmed: match confirmed {
                        true => Confirmed::Yes,
                        false => Confirmed::No,
                    },
                    signed: None,
                };
                let policy = Arc::clone(&running.gate.rules().policy);
                requests.grant(&policy, &id, consent).await
            }
            GrantAnswer::Deny {} => requests.deny(&id, USER).await,
            GrantAnswer::Revoke {} => requests.revoke(&id, USER).await,
        };
        let answered = shown(answered)?;
        self.put_grants_in_force().await?;
        Ok(answered)
    }

    /// Keeps what is granted in force, and nothing longer than it was granted, until told to stop.
    pub(crate) async fn tend_requests(self: Arc<Self>, stop: CancellationToken) {
        let Ok(running) = self.running() else { return };
        let requests = Arc::clone(running.gate.requests());
        let mut changes = requests.changes();
        let mut known = Vec::new();
        loop {
            requests.expire().await;
            let ids = requests.ids_in_force();
            let policy = Arc::clone(&running.gate.rules().policy);
            let now = self.state.clock().now();
            let ended = policy.next_end().is_some_and(|end| now >= end);
            if ids != known || ended {
                match self.put_grants_in_force().await {
                    Ok(()) => known = ids,
                    Err(failure) => tracing::error!(
                        problem = failure.message,
                        "what was granted or has ended is not in the rules yet"
                    ),
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(ROUND) => {}
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Compiles what is in force anew, with what is granted at this moment. No file is read: a grant ends even when the
    /// files are broken.
    pub(super) async fn put_grants_in_force(&self) -> Result<(), Failure> {
        let Some(running) = &self.running else {
            return Ok(());
        };
        let _turn = self.reloading.lock().await;
        let (state, gate) = (Arc::clone(&self.state), Arc::clone(&running.gate));
        let compiled = tokio::task::spawn_blocking(move || {
            let policy = Arc::clone(&gate.rules().policy);
            let (sources, world) = policy.made_of();
            let mut sources = sources.clone();
            sources
                .policy
                .retain(|source| &*source.name != granted::FILE);
            let text = gate.requests().rules(&policy);
            if !text.is_empty() {
                sources.policy.push(granted::source(&text));
            }
            let mut cache = state.compiled();
            cache.at(state.clock().now());
            Policy::compile_with(&mut cache, &sources, world)
        });
        let policy = compiled
            .await
            .map_err(anyhow::Error::new)?
            .map_err(anyhow::Error::new)?;
        let rules = running.gate.rules();
        running.gate.replace_rules(Rules {
            policy: Arc::new(policy),
            custody: Arc::clone(&rules.custody),
            network: rules.network.clone(),
            unreachable: rules.unreachable.clone(),
        });
        if !running.replacing.is_replaced() {
            self.state.record_policy(&running.gate);
        }
        Ok(())
    }

    /// Says anew what agents may ask for.
    pub(crate) fn bound_requests(&self) {
        let (Some(running), Some(settings)) = (&self.running, self.state.settings()) else {
            return;
        };
        running.gate.requests().bounded_by(may_ask(&settings));
    }

    fn is_known(&self, agent: &AgentId) -> Result<(), Failure> {
        let settings = self.state.settings();
        match settings.is_some_and(|settings| settings.agents.contains_key(agent)) {
            true => Ok(()),
            false => Err(Failure::new(format!(
                "the agent `{agent}` is not in [agents]"
            ))),
        }
    }

    fn may_answer_here(&self, running: &Running, id: &ApprovalId) -> Result<(), Failure> {
        let passkey = |why: &str| {
            Failure::new(format!(
                "this request has to be granted with a passkey: {why}"
            ))
            .help("open the console")
        };
        let request = running.gate.requests().show(id);
        let request = request.ok_or_else(|| Failure::new("there is no such request"))?;
        let settings = self.state.settings();
        let settings = settings.ok_or_else(|| passkey("there is no configuration"))?;
        let asking = settings.asking.get(&request.agent);
        if asking.is_none_or(|asking| asking.granted_by != Approver::Local) {
            return Err(passkey(
                "`granted-by = \"local\"` is not set for this agent in [agents]",
            ));
        }
        if request.seal == Some(Seal::None) {
            return Err(passkey(
                "the agent is not sealed: it could have answered itself",
            ));
        }
        self.not_here().map_or(Ok(()), |why| Err(passkey(why)))
    }
}

/// What agents may ask for, where the configuration says so.
fn may_ask(settings: &Settings) -> BTreeMap<AgentId, Vec<String>> {
    let bounded = settings.asking.iter();
    bounded
        .filter_map(|(agent, asking)| Some((agent.clone(), asking.may_ask.clone()?)))
        .collect()
}

fn shown(answer: Result<RequestShown, NotTaken>) -> Result<Value, Failure> {
    let shown = answer.map_err(|problem| Failure::new(problem.to_string()))?;
    Ok(serde_json::to_value(shown).map_err(anyhow::Error::new)?)
}
