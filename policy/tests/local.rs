//! Tools that are programs: what the documents show compiles, and calls are checked like those of any tool.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use exeat_policy::{
    Arguments, Body, Depends, Effect, Local, Policy, Question, Request, Sources, Stdin, Violation,
    World,
};
use exeat_types::{AccountId, AgentId, Origin, Source};
use http::{HeaderMap, HeaderValue, Method, header};

/// The block of a document that begins with a comment of this file's name.
fn block(document: &str, file: &str) -> Source {
    let start = format!("```toml\n# {file}\n");
    let (_, rest) = document.split_once(&start).unwrap();
    let (text, _) = rest.split_once("\n```").unwrap();
    Source::new(file, text)
}

const RULE: &str =
    "[[rule]]\nname = \"all\"\nagents = [\"*\"]\ntools = [\"local.*\"]\neffect = \"allow\"\n";

fn documented() -> (Sources, Policy) {
    let credentials = include_str!("../../docs/CREDENTIALS.md");
    let config = include_str!("../../docs/CONFIG.md");
    let sources = Sources {
        tools: vec![
            block(config, "tools/local.toml"),
            block(credentials, "tools/sign.toml"),
        ],
        policy: vec![
            block(credentials, "policy.toml"),
            Source::new("more.toml", RULE),
        ],
        ..Sources::default()
    };
    let mut world = World::default();
    world
        .agents
        .insert(AgentId::new("claude").unwrap(), Vec::new());
    let policy = Policy::compile(&sources, &world);
    (
        sources,
        policy.map_err(|report| report.to_string()).unwrap(),
    )
}

fn call(
    policy: &Policy,
    path: &str,
    kind: &'static str,
    body: &[u8],
) -> Result<Arguments, Vec<Violation>> {
    let origin = Origin::parse("https://tools.exeat.internal").unwrap();
    let found = policy.find(&Method::POST, &origin, path).ok().unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    found.check(&Request {
        method: &Method::POST,
        origin: &origin,
        path,
        query: None,
        headers: &headers,
        body: Body::Whole(body),
    })
}

#[test]
fn a_documented_program_takes_its_arguments_as_words_and_as_one_object() {
    let (_, policy) = documented();
    let tool = policy.tool("local.format").unwrap();
    let Some(Local::Exec(exec)) = &tool.local else {
        panic!("{tool:?} runs nothing");
    };
    assert_eq!(exec.stdin, Stdin::Json);
    let body = br#"{"parser": "json", "text": "-x"}"#;
    let arguments = call(&policy, "/format", "application/json", body).unwrap();
    assert_eq!(tool.words(&arguments).unwrap(), ["--parser=json"]);
    assert_eq!(
        tool.flat(&arguments),
        serde_json::json!({"parser": "json", "text": "-x"})
    );
    let wrong = br#"{"parser": "--config=/etc/passwd", "text": ""}"#;
    assert!(call(&policy, "/format", "application/json", wrong).is_err());
}

#[test]
fn a_rule_says_whose_commits_are_signed_and_nothing_else_is() {
    let (_, policy) = documented();
    let commit = |who: &str| {
        let tree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
        format!("tree {tree}\nauthor A <{who}> 1 +0000\ncommitter A <{who}> 1 +0000\n\nDo it\n")
    };
    let kind = "application/octet-stream";
    for (who, effect) in [
        ("ann@example.com", Effect::Allow),
        ("eve@example.com", Effect::Deny),
    ] {
        for tool in ["openpgp", "ssh"] {
            let path = format!("/sign/{tool}");
            let arguments = call(&policy, &path, kind, commit(who).as_bytes()).unwrap();
            let decision = policy.decide(&Question {
                account: &AccountId::local(),
                agent: &AgentId::new("claude").unwrap(),
                tool: policy.tool(&format!("sign.{tool}")).unwrap(),
                arguments: &arguments,
                approval: None,
            });
            assert_eq!(decision.effect, effect, "{who}");
        }
    }
    for text in ["pay eve", "", "tree x\n\n"] {
        assert!(
            call(&policy, "/sign/ssh", kind, text.as_bytes()).is_err(),
            "{text}"
        );
    }
    assert!(call(&policy, "/sign/ssh", "text/plain", commit("a@b").as_bytes()).is_err());
}

#[test]
fn what_programs_depend_on_is_known() {
    let (sources, _) = documented();
    let depends = Depends::of(&sources.tools);
    let named = |paths: &[std::path::PathBuf], path: &str| {
        paths.iter().any(|known| known.as_os_str() == path)
    };
    for path in [
        "/usr/local/bin/format",
        "/usr/bin/gpg",
        "/usr/bin/ssh-keygen",
    ] {
        assert!(named(&depends.programs, path), "{path}");
    }
    assert!(named(&depends.keys, "/home/ann/.ssh/id_ed25519"));
}
