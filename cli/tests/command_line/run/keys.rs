//! Keys in the environment: asked about, kept in custody or withheld, and never seen by the command.

use std::fs;

use super::{said, screen::Screen};
use crate::support::{Place, text};

const ANTHROPIC: &str = "CANARY-run-anthropic-key";
const GITHUB: &str = "CANARY-run-github-key";
const AWS: &str = "CANARY-run-aws-key";

/// Prints its whole environment.
const SHOW: [&str; 2] = ["--", "env"];

fn with_keys(place: &Place, arguments: &[&str]) -> std::process::Command {
    let mut command = place.command(arguments);
    command
        .env("ANTHROPIC_API_KEY", ANTHROPIC)
        .env("GH_TOKEN", GITHUB)
        .env("AWS_ACCESS_KEY_ID", AWS)
        .env("POETRY_PYPI_TOKEN_PYPI", "short");
    command
}

#[track_caller]
fn holds_no_key(shown: &str) {
    assert!(!shown.contains("CANARY"), "{shown}");
}

/// No file below the place holds a key in the open.
#[track_caller]
fn nothing_lies_open(place: &Place) {
    let mut folders = vec![place.path().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                let bytes = fs::read(&path).unwrap();
                let found = bytes.windows(10).any(|window| window == b"CANARY-run");
                assert!(!found, "{}", path.display());
            }
        }
    }
}

#[test]
fn without_an_answer_keys_are_withheld_and_named() {
    let place = Place::new();
    for (flag, help) in [("--observe", true), ("--no", false)] {
        let mut arguments = vec!["run", "--observe", flag];
        arguments.dedup();
        arguments.extend(SHOW);
        let output = with_keys(&place, &arguments).output().unwrap();
        let told = said(&output, 0);
        holds_no_key(&(text(&output.stdout) + &told));
        for name in ["ANTHROPIC_API_KEY", "GH_TOKEN", "AWS_ACCESS", "POETRY_"] {
            assert!(!text(&output.stdout).contains(name), "{name}");
        }
        assert!(
            told.contains("withheld: ANTHROPIC_API_KEY, GH_TOKEN"),
            "{told}"
        );
        assert!(
            told.contains("withheld: AWS_ACCESS_KEY_ID; keys for AWS are not taken from variables"),
            "{told}"
        );
        assert!(
            told.contains("POETRY_PYPI_TOKEN_PYPI is withheld: it is too short"),
            "{told}"
        );
        assert_eq!(told.contains("exeat run --yes"), help, "{told}");
    }
    nothing_lies_open(&place);
}

#[test]
fn with_yes_they_are_sealed_and_replaced_and_their_presets_are_shown_and_installed() {
    let place = Place::with(&[(".config/exeat/exeat.toml", "# mine\n[agents.env]\n")]);
    let run = |more: &[&str]| {
        let arguments = [&["run", "--yes"], more, &SHOW].concat();
        with_keys(&place, &arguments).output().unwrap()
    };
    let output = run(&[]);
    let told = said(&output, 0);
    let shown = text(&output.stdout);
    holds_no_key(&(shown.clone() + &told));
    let value = |name: &str| {
        let found = shown
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}=")));
        found.unwrap_or_default().to_owned()
    };
    assert!(value("ANTHROPIC_API_KEY").starts_with("sk-ant-"), "{shown}");
    assert!(value("GH_TOKEN").starts_with("gh") && value("GITHUB_TOKEN") == value("GH_TOKEN"));
    for line in [
        "    [credentials.anthropic]",
        "    name = \"preset anthropic for env\"",
        "POST https://api.anthropic.com/v1/messages",
        "ANTHROPIC_API_KEY is sealed as `anthropic`",
        "GH_TOKEN is sealed as `github`",
    ] {
        assert!(told.contains(line), "{line}:\n{told}");
    }
    place.prints(&["check"]);
    let config = place.path().join(".config/exeat/exeat.toml");
    let before = fs::read_to_string(&config).unwrap();
    assert!(before.starts_with("# mine\n[agents.env]\n"), "{before}");
    let why = [
        "why",
        "GET",
        "https://api.github.com/repos/a/b/issues",
        "--agent",
        "env",
    ];
    assert!(place.prints(&why).contains("preset github for env"));
    let delete = [
        "why",
        "DELETE",
        "https://api.github.com/repos/a/b",
        "--agent",
        "env",
    ];
    assert_eq!(place.run(&delete).status.code(), Some(1));
    // Once is enough.
    let again = said(&run(&[]), 0);
    assert!(
        !again.contains("was found") && !again.contains("is sealed"),
        "{again}"
    );
    assert_eq!(fs::read_to_string(&config).unwrap(), before);
    // Another agent gets rules of its own on the same credentials.
    let other = said(&run(&["--agent", "other"]), 0);
    assert!(
        other.contains("preset github for other") && !other.contains("is sealed"),
        "{other}"
    );
    place.prints(&["check"]);
    nothing_lies_open(&place);
}

#[test]
fn at_a_terminal_each_key_is_a_question() {
    let place = Place::new();
    let script =
        "echo key=$ANTHROPIC_API_KEY=; echo token=$GH_TOKEN=; echo aws=$AWS_ACCESS_KEY_ID=";
    let mut screen = Screen::run(with_keys(
        &place,
        &["run", "--agent", "me", "--", "sh", "-c", script],
    ));
    screen.answer("observe or strict? [o/s] ", "o");
    screen.wait_for("name = \"preset anthropic for me\"");
    screen.answer("give `me` a placeholder? [Y/n] ", "");
    screen.wait_for("ANTHROPIC_API_KEY is sealed as `anthropic`");
    screen.answer("give `me` a placeholder? [Y/n] ", "n");
    let (status, shown) = screen.end();
    assert_eq!(status, 0, "{shown}");
    holds_no_key(&shown);
    assert!(shown.contains("key=sk-ant-"), "{shown}");
    assert!(
        shown.contains("token==") && shown.contains("aws=="),
        "{shown}"
    );
    assert!(shown.contains("withheld: GH_TOKEN"), "{shown}");
    place.prints(&["check"]);
    nothing_lies_open(&place);
}

#[test]
fn a_credential_whose_secret_is_missing_is_named_and_the_key_is_still_withheld() {
    let place = Place::with(&[
        (
            "exeat.toml",
            "[agents.me]\n[credentials.mine]\nkind = \"bearer\"\nsecret = \"sealed:mine\"\n\
             hosts = [\"api.github.com\"]\nenv = \"GH_TOKEN\"\n",
        ),
        (
            "policy.toml",
            "[[rule]]\nname = \"none\"\nagents = [\"me\"]\ntools = [\"*\"]\neffect = \"deny\"\n",
        ),
        ("tools/none.txt", ""),
    ]);
    let arguments = [&["run", "--yes"][..], &SHOW].concat();
    let mut command = place.command(&arguments);
    let output = command.env("GH_TOKEN", GITHUB).output().unwrap();
    let told = said(&output, 0);
    holds_no_key(&(text(&output.stdout) + &told));
    assert!(!text(&output.stdout).contains("GH_TOKEN"));
    assert!(
        told.contains("GH_TOKEN is withheld: it belongs to `[credentials.mine]`"),
        "{told}"
    );
    assert!(!told.contains("is sealed"), "{told}");
}
