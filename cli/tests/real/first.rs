//! The first run of somebody who has an SDK, a key in the environment, and nothing else: one command, and it works.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::site::{Server, Site, programs, python, seen};

const KEY: &str = "CANARY-first-anthropic-key-7Qw2";

/// A home whose only configuration says where the provider is: the real one is not asked in tests.
fn home() -> (Site, Server) {
    let site = Site::new(&["api.anthropic.com"]);
    let record = site.outside("seen");
    let server = site.start(
        "python3",
        "llm_server.py",
        &["--record".as_ref(), record.as_os_str()],
    );
    let network = format!(
        "[network]\nallow-private = [\"api.anthropic.com:443\"]\nupstream-roots = [\"{}\"]\n\
         connect-to = {{ \"api.anthropic.com:443\" = \"127.0.0.1:{}\" }}\n",
        site.file("root.pem").display(),
        server.port
    );
    site.write("home/.config/exeat/exeat.toml", &network);
    (site, server)
}

fn exeat(site: &Site) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "120", env!("CARGO_BIN_EXE_exeat")]);
    command.env_clear().current_dir(site.file("home"));
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
    command.env("HOME", site.file("home")).stdin(Stdio::null());
    command
}

#[track_caller]
fn check(variable: &str, header: &str, value: &str) {
    let (site, _server) = home();
    let mut run = exeat(&site);
    run.args(["run", "--yes", "--agent", "claude", "--"])
        .arg(python())
        .arg(programs().join("anthropic_client.py"))
        .args(["hello", "please echo"])
        .env(variable, KEY);
    let answers = site.outcomes(&mut run, &[KEY]);
    let texts: Vec<&str> = answers
        .iter()
        .filter_map(|outcome| outcome["text"].as_str())
        .collect();
    assert_eq!(
        texts,
        ["Hello, world.", "your key is [redacted:anthropic], I think"]
    );
    let arrived = seen(&site.outside("seen"));
    assert_eq!(arrived.len(), 2);
    let other = ["x-api-key", "authorization"]
        .into_iter()
        .find(|name| *name != header);
    for seen in &arrived {
        assert_eq!(seen[header], value, "{seen}");
        assert_eq!(seen[other.unwrap()], Value::Null, "{seen}");
    }
    let listed = exeat(&site)
        .args(["--json", "receipt", "list"])
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let tools: Vec<Value> = listed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["intent"]["tool"].clone())
        .collect();
    assert_eq!(tools, ["anthropic.messages", "anthropic.messages"]);
    let checked = exeat(&site).arg("check").output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    site.holds_none_of(&[KEY]);
}

#[test]
fn an_sdk_with_a_key_in_the_environment_works_at_once() {
    check("ANTHROPIC_API_KEY", "x-api-key", KEY);
}

#[test]
fn an_sdk_with_a_login_in_the_environment_works_at_once() {
    check(
        "ANTHROPIC_AUTH_TOKEN",
        "authorization",
        &format!("Bearer {KEY}"),
    );
}
