//! `exeat learn` after an observed run: the proposal is there with its evidence, and nothing is in force.

use std::fs;

use super::{network, said, server::Server};
use crate::support::{Place, text};

const CURL: &str = "curl -s http://notes.example/items/17; curl -s http://notes.example/items/18?page=2; \
                    curl -s -H 'content-type: application/json' -d '{\"title\":\"a\"}' http://notes.example/items";

#[test]
fn what_was_observed_is_proposed_with_its_evidence_and_changes_nothing() {
    let server = Server::start();
    let place = Place::new();
    let config = network(&[("notes.example", server.port)]);
    place.write(".config/exeat/exeat.toml", &config);
    place.write(
        ".config/exeat/tools/notes.toml",
        "[api]\nname = \"notes\"\norigin = \"http://notes.example\"\n\
         [[tool]]\nname = \"erase\"\nrequest = \"DELETE /everything\"\ncategory = \"delete\"\n",
    );
    said(&place.run(&["run", "--observe", "--", "sh", "-c", CURL]), 0);
    let rules = place.path().join(".config/exeat/policy.toml");
    let before = fs::read_to_string(&rules).unwrap();
    let proposed = place.values(&["learn", "--agent", "sh"]).remove(0);
    let requests: Vec<&str> = proposed["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["request"].as_str().unwrap())
        .collect();
    assert_eq!(
        requests,
        ["GET /items/{items_1}", "POST /items"],
        "{proposed:#}"
    );
    let line = &proposed["lines"][0];
    assert_eq!(
        (&line["evidence"]["calls"], &line["evidence"]["runs"]),
        (&2.into(), &1.into())
    );
    // The host is new today, and not encrypted.
    let doubts = line["doubts"].to_string();
    assert!(
        doubts.contains("new-host") && doubts.contains("plain-http"),
        "{doubts}"
    );
    let output = place.run(&["learn", "-o", "learned.patch"]);
    let told = said(&output, 0);
    assert_eq!(text(&output.stdout), "");
    assert!(
        told.contains("0 rules proposed, 2 in doubt; nothing is in force"),
        "{told}"
    );
    let patch = fs::read_to_string(place.path().join("learned.patch")).unwrap();
    assert!(patch.contains("+++ b/policy.toml"), "{patch}");
    assert!(
        patch.contains("+# not proposed: the connection is not encrypted"),
        "{patch}"
    );
    assert!(
        patch
            .lines()
            .filter(|line| line.starts_with('+'))
            .all(|line| { line.starts_with("+#") || line.starts_with("+++") || line == "+" }),
        "{patch}"
    );
    assert_eq!(fs::read_to_string(&rules).unwrap(), before);
    // A file that is there stays as it is.
    assert_eq!(
        place.run(&["learn", "-o", "learned.patch"]).status.code(),
        Some(1)
    );
}
