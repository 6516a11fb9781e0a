//! `exeat policy diff` over real receipts, and what `exeat policy prove` says without its solver.

use serde_json::Value;

use crate::{
    run::server::Server,
    support::{Place, text},
};

const TOOLS: &str = r#"
[api]
name = "notes"
origin = "http://notes.example"
[[tool]]
name = "show"
request = "GET /{id}"
category = "read"
[tool.input.path]
properties = { id = { type = "string" } }
"#;

fn rule(when: &str) -> String {
    format!(
        "[[rule]]\nname = \"notes\"\nagents = [\"me\"]\ntools = [\"notes.*\"]\neffect = \"allow\"\n{when}\n"
    )
}

fn place(server: &Server, tools: &str) -> Place {
    let config = format!(
        "[network]\nallow-private = [\"notes.example:80\"]\n\
         connect-to = {{ \"notes.example:80\" = \"127.0.0.1:{}\" }}\n[agents.me]\n",
        server.port
    );
    Place::with(&[
        ("exeat.toml", &config),
        ("tools/notes.toml", tools),
        ("policy.toml", &rule("unless = 'context.args.id == \"9\"'")),
        ("all.toml", &rule("")),
        ("seven.toml", &rule("when = 'context.args.id == \"7\"'")),
        ("new/exeat.toml", "[agents.me]\n"),
        (
            "new/tools/notes.toml",
            &tools.replace("name = \"show\"", "name = \"get\""),
        ),
        ("new/policy.toml", &rule("")),
    ])
}

fn calls(place: &Place) {
    for id in ["7", "8", "9"] {
        let url = format!("http://notes.example/{id}");
        place.run(&["run", "--", "curl", "-s", &url]);
    }
}

/// The differences, oldest call last, and the exit status.
fn diff(place: &Place, arguments: &[&str]) -> (Vec<Value>, Option<i32>) {
    let output = place.run(&[&["--json", "policy", "diff"], arguments].concat());
    let lines = text(&output.stdout);
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    (lines.collect(), output.status.code())
}

#[test]
fn every_call_of_the_past_that_would_be_decided_otherwise_is_listed() {
    let server = Server::start();
    let place = place(&server, TOOLS);
    let gate = place.serve();
    calls(&place);
    let (lines, status) = diff(&place, &["in-force", "seven.toml"]);
    let [refused, one, counts] = &*lines else {
        panic!("{lines:?}")
    };
    // What was refused has no arguments beside its receipt, and a rule reads them.
    assert_eq!(refused["difference"], "undecided");
    let cells = ["difference", "agent", "tool"].map(|name| one[name].clone());
    assert_eq!(cells, ["narrower", "me", "notes.show"].map(Value::from));
    let verdicts = ["before", "after"].map(|side| one[side]["verdict"].clone());
    assert_eq!(verdicts, ["allow", "deny"].map(Value::from));
    let numbers = ["replayed", "narrower", "undecided"].map(|name| counts[name].clone());
    assert_eq!(numbers, [3, 1, 1].map(Value::from), "{lines:?}");
    assert_eq!(status, Some(1));
    gate.stop();
    // Without a gate the folder is read by itself.
    let (lines, status) = diff(&place, &["policy.toml", "all.toml"]);
    assert_eq!(status, Some(1), "{lines:?}");
    let (lines, status) = diff(&place, &[".", "new"]);
    assert_eq!(
        lines.first().unwrap()["after"]["tool"],
        "notes.get",
        "{lines:?}"
    );
    assert_eq!(status, Some(1));
    let (lines, status) = diff(
        &place,
        &["all.toml", "all.toml", "--agent", "me", "--since", "1h"],
    );
    assert_eq!((lines.len(), status), (1, Some(0)));
    assert_eq!(
        place
            .run(&["policy", "diff", "nowhere", "new"])
            .status
            .code(),
        Some(1)
    );
    assert_eq!(
        place
            .run(&["policy", "diff", "in-force", "new"])
            .status
            .code(),
        Some(1)
    );
}

#[test]
fn a_call_whose_arguments_were_not_kept_is_said_to_be_undecided() {
    let server = Server::start();
    let place = place(
        &server,
        &TOOLS.replace("category", "record = \"digest\"\ncategory"),
    );
    calls(&place);
    let (lines, status) = diff(&place, &["all.toml", "seven.toml"]);
    assert!(
        lines.iter().any(|line| line["difference"] == "undecided"),
        "{lines:?}"
    );
    assert_eq!(status, Some(1));
    let told = place.told(&["policy", "diff", "all.toml", "seven.toml"]);
    assert!(told.contains("which were not kept"), "{told}");
}

#[test]
fn without_the_prover_or_a_question_nothing_is_proven() {
    let server = Server::start();
    let place = place(&server, TOOLS);
    let empty = Place::new();
    let mut command = place.command(&["policy", "prove", "--agent", "me", "--tool", "notes.show"]);
    command
        .env("PATH", empty.path())
        .env("CVC5", "/nonexistent/cvc5");
    let output = command.output().unwrap();
    let told = text(&output.stderr);
    // Beside a fresh build lies the prover, which then has no solver.
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(
        told.contains("exeat-prove") || told.contains("no solver"),
        "{told}"
    );
    assert!(!text(&output.stdout).contains("proven"), "{told}");
    let equal = place.told(&["policy", "prove", "policy.toml", "policy.toml"]);
    assert!(equal.contains("exit status: 0"), "{equal}");
    assert_eq!(place.run(&["policy", "prove"]).status.code(), Some(2));
    assert_eq!(place.run(&["policy", "prove", "a"]).status.code(), Some(2));
}
