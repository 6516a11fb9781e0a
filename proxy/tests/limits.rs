//! Limits at the gate: how often, how many at a time, when, in whose presence, where to, and out of which budgets. Each
//! refuses with its own reason before anything leaves, names itself in the receipt, and cuts what is open when it ends.
#![cfg(test)]

mod support;

use std::{sync::Arc, time::Duration};

use exeat_ledger::{Ending, Receipt};
use exeat_types::{FakeClock, Host, Timestamp};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, TestRunner},
};
use support::{
    API, Rig, agent,
    client::{Answer, whole},
    hello, until, world,
};
use tokio::io::AsyncWriteExt as _;

/// A Wednesday, in the afternoon of Berlin.
const START: &str = "2026-07-01T15:00:00Z";
const SHOP: &str = r#"
[api]
name = "shop"
origin = "https://api.test"
[[tool]]
name = "order"
request = "POST /order"
category = "write"
description = "Buys something"
cost = { argument = "cents", currency = "USD", decimals = 2 }
[tool.input.body]
type = "object"
required = ["cents"]
properties = { cents = { type = "integer" }, note = { type = "string" } }

[[tool]]
name = "paid"
request = "POST /free/echo"
category = "write"
description = "Asks for money, perhaps"
credentials = ["api", "payment"]
[tool.input.body]
type = "object"

[[tool]]
name = "ask"
request = "POST /messages"
category = "write"
description = "Asks a model"
[tool.llm]
api = "anthropic"
[tool.input.body]
type = "object"
required = ["model"]
"#;
const SHOP_RULE: &str = r#"
[[rule]]
name = "the shop"
agents = ["tester", "other"]
tools = ["shop.*"]
effect = "allow"
"#;

struct Scene {
    rig: Rig,
    clock: Arc<FakeClock>,
}

impl Scene {
    async fn with(limits: &str) -> Self {
        let start: Timestamp = START.parse().unwrap();
        let clock = Arc::new(FakeClock::at(start));
        let rig = Rig::at(Arc::clone(&clock) as _).await;
        let scene = Self { rig, clock };
        scene.limits(limits);
        scene
    }

    fn limits(&self, limits: &str) {
        let tools = [&world::ALL_TOOLS[..], &[SHOP]].concat();
        let rules = format!("{}{SHOP_RULE}{limits}", world::RULES);
        let policy = Arc::new(world::policy(&tools, &rules));
        self.rig.change(|now| now.policy = policy);
    }

    fn later(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn get(&self) -> Answer {
        self.rig.client.get(API, "/page").await
    }

    async fn post(&self, target: &str, body: &str) -> Answer {
        let request = Request::post(target)
            .header("content-type", "application/json")
            .header("exeat-wait", "0");
        let client = &self.rig.client;
        client.send_body(API, request, body.to_owned().into()).await
    }

    async fn order(&self, cents: u64) -> Answer {
        self.post("/order", &format!("{{\"cents\":{cents}}}")).await
    }

    /// Some receipt of those that are closed by now says that this limit had no room.
    async fn names(&self, closed: usize, limit: &str) {
        let all = self.rig.receipts(closed).await;
        let limits: Vec<&str> = all.iter().filter_map(limit_of).collect();
        assert!(limits.contains(&limit), "{limits:?}");
    }

    /// Some receipt of those that are closed by now ended so.
    async fn was_cut(&self, closed: usize, reason: &str) {
        let all = self.rig.receipts(closed).await;
        let cut = |outcome: &&exeat_ledger::Outcome| outcome.result != Ending::Completed;
        let outcomes = all.iter().filter_map(|receipt| receipt.outcome.as_ref());
        let reasons: Vec<&str> = outcomes
            .filter(cut)
            .filter_map(|outcome| Some(outcome.reason?.code()))
            .collect();
        assert_eq!(reasons, [reason]);
    }

    fn reached_upstream(&self) -> usize {
        self.rig.upstream.seen().len()
    }

    /// Opens a response that goes on for as long as the test likes, and gives it after its first piece.
    async fn open_stream(&self) -> hyper::body::Incoming {
        let request = Request::get("/stepped").header("host", API);
        let mut sender = self.rig.client.h1(API).await;
        let request = request.body(whole("")).unwrap();
        self.rig.upstream.steps.add_permits(1);
        let mut body = sender.send_request(request).await.unwrap().into_body();
        let first = body.frame().await.unwrap();
        assert!(first.is_ok());
        // The connection lives as long as its body.
        support::spawn(async move {
            let never: () = std::future::pending().await;
            drop(sender);
            never
        });
        body
    }

    async fn is_cut(&self, mut body: hyper::body::Incoming, closed: usize, reason: &str) {
        let rest = tokio::time::timeout(support::PATIENCE, async {
            while let Some(Ok(_)) = body.frame().await {}
        });
        rest.await.expect("the stream ends");
        self.was_cut(closed, reason).await;
    }
}

#[track_caller]
fn refused(answer: &Answer, status: u16, reason: &str) {
    let found = (answer.status.as_u16(), answer.reason());
    assert_eq!(found, (status, reason.to_owned()), "{}", answer.text());
}

fn passed(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}

fn retry_after(answer: &Answer) -> Option<u64> {
    let value = answer.headers.get("retry-after")?;
    value.to_str().unwrap().parse().ok()
}

fn limit_of(receipt: &Receipt) -> Option<&str> {
    receipt.refusal.as_ref()?.limit.as_deref()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_lets_a_burst_pass_and_then_says_when_to_come_back() {
    let scene =
        Scene::with("[limits.all]\nagents = [\"*\"]\nrequests = \"30/min\"\nburst = 2\n").await;
    passed(&scene.get().await);
    passed(&scene.get().await);
    let third = scene.get().await;
    refused(&third, 429, "rate-limited");
    assert_eq!(retry_after(&third), Some(2));
    scene.names(3, "all/tester/requests").await;
    let other = scene
        .rig
        .open(exeat_proxy::Mode::Explicit, Some("other"), None)
        .await;
    passed(&scene.rig.client_at(other).get(API, "/page").await);
    scene.later(2);
    passed(&scene.get().await);
    refused(&scene.get().await, 429, "rate-limited");
    assert_eq!(scene.reached_upstream(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_share_a_rate_take_it_from_each_other() {
    let scene =
        Scene::with("[limits.all]\nagents = [\"*\"]\nshare = \"together\"\nrequests = \"1/min\"\n")
            .await;
    passed(&scene.get().await);
    let other = scene
        .rig
        .open(exeat_proxy::Mode::Explicit, Some("other"), None)
        .await;
    let answer = scene.rig.client_at(other).get(API, "/page").await;
    refused(&answer, 429, "rate-limited");
    scene.names(2, "all/requests").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_calls_are_open_at_a_time_and_a_closed_one_makes_room() {
    let scene = Scene::with("[limits.tester]\nconcurrency = 1\n").await;
    let body = scene.open_stream().await;
    let second = scene.get().await;
    refused(&second, 429, "rate-limited");
    assert_eq!(retry_after(&second), Some(1));
    scene.names(1, "tester/concurrency").await;
    scene.rig.upstream.steps.close();
    body.collect().await.unwrap();
    scene.rig.receipts(2).await;
    passed(&scene.get().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_its_hours_nothing_passes_and_what_is_open_is_cut() {
    let scene =
        Scene::with("[limits.tester]\nhours = \"Mon-Fri 08:00-19:00 Europe/Berlin\"\n").await;
    passed(&scene.get().await);
    let body = scene.open_stream().await;
    scene.later(2 * 3600);
    scene.is_cut(body, 2, "outside-window").await;
    let answer = scene.get().await;
    refused(&answer, 403, "outside-window");
    assert!(
        answer
            .text()
            .contains("Monday to Friday 08:00 to 19:00 Europe/Berlin")
    );
    assert_eq!(retry_after(&answer), Some(13 * 3600));
    scene.names(3, "tester/hours").await;
    scene.later(13 * 3600);
    passed(&scene.get().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn hours_that_a_reload_brings_hold_for_what_is_open() {
    let scene = Scene::with("").await;
    let body = scene.open_stream().await;
    scene.limits("[limits.tester]\nhours = \"Sat,Sun 08:00-19:00\"\n");
    scene.is_cut(body, 1, "outside-window").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends() {
    let scene = Scene::with("[limits.tester]\nsession = \"30m\"\n").await;
    passed(&scene.get().await);
    let body = scene.open_stream().await;
    scene.later(29 * 60);
    passed(&scene.get().await);
    scene.later(60);
    scene.is_cut(body, 3, "session-ended").await;
    refused(&scene.get().await, 403, "session-ended");
    scene.names(4, "tester/session").await;
    // An hour without a call, and the next one begins a new run.
    scene.later(3600);
    passed(&scene.get().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_human_nothing_passes() {
    let scene = Scene::with("[limits.tester]\nhuman-present = true\n").await;
    refused(&scene.get().await, 403, "human-absent");
    scene.names(1, "tester/human-present").await;
    let now: &dyn exeat_types::Clock = &*scene.clock;
    scene.rig.gate.presence().touch(now.now());
    passed(&scene.get().await);
    let body = scene.open_stream().await;
    scene.later(15 * 60);
    scene.is_cut(body, 3, "human-absent").await;
    refused(&scene.get().await, 403, "human-absent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_new_is_refused_or_asked_about() {
    let scene = Scene::with(
        "[limits.tester]\nfirst-use-of-host = \"deny\"\nknown-hosts = [\"plain.test\"]\n",
    )
    .await;
    refused(&scene.get().await, 403, "host-new");
    scene.names(1, "tester/first-use-of-host").await;
    scene.limits("");
    passed(&scene.get().await);
    scene.limits("[limits.tester]\nfirst-use-of-host = \"deny\"\n");
    passed(&scene.get().await);
    let scene = Scene::with("[limits.tester]\nfirst-use-of-host = \"prompt\"\n").await;
    let answer = scene.order(1).await;
    refused(&answer, 403, "approval-required");
    assert_eq!(scene.reached_upstream(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn above_a_threshold_a_human_is_asked() {
    let scene =
        Scene::with("[limits.tester]\nask-above = { call = \"100 USD\", day = \"150 USD\" }\n")
            .await;
    passed(&scene.order(10_000).await);
    refused(&scene.order(10_001).await, 403, "approval-required");
    refused(&scene.order(5_001).await, 403, "approval-required");
    passed(&scene.order(5_000).await);
    refused(&scene.order(1).await, 403, "approval-required");
    passed(&scene.order(0).await);
    scene.later(10 * 3600);
    passed(&scene.order(10_000).await);
    // What is no amount costs more than anything.
    refused(
        &scene.post("/order", "{\"cents\":-1}").await,
        403,
        "approval-required",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn money_is_set_aside_before_and_begins_anew_with_the_day() {
    let scene = Scene::with("[limits.tester]\nspend = { call = \"2 USD\", day = \"3 USD\" }\nzone = \"Europe/Berlin\"\n").await;
    refused(&scene.order(201).await, 402, "budget-exhausted");
    scene.names(1, "tester/spend/call").await;
    passed(&scene.order(200).await);
    let answer = scene.order(101).await;
    refused(&answer, 402, "budget-exhausted");
    // Until midnight in Berlin.
    assert_eq!(retry_after(&answer), Some(7 * 3600));
    scene.names(3, "tester/spend/day").await;
    passed(&scene.order(100).await);
    scene.rig.receipts(4).await;
    let usage = scene.rig.gate.usage();
    let [day] = usage.as_slice() else {
        panic!("{usage:?}");
    };
    assert_eq!((day.limit, day.spent, day.free), (3_000_000, 3_000_000, 0));
    assert_eq!(day.resets, Some("2026-07-01T22:00:00Z".parse().unwrap()));
    scene.later(7 * 3600);
    passed(&scene.order(200).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_and_a_rolling_window_lets_them_go_one_by_one() {
    let scene =
        Scene::with("[limits.tester]\ncategory = [\"read\"]\ncalls = { 1h = 2, month = 3 }\n")
            .await;
    passed(&scene.get().await);
    scene.rig.receipts(1).await;
    scene.later(1800);
    passed(&scene.get().await);
    refused(&scene.get().await, 402, "budget-exhausted");
    scene.names(3, "tester/calls/1h").await;
    passed(&scene.order(1).await);
    scene.later(1900);
    passed(&scene.get().await);
    scene.later(4000);
    refused(&scene.get().await, 402, "budget-exhausted");
    scene.names(6, "tester/calls/month").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_held_to_what_was_set_aside_both_ways() {
    let scene = Scene::with("[limits.tester]\nbytes-up = { call = \"1 KiB\" }\nbytes-down = { call = \"1 KiB\", day = \"10 MB\" }\n").await;
    let upload = |length: usize| {
        let request = Request::post("/upload").header("content-type", "application/octet-stream");
        scene
            .rig
            .client
            .send_body(API, request, vec![b'x'; length].into())
    };
    passed(&upload(1024).await);
    refused(&upload(1025).await, 402, "budget-exhausted");
    scene.names(2, "tester/bytes-up/call").await;
    // A response that is longer is cut where the budget ends.
    let request = Request::get("/large").header("host", API);
    let mut sender = scene.rig.client.h1(API).await;
    let answer = sender.send_request(request.body(whole("")).unwrap()).await;
    let mut got = 0;
    if let Ok(answer) = answer {
        let mut body = answer.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            got += frame.into_data().map_or(0, |data| data.len());
        }
    }
    assert!(got <= 1024, "{got}");
    scene.was_cut(3, "budget-exhausted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_asked_only_with_a_bound_that_fits() {
    let scene = Scene::with("[limits.tester]\ntokens = { day = 10000 }\n").await;
    let unbounded = scene
        .post("/messages", "{\"model\":\"m\",\"messages\":[]}")
        .await;
    refused(&unbounded, 402, "budget-exhausted");
    scene.names(1, "tester/tokens").await;
    let large = scene
        .post(
            "/messages",
            "{\"model\":\"m\",\"max_tokens\":9000,\"messages\":[]}",
        )
        .await;
    refused(&large, 402, "budget-exhausted");
    scene.names(2, "tester/tokens/day").await;
    passed(
        &scene
            .post(
                "/messages",
                "{\"model\":\"m\",\"max_tokens\":100,\"messages\":[]}",
            )
            .await,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_presets_hold() {
    let scene = Scene::with("[limits.tester]\npreset = \"restrictive\"\n").await;
    refused(&scene.get().await, 403, "human-absent");
    let now: &dyn exeat_types::Clock = &*scene.clock;
    scene.rig.gate.presence().touch(now.now());
    // The call that was refused has taken one of the five.
    for _ in 0..4 {
        passed(&scene.get().await);
    }
    refused(&scene.get().await, 429, "rate-limited");
    scene.later(60);
    refused(&scene.order(10_001).await, 403, "approval-required");
    scene.later(3600);
    scene.rig.gate.presence().touch(now.now());
    passed(&scene.get().await);
    let scene = Scene::with("[limits.tester]\npreset = \"permissive\"\n").await;
    for _ in 0..60 {
        passed(&scene.order(10_001).await);
    }
    refused(&scene.get().await, 429, "rate-limited");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_unread_is_weighed_and_counts_once_it_was_connected() {
    let weighed = "[risk]\nprompt-at = 39\n";
    let scene = Scene::with(&format!(
        "[limits.tester]\ncalls = {{ day = 9 }}\n{weighed}"
    ))
    .await;
    let pinned = (Host::parse("pinned.test").unwrap(), 443);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    scene.rig.route("pinned.test", 443, address);
    scene.rig.change(|rules| {
        rules.network.passthrough = [(pinned, Some([agent("tester")].into()))].into();
    });
    let (head, _) = scene.rig.client.connect("pinned.test:443").await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    let all = scene.rig.receipts(1).await;
    let refusal = all[0].refusal.as_ref().unwrap();
    assert_eq!(refusal.reason.code(), "approval-required");
    assert_eq!(refusal.risk.as_ref().unwrap().score, 40);

    scene.limits("[limits.tester]\ncalls = { day = 9 }\n");
    let (head, mut other) = scene.rig.client.connect("pinned.test:443").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let hello = hello::records(&hello::message(Some("other.test"), &[]), 4096);
    other.write_all(&hello).await.unwrap();
    support::raw::rest(&mut other).await;
    scene.rig.receipts(2).await;
    assert_eq!(scene.rig.gate.usage()[0].spent, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_unread_falls_under_limits_too() {
    let scene = Scene::with(
        "[limits.tester]\ncalls = { day = 1 }\nhours = \"Mon-Fri 08:00-19:00 Europe/Berlin\"\n",
    )
    .await;
    let pinned = (Host::parse("pinned.test").unwrap(), 443);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    scene
        .rig
        .route("pinned.test", 443, listener.local_addr().unwrap());
    scene.rig.change(|rules| {
        rules.network.passthrough = [(pinned, Some([agent("tester")].into()))].into();
    });
    support::spawn(async move {
        let mut open = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            open.push(socket);
        }
    });
    let hello = hello::records(&hello::message(Some("pinned.test"), &[]), 4096);
    let (head, mut first) = scene.rig.client.connect("pinned.test:443").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    first.write_all(&hello).await.unwrap();
    until("the receipt is open", || {
        scene.rig.gate.usage().iter().any(|one| one.reserved == 1)
    })
    .await;
    let (head, _) = scene.rig.client.connect("pinned.test:443").await;
    assert!(head.starts_with("HTTP/1.1 402"), "{head}");
    assert!(head.to_lowercase().contains("retry-after: 32400"), "{head}");
    scene.names(1, "tester/calls/day").await;
    scene.later(2 * 3600);
    support::raw::rest(&mut first).await;
    scene.was_cut(2, "outside-window").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_come_at_once_do_not_pass_a_threshold_of_the_day_unasked() {
    let scene = Scene::with("[limits.tester]\nask-above = { day = \"5 USD\" }\n").await;
    let many = futures_util::future::join_all((0..40).map(|_| scene.order(100))).await;
    let passed = many.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((passed, scene.reached_upstream()), (5, 5));
    for answer in many.iter().filter(|answer| answer.status != 200) {
        refused(answer, 403, "approval-required");
    }
    let day = scene.rig.gate.ledger().budget("tester/asked/day").unwrap();
    assert_eq!(day.used(), 5_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_that_a_reload_tightens_or_brings_hold_for_what_is_open() {
    let day = |calls: u32| format!("[limits.tester]\ncalls = {{ day = {calls} }}\n");
    let scene = Scene::with(&day(10)).await;
    passed(&scene.get().await);
    let body = scene.open_stream().await;
    scene.limits(&day(2));
    scene.limits(&day(1));
    scene.is_cut(body, 2, "budget-exhausted").await;
    for brought in [
        "bytes-down = { day = \"10 MB\" }",
        "bytes-up = { call = \"10 MB\" }",
    ] {
        let scene = Scene::with("").await;
        let body = scene.open_stream().await;
        scene.limits(&format!("[limits.tester]\n{brought}\n"));
        scene.is_cut(body, 1, "budget-exhausted").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_another_limit_refuses_has_taken_its_turn() {
    let scene =
        Scene::with("[limits.tester]\nrequests = \"1/min\"\nspend = { call = \"1 USD\" }\n").await;
    refused(&scene.order(101).await, 402, "budget-exhausted");
    refused(&scene.order(1).await, 429, "rate-limited");
    scene.later(60);
    passed(&scene.order(1).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_paid_is_bounded_and_costs_nothing_when_nothing_is_paid() {
    let scene = Scene::with("[limits.tester]\nspend = { day = \"3 USD\" }\n").await;
    refused(
        &scene.post("/free/echo", "{}").await,
        402,
        "budget-exhausted",
    );
    scene.names(1, "tester/spend").await;
    scene.limits("[limits.tester]\nspend = { call = \"1 USD\", day = \"3 USD\" }\n");
    for _ in 0..4 {
        passed(&scene.post("/free/echo", "{}").await);
    }
    scene.rig.receipts(5).await;
    let usage = scene.rig.gate.usage();
    assert_eq!((usage[0].spent, usage[0].reserved), (0, 0));
    scene.limits("[limits.tester]\nask-above = { day = \"3 USD\" }\n");
    refused(
        &scene.post("/free/echo", "{}").await,
        403,
        "approval-required",
    );
}

/// Limits as somebody might write them, one or two of every kind.
fn any_limits() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "",
        "requests = \"1000000/s\"",
        "requests = \"1/h\"",
        "concurrency = 1000",
        "hours = \"00:00-24:00\"",
        "hours = \"Sat 03:00-03:01\"",
        "session = \"1s\"",
        "human-present = true",
        "human-present = false",
        "ask-above = \"0 USD\"",
        "first-use-of-host = \"deny\"",
        "first-use-of-host = \"prompt\"",
        "approve = { by = \"local\", remember = \"until:30d\" }",
        "calls = { day = 0 }",
        "calls = { day = 1000000 }",
        "bytes-up = { call = \"1 GB\" }",
        "spend = { day = \"1000000 USD\" }",
        "preset = \"permissive\"",
        "preset = \"restrictive\"",
        "share = \"together\"",
    ]);
    let key = |line: &&str| line.split(' ').next().unwrap_or_default().to_owned();
    prop::collection::vec(line, 0..8).prop_map(move |mut lines| {
        lines.sort_by_key(&key);
        lines.dedup_by_key(|line| key(&&**line));
        format!("[limits.all]\nagents = [\"*\"]\n{}\n", lines.join("\n"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_limit_ever_lets_pass_what_policy_refuses() {
    let scene = Scene::with("").await;
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..64 {
        let limits = any_limits().new_tree(&mut runner).unwrap().current();
        scene.limits(&limits);
        let client = &scene.rig.client;
        let forbidden = client.send(API, Request::delete("/page")).await;
        assert_eq!(forbidden.reason(), "policy-forbids", "{limits}");
        let asked = client
            .send(API, Request::put("/asked").header("exeat-wait", "0"))
            .await;
        assert!(asked.status.is_client_error(), "{limits}");
        let unknown = client.send(API, Request::patch("/page")).await;
        assert_eq!(unknown.reason(), "tool-unknown", "{limits}");
    }
    assert_eq!(scene.reached_upstream(), 0);
}
