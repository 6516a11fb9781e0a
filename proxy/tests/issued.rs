//! Credentials that are obtained: one issue for any number of calls, one repetition for a refused token, and never more
//! than was asked for. The issuer counts.
#![cfg(test)]

mod support;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use exeat_custody::{
    CredentialSpec, Custody, Dpop, Finish, Kind, Loaded, NotIssued, Presented, SecretRef, Shape,
    SoftwareSigner, Token, dpop::Nonces,
};
use exeat_pipeline::Rail;
use exeat_policy::{Policy, Sources, World};
use exeat_types::{CredentialId, Origin, Reason, Secret, Signer, Source};
use http::{Request, StatusCode};
use support::{
    API, Rig, agent,
    client::{Answer, Outbound, whole},
    issuers::{Counting, Issued},
    until,
};
use tokio::sync::Semaphore;

const TOOLS: &str = r#"
[api]
name = "api"
origin = "https://api.test"
credential = "api"
[[tool]]
name = "any"
request = "GET /{page}"
category = "read"
[[tool]]
name = "write"
request = "POST /{page}"
category = "write"
[tool.input.body]
type = "object"
properties = { text = { type = "string" } }
[[tool]]
name = "stream"
request = "PUT /{page}"
category = "write"
[tool.input.body]
media = "binary"
[[tool]]
name = "ordered"
request = "PATCH /{page}"
category = "write"
credentials = ["visa", "api", "payment"]
"#;

const RULES: &str = r#"
[[rule]]
name = "all"
agents = ["tester"]
tools = ["api.*"]
effect = "allow"
"#;

fn id(name: &str) -> CredentialId {
    CredentialId::new(name).unwrap()
}

fn spec(name: &str, kind: Kind) -> CredentialSpec {
    CredentialSpec {
        id: id(name),
        kind,
        origins: vec![Origin::parse("https://api.test").unwrap()],
        secret: None,
        shape: Shape::Auto,
    }
}

fn issued(name: &str, issuer: &Arc<Counting>) -> Loaded {
    Loaded {
        spec: spec(name, Kind::Made(Arc::new(Issued(Arc::clone(issuer))))),
        secret: None,
        version: 1,
        signer: None,
    }
}

fn policy() -> Policy {
    let origins = vec![Origin::parse("https://api.test").unwrap()];
    let names = ["api", "visa"];
    let sources = Sources {
        tools: vec![Source::new("api.toml", TOOLS)],
        policy: vec![Source::new("policy.toml", RULES)],
        cedar: vec![],
    };
    let world = World {
        agents: BTreeMap::from([(agent("tester"), vec![])]),
        credentials: names.map(|name| (id(name), origins.clone())).into(),
    };
    Policy::compile(&sources, &world).unwrap_or_else(|report| panic!("{report}"))
}

/// A gate whose credentials are these.
async fn rig_with(loaded: Vec<Loaded>) -> Rig {
    let rig = Rig::start().await;
    put(&rig, loaded);
    rig
}

fn put(rig: &Rig, loaded: Vec<Loaded>) {
    let live = Arc::clone(rig.gate.rules().custody.live());
    let custody = Custody::build(loaded, &[agent("tester")], &Secret::new(vec![3; 32]), &live);
    let custody = Arc::new(custody.unwrap());
    rig.change(|rules| {
        rules.policy = Arc::new(policy());
        rules.custody = custody;
    });
}

async fn rig(issuer: &Arc<Counting>) -> Rig {
    rig_with(vec![issued("api", issuer)]).await
}

/// The tokens that upstream saw, in order.
fn seen(rig: &Rig) -> Vec<String> {
    let requests = rig.upstream.seen();
    let tokens = requests.iter().map(|request| {
        let value = request.headers.get("authorization");
        value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    });
    tokens.collect()
}

fn token(number: u32) -> String {
    format!("Bearer CANARY-issued-token-{number}")
}

async fn with_body(rig: &Rig, method: &str, page: &str, body: Vec<u8>) -> Answer {
    let request = Request::builder().method(method).uri(page);
    let request = request.header("content-type", "application/json");
    rig.client.send_body(API, request, Bytes::from(body)).await
}

fn text_of(bytes: usize) -> Vec<u8> {
    format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes)).into_bytes()
}

fn no_canary(rig: &Rig, answer: &Answer) {
    assert!(!answer.text().contains("CANARY"), "{}", answer.text());
    for value in answer.headers.values() {
        assert!(!String::from_utf8_lossy(value.as_bytes()).contains("CANARY"));
    }
    for (path, bytes) in rig.everything_on_disk() {
        let found = bytes.windows(6).any(|window| window == b"CANARY");
        assert!(!found, "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_calls_at_once_need_one_token() {
    let turns = Arc::new(Semaphore::new(0));
    let issuer = Arc::new(Counting {
        turns: Some(Arc::clone(&turns)),
        ..Counting::default()
    });
    let rig = rig(&issuer).await;
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let client = rig.client.clone();
            support::spawn(async move { client.get(API, "/wants-1").await })
        })
        .collect();
    until("somebody asks the issuer", || issuer.times() == 1).await;
    turns.add_permits(1);
    for call in calls {
        let answer = call.await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        no_canary(&rig, &answer);
    }
    assert_eq!(issuer.times(), 1);
    assert!(seen(&rig).iter().all(|value| *value == token(1)));
    assert_eq!(rig.receipts(100).await.len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_loses_no_token() {
    let turns = Arc::new(Semaphore::new(0));
    let issuer = Arc::new(Counting {
        turns: Some(Arc::clone(&turns)),
        ..Counting::default()
    });
    let rig = rig(&issuer).await;
    let client = rig.client.clone();
    let call = support::spawn(async move { client.get(API, "/page").await });
    until("the issuer is asked", || issuer.times() == 1).await;
    call.abort();
    assert!(call.await.is_err());
    turns.add_permits(1);
    let answer = rig.client.get(API, "/page").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(issuer.times(), 1);
    assert_eq!(seen(&rig).last().unwrap(), &token(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_replaced_and_the_request_sent_once_more() {
    // The last body is larger than Pingora repeats.
    let large = text_of(200_000);
    for (method, body) in [("GET", vec![]), ("POST", text_of(10)), ("POST", large)] {
        let issuer = Arc::new(Counting::default());
        let rig = rig(&issuer).await;
        let answer = with_body(&rig, method, "/wants-2", body.clone()).await;
        assert_eq!(answer.status, StatusCode::OK, "{method} {}", answer.text());
        no_canary(&rig, &answer);
        assert_eq!(seen(&rig), [token(1), token(2)]);
        assert!(rig.upstream.seen().iter().all(|it| it.body == body));
        assert_eq!(issuer.times(), 2);
        let receipts = rig.receipts(1).await;
        assert_eq!(receipts.len(), 1);
        let outcome = receipts[0].outcome.as_ref().unwrap();
        assert_eq!(outcome.access.as_ref().unwrap().attempts, Some(2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_never_a_third_attempt() {
    let issuer = Arc::new(Counting::default());
    let rig = rig(&issuer).await;
    let answer = rig.client.get(API, "/wants-99").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    no_canary(&rig, &answer);
    assert_eq!(seen(&rig), [token(1), token(2)]);
    // Its tokens are refused: asking again and again would help nobody.
    let answer = rig.client.get(API, "/wants-99").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!((issuer.times(), seen(&rig).len()), (2, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_streamed_is_not_sent_again_but_the_next_call_has_another_token() {
    let issuer = Arc::new(Counting::default());
    let rig = rig(&issuer).await;
    let answer = with_body(&rig, "PUT", "/wants-2", b"bytes".to_vec()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    no_canary(&rig, &answer);
    until("another token is issued", || issuer.times() == 2).await;
    let answer = with_body(&rig, "PUT", "/wants-2", b"bytes".to_vec()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(seen(&rig), [token(1), token(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dead_is_not_asked_for_again_until_it_changes() {
    let issuer = Arc::new(Counting {
        first: Mutex::new([NotIssued::Dead("it was revoked")].into()),
        ..Counting::default()
    });
    let rig = rig(&issuer).await;
    for _ in 0..3 {
        let answer = rig.client.get(API, "/page").await;
        assert_eq!(answer.reason(), "credential-dead");
        assert!(answer.text().contains("`api`"), "{}", answer.text());
    }
    assert_eq!((issuer.times(), seen(&rig).len()), (1, 0));
    rig.gate.forget_tokens(&id("api"));
    let answer = rig.client.get(API, "/page").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(seen(&rig), [token(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_no_person_has_to_mend_is_asked_for_again_after_a_minute() {
    let clock = Arc::new(exeat_types::FakeClock::at(
        exeat_types::Timestamp::from_millis(1_790_000_000_000),
    ));
    let issuer = refusing(NotIssued::Dead("its clock was wrong"));
    let rig = Rig::at(Arc::clone(&clock) as Arc<dyn exeat_types::Clock>).await;
    put(&rig, vec![issued("api", &issuer)]);
    for (after, status, asked) in [(0, 403, 1), (59, 403, 1), (2, 200, 2)] {
        clock.advance(Duration::from_secs(after));
        let answer = rig.client.get(API, "/page").await;
        let refused = answer.status.as_u16() != 200;
        assert_eq!(refused, status != 200, "{after} {}", answer.text());
        assert_eq!(issuer.times(), asked, "{after}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_agent_takes_every_place_for_tokens() {
    let issuer = Arc::new(Counting {
        narrows: true,
        ..Counting::default()
    });
    let rig = rig(&issuer).await;
    for page in 0..70 {
        let answer = rig.client.get(API, &format!("/page-{page}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
    // The latest are still there, the first had to go.
    for (page, asked) in [(69, 70), (0, 71), (0, 71)] {
        rig.client.get(API, &format!("/page-{page}")).await;
        assert_eq!(issuer.times(), asked, "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_issuer_is_left_alone_by_every_call() {
    let issuer = Arc::new(Counting {
        narrows: true,
        first: Mutex::new([NotIssued::Unavailable("it is down")].into()),
        ..Counting::default()
    });
    let rig = rig(&issuer).await;
    for page in ["/one", "/two", "/three"] {
        let answer = rig.client.get(API, page).await;
        assert_eq!(answer.reason(), "issuer-unavailable", "{page}");
    }
    assert_eq!(issuer.times(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_issuer_is_asked_for_few_tokens_at_a_time() {
    let turns = Arc::new(Semaphore::new(0));
    let slow = Arc::new(Counting {
        narrows: true,
        turns: Some(Arc::clone(&turns)),
        ..Counting::default()
    });
    let visa = Arc::new(Counting::default());
    let rig = rig_with(vec![issued("api", &slow), issued("visa", &visa)]).await;
    let calls: Vec<_> = (0..40)
        .map(|page| {
            let client = rig.client.clone();
            support::spawn(async move { client.get(API, &format!("/page-{page}")).await })
        })
        .collect();
    until("the issuer is asked", || slow.times() == 4).await;
    // Another credential is not held up.
    let (answer, _, _) = ordered(&rig).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(slow.times(), 4);
    turns.add_permits(40);
    for call in calls {
        assert_eq!(call.await.unwrap().status, StatusCode::OK);
    }
    assert_eq!(slow.times(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_flew_for_an_older_declaration_replaces_no_newer_token() {
    let (old_turns, issuer) = (Arc::new(Semaphore::new(0)), Arc::new(Counting::default()));
    let old = Arc::new(Counting {
        turns: Some(Arc::clone(&old_turns)),
        first: Mutex::new([NotIssued::Dead("its secret is old")].into()),
        ..Counting::default()
    });
    let rig = rig(&old).await;
    let client = rig.client.clone();
    let first = support::spawn(async move { client.get(API, "/page").await });
    until("the issuer is asked", || old.times() == 1).await;
    let mut changed = issued("api", &issuer);
    changed.version = 2;
    put(&rig, vec![changed]);
    let client = rig.client.clone();
    let second = support::spawn(async move { client.get(API, "/page").await });
    old_turns.add_permits(1);
    first.await.unwrap();
    assert_eq!(second.await.unwrap().status, StatusCode::OK);
    let answer = rig.client.get(API, "/page").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!((old.times(), issuer.times()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_was_replaced_asks_no_issuer_and_serves_what_it_holds() {
    let issuer = Arc::new(Counting {
        narrows: true,
        ..Counting::default()
    });
    let rig = rig(&issuer).await;
    rig.client.get(API, "/page").await;
    // A replacement that fails changes nothing.
    drop(rig.gate.still_issuers().await);
    rig.client.get(API, "/second").await;
    assert_eq!(issuer.times(), 2);
    rig.gate.still_issuers().await.for_good();
    let answer = rig.client.get(API, "/page").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let answer = rig.client.get(API, "/third").await;
    assert_eq!(answer.reason(), "issuer-unavailable", "{}", answer.text());
    assert_eq!(issuer.times(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reason_not_to_issue_reaches_the_agent_as_its_own() {
    for (not, reason) in [
        (NotIssued::Unavailable("it is down"), "issuer-unavailable"),
        (
            NotIssued::Signer("the device is gone"),
            "signer-unavailable",
        ),
        (NotIssued::Absent, "credential-missing"),
        (NotIssued::Scope(vec!["repo".to_owned()]), "scope-missing"),
        (NotIssued::Unknown, "entitlement-unknown"),
    ] {
        let issuer = Arc::new(Counting {
            first: Mutex::new([not].into()),
            ..Counting::default()
        });
        let rig = rig(&issuer).await;
        let answer = rig.client.get(API, "/page").await;
        assert_eq!(answer.reason(), reason, "{}", answer.text());
        assert!(seen(&rig).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lacking_scope_is_refused_and_noted() {
    let issuer = Arc::new(Counting::default());
    let rig = rig(&issuer).await;
    let answer = rig.client.get(API, "/wants-scope").await;
    assert_eq!(answer.reason(), "scope-missing", "{}", answer.text());
    assert_eq!((issuer.times(), seen(&rig).len()), (1, 1));
    assert_eq!(rig.gate.wanted_scopes(&id("api")), ["admin", "repo"]);
    let receipts = rig.receipts(1).await;
    let outcome = receipts[0].outcome.as_ref().unwrap();
    assert_eq!(outcome.reason.unwrap().code(), "scope-missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ages_is_replaced_meanwhile_and_nobody_waits() {
    let clock = Arc::new(exeat_types::FakeClock::at(
        exeat_types::Timestamp::from_millis(1_790_000_000_000),
    ));
    let issuer = Arc::new(Counting {
        life: Some(Duration::from_secs(1000)),
        ..Counting::default()
    });
    let rig = Rig::at(Arc::clone(&clock) as Arc<dyn exeat_types::Clock>).await;
    put(&rig, vec![issued("api", &issuer)]);
    for (after, asked, used) in [(0, 1, 1), (799, 1, 1), (2, 2, 1), (0, 2, 2), (910, 3, 3)] {
        clock.advance(Duration::from_secs(after));
        let answer = rig.client.get(API, "/page").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        until("the issuer was asked", || issuer.times() == asked).await;
        // What was issued meanwhile is taken in by a task of its own.
        rig.gate.alone(&id("api")).await;
        assert_eq!(seen(&rig).last().unwrap(), &token(used), "{after}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_outlive_a_reload_but_not_a_change_of_their_credential() {
    let issuer = Arc::new(Counting::default());
    let rig = rig(&issuer).await;
    rig.client.get(API, "/page").await;
    put(&rig, vec![issued("api", &issuer)]);
    rig.client.get(API, "/page").await;
    assert_eq!(issuer.times(), 1);
    let mut changed = issued("api", &issuer);
    changed.version = 2;
    put(&rig, vec![changed]);
    rig.client.get(API, "/page").await;
    assert_eq!(issuer.times(), 2);
    assert_eq!(seen(&rig), [token(1), token(1), token(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_is_answered_with_a_fresh_proof() {
    let seed = Secret::new(vec![9; 32]);
    let signer: Arc<dyn Signer> = Arc::new(SoftwareSigner::from_seed(&seed).unwrap());
    let nonces = Arc::new(Nonces::new());
    let finisher = move |token: &Arc<Token>| -> Arc<dyn Finish> {
        Arc::new(Dpop::new(
            Arc::clone(&signer),
            Arc::clone(token),
            Arc::clone(&nonces),
        ))
    };
    let issuer = Arc::new(Counting {
        presented: Some(Presented::Dpop),
        finisher: Some(Box::new(finisher)),
        ..Counting::default()
    });
    let rig = rig(&issuer).await;
    for requests in [2, 3] {
        let answer = rig.client.get(API, "/wants-nonce").await;
        assert_eq!(answer.text(), "proven", "{:?}", answer.status);
        assert_eq!(rig.upstream.seen().len(), requests);
    }
    assert_eq!(issuer.times(), 1);
    let proofs: Vec<_> = rig.upstream.seen().into_iter().collect();
    assert!(
        proofs
            .iter()
            .all(|it| it.headers["authorization"] == "DPoP CANARY-issued-token-1")
    );
    let mut proofs: Vec<_> = proofs.iter().map(|it| it.headers["dpop"].clone()).collect();
    proofs.dedup();
    assert_eq!(proofs.len(), 3, "every attempt has a proof of its own");
}

/// Pays wherever it is asked to.
struct Generous;

impl Rail for Generous {
    fn can_pay(&self, _: &Origin) -> bool {
        true
    }
}

/// Calls the ordered tool; the answer, what upstream saw, and what the receipt says of it.
async fn ordered(rig: &Rig) -> (Answer, Vec<String>, Vec<CredentialId>) {
    let answer = with_body(rig, "PATCH", "/page", Vec::new()).await;
    let receipts = rig.receipts(1).await;
    let outcome = receipts[0].outcome.clone().unwrap();
    let absent = outcome.access.unwrap_or_default().absent;
    (answer, seen(rig), absent)
}

fn refusing(not: NotIssued) -> Arc<Counting> {
    Arc::new(Counting {
        first: Mutex::new([not].into()),
        ..Counting::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_is_tried_only_when_the_one_before_is_absent() {
    // Both are there: the first is used.
    let (visa, api) = (Arc::new(Counting::default()), Arc::new(Counting::default()));
    let rig = rig_with(vec![issued("visa", &visa), issued("api", &api)]).await;
    let (answer, _, absent) = ordered(&rig).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!((visa.times(), api.times(), absent), (1, 0, vec![]));

    // It was never granted: the next one is used, and the receipt says so.
    let (visa, api) = (refusing(NotIssued::Absent), Arc::new(Counting::default()));
    let rig = rig_with(vec![issued("visa", &visa), issued("api", &api)]).await;
    let (answer, seen, absent) = ordered(&rig).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!((seen, absent), (vec![token(1)], vec![id("visa")]));
    let outcome = rig.receipts(1).await[0].outcome.clone().unwrap();
    let used = outcome.access.unwrap().credential.unwrap();
    assert_eq!((used.id, used.kind.as_str()), (id("api"), "issued"));

    // It is not stored at all: the same.
    let rig = rig_with(vec![issued("api", &Arc::new(Counting::default()))]).await;
    let (answer, _, absent) = ordered(&rig).await;
    assert_eq!((answer.status, absent), (StatusCode::OK, vec![id("visa")]));

    // Refused, revoked, not known, not reachable: never.
    for (not, reason) in [
        (NotIssued::Dead("revoked"), "credential-dead"),
        (NotIssued::Unknown, "entitlement-unknown"),
        (NotIssued::Unavailable("down"), "issuer-unavailable"),
        (NotIssued::Scope(vec![]), "scope-missing"),
        (NotIssued::Signer("gone"), "signer-unavailable"),
    ] {
        let (visa, api) = (refusing(not), Arc::new(Counting::default()));
        let rig = rig_with(vec![issued("visa", &visa), issued("api", &api)]).await;
        rig.gate.pays_with(Arc::new(Generous));
        let (answer, seen, absent) = ordered(&rig).await;
        assert_eq!(answer.reason(), reason, "{}", answer.text());
        assert_eq!((api.times(), seen.len(), absent.len()), (0, 0, 0));
    }
    for reason in [
        Reason::CredentialMissing,
        Reason::CredentialDead,
        Reason::SignerUnavailable,
    ] {
        let rig = rig_with(vec![issued("api", &Arc::new(Counting::default()))]).await;
        rig.change(|rules| {
            rules.unreachable.insert(id("visa"), reason);
        });
        let (answer, seen, _) = ordered(&rig).await;
        assert_eq!(answer.reason(), reason.code());
        assert!(seen.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_may_present_its_placeholder_of_any_credential_in_the_order() {
    let (visa, api) = (refusing(NotIssued::Absent), Arc::new(Counting::default()));
    visa.first.lock().unwrap().push_back(NotIssued::Absent);
    let rig = rig_with(vec![issued("visa", &visa), issued("api", &api)]).await;
    let custody = Arc::clone(&rig.gate.rules().custody);
    for (name, place, status) in [
        ("visa", "authorization", 200),
        ("api", "authorization", 200),
        ("visa", "x-elsewhere", 403),
    ] {
        let placeholder = custody.placeholder(&agent("tester"), &id(name)).unwrap();
        let request = Request::patch("/page").header(place, format!("Bearer {placeholder}"));
        let answer = rig.client.send(API, request).await;
        assert_eq!(answer.status.as_u16(), status, "{name} {}", answer.text());
    }
    assert_eq!(seen(&rig), [token(1), token(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn paying_comes_last_and_is_unavailable_without_a_rail() {
    for can_pay in [false, true] {
        let (visa, api) = (refusing(NotIssued::Absent), refusing(NotIssued::Absent));
        let rig = rig_with(vec![issued("visa", &visa), issued("api", &api)]).await;
        if can_pay {
            rig.gate.pays_with(Arc::new(Generous));
        }
        let (answer, seen, absent) = ordered(&rig).await;
        assert_eq!(absent, [id("visa"), id("api")]);
        if can_pay {
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
            assert_eq!(seen, [""], "it leaves without a credential");
        } else {
            assert_eq!(answer.reason(), "credential-missing");
            let told = answer.text();
            assert!(told.contains("payment is unavailable"), "{told}");
            assert!(seen.is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_another_kind_still_leaves_as_before() {
    let secret = Secret::new(b"CANARY-plain-bearer".to_vec());
    let mut spec = spec("api", Kind::Bearer);
    spec.secret = Some(SecretRef::Env("NONE".to_owned()));
    let rig = rig_with(vec![Loaded::new(spec, secret, 1)]).await;
    let request = Request::get("/wants-99").header("host", API);
    let request: Request<Outbound> = request.body(whole("")).unwrap();
    let answer = rig
        .client
        .h1(API)
        .await
        .send_request(request)
        .await
        .unwrap();
    // A static secret is not renewed: what upstream said of it is the answer.
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(seen(&rig), ["Bearer CANARY-plain-bearer"]);
}
