//! What every call shares: the rules in force, the ledger, the clock, and the bounds that hold for the whole process.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;
use exeat_custody::{Custody, Keep, token::TokenKey};
use exeat_ledger::Ledger;
use exeat_policy::{Policy, address};
use exeat_types::{Clock, CredentialId, Host, Reason, Regime};
use tokio::sync::{Semaphore, watch};

use crate::{
    Agent, Agents, Approvals, Error, History, Metrics, Network, Outbound, Presence, Rail, Requests,
    Run, Runner, Stilled, check::Share, egress::Resolver, limits::Counters, mint::Tokens,
    requests::is_home, run::Runs, settle::SIGNING_MAX,
};

/// Everything that a reload replaces, as one snapshot: a call sees one policy, one custody and one network.
pub struct Rules {
    /// Tools and rules.
    pub policy: Arc<Policy>,
    /// Credentials.
    pub custody: Arc<Custody>,
    /// Where calls may go.
    pub network: Network,
    /// Credentials that are declared, but whose secret or key cannot be had, and what agents are told. They are not absent.
    pub unreachable: BTreeMap<CredentialId, Reason>,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules")
            .field("policy", &self.policy.digest())
            .finish_non_exhaustive()
    }
}

/// The points of the road that can be watched: for metrics, and for tests that end the process there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Policy has decided.
    Decided,
    /// The receipt is open and durable.
    Recorded,
    /// The credential is at hand.
    Equipped,
    /// The request may leave.
    Admitted,
    /// Upstream has answered with a head.
    Answered,
    /// The response has been delivered.
    Delivered,
    /// The outcome has been handed to the ledger.
    Closed,
}

/// Sees each stage that a call reaches.
pub trait StageObserver: Send + Sync {
    /// A call reached this stage.
    fn reached(&self, stage: Stage);
}

/// What a gate is made of.
pub struct Parts {
    /// The rules to start with.
    pub rules: Rules,
    /// The ledger.
    pub ledger: Ledger,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The key of agent tokens.
    pub tokens: Arc<TokenKey>,
    /// Where metrics are registered.
    pub registry: prometheus::Registry,
    /// What requests of Exeat's own go through.
    pub outbound: Arc<Outbound>,
    /// What issuers note.
    pub keep: Arc<dyn Keep>,
    /// Somebody who watches the stages, if anybody does.
    pub observer: Option<Arc<dyn StageObserver>>,
}

/// One gate: the shared state of every door.
pub struct Gate {
    rules: ArcSwap<Rules>,
    changed: watch::Sender<()>,
    agents: Arc<Agents>,
    approvals: Arc<Approvals>,
    requests: Arc<Requests>,
    /// How many receipts are open.
    pub(crate) open: watch::Sender<u64>,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tokens: Arc<TokenKey>,
    pub(crate) bodies: Arc<Semaphore>,
    /// A turn for each request that a device signs.
    pub(crate) signing: Arc<Semaphore>,
    pub(crate) metrics: Metrics,
    pub(crate) resolver: Resolver,
    pub(crate) mint: Arc<Tokens>,
    pub(crate) rail: OnceLock<Arc<dyn Rail>>,
    presence: Presence,
    /// Rates, and how many calls are open.
    pub(crate) counters: Arc<Counters>,
    /// What each agent has done before.
    pub(crate) history: History,
    runs: Runs,
    observer: Option<Arc<dyn StageObserver>>,
    runner: OnceLock<Arc<dyn Runner>>,
}

impl Gate {
    /// Puts a gate together.
    ///
    /// # Errors
    /// When a metric cannot be registered.
    pub fn new(parts: Parts) -> Result<Arc<Self>, Error> {
        let mint = Tokens::new(
            parts.outbound,
            parts.keep,
            Arc::clone(&parts.clock),
            Arc::clone(parts.rules.custody.live()),
        );
        let changed = watch::Sender::new(());
        let metrics = Metrics::new(&parts.registry)?;
        let agents = Agents::new(
            parts.ledger.clone(),
            Arc::clone(&parts.clock),
            changed.clone(),
        );
        let approvals = Approvals::new(
            Arc::clone(&parts.clock),
            parts.ledger.clone(),
            Arc::clone(&agents),
            metrics.clone(),
        );
        let requests = Requests::new(Arc::clone(&parts.clock), parts.ledger.clone());
        Ok(Arc::new(Self {
            rules: ArcSwap::from_pointee(parts.rules),
            changed,
            agents,
            approvals,
            requests,
            open: watch::Sender::new(0),
            ledger: parts.ledger,
            clock: parts.clock,
            tokens: parts.tokens,
            bodies: Arc::new(Semaphore::new(Share::permits())),
            signing: Arc::new(Semaphore::new(SIGNING_MAX)),
            metrics,
            resolver: Resolver::new(),
            mint,
            rail: OnceLock::new(),
            presence: Presence::default(),
            counters: Arc::default(),
            history: History::default(),
            runs: Runs::default(),
            observer: parts.observer,
            runner: OnceLock::new(),
        }))
    }

    /// Says who starts the programs of tools that run here; the first word stands. Without one, no such tool works.
    pub fn runs_with(&self, runner: Arc<dyn Runner>) {
        self.runner.get_or_init(|| runner);
    }

    /// Says what pays for calls that no credential covers; the first word stands. Without it, nothing does.
    pub fn pays_with(&self, rail: Arc<dyn Rail>) {
        self.rail.get_or_init(|| rail);
    }

    /// What requests of Exeat's own go through.
    pub fn outside(&self) -> Arc<Outbound> {
        Arc::clone(self.mint.outbound())
    }

    /// What issuers note.
    pub fn keep(&self) -> Arc<dyn Keep> {
        Arc::clone(self.mint.keep())
    }

    /// Waits until nobody obtains a token of this credential, and has everybody else wait until the guard is dropped.
    pub async fn alone(&self, credential: &CredentialId) -> tokio::sync::OwnedMutexGuard<()> {
        self.mint.alone(credential).await
    }

    /// Waits until no issuer is asked, and has none asked as long as what comes back is held.
    pub async fn still_issuers(&self) -> Stilled {
        self.mint.still().await
    }

    /// Forgets the tokens of a credential, as what was granted has changed.
    pub fn forget_tokens(&self, credential: &CredentialId) {
        self.mint.forget(credential);
    }

    /// The scopes that upstreams said were lacking, since tokens were forgotten last.
    pub fn wanted_scopes(&self, credential: &CredentialId) -> Vec<String> {
        self.mint.wanted(credential)
    }

    pub(crate) fn runner(&self) -> Option<&Arc<dyn Runner>> {
        self.runner.get()
    }

    /// Capability requests and grants.
    pub const fn requests(&self) -> &Arc<Requests> {
        &self.requests
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// Whether connecting to a host has a point for an agent held so: some tool names it, or the agent is observed and it
    /// is a host of the public Internet. A target that may have private addresses is for tools only. Port 0 stands for any.
    /// What is asked there is decided later, address included.
    pub fn reaches(&self, regime: Regime, host: &Host, port: u16) -> bool {
        let rules = self.rules();
        is_home(host)
            || rules.policy.knows_host(host, port)
            || (regime != Regime::Strict && rules.network.passes_unread_for_some(host, port))
            || (regime.observes(self.clock.now()) && is_public(&rules.network, host, port))
    }

    /// Puts new rules in force for every call accepted from here on. Calls that are on their way are decided again.
    pub fn replace_rules(&self, rules: Rules) {
        self.mint.sweep(&rules.custody);
        self.rules.store(Arc::new(rules));
        self.changed.send_replace(());
    }

    /// Has every open call decided again, as if the rules had changed: the time of somebody observed is over.
    pub fn reconsider(&self) {
        self.rules.rcu(|now| Rules {
            policy: Arc::clone(&now.policy),
            custody: Arc::clone(&now.custody),
            network: now.network.clone(),
            unreachable: now.unreachable.clone(),
        });
        self.changed.send_replace(());
    }

    /// Says each time that other rules are in force.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Waits until no receipt is open and no issuer is asked: the ledger may be closed then. A stream of HTTP/2 closes its receipt a moment after
    /// its connection has ended.
    pub async fn settled(&self) {
        let mut open = self.open.subscribe();
        if open.wait_for(|open| *open == 0).await.is_err() {
            tracing::debug!("nobody counts open receipts any more");
        }
        // What an issuer answers is kept, whoever has stopped waiting for it.
        let tasks = self.mint.outbound().tasks();
        tasks.close();
        tasks.wait().await;
    }

    /// The agents, as far as an operator has said something of them.
    pub const fn agents(&self) -> &Arc<Agents> {
        &self.agents
    }

    /// The questions that humans are asked.
    pub const fn approvals(&self) -> &Arc<Approvals> {
        &self.approvals
    }

    /// The ledger.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The clock.
    pub const fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// What each agent has done before.
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// Reads what agents have done before out of the journal. May block.
    ///
    /// # Errors
    /// When the ledger cannot be read; everything counts as new then.
    pub fn remember(&self) -> Result<(), exeat_ledger::Error> {
        self.history.remember(&self.ledger, self.clock.now())
    }

    /// The run that a call of this agent belongs to, as of this call.
    pub(crate) fn run_of(&self, agent: &Agent) -> Arc<Run> {
        let now = self.clock.now();
        match &agent.tally {
            Some(tally) => {
                tally.run().calls(now);
                Arc::clone(tally.run())
            }
            None => self.runs.of(&agent.id, now),
        }
    }

    /// When a human last proved to be there.
    pub const fn presence(&self) -> &Presence {
        &self.presence
    }

    /// The metrics.
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn reached(&self, stage: Stage) {
        if let Some(observer) = &self.observer {
            observer.reached(stage);
        }
    }

    /// Counts a refusal that happened before a call existed.
    pub fn count_refusal(&self, reason: Reason) {
        self.metrics.refused(reason);
    }
}

/// Ends of names that belong to no public host.
const INNER_NAMES: [&str; 7] = [
    "localhost",
    "local",
    "internal",
    "intranet",
    "home.arpa",
    "onion",
    "invalid",
];

/// The lowest port, besides those of the web, where a public service is taken to speak HTTP.
const SERVICE_PORT_MIN: u16 = 1024;

/// Whether anybody may go there without a tool: not to a name of an inner network, not to a port of another protocol.
fn is_public(network: &Network, host: &Host, port: u16) -> bool {
    // SECURITY: the operator opened such a target for tools, not for whatever somebody observed may ask there.
    if network.allow_private.contains(&(host.clone(), port)) {
        return false;
    }
    if !matches!(port, 0 | 80 | 443 | SERVICE_PORT_MIN..) {
        return false;
    }
    match host {
        Host::Ip(ip) => address::classify(*ip).is_public(),
        Host::Name(name) => {
            let inner = |end: &&str| {
                let rest = name.strip_suffix(*end);
                rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            };
            name.contains('.') && !INNER_NAMES.iter().any(inner)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_open(target: &str, port: u16) -> bool {
        is_public(&Network::default(), &Host::parse(target).unwrap(), port)
    }

    #[test]
    fn only_public_names_and_addresses_are_open_to_an_observed_agent() {
        for port in [0, 80, 443, 8443] {
            assert!(is_open("docs.example.com", port));
            assert!(is_open("1.1.1.1", port));
        }
        for port in [22, 25, 587, 853] {
            assert!(!is_open("docs.example.com", port));
            assert!(!is_open("1.1.1.1", port));
        }
        for inner in [
            "localhost",
            "metadata",
            "metadata.google.internal",
            "printer.local",
            "router.home.arpa",
            "127.0.0.1",
            "10.0.0.1",
            "169.254.169.254",
            "[::1]",
            "[fd00:ec2::254]",
            "[::ffff:169.254.169.254]",
        ] {
            assert!(!is_open(inner, 443), "{inner}");
        }
        let private = Network {
            allow_private: [(Host::parse("docs.example.com").unwrap(), 443)].into(),
            ..Network::default()
        };
        let docs = Host::parse("docs.example.com").unwrap();
        assert!(!is_public(&private, &docs, 443) && is_public(&private, &docs, 8443));
        assert!(!is_open("notlocal", 443));
        assert!(is_open("my.unlocal.example", 443));
    }
}
