//! What is asked of a solver. The answers are tested where the solver is.

use exeat_types::Source;

use super::*;
use crate::{Sources, World};

const TOOLS: &str = r#"
[api]
name = "a"
origin = "https://a.example"
[[tool]]
name = "write"
request = "POST /things"
category = "write"
description = "d"
[tool.input.body]
type = "object"
required = ["n"]
properties = { n = { type = "integer" }, t = { type = "string" } }
"#;

fn policy(rules: &str, groups: &[&str]) -> Policy {
    with_tools(TOOLS, rules, groups)
}

fn with_tools(tools: &str, rules: &str, groups: &[&str]) -> Policy {
    let sources = Sources {
        tools: vec![Source::new("a.toml", tools)],
        policy: vec![Source::new("policy.toml", rules)],
        cedar: Vec::new(),
    };
    let groups: Vec<String> = groups.iter().map(|&group| group.to_owned()).collect();
    let other = vec!["coding".to_owned(), "night".to_owned()];
    let world = World {
        agents: [("claude", groups), ("other", other)]
            .map(|(agent, groups)| (AgentId::new(agent).unwrap(), groups))
            .into(),
        credentials: [].into(),
    };
    Policy::compile(&sources, &world)
        .map_err(|report| report.to_string())
        .unwrap()
}

const CODING: &str = r#"
[[rule]]
name = "coding writes"
agents = ["group:coding", "group:night"]
tools = ["a.*"]
when = "context.args.n < 5"
effect = "allow"
"#;

fn ids() -> (AgentId, ToolName) {
    (
        AgentId::new("claude").unwrap(),
        ToolName::new("a.write").unwrap(),
    )
}

#[test]
fn groups_are_facts_and_not_left_to_the_solver() {
    let (agent, tool) = ids();
    let case = policy(CODING, &["coding"]).reaching(&agent, &tool).unwrap();
    assert!(
        case.assuming
            .contains("&& (principal in Group::\"coding\")"),
        "{}",
        case.assuming
    );
    assert!(
        case.assuming.contains("!(principal in Group::\"night\")"),
        "{}",
        case.assuming
    );
    assert!(case.schema.contains("\"n\": Long"), "{}", case.schema);
    assert!(!case.schema.contains("\"t\""), "{}", case.schema);
    assert_eq!(case.allowed.len(), 1);
}

#[test]
fn equal_policies_need_no_solver_and_a_new_group_does() {
    let (agent, tool) = ids();
    let old = policy(CODING, &[]);
    assert_eq!(widening((&old, &old), &agent, &tool), Ok(None));
    let new = policy(CODING, &["coding"]);
    let case = widening((&old, &new), &agent, &tool).unwrap().unwrap();
    assert!(
        case.assuming
            .contains("!(principal in Group::\"before: coding\")")
            && case
                .assuming
                .contains("&& (principal in Group::\"coding\")"),
        "{}",
        case.assuming
    );
    assert!(
        case.known[0].to_string().contains("before: coding"),
        "{:?}",
        case.known
    );
}

#[test]
fn what_is_not_known_is_said() {
    let (agent, tool) = ids();
    let policy = policy(CODING, &[]);
    let nobody = AgentId::new("nobody").unwrap();
    let nothing = ToolName::new("a.nothing").unwrap();
    assert!(
        policy
            .reaching(&nobody, &tool)
            .unwrap_err()
            .contains("unknown agent")
    );
    assert!(
        policy
            .reaching(&agent, &nothing)
            .unwrap_err()
            .contains("no tool")
    );
}

#[test]
fn a_tool_that_was_rewritten_is_not_said_to_do_no_more_than_before() {
    let (agent, tool) = ids();
    let old = policy(CODING, &["coding"]);
    for (from, to) in [
        ("https://a.example", "https://evil.example"),
        ("POST /things", "PUT /things"),
        ("POST /things", "POST /others"),
    ] {
        let new = with_tools(&TOOLS.replace(from, to), CODING, &["coding"]);
        let why = widening((&old, &new), &agent, &tool).unwrap_err();
        assert!(why.contains("leads elsewhere"), "{why}");
    }
}

#[test]
fn a_weaker_approval_is_not_said_to_be_no_more_than_before() {
    let (agent, tool) = ids();
    let ask = |approve: &str| {
        let rules = CODING.replace("\"allow\"", "\"prompt\"");
        policy(
            &format!("{rules}approve = {{ by = \"passkey\"{approve} }}"),
            &["coding"],
        )
    };
    let plain = ask("");
    for weak in [", remember = \"uses:5\"", ", remember = \"until:30m\""] {
        let why = widening((&plain, &ask(weak)), &agent, &tool).unwrap_err();
        assert!(why.contains("weaker"), "{why}");
        assert_eq!(widening((&ask(weak), &plain), &agent, &tool), Ok(None));
    }
    let two = ask(", approvers = 2");
    assert!(widening((&two, &plain), &agent, &tool).is_err());
}
