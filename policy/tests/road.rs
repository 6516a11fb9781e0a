//! What the road sees of a policy: unknown tools, violations, explanations, git pushes.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use exeat_policy::{Body, Effect, Found, Policy, Request, Sight, Sources, Violation, World};
use exeat_types::{AgentId, Host, Origin, Source};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

const TOOLS: &str = r#"
[api]
name = "forge"
origin = "https://forge.example"

[[tool]]
name = "issue"
request = "POST /repos/{owner}/{repo}/issues"
category = "write"
[tool.input]
required = ["title"]
[tool.input.properties]
title = { type = "string", maxLength = 8 }
count = { type = "integer", maximum = 3 }

[[tool]]
name = "repo"
request = "GET /repos/{owner}/{repo}"
category = "read"

[[tool]]
name = "git.refs"
request = "GET /{owner}/{repo}.git/info/refs"
category = "read"
protocol = "git"
[tool.input.query.properties]
service = { enum = ["git-upload-pack", "git-receive-pack"] }

[[tool]]
name = "git.push"
request = "POST /{owner}/{repo}.git/git-receive-pack"
category = "write"
protocol = "git"
"#;

const POLICY: &str = r#"
[[rule]]
name = "coders write"
agents = ["group:coding"]
tools = ["forge.*"]
effect = "allow"

[[rule]]
name = "not twice"
agents = ["*"]
tools = ["forge.issue"]
when = "context.args has count && context.args.count == 2"
effect = "deny"

[[rule]]
name = "others"
agents = ["codex"]
tools = ["forge.issue"]
effect = "prompt"

[[rule]]
name = "main stays"
agents = ["*"]
tools = ["forge.git.push"]
when = 'context.args.git.deletes || context.args.git.branches.contains("main")'
effect = "deny"
"#;

fn policy() -> Policy {
    let mut world = World::default();
    world
        .agents
        .insert(AgentId::new("claude").unwrap(), vec!["coding".to_owned()]);
    world
        .agents
        .insert(AgentId::new("codex").unwrap(), Vec::new());
    let sources = Sources {
        tools: vec![Source::new("tools.toml", TOOLS)],
        policy: vec![Source::new("policy.toml", POLICY)],
        cedar: Vec::new(),
    };
    Policy::compile(&sources, &world).unwrap_or_else(|report| panic!("{report}"))
}

fn origin() -> Origin {
    Origin::parse("https://forge.example").unwrap()
}

fn found(policy: &Policy, method: &Method, path: &str) -> Found {
    policy.find(method, &origin(), path).unwrap()
}

fn with<T>(path: &str, kind: &'static str, body: &[u8], look: impl FnOnce(&Request<'_>) -> T) -> T {
    let mut headers = HeaderMap::new();
    headers.insert(
        HeaderName::from_static("content-type"),
        HeaderValue::from_static(kind),
    );
    look(&Request {
        method: &Method::POST,
        origin: &origin(),
        path,
        query: None,
        headers: &headers,
        body: Body::Whole(body),
    })
}

#[test]
fn an_unknown_request_says_how_near_it_came() {
    let policy = policy();
    let missing = |method: Method, path: &str| policy.find(&method, &origin(), path).unwrap_err();
    let other_method = missing(Method::PUT, "/repos/a/b");
    assert!(other_method.host_known && other_method.path_known);
    let typo = missing(Method::POST, "/repos/a/b/issue");
    assert!(!typo.path_known);
    assert_eq!(typo.nearest.unwrap().as_str(), "forge.issue");
    let elsewhere = Origin::parse("http://forge.example").unwrap();
    assert!(
        !policy
            .find(&Method::GET, &elsewhere, "/repos/a/b")
            .unwrap_err()
            .host_known
    );
    let not_utf8 = missing(Method::GET, "/repos/a/%FF");
    assert!(not_utf8.path_known);
    assert!(policy.knows_host(&Host::parse("forge.example").unwrap(), 0));
    assert!(policy.knows_host(&Host::parse("forge.example").unwrap(), 443));
    assert!(!policy.knows_host(&Host::parse("forge.example").unwrap(), 80));
    assert!(!policy.knows_host(&Host::parse("other.example").unwrap(), 0));
}

#[test]
fn every_violation_names_its_place_and_no_long_value() {
    let policy = policy();
    let path = "/repos/a/b/issues";
    let found = found(&policy, &Method::POST, path);
    let long = "x".repeat(500);
    let body = json!({"title": long, "count": 4}).to_string();
    let wrong = with(path, "application/json", body.as_bytes(), |request| {
        found.check(request)
    })
    .unwrap_err();
    let mut places: Vec<&str> = wrong
        .iter()
        .map(|violation| violation.place.as_str())
        .collect();
    places.sort_unstable();
    assert_eq!(places, ["body/count", "body/title"]);
    assert!(
        wrong.iter().all(|violation| violation.problem.len() < 120),
        "{wrong:?}"
    );
    let missing = with(path, "application/json", b"{}", |request| {
        found.check(request)
    })
    .unwrap_err();
    let expect = Violation {
        place: "body".to_owned(),
        problem: "\"title\" is a required property".to_owned(),
    };
    assert_eq!(missing, [expect]);
}

#[test]
fn arguments_are_typed_and_digested_by_content() {
    let policy = policy();
    let path = "/repos/a%20c/b/issues";
    let found = found(&policy, &Method::POST, path);
    let check = |body: &[u8]| {
        with(path, "application/json; charset=utf-8", body, |request| {
            found.check(request)
        })
        .unwrap()
    };
    let one = check(br#"{"title": "t", "count": 1}"#);
    assert_eq!(
        one.value,
        json!({"path": {"owner": "a c", "repo": "b"}, "body": {"title": "t", "count": 1}})
    );
    let other = check(br#"{ "count":1, "title":"\u0074" }"#);
    assert_eq!(one.digest(), other.digest());
    assert_ne!(
        one.digest(),
        check(br#"{"title": "t", "count": 2}"#).digest()
    );
}

#[test]
fn a_request_is_explained_rule_by_rule() {
    let policy = policy();
    let path = "/repos/a/b/issues";
    let explain = |agent: &str, body: &Value| {
        let agent = AgentId::new(agent).unwrap();
        with(
            path,
            "application/json",
            body.to_string().as_bytes(),
            |request| policy.explain(&agent, request),
        )
    };
    let seen = explain("claude", &json!({"title": "t", "count": 2}));
    let sights: Vec<(&str, Sight)> = seen
        .rules
        .iter()
        .map(|rule| (rule.name.as_str(), rule.sight))
        .collect();
    let expect = [
        ("coders write", Sight::Matches),
        ("not twice", Sight::Matches),
        ("others", Sight::OtherAgents),
    ];
    assert_eq!(sights, expect);
    assert_eq!(seen.decision.unwrap().rules, ["not twice"]);
    let asked = explain("codex", &json!({"title": "t"}));
    assert_eq!(asked.decision.unwrap().effect, Effect::Prompt);
    assert_eq!(
        asked.rules.first().map(|rule| rule.sight),
        Some(Sight::OtherAgents)
    );
    assert_eq!(
        asked.rules.get(1).map(|rule| rule.sight),
        Some(Sight::ConditionsFail)
    );
    let wrong = explain("claude", &json!({}));
    assert_eq!((wrong.violations.len(), wrong.decision), (1, None));
    let agent = AgentId::new("claude").unwrap();
    let nowhere = with("/repos/a/b/isues", "application/json", b"{}", |request| {
        policy.explain(&agent, request)
    });
    assert_eq!(
        nowhere.nearest.first().map(String::as_str),
        Some("POST /repos/{owner}/{repo}/issues (forge.issue)")
    );
}

/// A push that deletes refs needs no pack, so it can be written by hand.
fn deletion(names: &[&str]) -> Vec<u8> {
    let (old, none) = ("1".repeat(40), "0".repeat(40));
    let mut out = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let capabilities = if index == 0 {
            "\0report-status delete-refs"
        } else {
            ""
        };
        let line = format!("{old} {none} {name}{capabilities}");
        out.extend(format!("{:04x}{line}", line.len() + 4).into_bytes());
    }
    out.extend(b"0000");
    out
}

#[test]
fn a_push_is_judged_by_its_refs() {
    let policy = policy();
    let path = "/acme/site.git/git-receive-pack";
    let found = found(&policy, &Method::POST, path);
    let kind = "application/x-git-receive-pack-request";
    let body = deletion(&["refs/heads/old", "refs/tags/v1"]);
    let arguments = with(path, kind, &body, |request| found.check(request)).unwrap();
    let expect = json!({
        "refs": ["refs/heads/old", "refs/tags/v1"], "branches": ["old"], "tags": ["v1"],
        "kinds": ["delete"], "deletes": true, "force": false,
    });
    assert_eq!(arguments.value["git"], expect);
    let agent = AgentId::new("claude").unwrap();
    let seen = with(path, kind, &body, |request| policy.explain(&agent, request));
    assert_eq!(seen.decision.unwrap().rules, ["main stays"]);
    let broken = with(path, kind, b"00", |request| found.check(request));
    assert_eq!(
        broken
            .unwrap_err()
            .first()
            .map(|violation| violation.place.clone()),
        Some("body".to_owned())
    );
    let mislabelled = with(path, "application/json", &body, |request| {
        found.check(request)
    });
    assert!(mislabelled.is_err());
}
