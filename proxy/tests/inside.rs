//! Bodies that hold a protocol, through the front door: what was judged is what upstream gets, and nothing rides along.
#![cfg(test)]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use support::{API, CANARY, Rig, world};

const TOOLS: &str = r#"
[api]
name = "api"
origin = "https://api.test"
credential = "api"

[[tool]]
name = "query"
request = "POST /echo"
category = "read"
protocol = "graphql"
operation = "query"

[[tool]]
name = "comment"
request = "POST /echo"
category = "write"
protocol = "graphql"
operation = "mutation"
fields = ["comment"]

[[tool]]
name = "drop"
request = "POST /echo"
category = "delete"
protocol = "graphql"
operation = "mutation"
fields = ["drop"]

[[tool]]
name = "ask"
request = "POST /small"
category = "write"
[tool.input.body]
type = "object"
required = ["model", "messages"]
properties = { model = { enum = ["small"] } }
[tool.llm]
api = "anthropic"
provider-tools = "trim"
"#;

const RULES: &str = r#"
[[rule]]
name = "reads and writes"
agents = ["tester"]
tools = ["api.*"]
category = ["read", "write"]
effect = "allow"
"#;

async fn rig() -> Rig {
    let rig = Rig::start().await;
    rig.change(|rules| rules.policy = Arc::new(world::policy(&[TOOLS], RULES)));
    rig
}

/// Sends a body, and says what became of it: the tool that took it, or the reason of the refusal.
async fn send(rig: &Rig, path: &str, body: &Value) -> String {
    let request = Request::post(path).header("content-type", "application/json");
    let bytes = Bytes::from(body.to_string());
    let answer = rig.client.send_body(API, request, bytes).await;
    assert!(!answer.text().contains(CANARY));
    match answer.headers["exeat-decision"].to_str().unwrap() {
        "refused" => answer.reason(),
        _ => answer.headers["exeat-tool"].to_str().unwrap().to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_path_is_several_tools_and_each_has_its_receipt() {
    let rig = rig().await;
    let query = |text: &str| json!({"query": text});
    let two = json!({"query": "mutation A { comment } mutation B { drop }", "operationName": "A"});
    let batch = json!([query("mutation { comment }"), query("mutation { drop }")]);
    let cases = [
        (query("{ viewer { login } }"), "api.query"),
        (
            query("mutation { x: comment(text: \"hello\") { id } }"),
            "api.comment",
        ),
        (query("mutation { comment: drop { id } }"), "policy-forbids"),
        (
            query("mutation { comment { id } drop { id } }"),
            "tool-unknown",
        ),
        (
            query("mutation { comment { id } ...F } fragment F on M { drop { id } }"),
            "tool-unknown",
        ),
        (query("mutation { somethingElse }"), "tool-unknown"),
        (two, "tool-unknown"),
        (batch, "tool-unknown"),
        (
            json!({"id": "a-document-of-the-server"}),
            "arguments-invalid",
        ),
        (query("mutation { comment "), "arguments-invalid"),
    ];
    let mut arrived = Vec::new();
    for (body, expect) in &cases {
        assert_eq!(send(&rig, "/echo", body).await, *expect, "{body}");
        if expect.starts_with("api.") {
            arrived.push(body.to_string());
        }
    }
    let seen = rig.upstream.seen();
    let bodies: Vec<&[u8]> = seen.iter().map(|seen| &*seen.body).collect();
    let expected: Vec<&[u8]> = arrived.iter().map(String::as_bytes).collect();
    assert_eq!(bodies, expected);
    assert_eq!(seen[0].headers["authorization"], format!("Bearer {CANARY}"));
    let receipts = rig.receipts(cases.len()).await;
    assert_eq!(receipts.len(), cases.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_in_the_query_string_is_refused() {
    let rig = rig().await;
    let body = json!({"query": "{ viewer }"});
    let path = "/echo?query=mutation%7Bdrop%7D";
    assert_eq!(send(&rig, path, &body).await, "arguments-invalid");
    let answer = rig.client.get(API, path).await;
    assert_eq!(answer.reason(), "tool-unknown");
    assert!(rig.upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_would_run_is_gone_before_the_request_leaves() {
    let rig = rig().await;
    let ask = |tools: Value| json!({"model": "small", "messages": [], "tools": tools});
    let both = json!([{"type": "web_search_20250305", "name": "web_search"}, {"name": "mine"}]);
    assert_eq!(send(&rig, "/small", &ask(both)).await, "api.ask");
    let servers = json!({"model": "small", "messages": [], "mcp_servers": [{"type": "url", "url": "https://a.example"}]});
    assert_eq!(send(&rig, "/small", &servers).await, "api.ask");
    let plain = ask(json!([{"name": "mine"}]));
    assert_eq!(send(&rig, "/small", &plain).await, "api.ask");
    let source =
        json!({"type": "image", "source": {"type": "url", "url": "https://a.example/?secret"}});
    let fetched = json!({"model": "small", "messages": [{"role": "user", "content": [source]}]});
    assert_eq!(send(&rig, "/small", &fetched).await, "arguments-invalid");
    let large = json!({"model": "large", "messages": []});
    assert_eq!(send(&rig, "/small", &large).await, "arguments-invalid");
    let seen = rig.upstream.seen();
    let bodies: Vec<Value> = seen
        .iter()
        .map(|seen| serde_json::from_slice(&seen.body).unwrap())
        .collect();
    let bare = json!({"model": "small", "messages": []});
    assert_eq!(bodies, [plain.clone(), bare, plain]);
    for seen in &seen {
        let length: usize = seen.headers["content-length"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(length, seen.body.len());
    }
}
