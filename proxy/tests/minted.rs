//! Agents that do OAuth by themselves: the token endpoint hands out tokens, the agent gets placeholders that work where the
//! tokens would, and nobody but upstream ever sees a token. And slots: the path, and the handshake of a WebSocket.
#![cfg(test)]

mod support;

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use exeat_custody::{CredentialSpec, Custody, InSlots, Kind, Loaded, SecretRef, Shape};
use exeat_types::{CredentialId, Origin, Secret};
use http::{Request, StatusCode};
use support::{
    API, Rig, agent,
    client::Answer,
    pages::{ACCESS, REFRESH},
    world,
};
use tokio::io::AsyncWriteExt as _;

const TOOLS: &str = r#"
[api]
name = "free"
origin = "https://api.test"

[[tool]]
name = "token"
request = "POST /token"
category = "write"
[tool.input.body]
media = "form"
type = "object"
properties = { grant_type = { type = "string" }, refresh_token = { type = "string" }, answer = { type = "string" } }
[tool.response]
mints = "oauth"

[[tool]]
name = "page"
request = "GET /free/{page}"
category = "read"
"#;

const RULES: &str = r#"
[[rule]]
name = "all"
agents = ["tester", "other"]
tools = ["free.*", "api.*"]
effect = "allow"
"#;

async fn started() -> Rig {
    let rig = Rig::start().await;
    let policy = world::policy(&[TOOLS, world::TOOLS], RULES);
    rig.change(|rules| rules.policy = Arc::new(policy));
    rig
}

async fn ask(rig: &Rig, form: impl Into<String>) -> Answer {
    let request =
        Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
    rig.client
        .send_body(API, request, Bytes::from(form.into()))
        .await
}

fn bearer(placeholder: &str) -> http::request::Builder {
    Request::get("/free/echo").header("authorization", format!("Bearer {placeholder}"))
}

/// What the agent got of the tokens: both placeholders.
fn placeholders(answer: &Answer) -> (String, String) {
    let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let text = |name: &str| document[name].as_str().unwrap().to_owned();
    (text("access_token"), text("refresh_token"))
}

/// Nothing that came back or stays may hold a token.
fn clean(rig: &Rig, answers: &[&Answer]) {
    let holds = |bytes: &[u8]| {
        [ACCESS, REFRESH].iter().any(|token| {
            let encoded = BASE64_STANDARD.encode(token);
            [token.as_bytes(), &encoded.as_bytes()[..16]]
                .iter()
                .any(|text| bytes.windows(text.len()).any(|window| window == *text))
        })
    };
    for answer in answers {
        assert!(
            !holds(format!("{answer:?}").as_bytes()) && !holds(&answer.body),
            "{}",
            answer.text()
        );
    }
    rig.ledger.flush();
    for (path, bytes) in rig.everything_on_disk() {
        assert!(!holds(&bytes), "{}", path.display());
    }
    assert!(!holds(format!("{:?}", rig.registry.gather()).as_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_does_oauth_by_itself_never_holds_a_token() {
    let rig = started().await;
    let first = ask(&rig, "grant_type=authorization_code").await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text());
    let (access, refresh) = placeholders(&first);
    assert!(access.starts_with("gho_") && first.text().contains("[redacted:minted]"));
    let used = rig.client.send(API, bearer(&access)).await;
    assert_eq!(used.status, StatusCode::OK, "{}", used.text());
    let seen = rig.upstream.seen();
    assert_eq!(seen[1].headers["authorization"], format!("Bearer {ACCESS}"));
    assert!(used.text().contains("[redacted:minted]"), "{}", used.text());
    let again = ask(
        &rig,
        format!("grant_type=refresh_token&refresh_token={refresh}"),
    )
    .await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text());
    assert_ne!(placeholders(&again).1, refresh);
    let h2 = rig
        .client
        .send_h2(
            API,
            Request::get(format!("https://{API}/free/echo"))
                .header("authorization", format!("token {}", placeholders(&again).0)),
            Bytes::new(),
        )
        .await;
    assert_eq!(h2.status, StatusCode::OK);
    let receipts = serde_json::to_string(&rig.receipts(4).await).unwrap();
    assert!(receipts.contains(r#""minted":2"#), "{receipts}");
    clean(&rig, &[&first, &used, &again, &h2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn token_endpoints_answer_in_many_ways_and_what_cannot_be_read_is_withheld() {
    let rig = started().await;
    let form = ask(&rig, "answer=form").await;
    let text = form.text();
    let placeholder = text
        .strip_prefix("access_token=")
        .unwrap()
        .strip_suffix("&token_type=bearer");
    assert_eq!(
        rig.client
            .send(API, bearer(placeholder.unwrap()))
            .await
            .status,
        StatusCode::OK
    );
    let gzip = ask(&rig, "answer=gzip").await;
    assert!(
        placeholders(&gzip).0.starts_with("gho_") && !gzip.headers.contains_key("content-encoding")
    );
    let page = ask(&rig, "answer=page").await;
    assert_eq!(
        (page.status.as_u16(), page.text().as_str()),
        (502, "<!DOCTYPE html><p>no")
    );
    let refused = ask(&rig, "grant_type=refresh_token&refresh_token=own").await;
    assert_eq!(refused.text(), r#"{"error":"invalid_grant"}"#);
    clean(&rig, &[&form, &gzip, &page, &refused]);
    for answer in ["broken", "large"] {
        let request = Request::post("/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("host", API)
            .body(support::client::whole(format!("answer={answer}")))
            .unwrap();
        let sent = rig
            .client
            .h1(API)
            .await
            .send_request(request)
            .await
            .unwrap();
        // Cut off, or refused while the head had not been sent yet.
        let read = Answer::read(sent).await;
        assert!(
            read.is_err() || read.is_ok_and(|read| read.reason() == "response-unsafe"),
            "{answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minted_placeholder_works_nowhere_else() {
    let rig = started().await;
    let first = ask(&rig, "grant_type=authorization_code").await;
    let (access, refresh) = placeholders(&first);
    let before = rig.upstream.seen().len();
    let as_other = rig.client_at(
        rig.open(exeat_proxy::Mode::Explicit, Some("other"), None)
            .await,
    );
    let echo =
        |name: &'static str, value: &str| Request::get("/free/echo").header(name, value.to_owned());
    for (client, request) in [
        (&as_other, bearer(&access)),
        (&rig.client, bearer(&refresh)),
        (&rig.client, echo("x-note", &access)),
        (&rig.client, Request::get(format!("/free/{access}"))),
        (
            &rig.client,
            Request::get("/echo").header("authorization", format!("Bearer {access}")),
        ),
    ] {
        let answer = client.send(API, request).await;
        assert_eq!(answer.reason(), "placeholder-misused", "{}", answer.text());
    }
    let posted = ask(&rig, format!("grant_type=refresh_token&answer={refresh}")).await;
    assert_eq!(posted.reason(), "placeholder-misused");
    assert_eq!(
        rig.upstream.seen().len(),
        before,
        "nothing may reach upstream"
    );
    assert_eq!(rig.records("alarm").len(), 6);
    clean(&rig, &[&first, &posted]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placeholder_of_before_the_rotation_is_stale_and_no_alarm() {
    let rig = started().await;
    let old = world::placeholder();
    let live = Arc::clone(rig.gate.rules().custody.live());
    let rotated = world::custody_of(&live, "ghp_CANARYrotated0123456789abcdefghiABCD", 2);
    rig.change(|rules| rules.custody = Arc::new(rotated));
    let presented =
        |name: &'static str| Request::get("/echo").header(name, format!("Bearer {old}"));
    let answer = rig.client.send(API, presented("authorization")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (403, "placeholder-stale")
    );
    assert!(rig.records("alarm").is_empty());
    let answer = rig.client.send(API, presented("x-note")).await;
    assert_eq!(answer.reason(), "placeholder-misused");
    assert_eq!(rig.records("alarm").len(), 1);
    assert!(rig.upstream.seen().is_empty());
}

const SLOTS: &str = r#"
[api]
name = "bot"
origin = "https://api.test"
credential = "api"

[[tool]]
name = "send"
request = "GET /bot{token}/{method}"
category = "write"
slots = ["path:token"]

[[tool]]
name = "live"
request = "GET /ws"
category = "read"
slots = ["protocol:openai-insecure-api-key."]
"#;

const SLOT_RULES: &str = r#"
[[rule]]
name = "all"
agents = ["tester"]
tools = ["bot.*"]
effect = "allow"
"#;

/// A gate whose credential goes into slots, and the placeholder of the agent.
async fn with_slots(secret: &str) -> (Rig, String) {
    let rig = Rig::start().await;
    let spec = CredentialSpec {
        id: CredentialId::new("api").unwrap(),
        kind: Kind::Made(Arc::new(InSlots)),
        origins: vec![Origin::parse("https://api.test").unwrap()],
        secret: Some(SecretRef::Env("NONE".to_owned())),
        shape: Shape::Auto,
    };
    let loaded = vec![Loaded::new(
        spec,
        Secret::new(secret.as_bytes().to_vec()),
        1,
    )];
    let agents = [agent("tester"), agent("other")];
    let live = Arc::clone(rig.gate.rules().custody.live());
    let custody = Custody::build(loaded, &agents, &Secret::new(vec![3; 32]), &live).unwrap();
    let placeholder = custody.placeholder(&agents[0], &CredentialId::new("api").unwrap());
    let placeholder = placeholder.unwrap().to_owned();
    let policy = world::policy(&[SLOTS], SLOT_RULES);
    rig.change(|rules| {
        rules.policy = Arc::new(policy);
        rules.custody = Arc::new(custody);
    });
    (rig, placeholder)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_the_path_is_put_there_by_the_gate() {
    let (rig, placeholder) = with_slots("123456:CANARY-path-slot").await;
    let answer = rig
        .client
        .get(API, &format!("/bot{placeholder}/getMe"))
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(
        rig.upstream.seen()[0].target,
        "/bot123456:CANARY-path-slot/getMe"
    );
    assert!(!rig.upstream.seen()[0].headers.contains_key("authorization"));
    let misplaced = rig.client.get(API, &format!("/botX/{placeholder}")).await;
    assert_eq!(misplaced.reason(), "placeholder-misused");
    let receipts = serde_json::to_string(&rig.receipts(2).await).unwrap();
    assert!(
        !receipts.contains("CANARY") && receipts.contains("slots"),
        "{receipts}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_handshake_carries_the_key_in_its_protocols() {
    let (rig, placeholder) = with_slots("CANARY-protocol-slot").await;
    let mut stream = rig.client.tls(API, 443, b"http/1.1").await.unwrap();
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.{placeholder}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = support::raw::read_head(&mut stream).await.unwrap();
    assert_eq!(answer.status, 101, "{}", answer.head);
    assert_eq!(
        rig.upstream.seen()[0].headers["sec-websocket-protocol"],
        "realtime, openai-insecure-api-key.CANARY-protocol-slot"
    );
}
