//! The whole road: a thousand rules and tools, a schema, a bearer credential, a durable receipt and a thousand secrets
//! to redact, on every call.

use std::{fmt::Write as _, fs, sync::Arc, time::Duration};

use anyhow::Context as _;
use exeat_ca::{Authority, Root};
use exeat_custody::{
    CredentialSpec, Custody, Error, Keep, Kind, Live, Loaded, SecretRef, Shape, SoftwareSigner,
    token::TokenKey,
};
use exeat_ledger::Ledger;
use exeat_pipeline::{Gate, Network, Outbound, Parts, Rules};
use exeat_policy::{Policy, Sources, World};
use exeat_proxy::{Door, Mode, Options, Proxy};
use exeat_types::{
    AgentId, Clock, CredentialId, Origin, Regime, Seal, Secret, Source, SystemClock,
};
use tokio::net::TcpListener;

use crate::site::{NAME, Site};

/// Secrets that custody holds and every response is searched for.
const SECRETS: usize = 1000;

/// Serves until killed; prints its address.
#[expect(clippy::print_stdout, reason = "the parent reads the address")]
pub(crate) fn run(site: &Site, rules: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let root = Arc::new(Root::generate(
            "bench root",
            clock.now(),
            Duration::from_secs(86_400),
        )?);
        fs::write(site.file("gate.pem"), root.certificate_pem())?;
        let key = |byte: u8| Secret::new(vec![byte; 32]);
        let signer = SoftwareSigner::from_seed(&key(1))?;
        let sealer =
            exeat_custody::MasterKey::create_key_file(&site.file("master.key"))?.sealer("captures");
        let options = exeat_ledger::Options::new(site.file("ledger"));
        let (ledger, _) = Ledger::open(options, Arc::new(signer), sealer, Arc::clone(&clock))?;
        let gate = Gate::new(Parts {
            rules: made(site, rules)?,
            ledger,
            clock: Arc::clone(&clock),
            tokens: Arc::new(TokenKey::new(&key(2))),
            registry: prometheus::Registry::new(),
            observer: None,
            outbound: Outbound::new(Arc::clone(&clock), tokio::runtime::Handle::current()),
            keep: Arc::new(Nothing),
        })?;
        let proxy = Proxy::new(
            gate,
            &Options {
                upstream_roots: site.file("root.pem"),
            },
        );
        let door = Door {
            name: "bench".to_owned(),
            mode: Mode::Explicit,
            agent: Some(AgentId::new("bench")?),
            clients: Vec::new(),
            seal: Seal::Gateway,
            regime: Regime::Declared,
            tally: None,
            authority: Arc::new(Authority::new(root, clock)?),
            tls: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        proxy.serve(listener, Arc::new(door)).await;
        Ok(())
    })
}

/// Notes nothing: no credential of this road has an issuer.
struct Nothing;

impl Keep for Nothing {
    fn load(&self, _: &str) -> Result<Option<Secret>, Error> {
        Ok(None)
    }

    fn store(&self, _: &str, _: &Secret) -> Result<(), Error> {
        Ok(())
    }

    fn remove(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }
}

fn made(site: &Site, rules: usize) -> anyhow::Result<Rules> {
    let agent = AgentId::new("bench")?;
    let origin = Origin::parse(&format!("https://{NAME}"))?;
    let mut tools = format!(
        "[api]\nname = \"up\"\norigin = \"{origin}\"\ncredential = \"c0\"\n\
         [[tool]]\nname = \"things.show\"\nrequest = \"GET /things/{{id}}\"\ncategory = \"read\"\n\
         [tool.input.path]\ntype = \"object\"\nproperties = {{ id = {{ type = \"integer\", minimum = 1 }} }}\n"
    );
    let mut policy =
        "[[rule]]\nname = \"show\"\nagents = [\"bench\"]\ntools = [\"up.things.show\"]\n\
                      when = 'context.args.id < 1000'\neffect = \"allow\"\n"
            .to_owned();
    for index in 1..rules {
        write!(
            tools,
            "[[tool]]\nname = \"other.t{index}\"\nrequest = \"GET /other/{index}/{{id}}\"\ncategory = \"read\"\n"
        )?;
        write!(
            policy,
            "[[rule]]\nname = \"r{index}\"\nagents = [\"bench\"]\ntools = [\"up.other.t{index}\"]\neffect = \"allow\"\n"
        )?;
    }
    let id = |index: usize| CredentialId::new(&format!("c{index}"));
    let mut loaded = Vec::new();
    for index in 0..SECRETS {
        let secret = Secret::new(format!("ghp_{index:036}").into_bytes());
        let spec = CredentialSpec {
            id: id(index)?,
            kind: Kind::Bearer,
            origins: vec![origin.clone()],
            secret: Some(SecretRef::Env("NONE".to_owned())),
            shape: Shape::Auto,
        };
        loaded.push(Loaded::new(spec, secret, 1));
    }
    let credentials = loaded
        .iter()
        .map(|one| (one.spec.id.clone(), one.spec.origins.clone()))
        .collect();
    let world = World {
        agents: [(agent.clone(), Vec::new())].into(),
        credentials,
    };
    let sources = Sources {
        tools: vec![Source::new("up.toml", &tools)],
        policy: vec![Source::new("policy.toml", &policy)],
        cedar: Vec::new(),
    };
    let compiled = Policy::compile(&sources, &world).context("the policy")?;
    let custody = Custody::build(loaded, &[agent], &Secret::new(vec![3; 32]), &Live::new()?);
    let custody = custody.map_err(|problems| anyhow::anyhow!("custody: {problems:?}"))?;
    let mut network = Network::default();
    let target = (origin.host, origin.port);
    network.allow_private.insert(target.clone());
    network.connect_to.insert(target, site.upstream);
    Ok(Rules {
        policy: Arc::new(compiled),
        custody: Arc::new(custody),
        network,
        unreachable: std::collections::BTreeMap::new(),
    })
}
