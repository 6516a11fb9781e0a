//! An observed agent: what nobody declared passes without a credential, for a while, and everything else holds as ever.
#![cfg(test)]

mod support;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use exeat_pipeline::Tally;
use exeat_proxy::{Door, Mode};
use exeat_types::{Clock as _, CredentialId, FakeClock, Host, Reason, Regime, Seal, SystemClock};
use http::Request;
use support::{
    API, CANARY, OPEN, PATIENCE, Rig, agent,
    client::{Answer, Client, whole},
    raw::ask,
    spawn, until,
    upstream::{Seen, Upstream},
    world,
};
use tokio::net::TcpListener;

/// A host of which one tool is declared, that nobody calls: it is on this machine, and so out of reach without one.
const UNKNOWN: &str = "unknown.test";
const UNKNOWN_TOOLS: &str = r#"
[api]
name = "unknown"
origin = "https://unknown.test"
[[tool]]
name = "erase"
request = "DELETE /everything/{page}"
category = "delete"
"#;
/// A host that no tool names.
const FAR: &str = "far.test";
/// How long the agent is observed.
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A gate with a door behind which the agent is held in some way.
struct Scene {
    rig: Rig,
    clock: Arc<FakeClock>,
    client: Client,
    tally: Arc<Tally>,
    /// Of the hosts that have no credential.
    upstreams: Vec<Upstream>,
}

impl Scene {
    async fn observed() -> Self {
        Self::held(|clock| Regime::Observed {
            until: clock.now().after(WEEK),
        })
        .await
    }

    async fn held(regime: impl FnOnce(&FakeClock) -> Regime) -> Self {
        let clock = Arc::new(FakeClock::at(SystemClock::new().now()));
        let rig = Rig::at(Arc::clone(&clock) as _).await;
        let mut upstreams = Vec::new();
        for host in [UNKNOWN, OPEN] {
            let named = Host::parse(host).unwrap();
            let tls = rig.upstream_authority.server_config(&named).unwrap();
            let upstream = Upstream::start(Some(tls)).await;
            rig.route(host, 443, upstream.address);
            upstreams.push(upstream);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tally = Arc::new(Tally::default());
        let door = Door {
            name: address.to_string(),
            mode: Mode::Explicit,
            agent: Some(agent("tester")),
            clients: Vec::new(),
            seal: Seal::Sandbox,
            regime: regime(&clock),
            tally: Some(Arc::clone(&tally)),
            authority: Arc::clone(&rig.authority),
            tls: None,
        };
        spawn(Arc::clone(&rig.proxy).serve(listener, Arc::new(door)));
        let client = rig.client_at(address);
        let scene = Self {
            rig,
            clock,
            client,
            tally,
            upstreams,
        };
        scene.rules(world::RULES);
        scene
    }

    fn rules(&self, rules: &str) {
        self.policy(&world::ALL_TOOLS, rules);
    }

    fn policy(&self, tools: &[&str], rules: &str) {
        let tools = [tools, &[UNKNOWN_TOOLS]].concat();
        let policy = Arc::new(world::policy(&tools, rules));
        self.rig.change(|now| now.policy = policy);
    }

    /// What every upstream saw.
    fn seen(&self) -> Vec<Seen> {
        let others = self.upstreams.iter().flat_map(Upstream::seen);
        self.rig.upstream.seen().into_iter().chain(others).collect()
    }

    fn placeholder(&self) -> String {
        let custody = &self.rig.gate.rules().custody;
        let api = CredentialId::new("api").unwrap();
        custody
            .placeholder(&agent("tester"), &api)
            .unwrap()
            .to_owned()
    }

    async fn send(&self, host: &str, method: &str, target: &str) -> Answer {
        let request = Request::builder().method(method).uri(target);
        self.client.send(host, request).await
    }

    /// The reason with which CONNECT is refused, or nothing when it is not.
    async fn connect_refused(&self, authority: &str) -> Option<String> {
        let head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        let answer = ask(self.client.proxy, head.as_bytes()).await.unwrap();
        (answer.status != 200).then(|| answer.reason())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_declared_passes_without_a_credential_and_its_receipt_says_so() {
    let scene = Scene::observed().await;
    let read = scene
        .send(UNKNOWN, "GET", "/echo?x=1&x=2&secret=hidden;y")
        .await;
    assert_eq!(read.status, 200, "{}", read.text());
    let write = Request::post("/upload").header("content-type", "application/json");
    let write = scene
        .client
        .send_body(UNKNOWN, write, Bytes::from_static(b"{\"a\":1,\"a\":2}"));
    assert_eq!(write.await.status, 200);
    let receipts = scene.rig.receipts(2).await;
    let mut tools: Vec<&str> = receipts
        .iter()
        .map(|receipt| receipt.tool().unwrap().as_str())
        .collect();
    tools.sort_unstable();
    assert_eq!(tools, ["observed.read", "observed.write"]);
    for receipt in &receipts {
        let intent = receipt.intent.as_ref().unwrap();
        assert!(intent.observed && intent.credential.is_none() && intent.capture.is_some());
        assert_eq!(intent.path, "/{*path}");
        assert_eq!(intent.origin.host, Host::parse(UNKNOWN).unwrap());
    }
    for (path, bytes) in scene.rig.everything_on_disk() {
        let told = bytes.windows(6).any(|window| window == b"hidden");
        assert!(!told, "{}", path.display());
    }
    assert_eq!(scene.tally.count().requests, 2);
    assert_eq!(scene.tally.count().hosts, 1);
    // The same agent at a door where it is not observed.
    let (head, _) = scene.rig.client.connect(&format!("{FAR}:443")).await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    let elsewhere = scene.rig.client.get(UNKNOWN, "/echo").await;
    assert_eq!(elsewhere.reason(), "tool-unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_needs_its_rule_once_it_has_a_credential() {
    let scene = Scene::observed().await;
    scene.rules("");
    let open = scene.send(OPEN, "GET", "/echo").await;
    assert_eq!(open.status, 200);
    let api = scene.send(API, "GET", "/echo").await;
    assert_eq!(
        (api.status.as_u16(), api.reason().as_str()),
        (403, "policy-forbids")
    );
    let receipts = scene.rig.receipts(2).await;
    let open = receipts.iter().find_map(|receipt| receipt.intent.as_ref());
    let open = open.unwrap();
    assert_eq!(open.tool.as_str(), "open.any");
    assert!(open.observed && open.rules.is_empty());
    assert!(scene.seen().len() == 1);
    assert_eq!(scene.tally.count().refused, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_forbids_or_asks_about_holds_for_the_undeclared_too() {
    let scene = Scene::observed().await;
    scene.rules(
        r#"
[[rule]]
name = "no reads there"
agents = ["*"]
tools = ["open.*"]
effect = "deny"
[[rule]]
name = "nothing is deleted"
agents = ["*"]
category = ["delete"]
effect = "deny"
[[rule]]
name = "writes are asked about"
agents = ["tester"]
category = ["write"]
effect = "prompt"
[[rule]]
name = "some reads, where there is a page"
agents = ["tester"]
tools = ["*"]
category = ["read"]
when = 'context.args has page && context.args.page == "other"'
effect = "allow"
"#,
    );
    for (host, method, expect) in [
        (OPEN, "GET", "policy-forbids"),
        (UNKNOWN, "DELETE", "policy-forbids"),
        (UNKNOWN, "POST", "approval-required"),
        (UNKNOWN, "PATCH", "approval-required"),
        (UNKNOWN, "GET", "none"),
    ] {
        let answer = scene.send(host, method, "/echo").await;
        assert_eq!(
            answer.reason(),
            expect,
            "{method} {host}: {}",
            answer.text()
        );
    }
    assert_eq!(scene.seen().len(), 1);
    // A rule about everything that reads an argument cannot be answered for a request without any.
    scene.policy(
        &[world::OPEN_TOOLS, world::PLAIN_TOOLS],
        "[[rule]]\nname = \"not that page\"\nagents = [\"*\"]\ntools = [\"*\"]\nwhen = 'context.args.page == \"x\"'\n\
         effect = \"deny\"\n",
    );
    let answer = scene.send(UNKNOWN, "GET", "/echo").await;
    assert_eq!(answer.reason(), "policy-forbids");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_forbids_is_not_had_under_another_spelling_or_method() {
    let scene = Scene::observed().await;
    let tools = r#"
[api]
name = "open"
origin = "https://open.test"
[[tool]]
name = "paste"
request = "POST /api/pastes"
category = "write"
[[tool]]
name = "make"
request = "POST /v1/x:make"
category = "write"
[[tool]]
name = "read"
request = "GET /x"
category = "read"
"#;
    let forbid =
        "[[rule]]\nname = \"none\"\nagents = [\"*\"]\ntools = [\"open.*\"]\neffect = \"deny\"\n";
    scene.policy(&[tools], forbid);
    for (method, path, expect) in [
        ("POST", "/api/pastes", "policy-forbids"),
        ("POST", "/api%2Fpastes", "tool-unknown"),
        ("POST", "/api%2fpastes", "tool-unknown"),
        ("POST", "/api/paste%73", "policy-forbids"),
        ("POST", "/api/paste%2573", "tool-unknown"),
        ("PUT", "/api/pastes", "tool-unknown"),
        ("POST", "/v1/x%3Amake", "tool-unknown"),
        ("GET", "/x", "policy-forbids"),
        ("OPTIONS", "/x", "tool-unknown"),
    ] {
        let answer = scene.send(OPEN, method, path).await;
        assert_eq!(answer.reason(), expect, "{method} {path}");
    }
    assert_eq!(scene.send(OPEN, "HEAD", "/x").await.status, 403);
    assert!(scene.seen().is_empty());
    assert_eq!(scene.send(OPEN, "GET", "/%5Bid%5D%20").await.status, 200);
    assert_eq!(scene.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_call_that_was_declared_meanwhile_is_cut() {
    let scene = Scene::observed().await;
    let mut sender = scene.client.h1(UNKNOWN).await;
    let request = Request::get("/gate").header("host", UNKNOWN);
    let waiting = spawn(sender.send_request(request.body(whole("")).unwrap()));
    until("the request is at its upstream", || scene.seen().len() == 1).await;
    scene.rules("");
    assert!(!waiting.is_finished());
    let gate = UNKNOWN_TOOLS.replace("DELETE /everything/{page}", "GET /gate");
    let policy = Arc::new(world::policy(&[&gate], ""));
    scene.rig.change(|now| now.policy = policy);
    let cut = tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    assert!(cut.unwrap().is_err());
    let receipts = scene.rig.receipts(1).await;
    let outcome = receipts[0].outcome.as_ref().unwrap();
    assert_eq!(outcome.reason, Some(Reason::PolicyForbids));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undeclared_request_to_a_brokered_host_carries_nobodys_key() {
    let scene = Scene::observed().await;
    let placeholder = scene.placeholder();
    for own in ["CANARY-own-key".to_owned(), placeholder.clone()] {
        let request = Request::put("/undeclared/page")
            .header("authorization", format!("Bearer {own}"))
            .header("x-api-key", &own);
        scene.client.send(API, request).await;
    }
    let seen = scene.seen();
    assert_eq!(seen.len(), 2);
    for seen in &seen {
        let told = format!("{seen:?}");
        assert!(
            !told.contains("CANARY") && !told.contains(&placeholder),
            "{told}"
        );
        assert!(!seen.headers.contains_key("authorization"));
    }
    let smuggled = [
        (
            API,
            Request::put("/undeclared/page").header("x-note", &placeholder),
            Bytes::new(),
        ),
        (
            UNKNOWN,
            Request::get("/echo").header("authorization", format!("Bearer {placeholder}")),
            Bytes::new(),
        ),
        (
            UNKNOWN,
            Request::get(format!("/echo?q={placeholder}")),
            Bytes::new(),
        ),
        (
            UNKNOWN,
            Request::get(format!("/{placeholder}")),
            Bytes::new(),
        ),
    ];
    for (host, request, body) in smuggled {
        let answer = scene.client.send_body(host, request, body).await;
        assert_eq!(answer.reason(), "placeholder-misused", "{}", answer.text());
    }
    // In a body that streams it is found on its way.
    let mut sender = scene.client.h1(UNKNOWN).await;
    let request = Request::post("/upload").header("host", UNKNOWN);
    let request = request
        .body(whole(format!("{{\"a\": \"{placeholder}\"}}")))
        .unwrap();
    let answer = tokio::time::timeout(PATIENCE, sender.send_request(request))
        .await
        .unwrap();
    let answer = Answer::read(answer.unwrap()).await.unwrap();
    assert_eq!(answer.reason(), "placeholder-misused", "{}", answer.text());
    assert!(!format!("{:?}", scene.seen()).contains(&placeholder));
    assert!(!scene.rig.records("alarm").is_empty());
    let told: Vec<_> = scene.rig.receipts(7).await;
    assert!(!format!("{told:?}").contains(CANARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inner_network_and_other_protocols_stay_out_of_reach() {
    let scene = Scene::observed().await;
    // Where private addresses are allowed, they are for the tools that name the place.
    let inside: SocketAddr = scene.rig.upstream.address;
    scene.rig.route("private.test", 443, inside);
    scene.rig.route("127.0.0.1", inside.port(), inside);
    let loopback = format!("127.0.0.1:{}", inside.port());
    for target in [
        &loopback,
        "private.test:443",
        "169.254.169.254:80",
        "[fd00:ec2::254]:80",
        "[::ffff:169.254.169.254]:80",
        "metadata.google.internal:80",
        "metadata:80",
        "127.0.0.1:443",
        "[::1]:443",
        "localhost:443",
        "10.1.2.3:443",
        "0.0.0.0:80",
        "printer.local:631",
        "unknown.test:22",
        "unknown.test:25",
        "smtp.example.com:587",
    ] {
        let refused = scene.connect_refused(target).await;
        assert_eq!(refused.as_deref(), Some("tool-unknown"), "{target}");
        let plain = format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n");
        let plain = ask(scene.client.proxy, plain.as_bytes()).await.unwrap();
        assert_eq!(plain.reason(), "tool-unknown", "{target}");
    }
    for odd in ["2852039166:80", "0xa9.254.169.254:80", "unknown.test.:443"] {
        let refused = scene.connect_refused(odd).await;
        assert_eq!(refused.as_deref(), Some("malformed-request"), "{odd}");
    }
    // A public name that leads inside.
    let rebound = (Host::parse("rebound.test").unwrap(), 443);
    scene.rig.change(|rules| {
        rules.network.connect_to.insert(rebound, inside);
    });
    for path in ["/echo", "/@scope%2Fname"] {
        let answer = scene.send("rebound.test", "GET", path).await;
        assert_eq!(answer.reason(), "target-forbidden");
    }
    assert!(scene.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_week_it_is_over_on_open_connections_too() {
    let scene = Scene::observed().await;
    let mut sender = scene.client.h1(UNKNOWN).await;
    let mut get = async || {
        // The answer may be here before the connection is ready for another request.
        let request = Request::get("/echo")
            .header("host", UNKNOWN)
            .body(whole(""));
        sender.ready().await.unwrap();
        Answer::read(sender.send_request(request.unwrap()).await.unwrap())
            .await
            .unwrap()
    };
    assert_eq!(get().await.status, 200);
    let far = format!("{FAR}:443");
    assert_eq!(scene.connect_refused(&far).await, None);
    scene.clock.advance(WEEK);
    let over = get().await;
    assert_eq!(over.reason(), "tool-unknown", "{}", over.text());
    let refused = scene.connect_refused(&far).await;
    assert_eq!(refused.as_deref(), Some("tool-unknown"));
    assert_eq!(scene.send(API, "GET", "/echo").await.status, 200);
    assert_eq!(scene.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_on_its_way_after_a_week_is_cut() {
    let scene = Scene::observed().await;
    let mut sender = scene.client.h1(UNKNOWN).await;
    let request = Request::get("/gate")
        .header("host", UNKNOWN)
        .body(whole(""));
    let waiting = spawn(sender.send_request(request.unwrap()));
    until("the request is at its upstream", || scene.seen().len() == 1).await;
    scene.rig.gate.reconsider();
    assert!(!waiting.is_finished());
    scene.clock.advance(WEEK);
    scene.rig.gate.reconsider();
    let cut = tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    assert!(cut.unwrap().is_err());
    let receipts = scene.rig.receipts(1).await;
    let outcome = receipts[0].outcome.as_ref().unwrap();
    assert_eq!(outcome.reason, Some(Reason::PolicyForbids));
    scene.tally.settled(PATIENCE).await;
    assert_eq!(scene.tally.count().open, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_observed_reaches_only_what_is_declared_and_allowed() {
    for regime in [Regime::Declared, Regime::Strict] {
        let scene = Scene::held(|_| regime).await;
        let refused = scene.connect_refused(&format!("{FAR}:443")).await;
        assert_eq!(refused.as_deref(), Some("tool-unknown"));
        assert_eq!(scene.send(API, "GET", "/echo").await.status, 200);
        let undeclared = scene.send(API, "PUT", "/undeclared").await;
        assert_eq!(undeclared.reason(), "tool-unknown");
        scene.rules("");
        assert_eq!(
            scene.send(OPEN, "GET", "/echo").await.reason(),
            "policy-forbids"
        );
        let receipts = scene.rig.receipts(3).await;
        let mut intents = receipts
            .iter()
            .filter_map(|receipt| receipt.intent.as_ref());
        assert!(intents.all(|intent| !intent.observed));
        assert_eq!(scene.tally.count().refused, 3);
    }
}
