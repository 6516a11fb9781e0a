//! Calls of the past under policies that changed since.

use exeat_types::Source;
use serde_json::json;

use super::*;
use crate::{Sources, World};

const TOOLS: &str = r#"
[api]
name = "a"
origin = "https://a.example"
[[tool]]
name = "things.write"
request = "POST /things/{id}"
category = "write"
description = "d"
[tool.input.path]
properties = { id = { type = "string" } }
[tool.input.body]
type = "object"
required = ["n"]
additionalProperties = false
properties = { n = { type = "integer" } }
"#;

fn policy(tools: &str, rules: &str) -> Policy {
    let sources = Sources {
        tools: vec![Source::new("a.toml", tools)],
        policy: vec![Source::new("policy.toml", rules)],
        cedar: Vec::new(),
    };
    let world = World {
        agents: [(AgentId::new("claude").unwrap(), Vec::new())].into(),
        credentials: [].into(),
    };
    Policy::compile(&sources, &world)
        .map_err(|report| report.to_string())
        .unwrap()
}

fn rule(name: &str, effect: &str, when: &str) -> String {
    let when = if when.is_empty() {
        String::new()
    } else {
        format!("when = '{when}'\n")
    };
    format!(
        "[[rule]]\nname = \"{name}\"\nagents = [\"*\"]\ntools = [\"a.*\"]\neffect = \"{effect}\"\n{when}"
    )
}

fn past(arguments: Option<Value>) -> Past {
    Past {
        agent: AgentId::new("claude").unwrap(),
        tool: ToolName::new("a.things.write").unwrap(),
        method: Method::POST,
        origin: Origin::parse("https://a.example").unwrap(),
        template: Some("/things/{id}".to_owned()),
        arguments,
    }
}

fn sent(n: i64) -> Option<Value> {
    Some(json!({"path": {"id": "x"}, "body": {"n": n}}))
}

#[track_caller]
fn check(before: &str, after: &str, arguments: Option<Value>, expect: Option<Difference>) {
    let (before, after) = (policy(TOOLS, before), policy(TOOLS, after));
    let past = past(arguments);
    let (was, is) = (before.replay(&past), after.replay(&past));
    assert_eq!(difference(&was, &is), expect, "{was:?} {is:?}");
}

#[test]
fn each_way_in_which_a_decision_changes_is_told_apart() {
    let small = rule("small", "allow", "context.args.n < 5");
    let all = rule("all", "allow", "");
    let ask = rule("ask", "prompt", "");
    check(&small, &small, sent(3), None);
    check(&small, &all, sent(9), Some(Difference::Wider));
    check(&small, &all, sent(3), Some(Difference::Otherwise));
    check(&all, &ask, sent(3), Some(Difference::Narrower));
    check(&ask, &all, sent(3), Some(Difference::Wider));
    check("", &ask, sent(3), Some(Difference::Wider));
    check(&all, "", sent(3), Some(Difference::Narrower));
}

#[test]
fn without_a_capture_a_call_is_decided_only_where_no_argument_matters() {
    let small = rule("small", "allow", "context.args.n < 5");
    let all = rule("all", "allow", "");
    check(&small, &all, None, Some(Difference::Undecided));
    check(&all, &all, None, None);
    check("", &all, None, Some(Difference::Wider));
}

#[test]
fn a_tool_with_another_name_is_found_at_its_place_and_a_stricter_schema_refuses() {
    let all = rule("all", "allow", "");
    let renamed = policy(&TOOLS.replace("things.write", "thing.put"), &all);
    let outcome = renamed.replay(&past(sent(1)));
    assert_eq!(outcome.verdict, Verdict::Allow);
    assert_eq!(outcome.tool, Some(ToolName::new("a.thing.put").unwrap()));
    let gone = policy(
        &TOOLS
            .replace("/things/", "/other/")
            .replace("things.write", "o"),
        &all,
    );
    assert_eq!(gone.replay(&past(sent(1))).verdict, Verdict::ToolUnknown);
    let strict = policy(
        &TOOLS.replace("\"integer\"", "\"integer\", maximum = 1"),
        &all,
    );
    assert_eq!(
        strict.replay(&past(sent(2))).verdict,
        Verdict::ArgumentsInvalid
    );
}

#[test]
fn a_tool_that_leads_elsewhere_is_not_taken_for_the_same() {
    let all = rule("all", "allow", "");
    let old = policy(TOOLS, &all);
    for (from, to) in [
        ("https://a.example", "https://evil.example"),
        ("POST /things", "PUT /things"),
        ("/things/", "/other/"),
    ] {
        let new = policy(&TOOLS.replace(from, to), &all);
        let (was, is) = (old.replay(&past(sent(1))), new.replay(&past(sent(1))));
        assert_eq!(is.verdict, Verdict::ToolUnknown, "{to}");
        assert!(is.moved.is_some(), "{to}");
        assert_eq!(difference(&was, &is), Some(Difference::Undecided), "{to}");
    }
}

#[test]
fn a_weaker_approval_is_wider_and_a_stronger_one_narrower() {
    let asks = |approve: &str| {
        let rule = rule("ask", "prompt", "");
        format!("{rule}approve = {{ {approve} }}\n")
    };
    let (strong, equal) = ("by = \"passkey\"", "by = \"passkey\", within = \"1h\"");
    for weak in ["by = \"local\"", "by = \"passkey\", remember = \"uses:5\""] {
        check(&asks(strong), &asks(weak), sent(1), Some(Difference::Wider));
        check(
            &asks(weak),
            &asks(strong),
            sent(1),
            Some(Difference::Narrower),
        );
    }
    let two = "by = \"passkey\", approvers = 2";
    check(&asks(two), &asks(strong), sent(1), Some(Difference::Wider));
    check(
        &asks(equal),
        &asks(strong),
        sent(1),
        Some(Difference::Otherwise),
    );
}

#[test]
fn a_rule_that_is_over_lets_nothing_through() {
    let until = "until = \"2026-01-01T00:00:00Z\"\n";
    let rules = format!("{}{until}", rule("all", "allow", ""));
    let written = policy(TOOLS, &rules);
    let (sources, world) = written.made_of();
    let at = |time: &str| {
        let now: exeat_types::Timestamp = time.parse().unwrap();
        let policy = Policy::compile_at(now, sources, world);
        policy.ok().unwrap().replay(&past(sent(1))).verdict
    };
    assert_eq!(at("2025-12-31T00:00:00Z"), Verdict::Allow);
    assert_eq!(at("2026-01-01T00:00:00Z"), Verdict::Deny);
}

#[test]
fn what_no_tool_took_may_be_taken_by_a_new_one_or_by_another_schema() {
    let old = policy(TOOLS, "");
    let (post, origin) = (Method::POST, Origin::parse("https://a.example").unwrap());
    let opens = |tools: &str, tool: Option<&str>| {
        let early = Early {
            tool,
            method: &post,
            origin: &origin,
        };
        may_open((&old, &policy(tools, "")), &early)
    };
    let other = TOOLS.replace("things", "others");
    let (_, tool) = other.split_once("[[tool]]").unwrap();
    let both = format!("{TOOLS}[[tool]]{tool}");
    let looser = TOOLS.replace("\"integer\"", "\"number\"");
    let named = Some("a.things.write");
    assert!(!opens(TOOLS, None) && !opens(TOOLS, named));
    assert!(opens(&both, None) && opens(&looser, None) && opens(&looser, named));
    assert!(!opens(&both.replace("POST /others", "PUT /others"), None));
}
