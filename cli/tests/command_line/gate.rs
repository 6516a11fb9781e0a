//! One gate per data folder: commands with and without a running gate, one lock, one chain of receipts.

use std::fs;

use crate::support::{Place, text};

const CONFIG: &str = r#"
[[listener]]
mode = "explicit"
address = "127.0.0.1:0"
[metrics]
address = "127.0.0.1:0"
[agents.claude]
[credentials.notes]
kind = "bearer"
secret = "sealed:notes"
hosts = ["notes.example"]
env = "NOTES_TOKEN"
"#;
const TOOLS: &str = r#"
[api]
name = "notes"
origin = "https://notes.example"
credential = "notes"
[[tool]]
name = "show"
request = "GET /notes/{id}"
category = "read"
description = "Show a note"
"#;
const POLICY: &str =
    "[[rule]]\nname = \"read\"\nagents = [\"claude\"]\ntools = [\"notes.*\"]\neffect = \"allow\"\n";

/// How often a test asks again for something that the gate does in its own time.
const TRIES: usize = 400;

fn notes() -> Place {
    Place::with(&[
        ("exeat.toml", CONFIG),
        ("tools/notes.toml", TOOLS),
        ("policy.toml", POLICY),
    ])
}

#[test]
fn a_second_gate_refuses_and_names_the_first() {
    let place = notes();
    let gate = place.serve();
    assert_eq!(gate.status["pid"], gate.pid());
    let refused = place.run(&["serve"]);
    let told = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        told.contains(&format!("another gate (process {})", gate.pid())),
        "{told}"
    );
    gate.stop();
    place.serve().stop();
}

#[test]
fn secrets_are_kept_with_and_without_a_gate_and_never_come_out() {
    let place = notes();
    let set = |value: &[u8]| place.run_with(&["--json", "secret", "set", "notes"], value);
    let first: serde_json::Value =
        serde_json::from_slice(&set(b"CANARY-one-gate-1\n").stdout).unwrap();
    assert_eq!(
        (&first["name"], &first["version"]),
        (&"notes".into(), &1.into())
    );
    let gate = place.serve();
    let second = set(b"CANARY-one-gate-2\n");
    assert!(second.status.success(), "{}", text(&second.stderr));
    let listed = place.values(&["secret", "list"]);
    assert_eq!((listed.len(), &listed[0]["version"]), (1, &2.into()));
    let short = set(b"short");
    assert_eq!(short.status.code(), Some(1));
    gate.stop();
    assert_eq!(
        place.values(&["secret", "remove", "notes"])[0]["name"],
        "notes"
    );
    assert!(place.values(&["secret", "list"]).is_empty());
    assert_eq!(
        place.run(&["secret", "remove", "notes"]).status.code(),
        Some(1)
    );
    assert_no_canary(&place);
}

#[test]
fn a_passphrase_opens_the_folder_and_another_one_does_not() {
    let place = notes();
    place.write(
        "exeat.toml",
        &format!("{CONFIG}[custody]\nmaster = \"passphrase\"\n"),
    );
    let with = |passphrase: Option<&str>, arguments: &[&str]| {
        let mut command = place.command(arguments);
        command.envs(passphrase.map(|passphrase| ("EXEAT_PASSPHRASE", passphrase)));
        command.output().unwrap()
    };
    let made = with(
        Some("CANARY-one-gate-5"),
        &["token", "create", "--agent", "claude"],
    );
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert!(
        with(Some("CANARY-one-gate-5"), &["secret", "list"])
            .status
            .success()
    );
    let wrong = with(Some("CANARY-one-gate-6"), &["secret", "list"]);
    assert_eq!(wrong.status.code(), Some(1), "{}", text(&wrong.stdout));
    let none = with(None, &["secret", "list"]);
    assert!(
        text(&none.stderr).contains("set EXEAT_PASSPHRASE"),
        "{}",
        text(&none.stderr)
    );
    assert_no_canary(&place);
}

#[test]
fn metrics_are_served_on_loopback() {
    let place = notes();
    let gate = place.serve();
    let address = gate.status["metrics"].as_str().unwrap();
    let url = format!("http://{address}/metrics");
    let page = std::process::Command::new("curl")
        .args(["-sf", &url])
        .output()
        .unwrap();
    assert!(
        page.status.success() && text(&page.stdout).contains("# TYPE exeat_"),
        "{page:?}"
    );
    gate.stop();
}

#[test]
fn the_root_is_made_once_exported_and_rotated_with_an_overlap() {
    let place = notes();
    assert!(
        place
            .told(&["ca", "export"])
            .contains("make one with `exeat ca init`")
    );
    let first = place.prints(&["ca", "init"]);
    assert!(first.starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert_eq!(place.prints(&["ca", "export"]), first);
    assert_eq!(place.run(&["ca", "init"]).status.code(), Some(1));
    let second = place.prints(&["ca", "rotate"]);
    assert_ne!(first, second);
    let both = place.prints(&["ca", "export"]);
    assert!(both.contains(first.trim()) && both.contains(second.trim()));
    let bundle = place.prints(&["ca", "bundle"]);
    assert!(bundle.starts_with(second.trim()) && bundle.matches("BEGIN CERTIFICATE").count() > 10);
}

#[test]
fn a_changed_rule_is_in_force_without_a_restart_and_a_broken_one_is_not() {
    let place = notes();
    let gate = place.serve();
    let digest = || {
        place.values(&["policy", "show", "--running"])[0]["digest"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let before = digest();
    place.write("policy.toml", "[[rule]]\nname = \"broken\"\n");
    gate.signal("HUP");
    place.write("policy.toml", &POLICY.replace("\"read\"", "\"look\""));
    let shows = || place.prints(&["policy", "show", "--running"]);
    let changed = (0..TRIES).any(|_| shows().contains("@id(\"look\")"));
    assert!(
        changed && digest() != before,
        "{}",
        fs::read_to_string(place.path().join("serve.log")).unwrap()
    );
    gate.stop();
}

#[test]
fn an_export_is_verified_offline_and_one_flipped_bit_is_found() {
    let place = notes();
    place.run_with(&["secret", "set", "notes"], b"CANARY-one-gate-3");
    place.serve().stop();
    fs::write(place.path().join("key"), place.prints(&["receipt", "key"])).unwrap();
    place.prints(&["receipt", "export", "--out", "receipts.jsonl"]);
    let verify = [
        "--json",
        "receipt",
        "verify",
        "receipts.jsonl",
        "--key",
        "key",
    ];
    let verified = place.run(&verify);
    assert_eq!(
        verified.status.code(),
        Some(3),
        "{}",
        text(&verified.stderr)
    );
    let verdict: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(verdict["verdict"], "tail-unproven");
    let mut bytes = fs::read(place.path().join("receipts.jsonl")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(place.path().join("receipts.jsonl"), bytes).unwrap();
    assert_eq!(place.run(&verify).status.code(), Some(1));
    assert_no_canary(&place);
}

#[test]
fn a_token_is_printed_once_and_is_for_a_known_agent() {
    let place = notes();
    let made = &place.values(&["token", "create", "--agent", "claude", "--life", "1h"])[0];
    assert!(made["token"].as_str().unwrap().starts_with("exa_"));
    assert_eq!(
        place
            .run(&["token", "create", "--agent", "nobody"])
            .status
            .code(),
        Some(1)
    );
    let token = made["token"].as_str().unwrap().as_bytes().to_vec();
    assert!(!found_below(&place, &token));
}

#[test]
fn two_sandboxes_and_a_list_at_once_share_one_gate_and_one_chain() {
    let place = notes();
    place.run_with(&["secret", "set", "notes"], b"CANARY-one-gate-4");
    let inside = "test -n \"$NOTES_TOKEN\" && curl -s -o /dev/null https://notes.example/other && echo \"$NOTES_TOKEN\"";
    let run = || {
        let mut command = place.command(&["run", "--", "sh", "-c", inside]);
        command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    let (one, two) = (run(), run());
    let listed = place.run(&["receipt", "list"]);
    for child in [one, two] {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        assert!(!text(&output.stdout).contains("CANARY"));
    }
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    // A refusal is written with the next group commit; nobody waits for it.
    let both = (0..TRIES).any(|_| place.values(&["receipt", "list", "--refused"]).len() == 2);
    assert!(both, "{}", place.prints(&["receipt", "list"]));
    fs::write(place.path().join("key"), place.prints(&["receipt", "key"])).unwrap();
    place.prints(&["receipt", "export", "--out", "receipts.jsonl"]);
    let verified = place.run(&["receipt", "verify", "receipts.jsonl", "--key", "key"]);
    assert_eq!(
        verified.status.code(),
        Some(3),
        "{}{}",
        text(&verified.stdout),
        text(&verified.stderr)
    );
    assert_no_canary(&place);
}

fn assert_no_canary(place: &Place) {
    assert!(
        !found_below(place, b"CANARY"),
        "a secret lies in the open below the data folder"
    );
}

/// Whether some file that the gate wrote holds these bytes.
fn found_below(place: &Place, needle: &[u8]) -> bool {
    let mut folders = vec![place.path().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file()
                && fs::read(&path)
                    .unwrap()
                    .windows(needle.len())
                    .any(|window| window == needle)
            {
                return true;
            }
        }
    }
    false
}
