//! The first run of somebody who has written no rules: nothing happens without a word, and what was said holds.

use std::fs;

use super::{last_line, network, receipts, said, screen::Screen, server::Server};
use crate::support::{Place, text};

const CURL: &str = "curl -s http://notes.example/a; curl -s http://notes.example/b?c=d; \
                    curl -s -o /dev/null http://169.254.169.254/latest/meta-data/";

/// A user whose configuration knows a network, and one tool that nobody calls: without it a private target is no target.
fn user(server: &Server) -> Place {
    let place = Place::new();
    let config = network(&[("notes.example", server.port)]);
    place.write(".config/exeat/exeat.toml", &config);
    place.write(
        ".config/exeat/tools/notes.toml",
        "[api]\nname = \"notes\"\norigin = \"http://notes.example\"\n\
         [[tool]]\nname = \"erase\"\nrequest = \"DELETE /everything\"\ncategory = \"delete\"\n",
    );
    place
}

#[test]
fn without_rules_and_without_a_terminal_nothing_runs_and_nothing_is_written() {
    let place = Place::new();
    insta::assert_snapshot!(place.told(&["run", "--", "touch", "ran"]), @r"
    error: there are no rules yet, and nobody to ask
     = help: exeat run --observe -- touch ran
             lets through and records what needs no credential, for 7 days
     = help: exeat run --strict -- touch ran
             refuses what no rule allows
     = help: exeat run --yes -- touch ran
             takes keys of the environment into custody, and allows what their presets say
     = help: exeat init
             writes a configuration to begin with
    exit status: 2
    ");
    assert!(!place.path().join("ran").exists());
    assert!(!place.path().join(".config").exists() && !place.data().exists());
    assert_eq!(
        place
            .told(&["run", "--no", "--", "touch", "ran"])
            .lines()
            .count(),
        10
    );
}

#[test]
fn an_observed_run_needs_no_configuration_and_every_receipt_says_that_it_was_observed() {
    let server = Server::start();
    let place = user(&server);
    let output = place.run(&["run", "--observe", "--", "sh", "-c", CURL]);
    let told = said(&output, 0);
    assert_eq!(text(&output.stdout), "hello\nhello\n", "{told}");
    assert!(told.contains("added [agents.sh]"), "{told}");
    assert!(told.contains("observing `sh` until 2"), "{told}");
    assert_eq!(
        last_line(&told),
        "1 host, 3 requests, 1 refused, $0.00 spent, receipts ok (exeat receipt list --agent sh)"
    );
    let receipts = receipts(&place);
    assert_eq!(receipts.len(), 3, "{receipts:?}");
    for receipt in &receipts[..2] {
        assert_eq!(receipt["intent"]["tool"], "observed.read");
        assert_eq!(receipt["intent"]["observed"], true);
        assert_eq!(receipt["intent"]["path"], "/{*path}");
    }
    assert_eq!(receipts[2]["refusal"]["reason"], "tool-unknown");
    assert_eq!(server.seen().len(), 2);
    let config = fs::read_to_string(place.path().join(".config/exeat/exeat.toml")).unwrap();
    assert!(
        config.starts_with("# mine\n") && config.ends_with("\n[agents.sh]\n"),
        "{config}"
    );
    place.prints(&["check"]);
}

#[test]
fn a_run_of_somebody_who_has_nothing_at_all_writes_a_configuration_beside_what_is_there() {
    let place = Place::with(&[(".config/exeat/policy.toml", "# mine, and empty\n")]);
    let output = place.run(&["--json", "run", "--observe", "--", "sh", "-c", "exit 7"]);
    let told = said(&output, 7);
    for name in ["exeat.toml", "tools"] {
        assert!(
            place.path().join(".config/exeat").join(name).exists(),
            "{told}"
        );
    }
    let rules = fs::read_to_string(place.path().join(".config/exeat/policy.toml")).unwrap();
    assert_eq!(rules, "# mine, and empty\n");
    let summary: serde_json::Value = serde_json::from_str(last_line(&told)).unwrap();
    let expect =
        serde_json::json!({"hosts": 0, "requests": 0, "refused": 0, "open": 0, "spent": {}});
    assert_eq!(summary, expect);
    place.prints(&["check"]);
}

#[test]
fn at_a_terminal_the_question_is_asked_until_it_is_answered() {
    let server = Server::start();
    let place = user(&server);
    let script = format!("{CURL}; echo over");
    let mut screen = Screen::run(place.command(&["run", "--", "sh", "-c", &script]));
    screen.answer("observe or strict? [o/s] ", "perhaps");
    screen.answer("observe or strict? [o/s] ", "o");
    screen.wait_for("observing `sh` until");
    let (status, shown) = screen.end();
    assert_eq!(status, 0, "{shown}");
    assert!(shown.contains("hello\r\nhello\r\nover"), "{shown}");
    assert!(shown.contains("1 host, 3 requests, 1 refused"), "{shown}");
    // The answer was for that run: the next one asks again.
    let mut again = Screen::run(place.command(&["run", "--", "sh", "-c", CURL]));
    again.wait_for("observe or strict? [o/s] ");
    again.answer("observe or strict? [o/s] ", "o");
    assert_eq!(again.end().0, 0);
}

#[test]
fn observing_ends_after_a_week_and_the_gate_says_so() {
    let place = user(&Server::start());
    assert_eq!(
        place.run(&["run", "--observe", "--", "true"]).status.code(),
        Some(0)
    );
    let file = place.data().join("observed.json");
    let begun: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert!(begun["true"].is_string(), "{begun}");
    fs::write(&file, "{\"true\": \"2020-01-01T00:00:00.000Z\"}").unwrap();
    let told = said(&place.run(&["run", "--observe", "--", "touch", "ran"]), 0);
    assert!(told.contains("observing `touch`"), "{told}");
    fs::remove_file(place.path().join("ran")).unwrap_or_default();
    let observe = ["run", "--observe", "--agent", "true", "--", "touch", "ran"];
    let told = said(&place.run(&observe), 1);
    assert!(
        told.contains("`true` was observed for 7 days, until 2020-01-08"),
        "{told}"
    );
    assert!(
        told.contains("allow what it needs in policy.toml"),
        "{told}"
    );
    assert!(!place.path().join("ran").exists());
}

#[test]
fn nobody_is_observed_strictly_or_on_a_gate_that_serves() {
    let place = user(&Server::start());
    let both = place.run(&["run", "--observe", "--strict", "--", "true"]);
    assert!(said(&both, 2).contains("cannot be used with"));
    place.write(
        ".config/exeat/exeat.toml",
        "[[listener]]\nmode = \"explicit\"\naddress = \"127.0.0.1:0\"\n[agents.true]\n",
    );
    place.write(".config/exeat/policy.toml", "");
    place.write(".config/exeat/tools/none.txt", "");
    let gate = place.serve();
    let told = said(&place.run(&["run", "--observe", "--", "true"]), 1);
    assert!(
        told.contains("nobody is observed on a gate that `exeat serve` runs"),
        "{told}"
    );
    gate.stop();
}
