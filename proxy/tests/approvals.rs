//! Calls that a human has to approve: held, resumed, refused, raced, changed, named, expired; and agents that are paused.
#![cfg(test)]

mod support;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use exeat_ledger::{Extent, Progress};
use exeat_pipeline::{Answer as Said, NotAnswered, Pause, Pending};
use exeat_proxy::{Door, Mode};
use exeat_types::{Clock as _, FakeClock, Regime, Seal, SystemClock};
use http::Request;
use support::{
    API, Rig, agent,
    client::{Answer, Client},
    raw::read_head,
    spawn, until, world,
};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

/// Everything that is sent needs somebody on the command line.
const LOCAL: &str = r#"
[[rule]]
name = "reads"
agents = ["tester", "other"]
tools = ["api.any", "open.*"]
effect = "allow"
[[rule]]
name = "ask here"
agents = ["tester", "other"]
tools = ["api.create", "api.upload"]
effect = "prompt"
approve = { by = "local", remember = "uses:5" }
[[rule]]
name = "ask for long"
agents = ["tester"]
tools = ["api.small"]
effect = "prompt"
approve = { by = "local", remember = "until:30m", approvers = 2 }
[[rule]]
name = "ask with a key"
agents = ["tester"]
tools = ["api.asked"]
effect = "prompt"
approve = { by = "passkey" }
"#;

struct Scene {
    rig: Rig,
    clock: Arc<FakeClock>,
}

impl Scene {
    async fn start() -> Self {
        let clock = Arc::new(FakeClock::at(SystemClock::new().now()));
        let rig = Rig::at(Arc::clone(&clock) as _).await;
        let scene = Self { rig, clock };
        scene.rules(LOCAL);
        scene
    }

    fn rules(&self, rules: &str) {
        let policy = Arc::new(world::policy(&world::ALL_TOOLS, rules));
        self.rig.change(|now| now.policy = policy);
    }

    /// A call that may be held for so many seconds.
    async fn create(&self, title: &str, wait: u32) -> Answer {
        create(&self.rig.client, title, wait).await
    }

    /// The one question that waits.
    async fn question(&self) -> Arc<Pending> {
        until("a question is there", || !self.waiting().is_empty()).await;
        self.waiting().remove(0)
    }

    fn waiting(&self) -> Vec<Arc<Pending>> {
        let all = self.rig.gate.approvals().list();
        let pending = |it: &Arc<Pending>| it.progress == Progress::Pending;
        all.into_iter().filter(pending).collect()
    }

    async fn say(&self, pending: &Pending, extent: Extent) -> Result<Arc<Pending>, NotAnswered> {
        self.say_as("local", pending, extent).await
    }

    async fn say_as(
        &self,
        user: &str,
        pending: &Pending,
        extent: Extent,
    ) -> Result<Arc<Pending>, NotAnswered> {
        let answer = Said {
            user: user.to_owned(),
            extent,
            signed: None,
        };
        self.rig.gate.approvals().grant(&pending.id, answer).await
    }

    async fn door(&self, name: &str, seal: Seal) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let door = Door {
            name: address.to_string(),
            mode: Mode::Explicit,
            agent: Some(agent(name)),
            clients: Vec::new(),
            seal,
            regime: Regime::Declared,
            tally: None,
            authority: Arc::clone(&self.rig.authority),
            tls: None,
        };
        spawn(Arc::clone(&self.rig.proxy).serve(listener, Arc::new(door)));
        address
    }

    fn seen(&self) -> usize {
        self.rig.upstream.seen().len()
    }
}

fn request(wait: u32) -> http::request::Builder {
    Request::post("/echo")
        .header("content-type", "application/json")
        .header("exeat-wait", wait.to_string())
}

async fn create(client: &Client, title: &str, wait: u32) -> Answer {
    let body = Bytes::from(format!("{{\"title\":\"{title}\"}}"));
    client.send_body(API, request(wait), body).await
}

fn approval_of(answer: &Answer) -> serde_json::Value {
    let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    document["approval"].clone()
}

#[track_caller]
fn check(answer: &Answer, status: u16, reason: &str) {
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (status, reason),
        "{}",
        answer.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_call_goes_on_when_a_human_grants_it() {
    let scene = Scene::start().await;
    let client = scene.rig.client.clone();
    let held = spawn(async move { create(&client, "one", 25).await });
    let question = scene.question().await;
    let shown = question.request.as_ref().unwrap();
    assert_eq!(shown.body.as_deref(), Some(&b"{\"title\":\"one\"}"[..]));
    assert_eq!(
        (shown.method.as_str(), shown.path.as_str()),
        ("POST", "/echo")
    );
    assert_eq!(scene.seen(), 0);
    until("the call waits", || scene.waiting()[0].waiting == 1).await;
    let granted = scene.say(&question, Extent::Once).await.unwrap();
    assert!(matches!(
        granted.progress,
        Progress::Granted(1) | Progress::Consumed
    ));
    check(&held.await.unwrap(), 200, "none");
    assert_eq!(scene.seen(), 1);
    let intents = scene.rig.records("call-intent");
    assert_eq!(intents[0]["approval"]["id"], question.id.as_str());
    assert_eq!(intents[0]["approval"]["by"], "local");
    assert_eq!(intents[0]["call_digest"], question.digest.to_string());
    let done = scene.rig.gate.approvals().show(&question.id).unwrap();
    assert_eq!(done.progress, Progress::Consumed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_serves_the_identical_retry_and_no_other() {
    let scene = Scene::start().await;
    let refused = scene.create("one", 0).await;
    check(&refused, 403, "approval-required");
    let question = scene.question().await;
    let approval = approval_of(&refused);
    assert_eq!(approval["id"], question.id.as_str());
    assert_eq!(approval["digest"], question.digest.to_string());
    let document: serde_json::Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(document["retry"], true);
    assert_eq!(
        scene.rig.records("call-refused")[0]["approval"],
        question.id.as_str()
    );
    // The same question, not another one.
    assert_eq!(
        approval_of(&scene.create("one", 0).await)["id"],
        question.id.as_str()
    );
    scene.say(&question, Extent::Once).await.unwrap();

    let changed = scene.create("two", 0).await;
    check(&changed, 403, "approval-required");
    assert_ne!(approval_of(&changed)["id"], question.id.as_str());
    let headers = request(0).header("x-more", "1");
    let changed = scene
        .rig
        .client
        .send_body(API, headers, Bytes::from_static(b"{\"title\":\"one\"}"))
        .await;
    check(&changed, 403, "approval-required");
    assert_eq!(scene.seen(), 0);

    let retry = request(0)
        .header("user-agent", "again/2")
        .header("idempotency-key", "k")
        .header("traceparent", "00-1");
    let passed = scene
        .rig
        .client
        .send_body(API, retry, Bytes::from_static(b"{\"title\":\"one\"}"))
        .await;
    check(&passed, 200, "none");
    let again = scene.create("one", 0).await;
    check(&again, 403, "approval-required");
    assert_ne!(approval_of(&again)["id"], question.id.as_str());
    assert_eq!(scene.seen(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_retries_as_many_pass_as_uses_were_granted() {
    for (uses, extent) in [(1, Extent::Once), (5, Extent::Uses(5))] {
        let scene = Scene::start().await;
        check(&scene.create("one", 0).await, 403, "approval-required");
        let question = scene.question().await;
        scene.say(&question, extent).await.unwrap();
        let tries = (0..50).map(|_| {
            let client = scene.rig.client.clone();
            spawn(async move { create(&client, "one", 0).await.status.as_u16() })
        });
        let tries: Vec<_> = tries.collect();
        let mut passed = 0;
        for one in tries {
            match one.await.unwrap() {
                200 => passed += 1,
                status => assert_eq!(status, 403),
            }
        }
        assert_eq!((passed, scene.seen()), (uses, uses));
        let spent = scene.rig.gate.approvals().show(&question.id).unwrap();
        assert_eq!(spent.progress, Progress::Consumed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_calls_that_wait_for_one_use_one_goes_on() {
    let scene = Scene::start().await;
    let held: Vec<_> = (0..4)
        .map(|_| {
            let client = scene.rig.client.clone();
            spawn(async move { create(&client, "one", 25).await })
        })
        .collect();
    until("all wait", || {
        scene.waiting().first().is_some_and(|it| it.waiting == 4)
    })
    .await;
    assert_eq!(scene.waiting().len(), 1, "one question");
    scene.say(&scene.waiting()[0], Extent::Once).await.unwrap();
    let mut passed = 0;
    for one in held {
        let answer = one.await.unwrap();
        passed += usize::from(answer.status == 200);
        if answer.status != 200 {
            check(&answer, 403, "approval-required");
        }
    }
    assert_eq!((passed, scene.seen()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_changed_after_the_grant_win() {
    let scene = Scene::start().await;
    check(&scene.create("one", 0).await, 403, "approval-required");
    let question = scene.question().await;
    scene.say(&question, Extent::Once).await.unwrap();
    scene.rules(
        "[[rule]]\nname = \"no\"\nagents = [\"*\"]\ntools = [\"api.create\"]\neffect = \"deny\"\n",
    );
    check(&scene.create("one", 0).await, 403, "policy-forbids");

    // While a call waits, too.
    scene.rules(LOCAL);
    let client = scene.rig.client.clone();
    let held = spawn(async move { create(&client, "two", 25).await });
    let question = scene.question().await;
    scene.rules(&format!("{LOCAL}[[rule]]\nname = \"no\"\nagents = [\"*\"]\ntools = [\"api.create\"]\neffect = \"deny\"\n"));
    scene.say(&question, Extent::Once).await.unwrap();
    check(&held.await.unwrap(), 403, "policy-forbids");
    // And what asks for more than was answered asks again.
    scene.rules(&LOCAL.replace("by = \"local\", remember = \"uses:5\"", "by = \"passkey\""));
    let more = scene.create("one", 0).await;
    check(&more, 403, "approval-required");
    assert_ne!(approval_of(&more)["id"], question.id.as_str());
    assert_eq!(scene.seen(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_refusal_the_same_tool_cools_down_and_longer_each_time() {
    let scene = Scene::start().await;
    let client = scene.rig.client.clone();
    let held = spawn(async move { create(&client, "one", 25).await });
    let question = scene.question().await;
    scene
        .rig
        .gate
        .approvals()
        .deny(&question.id, "local", Pause::No)
        .await
        .unwrap();
    let refused = held.await.unwrap();
    check(&refused, 403, "approval-refused");
    assert_eq!(refused.headers["retry-after"], "60");
    for seconds in [60, 120, 240] {
        let other = scene.create("another", 0).await;
        check(&other, 403, "approval-refused");
        assert_eq!(other.headers["retry-after"], seconds.to_string().as_str());
        scene.clock.advance(Duration::from_secs(seconds));
        check(&scene.create("another", 0).await, 403, "approval-required");
        let question = scene.question().await;
        scene
            .rig
            .gate
            .approvals()
            .deny(&question.id, "local", Pause::No)
            .await
            .unwrap();
    }
    // Another tool is another question.
    let upload = Request::post("/upload").header("exeat-wait", "0");
    let upload = scene
        .rig
        .client
        .send_body(API, upload, Bytes::from_static(b"x"))
        .await;
    check(&upload, 403, "approval-required");
    assert_eq!(scene.seen(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_goes_no_further_and_is_no_weaker_than_the_rule_says() {
    let scene = Scene::start().await;
    check(&scene.create("one", 0).await, 403, "approval-required");
    let question = scene.question().await;
    let far = scene.clock.now().after(Duration::from_secs(60));
    for extent in [Extent::Uses(6), Extent::Uses(0), Extent::Until(far)] {
        let refused = scene.say(&question, extent).await;
        assert_eq!(refused.unwrap_err(), NotAnswered::TooFar(Extent::Uses(5)));
    }
    let asked = Request::put("/asked").header("exeat-wait", "0");
    check(
        &scene.rig.client.send(API, asked).await,
        403,
        "approval-required",
    );
    let waiting = scene.waiting();
    let with_key = waiting
        .iter()
        .find(|it| it.tool.as_str() == "api.asked")
        .unwrap();
    let refused = scene.say(with_key, Extent::Once).await;
    assert_eq!(refused.unwrap_err(), NotAnswered::NeedsPasskey);
    // Nobody answers for an agent that could have typed the answer itself.
    let unsealed = scene.rig.client_at(scene.door("other", Seal::None).await);
    check(&create(&unsealed, "own", 0).await, 403, "approval-required");
    let waiting = scene.waiting();
    let own = waiting
        .iter()
        .find(|it| it.agent == agent("other"))
        .unwrap();
    assert_eq!(
        scene.say(own, Extent::Once).await.unwrap_err(),
        NotAnswered::Unsealed
    );
    assert_eq!(scene.seen(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_are_two_people_and_what_is_granted_for_a_time_ends_with_it() {
    let scene = Scene::start().await;
    let send = || {
        let request = Request::post("/small")
            .header("content-type", "application/json")
            .header("exeat-wait", "0");
        let client = scene.rig.client.clone();
        async move {
            client
                .send_body(API, request, Bytes::from_static(b"{\"text\":\"a\"}"))
                .await
        }
    };
    check(&send().await, 403, "approval-required");
    let question = scene.question().await;
    let soon = Extent::Until(scene.clock.now().after(Duration::from_secs(600)));
    let later = Extent::Until(scene.clock.now().after(Duration::from_secs(1800)));
    let one = scene.say_as("ann", &question, later).await.unwrap();
    assert_eq!(one.progress, Progress::Pending);
    assert_eq!(
        scene.say_as("ann", &question, later).await.unwrap_err(),
        NotAnswered::SamePerson
    );
    check(&send().await, 403, "approval-required");
    let two = scene.say_as("ben", &question, soon).await.unwrap();
    assert!(matches!(two.progress, Progress::Granted(_)));
    for _ in 0..3 {
        check(&send().await, 200, "none");
    }
    scene.clock.advance(Duration::from_secs(600));
    check(&send().await, 403, "approval-required");
    assert_eq!(scene.seen(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_answers_expires_and_what_was_granted_can_be_taken_back() {
    let scene = Scene::start().await;
    check(&scene.create("one", 0).await, 403, "approval-required");
    let question = scene.question().await;
    scene.clock.advance(Duration::from_secs(3600));
    let desk = scene.rig.gate.approvals();
    assert_eq!(
        scene.say(&question, Extent::Once).await.unwrap_err(),
        NotAnswered::Closed
    );
    desk.round().await;
    assert_eq!(desk.show(&question.id).unwrap().progress, Progress::Expired);
    assert_eq!(
        scene.rig.records("approval").last().unwrap()["event"],
        "expired"
    );
    let again = scene.create("one", 0).await;
    assert_ne!(approval_of(&again)["id"], question.id.as_str());
    let question = scene.question().await;
    scene.say(&question, Extent::Uses(3)).await.unwrap();
    check(&scene.create("one", 0).await, 200, "none");
    desk.revoke(&question.id, "local").await.unwrap();
    check(&scene.create("one", 0).await, 403, "approval-required");
    assert_eq!(scene.seen(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn open_questions_and_grants_outlive_the_gate() {
    let scene = Scene::start().await;
    check(&scene.create("one", 0).await, 403, "approval-required");
    let granted = scene.question().await;
    scene.say(&granted, Extent::Once).await.unwrap();
    check(
        &scene.create("two \\u202e", 0).await,
        403,
        "approval-required",
    );
    let pending = scene.question().await;

    let later = Rig::on(&scene.rig.folder, scene.rig.ledger.clone(), None).await;
    let policy = Arc::new(world::policy(&world::ALL_TOOLS, LOCAL));
    later.change(|now| now.policy = policy);
    let desk = later.gate.approvals();
    let restored = desk.show(&pending.id).unwrap();
    assert_eq!(restored.request, pending.request);
    assert_eq!(
        (restored.digest, restored.approve),
        (pending.digest, pending.approve)
    );
    check(&create(&later.client, "one", 0).await, 200, "none");
    let answer = Said {
        user: "local".to_owned(),
        extent: Extent::Once,
        signed: None,
    };
    desk.grant(&pending.id, answer).await.unwrap();
    check(&create(&later.client, "two \\u202e", 0).await, 200, "none");
    check(
        &create(&later.client, "one", 0).await,
        403,
        "approval-required",
    );
    // The gate before it hears of the uses when it tries one: the ledger refuses.
    check(&scene.create("one", 0).await, 403, "approval-required");
    assert_eq!((scene.seen(), later.upstream.seen().len()), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_names_its_approval_sends_what_was_shown() {
    let scene = Scene::start().await;
    check(&scene.create("shown", 0).await, 403, "approval-required");
    let question = scene.question().await;
    let named = |body: &'static str, id: &str| {
        let request = request(0).header("exeat-approval", id);
        let client = scene.rig.client.clone();
        async move {
            client
                .send_body(API, request, Bytes::from_static(body.as_bytes()))
                .await
        }
    };
    // It does not make an answer.
    let waits = named("{\"title\":\"swapped\"}", question.id.as_str()).await;
    check(&waits, 403, "approval-required");
    assert_eq!(approval_of(&waits)["id"], question.id.as_str());
    scene.say(&question, Extent::Uses(3)).await.unwrap();
    check(
        &named("{\"title\":\"swapped\"}", question.id.as_str()).await,
        200,
        "none",
    );
    check(&named("", question.id.as_str()).await, 200, "none");
    for seen in scene.rig.upstream.seen() {
        assert_eq!(seen.body, "{\"title\":\"shown\"}");
        assert!(
            !seen.headers.contains_key("exeat-approval")
                && !seen.headers.contains_key("exeat-wait")
        );
    }
    // Another agent, another place and a name that nobody gave are nothing.
    let other = scene
        .rig
        .client_at(scene.door("other", Seal::Sandbox).await);
    let stolen = other
        .send_body(
            API,
            request(0).header("exeat-approval", question.id.as_str()),
            Bytes::from_static(b"{\"title\":\"x\"}"),
        )
        .await;
    check(&stolen, 403, "approval-required");
    assert_ne!(approval_of(&stolen)["id"], question.id.as_str());
    let elsewhere = Request::post("/upload")
        .header("exeat-wait", "0")
        .header("exeat-approval", question.id.as_str());
    let elsewhere = scene
        .rig
        .client
        .send_body(API, elsewhere, Bytes::from_static(b"x"))
        .await;
    assert_ne!(approval_of(&elsewhere)["id"], question.id.as_str());
    check(
        &named("{\"title\":\"y\"}", "apr-00000000000000000000000000").await,
        403,
        "approval-required",
    );
    check(&named("", "../etc").await, 400, "malformed-request");
    assert_eq!(scene.seen(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_would_have_streamed_is_shown_whole_and_a_form_keeps_its_digest() {
    let scene = Scene::start().await;
    let form = |boundary: &str, file: &str| {
        let request = Request::post("/upload")
            .header(
                "content-type",
                format!("multipart/form-data; boundary={boundary}"),
            )
            .header("exeat-wait", "0");
        let body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\n{file}\r\n--{boundary}--\r\n"
        );
        let client = scene.rig.client.clone();
        async move { client.send_body(API, request, Bytes::from(body)).await }
    };
    check(&form("one", "CANARY-file").await, 403, "approval-required");
    let question = scene.question().await;
    let shown = question.request.as_ref().unwrap().body.clone().unwrap();
    assert!(String::from_utf8_lossy(&shown).contains("CANARY-file"));
    scene.say(&question, Extent::Uses(2)).await.unwrap();
    check(&form("two", "CANARY-other").await, 403, "approval-required");
    check(&form("three", "CANARY-file").await, 200, "none");
    let seen = scene.rig.upstream.seen();
    assert_eq!(seen[0].body, shown);

    // The same in pieces over 64 KiB.
    let large = "x".repeat(300_000);
    let plain = |text: &str| {
        let request = Request::post("/upload")
            .header("content-type", "application/octet-stream")
            .header("exeat-wait", "0");
        let (client, body) = (scene.rig.client.clone(), Bytes::from(text.to_owned()));
        async move { client.send_body(API, request, body).await }
    };
    check(&plain(&large).await, 403, "approval-required");
    let waiting = scene.waiting();
    let question = waiting.iter().find(|it| {
        it.request.as_ref().is_some_and(|shown| {
            shown
                .body
                .as_ref()
                .is_some_and(|body| body.len() == large.len())
        })
    });
    scene.say(question.unwrap(), Extent::Once).await.unwrap();
    check(&plain(&large).await, 200, "none");
    assert_eq!(scene.rig.upstream.seen().last().unwrap().body, large);
    check(
        &plain(&"x".repeat(4 * 1024 * 1024 + 1)).await,
        413,
        "body-too-large",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_questions_ends_at_a_bound_and_is_told_once() {
    let scene = Scene::start().await;
    let desk = scene.rig.gate.approvals();
    let mut notices = desk.notices();
    for number in 0..20 {
        check(
            &scene.create(&format!("n{number}"), 0).await,
            403,
            "approval-required",
        );
    }
    let over = scene.create("one more", 0).await;
    check(&over, 429, "rate-limited");
    assert!(over.headers.contains_key("retry-after"));
    assert_eq!(scene.waiting().len(), 20);
    assert!(notices.try_recv().is_ok() && notices.try_recv().is_err());
    // Another agent still may ask.
    let other = scene
        .rig
        .client_at(scene.door("other", Seal::Sandbox).await);
    check(&create(&other, "mine", 0).await, 403, "approval-required");
    assert!(notices.try_recv().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_agent_gets_nothing_until_it_is_let_go_on() {
    let scene = Scene::start().await;
    check(&scene.create("one", 0).await, 403, "approval-required");
    let question = scene.question().await;
    let desk = scene.rig.gate.approvals();
    desk.deny(&question.id, "ann", Pause::Agent).await.unwrap();
    let paused = scene.rig.client.get(API, "/page").await;
    check(&paused, 403, "agent-paused");
    let other = scene
        .rig
        .client_at(scene.door("other", Seal::Sandbox).await);
    check(&other.get(API, "/page").await, 200, "none");
    // A gate that starts later knows it.
    let later = Rig::on(&scene.rig.folder, scene.rig.ledger.clone(), None).await;
    assert!(later.gate.agents().is_paused(&agent("tester")));
    scene
        .rig
        .gate
        .agents()
        .resume(&agent("tester"), "ann")
        .await
        .unwrap();
    check(&scene.rig.client.get(API, "/page").await, 200, "none");
    let steps: Vec<_> = scene
        .rig
        .records("agent-change")
        .iter()
        .map(|it| it["change"].clone())
        .collect();
    assert_eq!(steps, ["paused", "resumed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_client_went_away_uses_nothing_up() {
    let scene = Scene::start().await;
    let client = scene.rig.client.clone();
    let gone = spawn(async move { create(&client, "one", 25).await });
    until("the call waits", || {
        scene.waiting().first().is_some_and(|it| it.waiting == 1)
    })
    .await;
    gone.abort();
    until("it waits no more", || {
        scene.waiting().first().is_some_and(|it| it.waiting == 0)
    })
    .await;
    let question = scene.question().await;
    scene.say(&question, Extent::Once).await.unwrap();
    check(&scene.create("one", 0).await, 200, "none");
    assert_eq!(scene.seen(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_sealed_uses_no_answer_that_needed_no_key() {
    let scene = Scene::start().await;
    check(&scene.create("one", 0).await, 403, "approval-required");
    let asked = scene.question().await;
    // The same agent at another door, before anybody answered and after.
    let open = scene.rig.client_at(scene.door("tester", Seal::None).await);
    let own = approval_of(&create(&open, "one", 0).await);
    assert_ne!(own["id"], asked.id.as_str());
    scene.say(&asked, Extent::Uses(2)).await.unwrap();
    check(&create(&open, "one", 0).await, 403, "approval-required");
    check(&scene.create("one", 0).await, 200, "none");
    let named = request(0).header("exeat-approval", asked.id.as_str());
    let body = Bytes::from_static(b"{\"title\":\"one\"}");
    let named = open.send_body(API, named, body).await;
    check(&named, 403, "approval-required");
    assert_eq!(approval_of(&named)["id"], own["id"]);
    assert_eq!(scene.seen(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_ask_for_more_while_a_call_waits_have_it_asked_again() {
    let here = "approve = { by = \"local\", remember = \"uses:5\" }";
    for (stricter, passes) in [
        (
            "approve = { by = \"local\", approvers = 2, remember = \"uses:5\" }",
            false,
        ),
        (
            "approve = { by = \"passkey\", remember = \"uses:5\" }",
            false,
        ),
        ("approve = { by = \"local\", remember = \"uses:9\" }", true),
    ] {
        let scene = Scene::start().await;
        let client = scene.rig.client.clone();
        let held = spawn(async move { create(&client, "held", 25).await });
        let question = scene.question().await;
        scene.rules(&LOCAL.replace(here, stricter));
        scene.say(&question, Extent::Once).await.unwrap();
        let answer = held.await.unwrap();
        match passes {
            true => check(&answer, 200, "none"),
            false => check(&answer, 403, "approval-required"),
        }
        assert_eq!(scene.seen(), usize::from(passes), "{stricter}");
    }
    // Limits of the new rules hold, too.
    let scene = Scene::start().await;
    let client = scene.rig.client.clone();
    let held = spawn(async move { create(&client, "held", 25).await });
    let question = scene.question().await;
    scene.rules(&format!(
        "{LOCAL}[limits.tester]\ntools = [\"api.create\"]\nhuman-present = true\n"
    ));
    scene.say(&question, Extent::Once).await.unwrap();
    check(&held.await.unwrap(), 403, "human-absent");
    assert_eq!(scene.seen(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_for_longer_is_not_used_where_each_call_is_to_be_seen() {
    let scene = Scene::start().await;
    check(&scene.create("one", 0).await, 403, "approval-required");
    let wide = scene.question().await;
    scene.say(&wide, Extent::Uses(5)).await.unwrap();
    check(&scene.create("one", 0).await, 200, "none");
    let once = LOCAL.replace("remember = \"uses:5\"", "remember = \"once\"");
    scene.rules(&once);
    check(&scene.create("one", 0).await, 403, "approval-required");
    let narrow = scene.question().await;
    assert_ne!(narrow.id, wide.id);
    scene.say(&narrow, Extent::Once).await.unwrap();
    check(&scene.create("one", 0).await, 200, "none");
    // What was granted for longer is still there once that is enough again.
    scene.rules(LOCAL);
    check(&scene.create("one", 0).await, 200, "none");
    assert_eq!(scene.seen(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_a_human_approves_is_the_same_with_every_key() {
    let scene = Scene::start().await;
    let asks = LOCAL.replacen("\"api.any\", ", "", 1).replacen(
        "\"api.create\", ",
        "\"api.create\", \"api.any\", ",
        1,
    );
    scene.rules(&asks);
    let open = async |key: &str, more: &str| {
        let client = &scene.rig.client;
        let mut stream = client.tls(API, 443, b"http/1.1").await.unwrap();
        let head = format!(
            "GET /ws HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nExeat-Wait: 0\r\n{more}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        read_head(&mut stream).await.unwrap()
    };
    assert_eq!(open("AAAAAAAAAAAAAAAAAAAAAA==", "").await.status, 403);
    let question = scene.question().await;
    scene.say(&question, Extent::Uses(2)).await.unwrap();
    // A page with the same fields is another request.
    let page = Request::get("/ws")
        .header("sec-websocket-version", "13")
        .header("exeat-wait", "0");
    let page = scene.rig.client.send_body(API, page, Bytes::new()).await;
    assert_ne!(approval_of(&page)["id"], question.id.as_str());
    for (key, accept, more) in [
        (
            "dGhlIHNhbXBsZSBub25jZQ==",
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            String::new(),
        ),
        (
            "dGhlIHNhbXBsZSBub25jZQ==",
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            format!("Exeat-Approval: {}\r\n", question.id),
        ),
    ] {
        let answer = open(key, &more).await;
        assert_eq!(answer.status, 101, "{}", answer.head);
        assert_eq!(answer.header("sec-websocket-accept"), Some(accept));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_argument_is_shown_and_bound_whatever_field_it_is_in() {
    let scene = Scene::start().await;
    let tools = world::TOOLS.replacen(
        "description = \"A body with a schema\"\n",
        "description = \"A body with a schema\"\n[tool.input.header]\n[tool.input.header.properties]\nIdempotency-Key = { type = \"string\" }\n",
        1,
    );
    let policy = Arc::new(world::policy(
        &[&tools, world::OPEN_TOOLS, world::PLAIN_TOOLS],
        LOCAL,
    ));
    scene.rig.change(|now| now.policy = policy);
    let send = async |key: &str| {
        let request = request(0).header("idempotency-key", key.to_owned());
        let body = Bytes::from_static(b"{\"title\":\"one\"}");
        scene.rig.client.send_body(API, request, body).await
    };
    check(&send("a").await, 403, "approval-required");
    let question = scene.question().await;
    let shown = question.request.as_ref().unwrap();
    let field = ("idempotency-key".to_owned(), "a".to_owned());
    assert!(shown.headers.contains(&field), "{:?}", shown.headers);
    scene.say(&question, Extent::Uses(2)).await.unwrap();
    check(&send("b").await, 403, "approval-required");
    check(&send("a").await, 200, "none");
    // Named, what was shown is sent.
    let named = request(0)
        .header("idempotency-key", "b")
        .header("exeat-approval", question.id.as_str());
    let body = Bytes::from_static(b"{\"title\":\"two\"}");
    check(
        &scene.rig.client.send_body(API, named, body).await,
        200,
        "none",
    );
    for seen in scene.rig.upstream.seen() {
        let keys: Vec<_> = seen.headers.get_all("idempotency-key").iter().collect();
        assert_eq!(keys, ["a"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deny_and_pause_pauses_also_when_the_question_is_closed() {
    let scene = Scene::start().await;
    check(&scene.create("one", 0).await, 403, "approval-required");
    let question = scene.question().await;
    scene.say(&question, Extent::Once).await.unwrap();
    let desk = scene.rig.gate.approvals();
    let late = desk.deny(&question.id, "ann", Pause::No).await;
    assert_eq!(late.unwrap_err(), NotAnswered::Closed);
    assert!(!scene.rig.gate.agents().is_paused(&agent("tester")));
    let late = desk.deny(&question.id, "ann", Pause::Agent).await;
    assert_eq!(late.unwrap_err(), NotAnswered::Closed);
    check(&scene.create("one", 0).await, 403, "agent-paused");
    // It is paused before the ledger has heard of it.
    let agents = scene.rig.gate.agents();
    let other = agent("other");
    let mut pause = Box::pin(agents.pause(&other, "ann"));
    let polled =
        std::future::poll_fn(|cx| std::task::Poll::Ready(pause.as_mut().poll(cx).is_ready()));
    polled.await;
    assert!(agents.is_paused(&other));
}
