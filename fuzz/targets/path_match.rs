//! Finding a tool and checking its arguments: no request makes them disagree with themselves.
#![cfg_attr(fuzzing, no_main)]

use std::sync::OnceLock;

use exeat_policy::{Body, Policy, Request, Sources, World};
use exeat_types::{Origin, Source};
use http::{HeaderMap, Method};

const TOOLS: &str = r#"
[api]
name = "shop"
origin = "https://shop.example"
[[tool]]
name = "orders.get"
request = "GET /orders/{id}"
category = "read"
description = "Read an order"
[tool.input.path]
properties.id = { type = "string", pattern = "^[a-z0-9-]{1,20}$" }
required = ["id"]
[tool.input.query]
properties.page = { type = "integer", minimum = 1 }
[[tool]]
name = "orders.create"
request = "POST /shops/{shop}/orders"
category = "write"
description = "Place an order"
[tool.input.path]
properties.shop = { type = "string" }
required = ["shop"]
[tool.input.body]
type = "object"
properties.amount = { type = "integer", maximum = 1000 }
required = ["amount"]
"#;

/// Method, path, query and body, each on its own line; the body may have more lines.
pub(crate) fn run(bytes: &[u8]) {
    static POLICY: OnceLock<Option<(Policy, Origin)>> = OnceLock::new();
    let compiled = POLICY.get_or_init(compiled);
    assert!(compiled.is_some(), "the tools do not compile");
    let Some((policy, origin)) = compiled else {
        return;
    };
    let mut lines = bytes.splitn(4, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (method, path, query, body) = (line(), line(), line(), line());
    let Ok(method) = Method::from_bytes(method) else {
        return;
    };
    let (Ok(path), Ok(query)) = (std::str::from_utf8(path), std::str::from_utf8(query)) else {
        return;
    };
    let Ok(found) = policy.find(&method, origin, path) else {
        return;
    };
    assert_eq!(found.tool.method, method);
    let query = Some(query).filter(|query| !query.is_empty());
    let body = if body.is_empty() {
        Body::Absent
    } else {
        Body::Whole(body)
    };
    let headers = HeaderMap::new();
    let request = Request {
        method: &method,
        origin,
        path,
        query,
        headers: &headers,
        body,
    };
    match found.check(&request) {
        Ok(arguments) => {
            let again = found.check(&request).map(|again| again.digest());
            assert!(again.is_ok_and(|again| again == arguments.digest()));
        }
        Err(violations) => assert!(!violations.is_empty()),
    }
}

fn compiled() -> Option<(Policy, Origin)> {
    let sources = Sources {
        tools: vec![Source::new("shop.toml", TOOLS)],
        ..Sources::default()
    };
    let policy = Policy::compile(&sources, &World::default()).ok()?;
    Some((policy, Origin::parse("https://shop.example").ok()?))
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
