//! A slice decides as the whole set would, memory as a fresh look would, and a cache as none at all would.

use exeat_types::{Origin, Source};
use http::{HeaderMap, HeaderValue, Method, header};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Arguments, Body, Policy, Request};

const TOOLS: &str = r#"
[api]
name = "a"
origin = "https://a.example"
[[tool]]
name = "x.make"
request = "POST /x"
category = "write"
[tool.input.properties]
owner = { type = "string" }
count = { type = "integer" }
tags = { type = "array", items = { type = "string" } }
deep = { type = "object", properties = { on = { type = "boolean" } } }
[[tool]]
name = "x.drop"
request = "POST /drop"
category = "delete"
[tool.input.properties]
owner = { type = "string" }
[[tool]]
name = "y.show"
request = "POST /y"
category = "read"
"#;

const CONDITIONS: [&str; 8] = [
    "",
    "context.args has owner && context.args.owner == \"p\"",
    "context.args has owner && context.args.owner like \"p*\"",
    "context.args has count && context.args.count > 1",
    "context.args has tags && context.args.tags.contains(\"p\")",
    "context.args has deep.on && context.args.deep.on",
    "context.args has count && 9223372036854775807 + context.args.count > 0",
    "principal in Group::\"g\" || (context.args has deep && !(context.args.deep has on))",
];

fn world() -> World {
    let mut world = World::default();
    world
        .agents
        .insert(AgentId::new("one").unwrap(), vec!["g".to_owned()]);
    world.agents.insert(
        AgentId::new("two").unwrap(),
        vec!["g".to_owned(), "h".to_owned()],
    );
    world
        .agents
        .insert(AgentId::new("three").unwrap(), Vec::new());
    world
}

prop_compose! {
    fn rule()(
        agents in prop::sample::subsequence(vec!["\"one\"", "\"group:h\"", "\"group:g\"", "\"*\""], 1..3),
        tools in prop::sample::select(vec!["*", "a.*", "a.x.*", "a.x.make", "a.y.show", "a.x.drop"]),
        category in prop::sample::select(vec!["", "category = [\"read\"]\n", "category = [\"write\", \"delete\"]\n"]),
        condition in 0..CONDITIONS.len(),
        word in prop::sample::select(vec!["when", "unless"]),
        effect in prop::sample::select(vec!["allow", "allow", "deny", "prompt"]),
    ) -> String {
        let agents = agents.join(", ");
        let text = CONDITIONS[condition];
        // A rule may read only what some tool in its scope has.
        let narrow = matches!(tools, "a.y.show" | "a.x.drop") && condition > 2;
        let condition = if text.is_empty() || narrow || tools == "a.y.show" { String::new() } else { format!("{word} = '{text}'\n") };
        let condition = if category.contains("read") { String::new() } else { condition };
        format!("agents = [{agents}]\ntools = [\"{tools}\"]\n{category}{condition}effect = \"{effect}\"\n")
    }
}

prop_compose! {
    fn policy()(rules in prop::collection::vec(rule(), 0..10)) -> String {
        let numbered = rules.iter().enumerate().map(|(n, rule)| format!("[[rule]]\nname = \"r{n}\"\n{rule}"));
        numbered.collect::<Vec<_>>().join("\n")
    }
}

prop_compose! {
    fn call()(
        agent in prop::sample::select(vec!["one", "two", "three", "nobody"]),
        tool in prop::sample::select(vec!["a.x.make", "a.x.drop", "a.y.show"]),
        owner in prop::option::of(prop::sample::select(vec!["p", "pq", "q", ""])),
        count in prop::option::of(prop::sample::select(vec![json!(0), json!(2), json!(-1), json!(u64::MAX), json!(2.0)])),
        tags in prop::option::of(prop::collection::vec(prop::sample::select(vec!["p", "q"]), 0..3)),
        deep in prop::option::of(prop::option::of(any::<bool>())),
        approval in prop::option::of(prop::sample::select(vec!["passkey", "local"])),
    ) -> Call {
        let mut body = serde_json::Map::new();
        owner.map(|owner| body.insert("owner".to_owned(), json!(owner)));
        if tool == "a.x.make" {
            count.map(|count| body.insert("count".to_owned(), count));
            tags.map(|tags| body.insert("tags".to_owned(), json!(tags)));
            deep.map(|on| body.insert("deep".to_owned(), on.map_or(json!({}), |on| json!({"on": on}))));
        }
        Call { agent, tool, body: Value::Object(body), approval }
    }
}

#[derive(Debug, Clone)]
struct Call {
    agent: &'static str,
    tool: &'static str,
    body: Value,
    approval: Option<&'static str>,
}

impl Call {
    fn arguments(&self, policy: &Policy) -> Arguments {
        let path = policy.tool(self.tool).unwrap().template.clone();
        let origin = Origin::parse("https://a.example").unwrap();
        let found = policy.find(&Method::POST, &origin, &path).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        let bytes = self.body.to_string().into_bytes();
        let body = if self.tool == "a.y.show" {
            Body::Absent
        } else {
            Body::Whole(&bytes)
        };
        let request = Request {
            method: &Method::POST,
            origin: &origin,
            path: &path,
            query: None,
            headers: &headers,
            body,
        };
        found.check(&request).unwrap()
    }

    fn ask<T>(&self, policy: &Policy, answer: impl FnOnce(&Question<'_>) -> T) -> T {
        let arguments = self.arguments(policy);
        let tool = policy.tool(self.tool).unwrap();
        let (account, agent) = (AccountId::local(), AgentId::new(self.agent).unwrap());
        answer(&Question {
            account: &account,
            agent: &agent,
            tool,
            arguments: &arguments,
            approval: self.approval,
        })
    }
}

fn sources(policy: &str) -> Sources {
    Sources {
        tools: vec![Source::new("tools.toml", TOOLS)],
        policy: vec![Source::new("policy.toml", policy)],
        cedar: Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn slices_memory_and_caches_change_no_answer(first in policy(), second in policy(), calls in prop::collection::vec(call(), 1..24)) {
        let mut cache = Cache::default();
        let world = world();
        for text in [&first, &second, &first] {
            let cached = Policy::compile_with(&mut cache, &sources(text), &world).unwrap_or_else(|report| panic!("{text}\n{report}"));
            let fresh = Policy::compile(&sources(text), &world).unwrap();
            for call in &calls {
                let engine = fresh.engine();
                let everything = Slice::build(fresh.tool(call.tool).unwrap(), engine.compiled().iter().map(|one| &**one)).unwrap();
                let whole = call.ask(&fresh, |question| engine.decide_in(&everything, question));
                let computed = call.ask(&fresh, |question| engine.decide(question));
                let remembered = call.ask(&fresh, |question| engine.decide(question));
                let reloaded = call.ask(&cached, |question| cached.decide(question));
                prop_assert_eq!(&whole, &computed, "{}\n{:?}", text, call);
                prop_assert_eq!(&computed, &remembered);
                prop_assert_eq!(&computed, &reloaded);
            }
        }
    }
}

fn compile(policy: &str) -> Policy {
    Policy::compile(&sources(policy), &world()).unwrap_or_else(|report| panic!("{report}"))
}

#[test]
fn an_evaluation_error_denies_even_beside_an_allow() {
    let policy = compile(
        "[[rule]]\nname = \"yes\"\nagents = [\"*\"]\ntools = [\"*\"]\neffect = \"allow\"\n[[rule]]\nname = \"overflow\"\nagents = [\"*\"]\ntools = [\"a.x.make\"]\nwhen = 'context.args has count && 9223372036854775807 + context.args.count > 0'\neffect = \"deny\"\n",
    );
    let call = |count: i64| Call {
        agent: "one",
        tool: "a.x.make",
        body: json!({"count": count}),
        approval: None,
    };
    let denied = call(1).ask(&policy, |question| policy.decide(question));
    assert_eq!(denied, Decision::deny(vec!["overflow".to_owned()]));
    let by_rule = call(0).ask(&policy, |question| policy.decide(question));
    assert_eq!(by_rule, Decision::deny(vec!["overflow".to_owned()]));
    let allowed = call(i64::MIN).ask(&policy, |question| policy.decide(question));
    assert_eq!(allowed.effect, Effect::Allow);
}

#[test]
fn several_rules_that_ask_are_answered_by_the_strictest() {
    let policy = compile(
        "[[rule]]\nname = \"a\"\nagents = [\"*\"]\ntools = [\"*\"]\neffect = \"prompt\"\napprove = { by = \"local\", remember = \"uses:5\" }\n[[rule]]\nname = \"b\"\nagents = [\"*\"]\ntools = [\"*\"]\neffect = \"prompt\"\napprove = { by = \"passkey\", remember = \"uses:2\", approvers = 2 }\n",
    );
    let call = Call {
        agent: "one",
        tool: "a.y.show",
        body: json!({}),
        approval: None,
    };
    let decision = call.ask(&policy, |question| policy.decide(question));
    let expect = Approve {
        by: crate::Approver::Passkey,
        remember: crate::Remember::Uses(2),
        approvers: 2,
        devices: 1,
        within: None,
    };
    assert_eq!(
        (decision.effect, decision.approve),
        (Effect::Prompt, Some(expect))
    );
    assert_eq!(decision.rules, ["a", "b"]);
    let local = Call {
        approval: Some("local"),
        ..call.clone()
    };
    assert_eq!(
        local
            .ask(&policy, |question| policy.decide(question))
            .effect,
        Effect::Prompt
    );
    let passkey = Call {
        approval: Some("passkey"),
        ..call
    };
    assert_eq!(
        passkey
            .ask(&policy, |question| policy.decide(question))
            .effect,
        Effect::Allow
    );
}

#[test]
fn the_digest_follows_texts_and_world() {
    let one = compile("");
    let mut world = world();
    world
        .agents
        .insert(AgentId::new("four").unwrap(), Vec::new());
    let other = Policy::compile(&sources(""), &world).unwrap();
    assert_eq!(one.digest(), compile("").digest());
    assert_ne!(one.digest(), other.digest());
    assert_ne!(one.digest(), compile("# a comment\n").digest());
}

#[test]
fn the_rules_can_be_shown_as_cedar() {
    let policy = compile(
        "[[rule]]\nname = \"ask \\\"them\\\"\"\nagents = [\"one\", \"group:h\"]\ntools = [\"a.x.*\"]\ncategory = [\"write\"]\nwhen = 'context.args has owner // who'\neffect = \"prompt\"\n",
    );
    insta::assert_snapshot!(policy.cedar_text(), @r#"
    @id("ask \"them\"")
    permit (
      principal,
      action in [Action::"a.x.*"],
      resource
    )
    when { principal == Agent::"one" || principal in Group::"h" }
    when { action in [Action::"category:write"] }
    when {
    context.args has owner // who
    };

    @id("ask \"them\" / approval")
    forbid (
      principal,
      action in [Action::"a.x.*"],
      resource
    )
    when { principal == Agent::"one" || principal in Group::"h" }
    when { action in [Action::"category:write"] }
    when {
    context.args has owner // who
    }
    unless { context has approval && context.approval.by == "passkey" };
    "#);
}
