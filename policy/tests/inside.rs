//! Protocols inside a body: several tools on one GraphQL path, and requests to language models.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use exeat_policy::{Body, Effect, Found, Policy, Question, Request, Sources, Unsettled, World};
use exeat_types::{AccountId, AgentId, Origin, Source};
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};

const TOOLS: &str = r#"
[api]
name = "api"
origin = "https://api.test"

[[tool]]
name = "query"
request = "POST /graphql"
category = "read"
protocol = "graphql"
operation = "query"

[[tool]]
name = "create"
request = "POST /graphql"
category = "write"
protocol = "graphql"
operation = "mutation"
fields = ["create"]
[tool.input.body]
type = "object"
required = ["input"]
properties = { input = { type = "object", required = ["team"], properties = { team = { type = "string" } } } }

[[tool]]
name = "write"
request = "POST /graphql"
category = "write"
protocol = "graphql"
operation = "mutation"
fields = ["comment", "label"]

[[tool]]
name = "delete"
request = "POST /graphql"
category = "delete"
protocol = "graphql"
operation = "mutation"
body-max = "1 KiB"
fields = ["drop"]

[[tool]]
name = "ask"
request = "POST /v1/messages"
category = "write"
[tool.input.body]
type = "object"
required = ["model", "messages"]
properties = { model = { type = "string" } }
[tool.llm]
api = "anthropic"
provider-tools = "trim"
"#;

const POLICY: &str = r#"
[[rule]]
name = "read and write"
agents = ["claude"]
tools = ["api.*"]
category = ["read", "write"]
effect = "allow"

[[rule]]
name = "only one team"
agents = ["*"]
tools = ["api.create"]
unless = 'context.args.input.team == "ours"'
effect = "deny"

[[rule]]
name = "no mail addresses"
agents = ["*"]
tools = ["api.query"]
when = 'context.args.graphql.selects.contains("email") || context.args.graphql.depth > 5'
effect = "deny"

[[rule]]
name = "cheap models, short answers"
agents = ["*"]
tools = ["api.ask"]
unless = '["small"].containsAll(context.args.llm.models) && context.args.llm has max_tokens && context.args.llm.max_tokens <= 100'
effect = "deny"
"#;

fn compile(tools: &str) -> Result<Policy, String> {
    let mut world = World::default();
    let claude = AgentId::new("claude").unwrap();
    world.agents.insert(claude, Vec::new());
    let sources = Sources {
        tools: vec![Source::new("tools.toml", tools)],
        policy: vec![Source::new("policy.toml", POLICY)],
        cedar: Vec::new(),
    };
    Policy::compile(&sources, &world).map_err(|report| report.to_string())
}

fn with<T>(path: &str, body: &Value, look: impl FnOnce(&Request<'_>) -> T) -> T {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    let (origin, bytes) = (Origin::parse("https://api.test").unwrap(), body.to_string());
    look(&Request {
        method: &Method::POST,
        origin: &origin,
        path,
        query: None,
        headers: &headers,
        body: Body::Whole(bytes.as_bytes()),
    })
}

fn found(policy: &Policy, path: &str) -> Found {
    let origin = Origin::parse("https://api.test").unwrap();
    policy.find(&Method::POST, &origin, path).unwrap()
}

/// What becomes of a body: the tool and the answer, or why there is none.
fn fate(policy: &Policy, path: &str, body: &Value) -> String {
    with(path, body, |request| {
        let found = match found(policy, path).settle(request) {
            Ok(found) => found,
            Err(Unsettled::Unknown(problem)) => return format!("unknown: {problem}"),
            Err(Unsettled::Invalid(wrong)) => return format!("invalid: {wrong:?}"),
        };
        let arguments = match found.check(request) {
            Ok(arguments) => arguments,
            Err(wrong) => return format!("invalid: {wrong:?}"),
        };
        let decision = policy.decide(&Question {
            account: &AccountId::local(),
            agent: &AgentId::new("claude").unwrap(),
            tool: &found.tool,
            arguments: &arguments,
            approval: None,
        });
        let again = self::found(policy, path).settle_again(&arguments);
        assert_eq!(again.unwrap().tool.name, found.tool.name);
        let answer = match decision.effect {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
            Effect::Prompt => "prompt",
        };
        format!("{answer}: {}", found.tool.name)
    })
}

#[track_caller]
fn check(policy: &Policy, query: &str, expect: &str) {
    let got = fate(policy, "/graphql", &json!({"query": query}));
    assert!(got.starts_with(expect), "{query}: {got}");
}

#[test]
fn the_body_says_which_tool_is_meant() {
    let policy = compile(TOOLS).unwrap();
    for (query, expect) in [
        ("{ viewer { login } }", "allow: api.query"),
        (
            "mutation { comment(text: \"x\") { id } }",
            "allow: api.write",
        ),
        (
            "mutation { comment { id } x: label { id } __typename }",
            "allow: api.write",
        ),
        (
            "mutation { create(input: {team: \"ours\"}) { id } }",
            "allow: api.create",
        ),
        (
            "mutation { create(input: {team: \"other\"}) { id } }",
            "deny: api.create",
        ),
        ("mutation { drop { id } }", "deny: api.delete"),
        ("{ viewer { email } }", "deny: api.query"),
        (
            "{ ...F } fragment F on Q { a { b { c { x: email } } } }",
            "deny: api.query",
        ),
        ("{ a { b { c { d { e { f } } } } } }", "deny: api.query"),
    ] {
        check(&policy, query, expect);
    }
}

#[test]
fn nothing_rides_along_with_what_is_allowed() {
    let policy = compile(TOOLS).unwrap();
    for (query, expect) in [
        ("mutation { comment { id } drop { id } }", "unknown"),
        ("mutation { comment: drop { id } }", "deny: api.delete"),
        (
            "mutation { comment { id } ...F } fragment F on M { drop { id } }",
            "unknown",
        ),
        (
            "mutation { comment { id } ... on M { comment: drop { id } } }",
            "unknown",
        ),
        ("mutation { comment @skip(if: true) drop }", "unknown"),
        ("mutation { comment } mutation B { drop }", "invalid"),
        (
            "mutation { other }",
            "unknown: no tool takes the mutation `other`",
        ),
        (
            "subscription { comment }",
            "unknown: no tool takes the subscription",
        ),
        (
            "mutation { create(input: {team: \"ours\"}) { id } y: create(input: {team: \"other\"}) { id } }",
            "invalid",
        ),
        (
            "mutation { create(input: {team: \"ours\", team: \"other\"}) { id } }",
            "invalid",
        ),
        ("mutation { create(input: {team: 5}) { id } }", "invalid"),
        ("query { comment }", "allow: api.query"),
    ] {
        check(&policy, query, expect);
    }
    let two = json!({"query": "mutation A { comment } mutation B { drop }", "operationName": "A"});
    let batch = json!([{"query": "mutation { comment }"}, {"query": "mutation { drop }"}]);
    for body in [two, batch] {
        assert!(
            fate(&policy, "/graphql", &body).starts_with("unknown"),
            "{body}"
        );
    }
    let variables = |team: &str| {
        json!({"query": "mutation($i: I = {team: \"ours\"}) { create(input: $i) { id } }",
            "variables": {"i": {"team": team}}})
    };
    assert_eq!(
        fate(&policy, "/graphql", &variables("ours")),
        "allow: api.create"
    );
    assert_eq!(
        fate(&policy, "/graphql", &variables("other")),
        "deny: api.create"
    );
    let large = json!({"query": format!("mutation {{ drop(text: \"{}\") }}", "x".repeat(2000))});
    assert!(fate(&policy, "/graphql", &large).starts_with("invalid"));
    let twice = br#"{"query": "{ a }", "query": "mutation { drop }"}"#;
    with("/graphql", &json!({}), |request| {
        let request = Request {
            body: Body::Whole(twice),
            headers: request.headers,
            ..*request
        };
        let settled = found(&policy, "/graphql").settle(&request);
        assert!(matches!(settled, Err(Unsettled::Invalid(_))));
    });
}

#[test]
fn a_body_is_refused_where_nobody_settled_whose_it_is() {
    let policy = compile(TOOLS).unwrap();
    with(
        "/graphql",
        &json!({"query": "mutation { drop }"}),
        |request| {
            let first = found(&policy, "/graphql");
            assert_eq!(first.tool.name.as_str(), "api.query");
            assert!(first.check(request).is_err());
        },
    );
}

#[test]
fn other_types_of_bodies_are_not_graphql() {
    let policy = compile(TOOLS).unwrap();
    for kind in [
        "application/graphql",
        "text/plain",
        "application/graphql+json",
        "application/x-www-form-urlencoded",
    ] {
        with("/graphql", &json!({"query": "{ a }"}), |request| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            let request = Request {
                headers: &headers,
                ..*request
            };
            assert!(
                found(&policy, "/graphql").settle(&request).is_err(),
                "{kind}"
            );
        });
    }
}

#[test]
fn what_a_file_says_of_graphql_and_models_has_to_make_sense() {
    for (from, to, expect) in [
        ("operation = \"query\"", "", "needs `operation`"),
        (
            "fields = [\"drop\"]",
            "fields = [\"label\"]",
            "both take `label`",
        ),
        ("fields = [\"drop\"]", "fields = []", "takes nothing"),
        (
            "fields = [\"drop\"]",
            "fields = [\"a.b\"]",
            "not the name of a field",
        ),
        (
            "operation = \"mutation\"\nbody-max",
            "operation = \"query\"\nbody-max",
            "",
        ),
        (
            "request = \"POST /graphql\"\ncategory = \"read\"",
            "request = \"GET /graphql\"\ncategory = \"read\"",
            "on a POST",
        ),
        (
            "operation = \"query\"",
            "operation = \"query\"\n[tool.input.query.properties]\nquery = {}",
            "no query parameters",
        ),
        (
            "name = \"ask\"",
            "name = \"ask\"\noperation = \"query\"",
            "only a tool with",
        ),
        (
            "required = [\"model\", \"messages\"]\n",
            "",
            "needs a JSON body",
        ),
        ("api = \"anthropic\"", "api = \"other\"", ""),
        (
            "provider-tools = \"trim\"",
            "provider-tool = \"trim\"",
            "unknown key",
        ),
    ] {
        let changed = TOOLS.replacen(from, to, 1);
        assert_ne!(changed, TOOLS, "{from}");
        match compile(&changed) {
            Ok(_) => assert!(expect.is_empty(), "{from} -> {to} loads"),
            Err(report) => assert!(report.contains(expect), "{from} -> {to}: {report}"),
        }
    }
}

#[test]
fn what_another_tool_names_is_never_the_open_ones() {
    let open = TOOLS.replacen("fields = [\"comment\", \"label\"]\n", "", 1);
    let twice = open.replacen("fields = [\"drop\"]\n", "", 1);
    assert!(compile(&open).is_ok());
    assert!(
        compile(&twice)
            .err()
            .unwrap()
            .contains("whatever no other tool names")
    );
    check(
        &compile(&open).unwrap(),
        "mutation { drop }",
        "deny: api.delete",
    );
    check(
        &compile(&open).unwrap(),
        "mutation { anything }",
        "allow: api.write",
    );
    check(
        &compile(&open).unwrap(),
        "mutation { anything drop }",
        "unknown",
    );
}

#[test]
fn models_and_limits_are_for_rules_to_read() {
    let policy = compile(TOOLS).unwrap();
    let ask = |model: &str, limit: Value| {
        let body = json!({"model": model, "messages": [], "max_tokens": limit});
        fate(&policy, "/v1/messages", &body)
    };
    assert_eq!(ask("small", json!(100)), "allow: api.ask");
    assert_eq!(ask("small", json!(101)), "deny: api.ask");
    assert_eq!(ask("large", json!(5)), "deny: api.ask");
    assert_eq!(ask("small", Value::Null), "deny: api.ask");
    assert!(ask("small", json!("5")).starts_with("invalid"));
}

#[test]
fn what_is_trimmed_is_what_is_judged_and_sent() {
    let policy = compile(TOOLS).unwrap();
    let ask =
        |tools: Value| json!({"model": "small", "messages": [], "max_tokens": 5, "tools": tools});
    let body = ask(json!([{"type": "web_fetch_20250910", "name": "w"}, {"name": "mine"}]));
    let arguments = with("/v1/messages", &body, |request| {
        found(&policy, "/v1/messages").check(request).unwrap()
    });
    let sent: Value = serde_json::from_slice(&arguments.body.unwrap()).unwrap();
    assert_eq!(sent, ask(json!([{"name": "mine"}])));
    assert_eq!(arguments.value["body"], sent);
    assert_eq!(arguments.value["llm"]["trimmed"], json!(["web_fetch"]));
    let untouched = with("/v1/messages", &ask(json!([{"name": "mine"}])), |request| {
        found(&policy, "/v1/messages").check(request).unwrap()
    });
    assert_eq!(untouched.body, None);
}
