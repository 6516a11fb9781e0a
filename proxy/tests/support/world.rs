//! The world of these tests: hosts, tools, rules, the one credential, and where names lead.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use exeat_ca::{Authority, Root};
use exeat_custody::{
    CredentialSpec, Custody, Kind, Live, Loaded, MasterKey, SecretRef, Shape, SoftwareSigner,
};
use exeat_ledger::{Devices, Ledger, Storage};
use exeat_pipeline::Network;
use exeat_policy::{Policy, Sources, World};
use exeat_types::{AgentId, Clock, CredentialId, Host, Origin, Secret, Source, SystemClock};

/// The secret that upstream must see and nobody else may.
pub(crate) const CANARY: &str = "ghp_CANARYproxy0123456789abcdefghijABCD";
/// The credentialed host.
pub(crate) const API: &str = "api.test";
/// A host without a credential.
pub(crate) const OPEN: &str = "open.test";
/// A host over plain HTTP.
pub(crate) const PLAIN: &str = "plain.test";

/// Tools of both hosts, and a host over plain HTTP.
pub(crate) const TOOLS: &str = r#"
[api]
name = "api"
origin = "https://api.test"
credential = "api"

[[tool]]
name = "any"
request = "GET /{page}"
category = "read"
description = "Any page"

[[tool]]
name = "head"
request = "HEAD /{page}"
category = "read"
description = "Any page, without its body"

[[tool]]
name = "upload"
request = "POST /upload"
category = "write"
description = "A body that streams"
[tool.input.body]
media = "binary"

[[tool]]
name = "early"
request = "POST /early"
category = "write"
description = "A body that upstream does not read"
[tool.input.body]
media = "binary"

[[tool]]
name = "stuck"
request = "POST /stuck"
category = "write"
description = "A body that upstream leaves lying"
[tool.input.body]
media = "binary"

[[tool]]
name = "create"
request = "POST /echo"
category = "write"
description = "A body with a schema"
[tool.input.body]
type = "object"
required = ["title"]
properties = { title = { type = "string", maxLength = 64 }, text = { type = "string" } }
additionalProperties = false

[[tool]]
name = "small"
request = "POST /small"
category = "write"
description = "A body with a schema and a bound"
body-max = "1 KiB"
[tool.input.body]
type = "object"
properties = { text = { type = "string" } }

[[tool]]
name = "delete"
request = "DELETE /{page}"
category = "delete"
description = "Forbidden by a rule"

[[tool]]
name = "asked"
request = "PUT /asked"
category = "write"
description = "Needs a human"

[[tool]]
name = "lean"
request = "PATCH /json"
category = "read"
description = "A response that loses members"
[tool.response]
remove = ["/user/email"]
"#;

pub(crate) const OPEN_TOOLS: &str = r#"
[api]
name = "open"
origin = "https://open.test"
[[tool]]
name = "any"
request = "GET /{page}"
category = "read"
description = "Any page"
"#;

pub(crate) const PLAIN_TOOLS: &str = r#"
[api]
name = "plain"
origin = "http://plain.test"
[[tool]]
name = "any"
request = "GET /{page}"
category = "read"
description = "Any page"
"#;

/// The tools of every host.
pub(crate) const ALL_TOOLS: [&str; 3] = [TOOLS, OPEN_TOOLS, PLAIN_TOOLS];

pub(crate) const RULES: &str = r#"
[[rule]]
name = "reads and writes"
agents = ["tester", "other"]
tools = ["api.any", "api.head", "api.upload", "api.early", "api.stuck", "api.create", "api.small", "api.lean", "open.*", "plain.*"]
effect = "allow"
[[rule]]
name = "no deletes"
agents = ["*"]
tools = ["api.delete"]
effect = "deny"
[[rule]]
name = "ask first"
agents = ["tester"]
tools = ["api.asked"]
effect = "prompt"
approve = { by = "passkey" }
"#;

pub(crate) fn agent(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

/// A root made for one test, and an authority under it.
pub(crate) fn authority(name: &str) -> Arc<Authority> {
    let clock = clock();
    let root = Root::generate(name, clock.now(), Duration::from_secs(86_400)).unwrap();
    Arc::new(Authority::new(Arc::new(root), clock).unwrap())
}

/// Opens the ledger in a folder of the test.
pub(crate) fn ledger(folder: &Path) -> Ledger {
    let options = exeat_ledger::Options::new(folder.join("ledger"));
    ledger_with(folder, options, clock())
}

/// The same, at the time of the test's own clock.
pub(crate) fn ledger_at(folder: &Path, clock: Arc<dyn Clock>) -> Ledger {
    let options = exeat_ledger::Options::new(folder.join("ledger"));
    ledger_with(folder, options, clock)
}

/// The same, with options of the test's own.
pub(crate) fn ledger_with(
    folder: &Path,
    options: exeat_ledger::Options,
    clock: Arc<dyn Clock>,
) -> Ledger {
    let devices = Devices {
        clock,
        ..devices(folder)
    };
    Ledger::open(options, devices.signer, devices.sealer, devices.clock)
        .unwrap()
        .0
}

/// The same, on a storage of the test's own.
pub(crate) fn ledger_on(folder: &Path, storage: Arc<dyn Storage>) -> Ledger {
    let options = exeat_ledger::Options::new(folder.join("ledger"));
    Ledger::open_on(storage, options, devices(folder))
        .unwrap()
        .0
}

fn devices(folder: &Path) -> Devices {
    let signer = SoftwareSigner::from_seed(&Secret::new(vec![1; 32])).unwrap();
    let path = folder.join("master.key");
    let master = match path.exists() {
        true => MasterKey::from_key_file(&path),
        false => MasterKey::create_key_file(&path),
    };
    Devices {
        signer: Arc::new(signer),
        sealer: master.unwrap().sealer("captures"),
        clock: clock(),
    }
}

pub(crate) fn policy(tools: &[&str], rules: &str) -> Policy {
    let agents: BTreeMap<AgentId, Vec<String>> =
        [(agent("tester"), vec![]), (agent("other"), vec![])].into();
    let credentials = [(
        CredentialId::new("api").unwrap(),
        vec![Origin::parse("https://api.test").unwrap()],
    )]
    .into();
    let tools = tools
        .iter()
        .enumerate()
        .map(|(i, text)| Source::new(&format!("{i}.toml"), text))
        .collect();
    let sources = Sources {
        tools,
        policy: vec![Source::new("policy.toml", rules)],
        cedar: vec![],
    };
    Policy::compile(
        &sources,
        &World {
            agents,
            credentials,
        },
    )
    .unwrap_or_else(|report| panic!("{report}"))
}

pub(crate) fn custody(live: &Arc<Live>) -> Custody {
    custody_of(live, CANARY, 1)
}

/// Custody with another secret of the one credential.
pub(crate) fn custody_of(live: &Arc<Live>, secret: &str, version: u32) -> Custody {
    let spec = CredentialSpec {
        id: CredentialId::new("api").unwrap(),
        kind: Kind::Bearer,
        origins: vec![Origin::parse("https://api.test").unwrap()],
        secret: Some(SecretRef::Env("NONE".to_owned())),
        shape: Shape::Auto,
    };
    let loaded = vec![Loaded::new(
        spec,
        Secret::new(secret.as_bytes().to_vec()),
        version,
    )];
    Custody::build(
        loaded,
        &[agent("tester"), agent("other")],
        &Secret::new(vec![3; 32]),
        live,
    )
    .unwrap()
}

/// Custody that has lost the credential.
pub(crate) fn custody_without(live: &Arc<Live>) -> Custody {
    let agents = [agent("tester"), agent("other")];
    Custody::build(Vec::new(), &agents, &Secret::new(vec![3; 32]), live).unwrap()
}

/// The placeholder of the tester.
pub(crate) fn placeholder() -> String {
    let custody = custody(&Live::new().unwrap());
    let placeholder = custody.placeholder(&agent("tester"), &CredentialId::new("api").unwrap());
    placeholder.unwrap().to_owned()
}

pub(crate) fn network(upstream: SocketAddr, plain: SocketAddr) -> Network {
    let mut network = Network::default();
    for (host, port, to) in [
        (API, 443, upstream),
        (OPEN, 443, upstream),
        (PLAIN, 80, plain),
    ] {
        let target = (Host::parse(host).unwrap(), port);
        network.allow_private.insert(target.clone());
        network.connect_to.insert(target, to);
    }
    network
}
