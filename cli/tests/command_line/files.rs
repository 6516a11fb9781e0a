//! What the commands say that need no gate: help, mistakes, `init`, `check`, `why`, `tool`, `policy test`.

use std::fs;

use crate::support::{Place, text};

#[test]
fn help_reads_as_it_is_written_down() {
    trycmd::TestCases::new().case("tests/help/*.trycmd");
}

#[test]
fn wrong_usage_is_two_and_refusal_is_one() {
    let place = Place::new();
    assert_eq!(place.run(&["--no-such"]).status.code(), Some(2));
    assert_eq!(place.run(&["tool", "show"]).status.code(), Some(2));
    assert_eq!(place.run(&["check"]).status.code(), Some(1));
    assert_eq!(place.run(&["--version"]).status.code(), Some(0));
    insta::assert_snapshot!(place.told(&["check"]), @r"
    error: there is no `exeat.toml` in the configuration folder
     = help: `exeat init` writes a first one; `-c FILE` names another

    1 problem
    exit status: 1
    ");
}

#[test]
fn init_writes_a_configuration_that_works_and_never_overwrites() {
    let place = Place::new();
    insta::assert_snapshot!(place.told(&["init"]), @r"
    wrote PLACE/.config/exeat/exeat.toml
    wrote PLACE/.config/exeat/policy.toml
    wrote PLACE/.config/exeat/tools/example.toml

    Next:
      exeat check
      exeat why GET https://httpbin.org/get --agent me
      exeat run -- curl -s https://httpbin.org/get
      exeat receipt list
    exit status: 0
    ");
    let checked = place.prints(&["check"]);
    assert!(
        checked.starts_with("ok: 1 listeners, 1 agents, 0 credentials, 2 tools; policy sha256:"),
        "{checked}"
    );
    place.write(".config/exeat/policy.toml", "# mine\n");
    assert!(
        place
            .told(&["init"])
            .contains("kept PLACE/.config/exeat/policy.toml, which was there")
    );
    assert_eq!(
        fs::read_to_string(place.path().join(".config/exeat/policy.toml")).unwrap(),
        "# mine\n"
    );
    let elsewhere = place.told(&["init", "--dir", "gate"]);
    assert!(
        elsewhere.contains("exeat -c gate/exeat.toml check"),
        "{elsewhere}"
    );
}

#[test]
fn a_configuration_that_lies_about_is_not_used_unless_it_is_named() {
    let place = Place::with(&[("exeat.toml", "[agents.planted]\n"), ("policy.toml", "")]);
    fs::create_dir(place.path().join("tools")).unwrap();
    let unnamed = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        let output = command.env_remove("EXEAT_CONFIG").output().unwrap();
        let all = text(&output.stdout) + &text(&output.stderr);
        (output.status.code(), all)
    };
    for arguments in [
        &["check"][..],
        &["serve"],
        &["doctor"],
        &["secret", "list"],
        &["run", "--strict", "--", "true"],
    ] {
        let (code, all) = unnamed(arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {all}");
        assert!(all.contains("is not used unless it is named"), "{all}");
    }
    let (code, all) = unnamed(&["-c", "exeat.toml", "check"]);
    assert_eq!(code, Some(0), "{all}");
    place.write(
        ".config/exeat/exeat.toml",
        "[agents.mine]\n[agents.other]\n",
    );
    place.write(".config/exeat/policy.toml", "");
    fs::create_dir(place.path().join(".config/exeat/tools")).unwrap();
    let (code, all) = unnamed(&["check"]);
    assert_eq!(code, Some(0), "{all}");
    assert!(all.contains("2 agents"), "{all}");
}

const CONFIG: &str = "[agents.claude]\ngroups = [\"coding\"]\n";
const TOOLS: &str = r#"
[api]
name = "notes"
origin = "https://notes.example"
[[tool]]
name = "show"
request = "GET /notes/{id}"
category = "read"
description = "Show a note"
[tool.input.properties]
id = { type = "integer", minimum = 1 }
[[tool]]
name = "write"
request = "POST /notes"
category = "write"
description = "Write a note"
[tool.input]
required = ["title"]
[tool.input.properties]
title = { type = "string", maxLength = 5 }
"#;
const POLICY: &str = r#"
[[rule]]
name = "read"
agents = ["claude"]
tools = ["notes.*"]
category = ["read"]
effect = "allow"
[[rule]]
name = "write after asking"
agents = ["group:coding"]
tools = ["notes.write"]
effect = "prompt"
"#;

fn notes() -> Place {
    Place::with(&[
        ("exeat.toml", CONFIG),
        ("tools/notes.toml", TOOLS),
        ("policy.toml", POLICY),
    ])
}

#[test]
fn every_mistake_in_every_file_is_told_with_its_place() {
    let place = notes();
    place.write(
        "policy.toml",
        &POLICY
            .replace("\"claude\"", "\"cluade\"")
            .replace("allow", "alow"),
    );
    insta::assert_snapshot!(place.told(&["check"]), @r#"
    error: unknown agent `cluade`
     --> policy.toml:4:11
      |
    4 | agents = ["cluade"]
      |           ^^^^^^^^ not defined in [agents]
      = help: did you mean `claude`?

    error: expected one of `allow`, `deny`, `prompt`, got `alow`
     --> policy.toml:7:10
      |
    7 | effect = "alow"
      |          ^^^^^^
      = help: did you mean `allow`?

    2 problems
    exit status: 1
    "#);
    let json = place.run(&["check", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (
            json.status.code(),
            &told["ok"],
            &told["problems"][1]["line"]
        ),
        (Some(1), &false.into(), &7.into())
    );
    assert_eq!(place.told(&["serve", "--check"]), place.told(&["check"]));
}

#[test]
fn why_says_which_tool_which_rule_and_which_argument() {
    let place = notes();
    insta::assert_snapshot!(place.told(&["why", "GET", "https://notes.example/notes/7"]), @r"
    allow: allowed by `read`
      tool     notes.show
      RULE  EFFECT  HERE
      read  allow   matches
    exit status: 0
    ");
    insta::assert_snapshot!(place.told(&["why", "GET", "https://notes.example/notes/0"]), @r"
    arguments-invalid: an argument does not fit the tool's schema
      tool     notes.show
      path.id: 0 is less than the minimum of 1
    exit status: 1
    ");
    insta::assert_snapshot!(place.told(&["why", "DELETE", "https://notes.example/notes/7"]), @r"
    tool-unknown: a tool has this path, but with another method
      nearest  GET /notes/{id} (notes.show)
      nearest  POST /notes (notes.write)
    exit status: 1
    ");
    let prompt = place.run_with(
        &["why", "POST", "https://notes.example/notes", "--body", "-"],
        b"{\"title\":\"a\"}",
    );
    assert!(
        text(&prompt.stdout).starts_with("approval-required: `write after asking` asks"),
        "{prompt:?}"
    );
    assert_eq!(prompt.status.code(), Some(1));
    insta::assert_snapshot!(place.told(&["why", "GET", "https://notes.example/a/../b"]), @r"
    error: path: dot segments are not accepted
    exit status: 1
    ");
}

#[test]
fn tools_are_listed_and_a_near_name_is_offered() {
    let place = notes();
    insta::assert_snapshot!(place.told(&["tool", "list"]), @r"
    TOOL         CATEGORY  REQUEST
    notes.show   read      GET https://notes.example/notes/{id}
    notes.write  write     POST https://notes.example/notes
    exit status: 0
    ");
    let names: Vec<_> = place
        .values(&["tool", "list"])
        .iter()
        .map(|tool| tool["name"].clone())
        .collect();
    assert_eq!(names, ["notes.show", "notes.write"]);
    let missed = place.told(&["tool", "show", "notes.shwo"]);
    assert_eq!(
        missed,
        "error: unknown tool `notes.shwo`; did you mean `notes.show`?\nexit status: 1\n"
    );
}

#[test]
fn policy_cases_pass_and_fail() {
    let place = notes();
    place.write(
        "cases.toml",
        r#"
[[case]]
name = "reads"
agent = "claude"
request = "GET https://notes.example/notes/1"
expect = "allow"
rule = "read"
[[case]]
name = "writes"
agent = "claude"
request = "POST https://notes.example/notes"
body = { title = "a" }
expect = "prompt"
[[case]]
name = "long titles"
agent = "claude"
request = "POST https://notes.example/notes"
body = { title = "too long" }
expect = "allow"
"#,
    );
    insta::assert_snapshot!(place.told(&["policy", "test", "cases.toml"]), @r#"
    ok   reads
    ok   writes
    FAIL long titles (cases.toml:15)
         expected allow
         got      arguments-invalid (body/title: "too long" is longer than 5 characters)
    3 cases, 1 failed
    exit status: 1
    "#);
}

/// Among them that no tool of a model provider fetches from the provider's own network, past the gate.
#[test]
fn the_examples_mean_what_their_cases_say() {
    let configs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let (settings, cases) = (configs.join("exeat.toml"), configs.join("cases.toml"));
    let [settings, cases] = [settings, cases].map(|path| path.to_string_lossy().into_owned());
    let place = Place::new();
    let told = place.told(&["-c", &settings, "policy", "test", &cases]);
    assert!(
        told.contains("6 cases, 0 failed") && told.ends_with("exit status: 0\n"),
        "{told}"
    );
}

#[test]
fn an_import_writes_all_files_or_none() {
    let place = Place::new();
    let description = r#"{"openapi":"3.1.0","info":{"title":"Notes","version":"1"},
        "servers":[{"url":"https://notes.example"}],
        "paths":{"/notes/{id}":{"get":{"operationId":"notes/show","tags":["notes"],"summary":"Show",
        "parameters":[{"name":"id","in":"path","required":true,"schema":{"type":"integer"}}],
        "responses":{"200":{"description":"ok"}}}}}}"#;
    place.write("api.json", description);
    let import = [
        "tool",
        "import",
        "api.json",
        "--api-name",
        "notes",
        "--out",
        "tools",
    ];
    assert!(
        place
            .told(&import)
            .contains("1 tools of 1 operations in 1 files below tools")
    );
    assert!(
        place
            .told(&import)
            .contains("nothing was written, as these exist: tools/notes")
    );
    place.write("exeat.toml", CONFIG);
    place.write("policy.toml", "");
    let tools = place.values(&["tool", "list"]);
    assert_eq!(tools.len(), 1);
    assert_eq!(tools[0]["path"], "/notes/{id}");
}

#[test]
fn every_shell_gets_its_completions() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.prints(&["completions", shell]);
        assert!(
            script.contains("receipt") && !script.contains("__sandbox"),
            "{shell}"
        );
    }
}
