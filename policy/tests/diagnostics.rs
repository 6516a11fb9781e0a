//! Every message that a wrong tool file, policy or case can give, as the operator sees it.
#![expect(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test fails by panicking; tables are long"
)]

use exeat_policy::{Policy, Sources, World, cases};
use exeat_types::{AgentId, CredentialId, Origin, Report, Source};

const API: &str = "[api]\nname = \"shop\"\norigin = \"https://shop.example\"\n";

fn world() -> World {
    let mut world = World::default();
    world
        .agents
        .insert(AgentId::new("claude").unwrap(), vec!["coding".to_owned()]);
    let origin = Origin::parse("https://other.example").unwrap();
    world
        .credentials
        .insert(CredentialId::new("stripe_prod").unwrap(), vec![origin]);
    world
}

fn report(tools: &[&str], policy: &str, cedar: &str) -> String {
    let named = |name: &str, text: &str| Source::new(name, text);
    let sources = Sources {
        tools: tools
            .iter()
            .enumerate()
            .map(|(n, text)| named(&format!("tools/{n}.toml"), text))
            .collect(),
        policy: vec![named("policy.toml", policy)],
        cedar: if cedar.is_empty() {
            Vec::new()
        } else {
            vec![named("extra.cedar", cedar)]
        },
    };
    Policy::compile(&sources, &world())
        .err()
        .map(|report| report.to_string())
        .unwrap_or_default()
}

fn tool(rest: &str) -> String {
    format!("{API}{rest}")
}

#[test]
fn api_and_tool_keys() {
    let file = r#"
[api]
name = "shop!"
origin = "https://shop.example/v1"
credental = "x"
ranges = "yes"

[[tool]]
name = "a b"
request = "get /x"
category = "Read"
record = "argument"
protocol = "svn"
body-max = "9 GiB"
slots = ["cookie:x", 3]

[[tool]]
request = "POST /a//b"

[[tool]]
name = "c"
request = "POST /a/{x}{y}"
category = "read"
response = { remove = ["user"] }
body-max = "0 B"
extra = 1

[[tols]]
"#;
    insta::assert_snapshot!(report(&[file, "", "x = "], "", ""));
}

#[test]
fn credentials_have_to_exist_and_be_bound() {
    let file = tool(
        "credential = \"stripe-prod\"\n[[tool]]\nname = \"a\"\nrequest = \"GET /a\"\ncategory = \"read\"\n\n[[tool]]\nname = \"b\"\nrequest = \"GET /b\"\ncategory = \"read\"\ncredential = \"stripe_prod\"\n",
    );
    insta::assert_snapshot!(report(&[&file], "", ""));
}

#[test]
fn sections_and_schemas() {
    let file = tool(
        r##"
[api.definitions.thing]
type = "objekt"

[[tool]]
name = "mixed"
request = "POST /a/{id}"
category = "write"
[tool.input.properties]
id = { type = "string" }
[tool.input.query.properties]
page = { type = "integer" }

[[tool]]
name = "path"
request = "GET /b/{id}"
category = "read"
[tool.input.path.properties]
idd = { type = "string" }
[tool.input.query]
type = "array"
[tool.input.header.properties]
"X Region" = { type = "string" }

[[tool]]
name = "wire"
request = "GET /c"
category = "read"
[tool.input]
required = ["filtre"]
[tool.input.properties]
filter = { type = "object" }
list = { type = "array", items = { type = "array" } }
flag = { type = "boolean", explode = "no" }

[[tool]]
name = "refs"
request = "POST /d"
category = "write"
[tool.input.body]
type = "object"
[tool.input.body.properties]
a = { "$ref" = "#/definitions/thin" }
b = { "$ref" = "https://example.com/schema" }
c = { "$id" = "x", "$schema" = "http://json-schema.org/draft-07/schema#" }

[[tool]]
name = "pattern"
request = "POST /e"
category = "write"
[tool.input.properties]
a = { type = "string", pattern = "(?<=a)b" }

[[tool]]
name = "type"
request = "POST /f"
category = "write"
[tool.input.properties]
a = { type = "strin" }

[[tool]]
name = "definition"
request = "POST /g"
category = "write"
[tool.input.properties]
a = { "$ref" = "#/$defs/thing" }

[[tool]]
name = "media"
request = "POST /h"
category = "write"
slots = ["body:/key"]
[tool.input]
required = ["x"]
[tool.input.body]
media = "binary"
type = "object"

[[tool]]
name = "git"
request = "POST /i"
protocol = "git"
category = "write"
"##,
    );
    insta::assert_snapshot!(report(&[&file], "", ""));
}

#[test]
fn tools_that_stand_in_each_others_way() {
    let one = tool(
        "[[tool]]\nname = \"a\"\nrequest = \"GET /x/{id}\"\ncategory = \"read\"\n[[tool]]\nname = \"b\"\nrequest = \"GET /x/{name}\"\ncategory = \"read\"\n",
    );
    let two = tool("[[tool]]\nname = \"a\"\nrequest = \"POST /x\"\ncategory = \"read\"\n");
    insta::assert_snapshot!(report(&[&one, &two], "", ""));
}

const TOOLS: &str = r#"
[[tool]]
name = "orders.place"
request = "POST /orders/{region}"
category = "buy"
[tool.input]
required = ["item"]
[tool.input.properties]
region = { type = "string" }
item = { type = "string" }
count = { type = "integer" }
note = { type = ["string", "null"] }
price = { type = "number" }
tags = { type = "array", items = {} }
to = { type = "object", properties = { city = { type = "string" }, code = {} } }

[[tool]]
name = "orders.list"
request = "GET /orders"
category = "read"
"#;

#[test]
fn rule_keys_and_names() {
    let policy = r#"
[[rule]]
name = "one"
agents = ["cloude", "group:codin", "Nobody!"]
tools = ["shop.order.*", "shop.orders.plaice", "shop.orders.p*"]
category = ["reed", "Buy"]
effect = "alow"

[[rule]]
name = "two"
agents = []
tools = []
effect = "allow"
approve = { by = "passkey" }

[[rule]]
agents = ["*"]
effect = "deny"
efect = "deny"

[[rule]]
name = "three"
agents = "claude"
tools = ["*"]
effect = "prompt"
approve = { by = "email", remember = "forever", approvers = 0, quorum = 2 }

[[rule]]
name = "two"
agents = ["*"]
tools = ["*"]
effect = "deny"

[[rule]]
name = " padded "
agents = ["*"]
tools = ["*"]
effect = "deny"

[limits.claude]
requests = "600 a minute"
"#;
    insta::assert_snapshot!(report(&[&tool(TOOLS)], policy, ""));
}

fn rules(conditions: &[&str]) -> String {
    let rule = |(n, when): (usize, &&str)| {
        format!(
            "[[rule]]\nname = \"rule {n}\"\nagents = [\"*\"]\ntools = [\"shop.orders.place\"]\neffect = \"allow\"\n{when}\n"
        )
    };
    conditions
        .iter()
        .enumerate()
        .map(rule)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn conditions_that_are_not_cedar() {
    let policy = rules(&[
        "when = 'context.args.item = \"pen\"'",
        "when = 'context.args.item == '",
        "when = 'true } when { false'",
        "when = 'true }; permit (principal, action, resource'",
        "unless = '''\ncontext.args.item == \"a\"\n  &&& true\n'''",
        "when = \"context.args.item == \\\"a\\\" ||\"",
        "when = ''",
    ]);
    insta::assert_snapshot!(report(&[&tool(TOOLS)], &policy, ""));
}

#[test]
fn conditions_that_do_not_fit_the_arguments() {
    let policy = rules(&[
        "when = 'context.args.itm == \"pen\"'",
        "when = 'context.args.count > 3'",
        "when = 'context.args.item > 3'",
        "when = 'context.args has note'",
        "when = 'context.args has price && context.args.price == 1'",
        "when = 'context.args has tags && context.args.tags.contains(\"a\")'",
        "when = 'context.args has to && context.args.to == {city: \"x\"}'",
        "when = 'context.args has to.city && context.args.to.city == 3'",
        "when = 'context.args has item.length'",
        "when = 'context.args == {}'",
        "when = 'context.approval.by == \"passkey\"'",
        "when = 'context.time > 3'",
        "when = 'principal == Robot::\"x\"'",
        "when = 'item == \"pen\"'",
    ]);
    insta::assert_snapshot!(report(&[&tool(TOOLS)], &policy, ""));
}

#[test]
fn a_rule_over_many_tools_has_to_fit_all_of_them() {
    let policy = "[[rule]]\nname = \"all\"\nagents = [\"*\"]\ntools = [\"*\"]\neffect = \"allow\"\nwhen = 'context.args.item == \"pen\"'\n\n[[rule]]\nname = \"none\"\nagents = [\"*\"]\ntools = [\"shop.*\"]\neffect = \"allow\"\nwhen = 'context.args has nowhere'\n";
    insta::assert_snapshot!(report(&[&tool(TOOLS)], policy, ""));
}

#[test]
fn cedar_files() {
    insta::assert_snapshot!(
        "parse",
        report(
            &[&tool(TOOLS)],
            "",
            "permit (principal, action, resource) when { 1 + };\n"
        )
    );
    let cedar = r#"
@id("one") permit (principal == Agent::"cloude", action == Action::"shop.orders.plac", resource);
@id("one") permit (principal == User::"x", action, resource == Account::"other");
@approve("email") forbid (principal, action, resource);
@approve("local") permit (principal, action, resource);
permit (principal in ?principal, action, resource);
permit (principal, action == Action::"shop.orders.place", resource) when { context.args.count == 1 };
permit (principal, action == Action::"shop.orders.place", resource) when { context.args has price };
"#;
    insta::assert_snapshot!("content", report(&[&tool(TOOLS)], "", cedar));
}

#[test]
fn case_files() {
    let text = r#"
[[case]]
name = "one"
agent = "Claude"
request = "GET shop.example"
expect = "maybe"
hedaers = {}

[[case]]
name = "two"
agent = "claude"
request = "GET https://shop.example/a"
headers = { "a b" = "c" }
expect = "allow"
"#;
    let mut report = Report::new();
    cases::read(&[Source::new("cases.toml", text)], &mut report);
    insta::assert_snapshot!(report);
}
