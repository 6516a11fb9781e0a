//! What calls are charged in the end: tokens as the answer says, bytes as they passed, nothing where nothing left.
#![cfg(test)]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use exeat_ledger::{Receipt, Settlement};
use exeat_types::Reason;
use http::Request;
use support::{API, Rig, client::Answer, script::Script, world};

const MODELS: &str = r#"
[api]
name = "model"
origin = "https://api.test"
[[tool]]
name = "messages"
request = "POST /messages"
category = "write"
description = "Asks a model"
cost = "0.01 USD"
[tool.llm]
api = "anthropic"
[tool.input.body]
type = "object"
required = ["model"]

[[tool]]
name = "chat"
request = "POST /chat"
category = "write"
description = "Asks another model"
[tool.llm]
api = "openai-chat"
[tool.input.body]
type = "object"
required = ["model"]
"#;
const RULES: &str = r#"
[[rule]]
name = "models"
agents = ["tester"]
tools = ["model.*"]
effect = "allow"
[limits.tester]
calls = { day = 100 }
spend = { day = "1 USD" }
bytes-down = { day = "1 MB" }
tokens = { day = 1000000, 24h = 1000000 }
"#;

const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 61\r\n\r\n{\"content\":[], \"usage\":{\"input_tokens\":11,\"output_tokens\":3}}";
const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\nContent-Length: 151\r\n\r\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":15}}\n\n";
const CHAT: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\nContent-Length: 106\r\n\r\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":19,\"completion_tokens\":10,\"total_tokens\":29}}\n\ndata: [DONE]\n\n";
const SILENT: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\nContent-Length: 36\r\n\r\ndata: {\"choices\":[]}\n\ndata: [DONE]\n\n";
const SHORT: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2e\r\n{\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}\r\nno chunk\r\n";
const TOO_MANY: &str =
    "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

async fn rig() -> Rig {
    let rig = Rig::start().await;
    let tools = [&world::ALL_TOOLS[..], &[MODELS]].concat();
    let policy = world::policy(&tools, &format!("{}{RULES}", world::RULES));
    rig.change(|now| now.policy = Arc::new(policy));
    rig
}

async fn ask(rig: &Rig, target: &str) -> Answer {
    let request = Request::post(target).header("content-type", "application/json");
    let body = Bytes::from_static(b"{\"model\":\"m\",\"max_tokens\":100,\"messages\":[]}");
    rig.client.send_body(API, request, body).await
}

fn of<'a>(receipt: &'a Receipt, budget: &str) -> &'a Settlement {
    let outcome = receipt.outcome.as_ref().unwrap();
    let mut settled = outcome.settled.iter();
    settled.find(|one| one.budget == budget).unwrap()
}

fn reserved(receipt: &Receipt, budget: &str) -> u64 {
    let mut reserved = receipt.intent.as_ref().unwrap().reservations.iter();
    reserved.find(|one| one.budget == budget).unwrap().amount
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_charged_as_the_answer_says_and_whole_if_it_does_not() {
    let rig = rig().await;
    let cases = [
        ("/messages", WHOLE, Some(14)),
        ("/messages", EVENTS, Some(40)),
        ("/chat", CHAT, Some(29)),
        ("/chat", SILENT, None),
        ("/messages", TOO_MANY, Some(0)),
    ];
    let lines = cases.iter().map(|(_, answer, _)| vec![*answer]).collect();
    let script = Script::start(rig.http1_upstream_tls(), lines).await;
    rig.route(API, 443, script.address);
    let mut total = 0;
    for (number, (target, _, tokens)) in cases.into_iter().enumerate() {
        let answer = ask(&rig, target).await;
        let receipts = rig.receipts(number + 1).await;
        let last = receipts.iter().max_by_key(|receipt| receipt.call).unwrap();
        for budget in ["tester/tokens/day", "tester/tokens/24h"] {
            let expect = tokens.unwrap_or_else(|| reserved(last, budget));
            let told = (&last.outcome, answer.status);
            assert_eq!(
                of(last, budget).amount,
                expect,
                "{target} {number}: {told:?}"
            );
        }
        total += of(last, "tester/tokens/day").amount;
        assert_eq!(of(last, "tester/calls/day").amount, 1);
        let bytes = last.outcome.as_ref().unwrap().response_bytes;
        assert_eq!(of(last, "tester/bytes-down/day").amount, bytes);
    }
    let budget = rig.gate.ledger().budget("tester/tokens/day").unwrap();
    assert_eq!((budget.reserved, budget.spent, budget.held), (0, total, 0));
    let spend = rig.gate.ledger().budget("tester/spend/day").unwrap();
    assert_eq!(spend.spent, 30_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_charged_whole_and_a_call_that_never_left_nothing() {
    let rig = rig().await;
    let script = Script::start(rig.http1_upstream_tls(), vec![vec![SHORT]]).await;
    rig.route(API, 443, script.address);
    let request = Request::post("/messages")
        .header("host", API)
        .header("content-type", "application/json")
        .body(support::client::whole(
            "{\"model\":\"m\",\"max_tokens\":100,\"messages\":[]}",
        ));
    let mut sender = rig.client.h1(API).await;
    let answer = sender.send_request(request.unwrap()).await;
    if let Ok(answer) = answer {
        assert!(Answer::read(answer).await.is_err());
    }
    let receipts = rig.receipts(1).await;
    let budget = "tester/tokens/day";
    assert_eq!(
        of(&receipts[0], budget).amount,
        reserved(&receipts[0], budget)
    );

    // Nobody listens there.
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    rig.route(API, 443, address);
    let answer = ask(&rig, "/messages").await;
    assert_eq!(answer.reason(), Reason::UpstreamUnreachable.code());
    let receipts = rig.receipts(2).await;
    let last = receipts.iter().max_by_key(|receipt| receipt.call).unwrap();
    let settled = &last.outcome.as_ref().unwrap().settled;
    assert!(!settled.is_empty() && settled.iter().all(|one| one.amount == 0));
}
