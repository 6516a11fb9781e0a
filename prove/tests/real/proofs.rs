//! The program with the real solver, as the Python package of `scripts/real-deps` has it, behind `prove/cvc5_stdin.py`.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use exeat_policy::{
    Policy, Sources, World,
    proof::{Answer, Case, Questions, widening},
};
use exeat_types::{AgentId, Source, ToolName};

const TOOLS: &str = r#"
[api]
name = "a"
origin = "https://a.example"
[[tool]]
name = "read"
request = "GET /things"
category = "read"
description = "d"
[[tool]]
name = "pay"
request = "POST /payments"
category = "write"
description = "d"
[tool.input.body]
type = "object"
required = ["amount"]
properties = { amount = { type = "integer" }, to = { type = "string" } }
"#;

fn policy(rules: &str, groups: &[&str]) -> Policy {
    let sources = Sources {
        tools: vec![Source::new("a.toml", TOOLS)],
        policy: vec![Source::new("policy.toml", rules)],
        cedar: Vec::new(),
    };
    let groups: Vec<String> = groups.iter().map(|&group| group.to_owned()).collect();
    let everybody = vec!["coding".to_owned(), "night".to_owned()];
    let world = World {
        agents: [("claude", groups), ("other", everybody)]
            .map(|(agent, groups)| (AgentId::new(agent).unwrap(), groups))
            .into(),
        credentials: [].into(),
    };
    Policy::compile(&sources, &world)
        .map_err(|report| report.to_string())
        .unwrap()
}

/// A rule with a name of its own.
fn rule(agents: &str, tools: &str, rest: &str) -> String {
    let name: String = rest
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(60)
        .collect();
    format!(
        "[[rule]]\nname = \"{agents} {tools} {name}\"\nagents = [\"{agents}\"]\ntools = [\"{tools}\"]\n{rest}\n"
    )
}

/// Where the Python packages of other tests are.
fn python() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/real-deps");
    let output = Command::new(script).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let folder = String::from_utf8(output.stdout).unwrap();
    PathBuf::from(folder.trim()).join("python/bin")
}

fn run(solver: &Path, cases: Vec<Case>) -> Output {
    let questions = Questions {
        cases,
        patience_ms: 30_000,
    };
    let path = format!("{}:/usr/bin:/bin", python().display());
    let mut child = Command::new(env!("CARGO_BIN_EXE_exeat-prove"))
        .env("CVC5", solver)
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = serde_json::to_vec(&questions).unwrap();
    // Without a solver it ends before it has read everything.
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&text)
        .unwrap_or_default();
    child.wait_with_output().unwrap()
}

fn shim() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cvc5_stdin.py")
}

fn answers(cases: Vec<Case>) -> Vec<Answer> {
    let output = run(&shim(), cases);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn reaching(policy: &Policy, tool: &str) -> Case {
    let (agent, tool) = (
        AgentId::new("claude").unwrap(),
        ToolName::new(tool).unwrap(),
    );
    policy.reaching(&agent, &tool).unwrap()
}

fn widens(old: &Policy, new: &Policy) -> Case {
    let (agent, tool) = (
        AgentId::new("claude").unwrap(),
        ToolName::new("a.pay").unwrap(),
    );
    widening((old, new), &agent, &tool).unwrap().unwrap()
}

#[derive(Debug, PartialEq)]
enum Expect {
    Proven,
    Refuted,
}

#[track_caller]
fn expect(cases: Vec<(&str, Case, Expect)>) {
    let (names, cases): (Vec<_>, Vec<_>) = cases
        .into_iter()
        .map(|(name, case, expect)| ((name, expect), case))
        .unzip();
    for ((name, expect), answer) in names.into_iter().zip(answers(cases)) {
        let got = match &answer {
            Answer::Nothing => Expect::Proven,
            Answer::Request(_) => Expect::Refuted,
            Answer::Unknown { why } => panic!("{name}: {why}"),
        };
        assert_eq!(got, expect, "{name}: {answer:?}");
    }
}

#[test]
fn whether_an_agent_reaches_a_tool_without_an_approval() {
    let allow = "effect = \"allow\"";
    let asks = policy(&rule("claude", "a.*", "effect = \"prompt\""), &[]);
    let small = policy(
        &rule(
            "claude",
            "a.pay",
            "when = 'context.args.amount < 100'\neffect = \"allow\"",
        ),
        &[],
    );
    let grouped = rule("group:coding", "a.*", allow);
    let outside = policy(&grouped, &[]);
    let inside = policy(&grouped, &["coding"]);
    let shut = policy(
        &(rule("*", "a.*", allow)
            + &rule(
                "claude",
                "a.pay",
                "unless = 'context.args has to && context.args.to == \"alice\"'\neffect = \"deny\"",
            )),
        &[],
    );
    let never = policy(
        &(rule("*", "a.*", allow) + &rule("claude", "a.pay", "effect = \"deny\"")),
        &[],
    );
    use Expect::{Proven, Refuted};
    expect(vec![
        ("no rule", reaching(&policy("", &[]), "a.pay"), Proven),
        ("somebody is asked", reaching(&asks, "a.pay"), Proven),
        ("a small amount passes", reaching(&small, "a.pay"), Refuted),
        (
            "a rule for a tool is for no other",
            reaching(&small, "a.read"),
            Proven,
        ),
        ("not in the group", reaching(&outside, "a.pay"), Proven),
        ("in the group", reaching(&inside, "a.pay"), Refuted),
        ("one argument opens it", reaching(&shut, "a.pay"), Refuted),
        (
            "forbidden whatever is said",
            reaching(&never, "a.pay"),
            Proven,
        ),
    ]);
}

#[test]
fn a_counterexample_is_a_request_that_the_rules_do_allow() {
    let rules = rule(
        "claude",
        "a.pay",
        "when = 'context.args.amount > 41 && context.args.amount < 43 && context.args has to && context.args.to == \"alice\"'\neffect = \"allow\"",
    );
    let found = answers(vec![reaching(&policy(&rules, &[]), "a.pay")]);
    let [Answer::Request(found)] = &*found else {
        panic!("{found:?}");
    };
    assert_eq!(
        found.arguments,
        serde_json::json!({"amount": 42, "to": "alice"})
    );
    assert_eq!(found.approval, None);
}

#[test]
fn whether_a_change_lets_an_agent_do_more() {
    let allow = |when: &str| {
        rule(
            "claude",
            "a.pay",
            &format!("when = '{when}'\neffect = \"allow\""),
        )
    };
    let hundred = policy(&allow("context.args.amount <= 100"), &[]);
    let less = policy(&allow("context.args.amount < 100"), &[]);
    let same = policy(
        &(allow("context.args.amount < 100") + &allow("100 == context.args.amount")),
        &[],
    );
    let asks = policy(&rule("claude", "a.pay", "effect = \"prompt\""), &[]);
    let all = policy(&rule("claude", "a.pay", "effect = \"allow\""), &[]);
    let grouped = rule("group:coding", "a.*", "effect = \"allow\"");
    let (outside, inside) = (policy(&grouped, &[]), policy(&grouped, &["coding"]));
    use Expect::{Proven, Refuted};
    expect(vec![
        ("less", widens(&hundred, &less), Proven),
        ("more", widens(&less, &hundred), Refuted),
        ("the same in other words", widens(&hundred, &same), Proven),
        ("from all to asking", widens(&all, &asks), Proven),
        ("from asking to all", widens(&asks, &all), Refuted),
        (
            "from nothing to asking",
            widens(&policy("", &[]), &asks),
            Refuted,
        ),
        ("joining a group", widens(&outside, &inside), Refuted),
        ("leaving a group", widens(&inside, &outside), Proven),
    ]);
}

#[test]
fn without_a_solver_it_says_how_to_get_one() {
    let case = reaching(&policy("", &[]), "a.pay");
    let output = run(Path::new("/nonexistent/cvc5"), vec![case]);
    assert_eq!(output.status.code(), Some(4));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("there is no solver") && told.contains("pip install cvc5"),
        "{told}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn a_question_that_cannot_be_read_is_no_proof() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_exeat-prove"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"{}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let mut case = reaching(&policy("", &[]), "a.pay");
    case.assuming = "principal has".to_owned();
    assert!(matches!(&*answers(vec![case]), [Answer::Unknown { .. }]));
}
