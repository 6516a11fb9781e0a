//! Capability requests from end to end: asked for inside a sandbox, answered outside, in force for their time.

use serde_json::{Value, json};

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
[[tool]]
name = "drop"
request = "DELETE /{id}"
category = "delete"
[[tool]]
name = "ping"
request = "GET /ping/{id}"
category = "read"
"#;
/// A run without any rule would ask what it may do.
const POLICY: &str =
    "[[rule]]\nname = \"ping\"\nagents = [\"me\"]\ntools = [\"notes.ping\"]\neffect = \"allow\"\n";

/// How often a test looks for something that the gate does in its own time.
const TRIES: usize = 400;

fn place(server: &Server, agent: &str) -> Place {
    let port = server.port;
    Place::with(&[
        (
            "exeat.toml",
            &format!(
                "[network]\nallow-private = [\"notes.example:80\"]\n\
                 connect-to = {{ \"notes.example:80\" = \"127.0.0.1:{port}\" }}\n[agents.me]\n{agent}\n"
            ),
        ),
        ("tools/notes.toml", TOOLS),
        ("policy.toml", POLICY),
    ])
}

/// What a sealed curl prints.
fn curl(place: &Place, arguments: &[&str]) -> String {
    let output = place.run(&[&["run", "--", "curl", "-s"], arguments].concat());
    text(&output.stdout)
}

fn sees(place: &Place) -> bool {
    curl(place, &["http://notes.example/7"]) == "hello\n"
}

fn ask(place: &Place, body: &Value) -> Value {
    let told = curl(
        place,
        &["-d", &body.to_string(), "http://exeat.internal/requests"],
    );
    serde_json::from_str(&told).unwrap_or_else(|_| panic!("{told}"))
}

fn read(seconds: u32) -> Value {
    json!({
        "capabilities": [{"type": "read", "resource": "notes.*"}],
        "seconds": seconds,
        "why": "to look something up",
    })
}

#[track_caller]
fn id(shown: &Value) -> String {
    let id = shown["id"].as_str();
    id.unwrap_or_else(|| panic!("{shown}")).to_owned()
}

#[track_caller]
fn grants(place: &Place, arguments: &[&str]) -> Value {
    place.values(&[&["grant"], arguments].concat()).remove(0)
}

const LOCAL: &str = "granted-by = \"local\"";

#[test]
fn what_a_sealed_agent_asks_for_is_granted_and_passes_until_it_is_taken_back() {
    let server = Server::start();
    let place = place(&server, LOCAL);
    let gate = place.serve();
    assert!(!sees(&place));
    let asked = ask(&place, &read(600));
    assert_eq!(
        (&asked["state"], &asked["seal"]),
        (&json!("pending"), &json!("sandbox"))
    );
    assert_eq!(asked["words"], json!(["read with `notes.*`"]));
    assert!(!sees(&place), "a request alone lets nothing through");
    // The same again is the same request.
    let id = id(&asked);
    assert_eq!(ask(&place, &read(600))["id"], json!(id));
    let seen = curl(&place, &[&format!("http://exeat.internal/requests/{id}")]);
    assert!(seen.contains("\"state\":\"pending\""), "{seen}");
    let granted = grants(&place, &["approve", &id, "--for", "5m"]);
    assert_eq!(
        (&granted["state"], &granted["by"]),
        (&json!("approved"), &json!("local"))
    );
    assert!(sees(&place));
    assert!(
        place
            .prints(&["policy", "show", "--running"])
            .contains("@until(")
    );
    let rules = place.values(&["receipt", "list", "--limit", "1"]).remove(0);
    assert_eq!(
        rules["intent"]["rules"],
        json!([format!("granted {id} #1")])
    );
    // It outlives the gate.
    gate.stop();
    let gate = place.serve();
    assert!(sees(&place));
    assert_eq!(grants(&place, &["revoke", &id])["state"], "revoked");
    assert!(!sees(&place));
    gate.stop();
    let _gate = place.serve();
    assert!(!sees(&place));
    let again = place.run(&["grant", "revoke", &id]);
    assert_eq!(again.status.code(), Some(1));
}

#[test]
fn a_grant_ends_by_itself() {
    let server = Server::start();
    let place = place(&server, LOCAL);
    let _gate = place.serve();
    let id = id(&ask(&place, &read(600)));
    grants(&place, &["approve", &id, "--for", "3s"]);
    assert!(sees(&place));
    let ended = (0..TRIES).any(|_| !sees(&place));
    assert!(ended, "still in force");
    assert_eq!(grants(&place, &["list"])["state"], "expired");
    let exported = place.prints(&["receipt", "export"]);
    assert!(exported.contains("\"event\":\"approved\""), "{exported}");
}

#[test]
fn a_refused_agent_waits_and_never_gets_more_than_it_asked_for() {
    let server = Server::start();
    let place = place(&server, &format!("{LOCAL}\nmay-ask = [\"notes.*\"]"));
    let _gate = place.serve();
    let beyond = json!({"capabilities": [{"type": "read", "resource": "mail.*"}]});
    let told = ask(&place, &beyond);
    assert_eq!(
        told["detail"], "this agent may not ask for `mail.*`",
        "{told}"
    );
    let odd = json!({"capabilities": [{"type": "read", "resource": "notes.*", "filter": {"owner": "x"}}]});
    let told = ask(&place, &odd)["detail"].to_string();
    assert!(told.contains("`owner` cannot be enforced"), "{told}");
    // What destroys something has to be confirmed.
    let drop =
        json!({"capabilities": [{"type": "delete", "resource": "notes.drop"}], "seconds": 60});
    let first = id(&ask(&place, &drop));
    let unconfirmed = place.run(&["grant", "approve", &first]);
    assert_eq!(unconfirmed.status.code(), Some(1));
    let longer = place.run(&["grant", "approve", &first, "--for", "2m", "--confirm"]);
    assert!(
        text(&longer.stderr).contains("more would be granted"),
        "{longer:?}"
    );
    grants(&place, &["approve", &first, "--confirm"]);
    assert!(!sees(&place), "another capability was granted");
    let second = id(&ask(&place, &read(60)));
    assert_eq!(grants(&place, &["deny", &second])["state"], "denied");
    let told = curl(
        &place,
        &[
            "-i",
            "-d",
            &read(60).to_string(),
            "http://exeat.internal/requests",
        ],
    );
    assert!(
        told.contains("429") && told.to_lowercase().contains("retry-after: "),
        "{told}"
    );
}

#[test]
fn the_command_line_grants_nothing_that_is_left_to_a_passkey() {
    let server = Server::start();
    let place = place(&server, "");
    let _gate = place.serve();
    let asked = place
        .values(&[
            "request",
            "--agent",
            "me",
            "read",
            "notes.show",
            "--for",
            "10m",
            "--why",
            "please",
        ])
        .remove(0);
    assert_eq!(asked["seconds"], 600);
    let refused = place.run(&["grant", "approve", &id(&asked)]);
    let told = text(&refused.stderr);
    assert!(
        refused.status.code() == Some(1) && told.contains("passkey") && told.contains("granted-by"),
        "{told}"
    );
    place.write(
        "exeat.toml",
        &format!(
            "[[listener]]\nmode = \"explicit\"\naddress = \"127.0.0.1:0\"\n[agents.me]\n{LOCAL}\n"
        ),
    );
    // The configuration is read again in its own time.
    let unsealed = (0..TRIES).any(|_| {
        let refused = place.run(&["grant", "approve", &id(&asked)]);
        assert_eq!(refused.status.code(), Some(1));
        text(&refused.stderr).contains("not sealed")
    });
    assert!(unsealed);
    assert!(!sees(&place));
}
