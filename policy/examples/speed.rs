//! Prints how long it takes to load a large policy, to reload it, to find a tool and to decide a call.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a measurement that fails may panic"
)]

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use exeat_policy::{Body, Cache, Policy, Question, Request, Sources, World};
use exeat_types::{AccountId, AgentId, Origin, Source};
use http::{HeaderMap, HeaderValue, Method, header};

const TOOLS: usize = 1_000;
const RULES: usize = 10_000;

fn main() {
    let mut cache = Cache::default();
    let world = world();
    let first = sources("acme");
    let (cold, policy) = timed(|| compile(&mut cache, &first, &world));
    say(&format!("load {RULES} rules and {TOOLS} tools, cold"), cold);
    let second = sources("other");
    let (warm, _) = timed(|| compile(&mut cache, &second, &world));
    say("reload with one rule changed", warm);

    let origin = Origin::parse("https://api.example").unwrap();
    let path = "/service/471/things/abc/parts/def";
    say(
        "find a tool",
        per(100_000, || {
            policy.find(&Method::POST, &origin, path).unwrap()
        }),
    );
    let found = policy.find(&Method::POST, &origin, path).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    let body = br#"{"owner": "acme", "title": "A title of some length", "count": 3, "labels": ["a", "b"]}"#;
    let request = Request {
        method: &Method::POST,
        origin: &origin,
        path,
        query: None,
        headers: &headers,
        body: Body::Whole(body),
    };
    say(
        "check arguments",
        per(50_000, || found.check(&request).unwrap()),
    );
    let arguments = found.check(&request).unwrap();
    let (account, agent) = (AccountId::local(), AgentId::new("claude").unwrap());
    let ask = |approval| Question {
        account: &account,
        agent: &agent,
        tool: &found.tool,
        arguments: &arguments,
        approval,
    };
    say(
        "decide, remembered",
        per(100_000, || policy.decide(&ask(None))),
    );
    say(
        "decide, computed (slice of 8)",
        per(20_000, || policy.decide(&ask(Some("local")))),
    );
}

fn compile(cache: &mut Cache, sources: &Sources, world: &World) -> Policy {
    match Policy::compile_with(cache, sources, world) {
        Ok(policy) => policy,
        Err(report) => panic!("{report}"),
    }
}

fn world() -> World {
    let mut world = World::default();
    world
        .agents
        .insert(AgentId::new("claude").unwrap(), vec!["coding".to_owned()]);
    world
}

fn sources(owner: &str) -> Sources {
    let mut tools = "[api]\nname = \"api\"\norigin = \"https://api.example\"\n".to_owned();
    for n in 0..TOOLS {
        let category = ["read", "write", "delete"].get(n % 3).unwrap();
        write!(
            tools,
            "[[tool]]\nname = \"t{n}\"\nrequest = \"POST /service/{n}/things/{{thing}}/parts/{{part}}\"\ncategory = \"{category}\"\n[tool.input]\nrequired = [\"owner\"]\n[tool.input.properties]\nowner = {{ type = \"string\" }}\ntitle = {{ type = \"string\", maxLength = 256 }}\ncount = {{ type = \"integer\" }}\nlabels = {{ type = \"array\", items = {{ type = \"string\" }} }}\n"
        )
        .unwrap();
    }
    let mut rules = String::new();
    for n in 0..RULES {
        // Rules 0 to 6 are about every tool, the rest about one each, so a slice has eight.
        let (scope, owner) = if n < 7 {
            ("api.*".to_owned(), "acme")
        } else {
            (
                format!("api.t{}", n % TOOLS),
                if n == 4711 { owner } else { "acme" },
            )
        };
        let effect = if n % 5 == 1 { "deny" } else { "allow" };
        write!(
            rules,
            "[[rule]]\nname = \"r{n}\"\nagents = [\"group:coding\"]\ntools = [\"{scope}\"]\nwhen = 'context.args.owner == \"{owner}{n}\" || (context.args has count && context.args.count > {n})'\neffect = \"{effect}\"\n"
        )
        .unwrap();
    }
    Sources {
        tools: vec![Source::new("tools.toml", &tools)],
        policy: vec![Source::new("policy.toml", &rules)],
        cedar: Vec::new(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a speed is measured with the clock"
)]
fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let made = work();
    (start.elapsed(), made)
}

fn per<T>(times: u32, mut work: impl FnMut() -> T) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let (took, ()) = timed(|| {
            for _ in 0..times / 5 {
                std::hint::black_box(work());
            }
        });
        best = best.min(took / (times / 5));
    }
    best
}

#[expect(clippy::print_stdout, reason = "this program prints its result")]
fn say(what: &str, took: Duration) {
    println!("{what}: {took:?}");
}
