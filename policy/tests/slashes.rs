//! Encoded slashes in paths: refused, but where a tool says that a parameter takes them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use exeat_policy::{
    Body, Effect, Policy, Question, Request, Sources, World,
    openapi::{Options, import},
};
use exeat_types::{AccountId, AgentId, Origin, Source};
use http::{HeaderMap, Method};
use serde_json::json;

const TOOLS: &str = r#"
[api]
name = "npm"
origin = "https://npm.example"

[[tool]]
name = "package"
request = "GET /{name}"
category = "read"
encoded-slash = ["name"]
[tool.input.path.properties]
name = { type = "string", pattern = "^(@[a-z0-9-]+/)?[a-z0-9.-]+$" }

[[tool]]
name = "file"
request = "GET /{repo}/contents/{*path}"
category = "read"
encoded-slash = ["path"]

[[tool]]
name = "tarball"
request = "GET /{name}/-/{file}"
category = "read"

[[tool]]
name = "raw"
request = "GET /raw/{*path}"
category = "read"

[[tool]]
name = "one"
request = "GET /groups/acme%2Fsite/badges"
category = "read"
"#;

const POLICY: &str = r#"
[[rule]]
name = "our scope"
agents = ["claude"]
tools = ["npm.package"]
when = 'context.args.name like "@acme/*"'
effect = "allow"
"#;

fn claude() -> AgentId {
    AgentId::new("claude").unwrap()
}

fn policy() -> Policy {
    let mut world = World::default();
    world.agents.insert(claude(), Vec::new());
    let sources = Sources {
        tools: vec![Source::new("tools.toml", TOOLS)],
        policy: vec![Source::new("policy.toml", POLICY)],
        cedar: Vec::new(),
    };
    Policy::compile(&sources, &world).unwrap_or_else(|report| panic!("{report}"))
}

/// The path arguments of a request, or the places of what is wrong with them.
#[track_caller]
fn check(path: &str, expect: Result<serde_json::Value, &str>) {
    let origin = Origin::parse("https://npm.example").unwrap();
    let found = policy().find(&Method::GET, &origin, path).unwrap();
    let read = found.check(&Request {
        method: &Method::GET,
        origin: &origin,
        path,
        query: None,
        headers: &HeaderMap::new(),
        body: Body::Absent,
    });
    let read = read
        .map(|arguments| arguments.value.get("path").cloned().unwrap_or_default())
        .map_err(|wrong| wrong.first().map(|one| one.place.clone()).unwrap());
    assert_eq!(read, expect.map_err(str::to_owned), "{path}");
}

#[test]
fn a_parameter_takes_encoded_slashes_only_where_its_tool_says_so() {
    check("/@acme%2Fsite", Ok(json!({ "name": "@acme/site" })));
    check("/left-pad", Ok(json!({ "name": "left-pad" })));
    check(
        "/r/contents/docs%2Fa.md",
        Ok(json!({ "repo": "r", "path": "docs/a.md" })),
    );
    check(
        "/r/contents/docs/a%2Fb.md",
        Ok(json!({ "repo": "r", "path": "docs/a/b.md" })),
    );
    check("/@acme%2Fsite/-/site-1.tgz", Err("path.name"));
    check("/site/-/a%2Fb.tgz", Err("path.file"));
    check("/x%2Fr/contents/a", Err("path.repo"));
    check("/raw/a%2Fb", Err("path.path"));
    check("/raw/a%2fb", Err("path.path"));
}

#[test]
fn what_lies_between_encoded_slashes_is_judged_by_the_schema_and_for_tricks() {
    check("/@acme%2Fa%2Fb", Err("path.name"));
    for tricky in [
        "/@acme%2F..",
        "/@acme%2F%2Fa",
        "/%2Fa",
        "/a%2F",
        "/@acme%252Fsite",
        "/@acme%2Fa%5Cb",
        "/@acme%2Fa%00",
    ] {
        check(tricky, Err("path.name"));
    }
    check("/r/contents/a%252F%2E%2E", Err("path.path"));
}

#[test]
fn rules_see_the_slash() {
    let policy = policy();
    let origin = Origin::parse("https://npm.example").unwrap();
    let effect = |path: &str| {
        let found = policy.find(&Method::GET, &origin, path).unwrap();
        let arguments = found
            .check(&Request {
                method: &Method::GET,
                origin: &origin,
                path,
                query: None,
                headers: &HeaderMap::new(),
                body: Body::Absent,
            })
            .unwrap();
        let decision = policy.decide(&Question {
            account: &AccountId::local(),
            agent: &claude(),
            tool: &found.tool,
            arguments: &arguments,
            approval: None,
        });
        decision.effect
    };
    assert_eq!(effect("/@acme%2Fsite"), Effect::Allow);
    assert_eq!(effect("/@other%2Fsite"), Effect::Deny);
}

#[test]
fn a_literal_in_a_template_may_hold_one() {
    let origin = Origin::parse("https://npm.example").unwrap();
    let find = |path: &str| policy().find(&Method::GET, &origin, path).map(drop);
    assert!(find("/groups/acme%2Fsite/badges").is_ok());
    assert!(find("/groups/acme/site/badges").is_err());
}

#[test]
fn a_name_that_is_no_parameter_is_reported() {
    let tools = TOOLS.replace("encoded-slash = [\"name\"]", "encoded-slash = [\"nmae\"]");
    let sources = Sources {
        tools: vec![Source::new("tools.toml", &tools)],
        ..Sources::default()
    };
    let report = Policy::compile(&sources, &World::default()).err().unwrap();
    assert!(
        report
            .to_string()
            .contains("`nmae` is no parameter of the path"),
        "{report}"
    );
}

#[test]
fn an_import_marks_the_named_parameters_and_knows_when_there_is_none() {
    let text = json!({
        "openapi": "3.0.0",
        "info": { "title": "Files", "version": "1" },
        "servers": [{ "url": "https://files.example" }],
        "paths": {
            "/files/{path}": { "get": { "operationId": "get", "parameters": [
                { "name": "path", "in": "path", "required": true, "schema": { "type": "string" } },
            ] } },
            "/users/{user}": { "get": { "operationId": "user", "parameters": [
                { "name": "user", "in": "path", "required": true, "schema": { "type": "string" } },
            ] } },
        },
    });
    let source = Source::new("files.json", &text.to_string());
    let with = |name: &str| {
        let options = Options {
            encoded_slash: vec![name.to_owned()],
            ..Options::default()
        };
        import(&source, &options)
    };
    let files = with("path").unwrap().files;
    let text: String = files.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(
        text.matches("encoded-slash = [\"path\"]").count(),
        1,
        "{text}"
    );
    let refused = with("paht").unwrap_err().to_string();
    assert!(
        refused.contains("no path has a parameter `paht`"),
        "{refused}"
    );
}
