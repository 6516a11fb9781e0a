//! Capability requests: an agent, or its person, asks for something for a time; a person grants it, or a part of it; and
//! it becomes rules that end by themselves. `words.rs` has what is said, `answer.rs` what counts as an answer.
//!
//! INVARIANT: every step is in the ledger before anybody acts on it. A request alone lets nothing through, and a grant
//! only what its rules let through under the policy in force; what they cannot hold an agent to is refused before.

mod answer;
mod words;

pub use words::{Confirmed, Consent, NotTaken, Order, RequestShown};

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use exeat_ledger::{
    Error, Grant, GrantEvent, GrantStanding, GrantState, Ledger, PENDING_MAX, Record,
    passkey::Challenge,
};
use exeat_policy::{
    Cache, Policy, Sources, World,
    granted::{self, Granted},
};
use exeat_types::{
    AccountId, AgentId, ApprovalId, Capability, Clock, Host, Seal, Timestamp,
    capability::{covers, digest_of},
    limits, random_bytes,
};
use tokio::sync::{Semaphore, broadcast, watch};

/// The name inside a sandbox at which agents ask.
pub const HOME: &str = "exeat.internal";
/// Whether a host is the one at which agents ask.
pub fn is_home(host: &Host) -> bool {
    host.to_string() == HOME
}

/// How long a request waits for an answer.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
/// For how long something may be granted, at least and at most.
const SECONDS: std::ops::RangeInclusive<u32> = 1..=30 * 24 * 60 * 60;
/// New requests that somebody may be behind with telling people of.
const NOTICES: usize = 64;
/// How often an agent may ask within a minute.
const ASKED_PER_MINUTE_MAX: usize = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// Longest reason, in bytes.
const WHY_BYTES_MAX: usize = 1000;

/// Every request, and what agents may ask for.
pub struct Requests {
    clock: Arc<dyn Clock>,
    ledger: Ledger,
    may_ask: Mutex<BTreeMap<AgentId, Vec<String>>>,
    /// What passkeys were asked to sign, and when.
    challenges: Mutex<Vec<(Timestamp, Challenge)>>,
    /// What compiling left to reuse: whoever asks again and again costs little.
    compiled: Mutex<Cache>,
    /// One compiles at a time, on a thread that may be busy for a while.
    turns: Arc<Semaphore>,
    /// When each agent asked lately.
    lately: Mutex<BTreeMap<AgentId, Vec<Timestamp>>>,
    changed: watch::Sender<()>,
    notices: broadcast::Sender<Arc<RequestShown>>,
    /// When people were told of a request of an agent.
    noticed: Mutex<BTreeMap<AgentId, Timestamp>>,
}

impl Requests {
    /// The requests that a ledger knows.
    pub fn new(clock: Arc<dyn Clock>, ledger: Ledger) -> Arc<Self> {
        Arc::new(Self {
            clock,
            ledger,
            may_ask: Mutex::default(),
            challenges: Mutex::default(),
            compiled: Mutex::default(),
            turns: Arc::new(Semaphore::new(1)),
            lately: Mutex::default(),
            changed: watch::Sender::new(()),
            notices: broadcast::Sender::new(NOTICES),
            noticed: Mutex::default(),
        })
    }

    /// Says what agents may ask for, as patterns of tools. One that is not named may ask for every declared tool.
    pub fn bounded_by(&self, may_ask: BTreeMap<AgentId, Vec<String>>) {
        *self.may_ask.lock().unwrap_or_else(PoisonError::into_inner) = may_ask;
    }

    /// Says that what is in force may be another from here on.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// New requests that people should be told of: of one agent not more often than they can read.
    pub fn notices(&self) -> broadcast::Receiver<Arc<RequestShown>> {
        self.notices.subscribe()
    }

    /// Every request that is remembered, open ones first, then newest first.
    pub fn list(&self) -> Vec<RequestShown> {
        let now = self.clock.now();
        let mut all = self.ledger.grants();
        all.sort_by_key(|one| {
            let open = one.standing(now) == GrantStanding::Pending;
            (std::cmp::Reverse(open), std::cmp::Reverse(one.asked))
        });
        all.iter().map(|one| RequestShown::of(one, now)).collect()
    }

    /// One request.
    pub fn show(&self, id: &ApprovalId) -> Option<RequestShown> {
        let now = self.clock.now();
        self.ledger.grant(id).map(|one| RequestShown::of(&one, now))
    }

    /// Takes a request; one that waits already for the same is given back as it is. The seal is that of the agent which
    /// asks by itself.
    ///
    /// # Errors
    /// When it is malformed, goes too far, cannot be enforced, or comes too soon.
    pub async fn ask(
        self: &Arc<Self>,
        policy: &Policy,
        agent: &AgentId,
        order: Order,
        seal: Option<Seal>,
    ) -> Result<RequestShown, NotTaken> {
        let Order {
            capabilities,
            seconds,
            why,
        } = order;
        let malformed = |problem: &str| NotTaken::Malformed(problem.to_owned());
        let digest =
            digest_of(&capabilities).map_err(|problem| NotTaken::Malformed(problem.to_string()))?;
        if !SECONDS.contains(&seconds) {
            return Err(malformed("the time is 1 second to 30 days"));
        }
        let long = |why: &String| why.len() > WHY_BYTES_MAX || why.chars().any(char::is_control);
        if why.as_ref().is_some_and(long) {
            return Err(malformed("the reason is at most 1000 bytes on one line"));
        }
        let now = self.clock.now();
        let known = self.ledger.grants();
        let same = known.iter().find(|one| {
            one.agent == *agent
                && one.digest == digest
                && one.standing(now) == GrantStanding::Pending
        });
        if let Some(same) = same {
            return Ok(RequestShown::of(same, now));
        }
        if let Some(until) = self.ledger.cool_down(agent) {
            return Err(NotTaken::TooSoon(until.since(now)));
        }
        let waiting = known
            .iter()
            .filter(|one| one.agent == *agent && one.standing(now) == GrantStanding::Pending);
        if waiting.count() >= PENDING_MAX {
            return Err(NotTaken::Closed(
                "as many requests of this agent wait as may",
            ));
        }
        self.not_too_often(agent, now)?;
        self.within_bounds(agent, &capabilities)?;
        let id = fresh_id()?;
        let meant = Granted {
            id: id.as_str(),
            agent,
            until: now.after(PATIENCE),
            capabilities: &capabilities,
        };
        self.enforceable(policy, meant).await?;
        self.write(Grant {
            account: AccountId::local(),
            agent: agent.clone(),
            by: None,
            capabilities,
            digest,
            event: GrantEvent::Requested,
            expires: now.after(PATIENCE),
            grant: id.clone(),
            seal,
            seconds,
            vote: None,
            why,
        })
        .await?;
        let shown = self.show(&id).ok_or(NotTaken::Unknown)?;
        self.tell(&shown, now);
        Ok(shown)
    }

    /// An agent that asks again and again, each time for something else, has to wait: looking costs more than asking.
    fn not_too_often(&self, agent: &AgentId, now: Timestamp) -> Result<(), NotTaken> {
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        lately.retain(|_, times| {
            times.retain(|at| now.since(*at) < MINUTE && *at <= now);
            !times.is_empty()
        });
        let times = lately.entry(agent.clone()).or_default();
        if times.len() >= ASKED_PER_MINUTE_MAX {
            let first = times.first().copied().unwrap_or(now);
            return Err(NotTaken::TooOften(MINUTE.saturating_sub(now.since(first))));
        }
        times.push(now);
        Ok(())
    }

    fn tell(&self, shown: &RequestShown, now: Timestamp) {
        let mut noticed = self.noticed.lock().unwrap_or_else(PoisonError::into_inner);
        noticed.retain(|_, at| now.since(*at) < limits::APPROVAL_NOTICE_PAUSE);
        if noticed.contains_key(&shown.agent) {
            return;
        }
        noticed.insert(shown.agent.clone(), now);
        drop(noticed);
        if self.notices.send(Arc::new(shown.clone())).is_err() {
            tracing::debug!(request = %shown.id, "nobody listens for notices");
        }
    }

    /// The rules of every grant that is in force, as the text of one file; those that the policy cannot enforce any more
    /// are left out, and told.
    pub fn rules(&self, policy: &Policy) -> String {
        let now = self.clock.now();
        let mut out = String::new();
        for grant in self.in_force(now) {
            let text = granted_of(&grant).rules(policy);
            let (sources, world) = policy.made_of();
            let fits = |text: String| {
                let compiled = self.compiles(sources.clone(), world, &text);
                compiled.map(|()| text)
            };
            match text.and_then(fits) {
                Ok(text) => out.push_str(&text),
                Err(problem) => tracing::warn!(
                    grant = %grant.id, agent = %grant.agent, problem,
                    "a grant is not in force, as the policy cannot enforce it any more"
                ),
            }
        }
        out
    }

    /// The ids of what is in force, sorted.
    pub fn ids_in_force(&self) -> Vec<ApprovalId> {
        let all = self.in_force(self.clock.now());
        all.into_iter().map(|one| one.id).collect()
    }

    /// Writes down what is over. True if a grant was.
    pub async fn expire(&self) -> bool {
        let now = self.clock.now();
        let mut ended = false;
        for known in self.ledger.grants() {
            let is_over = known.standing(now) == GrantStanding::Expired
                && known.state != GrantStanding::Expired;
            if is_over {
                ended |= known.state == GrantStanding::Approved;
                let step = step_of(&known, GrantEvent::Expired);
                if let Err(problem) = self.write(step).await {
                    tracing::warn!(grant = %known.id, %problem, "what is over was not written down");
                }
            }
        }
        ended
    }

    fn in_force(&self, now: Timestamp) -> Vec<GrantState> {
        let all = self.ledger.grants().into_iter();
        all.filter(|one| one.is_in_force(now)).collect()
    }

    /// Whether an agent may ask for this at all.
    fn within_bounds(&self, agent: &AgentId, wanted: &[Capability]) -> Result<(), NotTaken> {
        let may_ask = self.may_ask.lock().unwrap_or_else(PoisonError::into_inner);
        for capability in wanted {
            let resource = capability.resource();
            let allowed = match may_ask.get(agent) {
                Some(patterns) => patterns.iter().any(|pattern| covers(pattern, &resource)),
                None => resource != "*",
            };
            if !allowed {
                return Err(NotTaken::Beyond(resource));
            }
        }
        Ok(())
    }

    /// Whether rules can hold an agent to this, and compile beside what is in force.
    async fn enforceable(
        self: &Arc<Self>,
        policy: &Policy,
        granted: Granted<'_>,
    ) -> Result<(), NotTaken> {
        let text = granted.rules(policy).map_err(NotTaken::NotEnforceable)?;
        let (sources, world) = policy.made_of();
        let (sources, world) = (sources.clone(), world.clone());
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_closed| NotTaken::NotKept)?;
        let all = Arc::clone(self);
        let compiled = tokio::task::spawn_blocking(move || {
            let compiled = all.compiles(sources, &world, &text);
            drop(turn);
            compiled
        });
        let compiled = compiled.await.map_err(|_panicked| NotTaken::NotKept)?;
        compiled.map_err(NotTaken::NotEnforceable)
    }

    /// Whether rules compile under a policy, in place of those that were granted before.
    fn compiles(&self, mut sources: Sources, world: &World, rules: &str) -> Result<(), String> {
        sources
            .policy
            .retain(|source| &*source.name != granted::FILE);
        sources.policy.push(granted::source(rules));
        let mut cache = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        cache.at(self.clock.now());
        let compiled = Policy::compile_with(&mut cache, &sources, world);
        compiled.map(drop).map_err(|report| {
            let problems = report.problems().iter().map(|one| one.message.clone());
            problems.collect::<Vec<_>>().join("; ")
        })
    }

    async fn write(&self, step: Grant) -> Result<(), NotTaken> {
        let id = step.grant.clone();
        let event = step.event;
        let written = self.ledger.append(&Record::Grant(step)).done().await;
        match written {
            Ok(_) => {
                tracing::info!(grant = %id, ?event, "a capability request took a step");
                self.changed.send_replace(());
                Ok(())
            }
            Err(Error::GrantUnusable(problem)) => Err(NotTaken::Closed(problem)),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a request was not kept"
                );
                Err(NotTaken::NotKept)
            }
        }
    }

    fn challenges(&self) -> MutexGuard<'_, Vec<(Timestamp, Challenge)>> {
        self.challenges
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn granted_of(grant: &GrantState) -> Granted<'_> {
    Granted {
        id: grant.id.as_str(),
        agent: &grant.agent,
        until: grant.expires,
        capabilities: &grant.capabilities,
    }
}

/// A step of a request, with nothing but what every step says.
fn step_of(known: &GrantState, event: GrantEvent) -> Grant {
    Grant {
        account: AccountId::local(),
        agent: known.agent.clone(),
        by: None,
        capabilities: known.capabilities.clone(),
        digest: known.digest,
        event,
        expires: known.expires,
        grant: known.id.clone(),
        seal: known.seal,
        seconds: known.seconds,
        vote: None,
        why: None,
    }
}

fn fresh_id() -> Result<ApprovalId, NotTaken> {
    let bytes: [u8; 10] = random_bytes().map_err(|_cause| NotTaken::NotKept)?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    ApprovalId::new(&format!("g-{hex}")).map_err(|_cause| NotTaken::NotKept)
}

impl std::fmt::Debug for Requests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Requests").finish_non_exhaustive()
    }
}
