//! `--policy`: the rules of one run, which a gate that decides by others does not serve.

use std::{io::Write as _, process::Stdio};

use super::{last_line, network, receipts, said, server::Server};
use crate::support::{Place, text};

const TOOLS: &str = "[api]\nname = \"notes\"\norigin = \"http://notes.example\"\n\
                     [[tool]]\nname = \"show\"\nrequest = \"GET /{id}\"\ncategory = \"read\"\n";

fn rule(effect: &str) -> String {
    format!(
        "[[rule]]\nname = \"notes\"\nagents = [\"me\"]\ntools = [\"notes.*\"]\neffect = \"{effect}\"\n"
    )
}

fn place(server: &Server) -> Place {
    Place::with(&[
        (
            "exeat.toml",
            &format!(
                "{}[agents.me]\n",
                network(&[("notes.example", server.port)])
            ),
        ),
        ("tools/notes.toml", TOOLS),
        ("policy.toml", &rule("deny")),
        ("mine.toml", &rule("allow")),
    ])
}

const CURL: [&str; 4] = ["curl", "-s", "-f", "http://notes.example/7"];

#[test]
fn a_run_can_have_rules_of_its_own() {
    let server = Server::start();
    let place = place(&server);
    let run = |more: &[&str]| place.run(&[&["run"], more, &["--"], &CURL].concat());
    let configured = run(&[]);
    assert_eq!(
        configured.status.code(),
        Some(22),
        "{}",
        text(&configured.stderr)
    );
    let told = text(&configured.stderr);
    assert!(
        last_line(&told).starts_with("0 hosts, 1 request, 1 refused"),
        "{told}"
    );
    // Another data folder has another gate; the first one is still about to end.
    let other = |more: &[&str]| {
        let mut all = vec!["--data", "other", "run"];
        all.extend(more);
        all.push("--");
        all.extend(CURL);
        place.run(&all)
    };
    let named = other(&["--policy", "mine.toml"]);
    assert_eq!(text(&named.stdout), "hello\n", "{}", text(&named.stderr));
    let missing = other(&["--policy", "nowhere.toml"]);
    assert_eq!(missing.status.code(), Some(1), "{}", text(&missing.stderr));
}

#[test]
fn a_gate_that_decides_by_other_rules_serves_nobody_who_takes_some_for_granted() {
    let server = Server::start();
    let place = place(&server);
    let mut first = place.command(&["run", "--policy", "mine.toml", "--", "cat"]);
    first
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut first = first.spawn().unwrap();
    let mut input = first.stdin.take().unwrap();
    input.write_all(b"ready\n").unwrap();
    let mut byte = [0];
    std::io::Read::read_exact(first.stdout.as_mut().unwrap(), &mut byte).unwrap();
    let told = said(&place.run(&["run", "--", "true"]), 1);
    assert!(told.contains("mine.toml`, not by `"), "{told}");
    let same = place.run(&[&["run", "--policy", "mine.toml", "--"][..], &CURL].concat());
    assert_eq!(text(&same.stdout), "hello\n", "{}", text(&same.stderr));
    drop(input);
    assert!(first.wait().unwrap().success());
    assert_eq!(receipts(&place).len(), 1);
}

#[test]
fn a_strict_run_asks_nothing_and_starts_once_every_check_is_closed() {
    let place = Place::new();
    let strict = [
        "run",
        "--strict",
        "--",
        "sh",
        "-c",
        "curl -s http://notes.example/",
    ];
    let output = place
        .command(&strict)
        .env("GH_TOKEN", "CANARY-strict")
        .output();
    let output = output.unwrap();
    let told = said(&output, 0);
    assert!(text(&output.stdout).contains("tool-unknown"), "{told}");
    assert!(told.contains("withheld: GH_TOKEN"), "{told}");
    assert!(
        last_line(&told).starts_with("0 hosts, 1 request, 1 refused"),
        "{told}"
    );
    let tests = place.prints(&["receipt", "export"]);
    assert!(!tests.contains("CANARY"), "{tests}");
}
