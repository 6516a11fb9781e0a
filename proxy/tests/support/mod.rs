//! What the tests of the front door share: a real gate with a real ledger on disk, a real TLS upstream, real clients.

#![allow(
    dead_code,
    unused_imports,
    clippy::allow_attributes,
    reason = "each test file uses a part of the support"
)]

pub(crate) mod client;
pub(crate) mod hello;
pub(crate) mod hop;
pub(crate) mod issuers;
pub(crate) mod pages;
pub(crate) mod raw;
pub(crate) mod script;
pub(crate) mod tokens;
pub(crate) mod upstream;
pub(crate) mod world;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use client::Client;
use exeat_ca::Authority;
use exeat_custody::{Live, token::TokenKey};
use exeat_ledger::{Filter, Ledger, Receipt};
use exeat_pipeline::{Gate, Outbound, Parts, Rules, StageObserver};
use exeat_proxy::{Door, Mode, Options, Proxy};
use exeat_types::{Clock, Host, Regime, Seal, Secret};
use tokio::{net::TcpListener, time::Instant};
use upstream::Upstream;
pub(crate) use world::{API, CANARY, OPEN, PLAIN, agent, authority, clock};

/// How long a test waits for something that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until something is so, and fails loudly when it never is.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Starts a task that ends with its test.
#[expect(
    clippy::disallowed_methods,
    reason = "a test has no tracker for its tasks"
)]
pub(crate) fn spawn<T>(task: T) -> tokio::task::JoinHandle<T::Output>
where
    T: Future<Output: Send> + Send + 'static,
{
    tokio::task::spawn(task)
}

/// A gate, its proxy, and what stands around it.
pub(crate) struct Rig {
    pub(crate) gate: Arc<Gate>,
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) address: SocketAddr,
    pub(crate) upstream: Upstream,
    pub(crate) plain_upstream: Upstream,
    pub(crate) upstream_authority: Arc<Authority>,
    pub(crate) client: Client,
    pub(crate) ledger: Ledger,
    pub(crate) tokens: Arc<TokenKey>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) registry: prometheus::Registry,
    pub(crate) folder: PathBuf,
    temporary: Option<tempfile::TempDir>,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let ledger = world::ledger(temporary.path());
        let mut rig = Self::on(temporary.path(), ledger, None).await;
        rig.temporary = Some(temporary);
        rig
    }

    /// Starts with a clock of the test's own.
    pub(crate) async fn at(clock: Arc<dyn Clock>) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let ledger = world::ledger_at(temporary.path(), Arc::clone(&clock));
        let mut rig = Self::whole(temporary.path(), ledger, None, clock).await;
        rig.temporary = Some(temporary);
        rig
    }

    /// Starts on a folder and a ledger that may hold an earlier gate's state.
    pub(crate) async fn on(
        folder: &Path,
        ledger: Ledger,
        observer: Option<Arc<dyn StageObserver>>,
    ) -> Self {
        Self::whole(folder, ledger, observer, clock()).await
    }

    async fn whole(
        folder: &Path,
        ledger: Ledger,
        observer: Option<Arc<dyn StageObserver>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let upstream_authority = authority("upstream root");
        let tls = upstream_authority
            .server_config(&Host::parse(API).unwrap())
            .unwrap();
        let upstream = Upstream::start(Some(tls)).await;
        let plain_upstream = Upstream::start(None).await;
        let roots = folder.join("upstream.pem");
        std::fs::write(&roots, upstream_authority.root().certificate_pem()).unwrap();
        let tokens = Arc::new(TokenKey::new(&Secret::new(vec![2; 32])));
        let registry = prometheus::Registry::new();
        let mut network = world::network(upstream.address, plain_upstream.address);
        let root = upstream_authority.root().certificate_der().to_vec();
        network.roots.certificates = [root].into();
        let outbound = Outbound::new(Arc::clone(&clock), tokio::runtime::Handle::current());
        let gate = Gate::new(Parts {
            rules: Rules {
                policy: Arc::new(world::policy(&world::ALL_TOOLS, world::RULES)),
                custody: Arc::new(world::custody(&Live::new().unwrap())),
                network,
                unreachable: BTreeMap::new(),
            },
            ledger: ledger.clone(),
            clock,
            tokens: Arc::clone(&tokens),
            registry: registry.clone(),
            observer,
            outbound,
            keep: Arc::new(issuers::Memory::default()),
        })
        .unwrap();
        let proxy = Proxy::new(
            Arc::clone(&gate),
            &Options {
                upstream_roots: roots,
            },
        );
        let authority = authority("gate root");
        let root = authority.root().certificate_der().clone();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut rig = Self {
            gate,
            proxy,
            address: nowhere,
            upstream,
            plain_upstream,
            upstream_authority,
            client: Client {
                proxy: nowhere,
                root,
                proxy_authorization: None,
            },
            ledger,
            tokens,
            authority,
            registry,
            folder: folder.to_owned(),
            temporary: None,
        };
        rig.address = rig.open(Mode::Explicit, Some("tester"), None).await;
        rig.client.proxy = rig.address;
        rig
    }

    /// Opens one more listener and returns its address, which is also its name.
    pub(crate) async fn open(
        &self,
        mode: Mode,
        named: Option<&str>,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> SocketAddr {
        self.open_to(mode, named, tls, &[]).await
    }

    /// The same for clients of these addresses only.
    pub(crate) async fn open_to(
        &self,
        mode: Mode,
        named: Option<&str>,
        tls: Option<Arc<rustls::ServerConfig>>,
        clients: &[&str],
    ) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let door = Door {
            name: address.to_string(),
            mode,
            agent: named.map(agent),
            clients: clients.iter().map(|one| one.parse().unwrap()).collect(),
            seal: Seal::Gateway,
            regime: Regime::Declared,
            tally: None,
            authority: Arc::clone(&self.authority),
            tls,
        };
        spawn(Arc::clone(&self.proxy).serve(listener, Arc::new(door)));
        address
    }

    /// The same for an agent that is held in another way than usual.
    pub(crate) async fn open_held(&self, mode: Mode, named: &str, regime: Regime) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let door = Door {
            name: address.to_string(),
            mode,
            agent: Some(agent(named)),
            clients: Vec::new(),
            seal: Seal::Gateway,
            regime,
            tally: None,
            authority: Arc::clone(&self.authority),
            tls: None,
        };
        spawn(Arc::clone(&self.proxy).serve(listener, Arc::new(door)));
        address
    }

    /// A client that comes in at another listener.
    pub(crate) fn client_at(&self, proxy: SocketAddr) -> Client {
        Client {
            proxy,
            ..self.client.clone()
        }
    }

    /// Puts changed rules in force.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Rules)) {
        let now = self.gate.rules();
        let mut rules = Rules {
            policy: Arc::clone(&now.policy),
            custody: Arc::clone(&now.custody),
            network: now.network.clone(),
            unreachable: now.unreachable.clone(),
        };
        change(&mut rules);
        self.gate.replace_rules(rules);
    }

    /// Leads a host and port to another address.
    pub(crate) fn route(&self, host: &str, port: u16, to: SocketAddr) {
        let target = (Host::parse(host).unwrap(), port);
        self.change(|rules| {
            rules.network.allow_private.insert(target.clone());
            rules.network.connect_to.insert(target, to);
        });
    }

    /// TLS settings for an upstream that speaks HTTP/1.1 only.
    pub(crate) fn http1_upstream_tls(&self) -> Arc<rustls::ServerConfig> {
        let host = Host::parse(API).unwrap();
        let shared = self.upstream_authority.server_config(&host).unwrap();
        let mut config = rustls::ServerConfig::clone(&shared);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }

    /// Every receipt, newest first, once as many as expected are closed.
    pub(crate) async fn receipts(&self, expected: usize) -> Vec<Receipt> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let all = self.ledger.list(&Filter::default()).unwrap();
            let closed = all
                .iter()
                .filter(|receipt| receipt.closed.is_some())
                .count();
            if closed >= expected || Instant::now() > deadline {
                return all;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The bodies of all records of a kind, oldest first.
    pub(crate) fn records(&self, kind: &str) -> Vec<serde_json::Value> {
        self.ledger.flush();
        let mut lines = Vec::new();
        self.ledger.export(&mut lines, &Filter::default()).unwrap();
        let lines = String::from_utf8(lines).unwrap();
        let records = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        records
            .filter(|record: &serde_json::Value| record["kind"] == kind)
            .map(|mut record| record["body"].take())
            .collect()
    }

    /// The reasons of all connections that were turned away, with repetition.
    pub(crate) fn turned_away(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        for record in self.records("connection") {
            let times = usize::try_from(record["count"].as_u64().unwrap()).unwrap();
            reasons.extend(std::iter::repeat_n(
                record["reason"].as_str().unwrap().to_owned(),
                times,
            ));
        }
        reasons
    }

    /// Everything that the gate keeps on disk, as bytes.
    pub(crate) fn everything_on_disk(&self) -> Vec<(PathBuf, Vec<u8>)> {
        fn walk(folder: &Path, into: &mut Vec<(PathBuf, Vec<u8>)>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, into);
                } else {
                    into.push((path.clone(), std::fs::read(&path).unwrap()));
                }
            }
        }
        let mut all = Vec::new();
        walk(&self.folder, &mut all);
        all
    }
}
