//! Renewal under load, cancellation and sudden death: the refresh token is used once and never lost.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{
    person::{clients, connect, credential},
    world::World,
};

/// A gate with one connected credential. Tokens live so long; below thirty seconds each call renews.
fn connected(life_secs: u32, more: &str) -> World {
    let client = if more.is_empty() { "native" } else { "bound" };
    let text = credential(client, "authorization-code", more);
    let mut world = World::new(&clients(), &[("code", &text)], life_secs);
    world.serve();
    connect(&world, "code");
    world
}

impl World {
    /// The server forgets every access token, as if they had been revoked.
    fn forget_tokens(&self) {
        let calls = self.of_kind("token");
        assert!(!calls.is_empty());
        self.control("forget");
    }

    fn control(&self, what: &str) {
        let to = format!("control.test:443:127.0.0.1:{}", self.port());
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--connect-to", &to, "--cacert"]);
        curl.arg(self.site.file("root.pem"));
        let output = curl
            .arg(format!("https://control.test/{what}"))
            .output()
            .unwrap();
        assert!(output.status.success());
    }

    fn refreshes(&self) -> usize {
        self.issued("refresh_token")
    }
}

#[test]
fn a_hundred_calls_at_once_renew_a_refused_token_once() {
    let world = connected(3600, "");
    world.works("code");
    world.forget_tokens();
    let mut calls = world.agent();
    calls.args([
        "--parallel",
        "--parallel-max",
        "100",
        "--parallel-immediate",
    ]);
    // On a busy machine a hundred handshakes at once may take longer than one is given.
    calls.args(["--http1.1", "--max-time", "150", "--retry", "5"]);
    calls.args(["--retry-all-errors", "--retry-delay", "1"]);
    for _ in 0..100 {
        calls.args([
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}\n",
            "https://api.test/code",
        ]);
    }
    let output = calls.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let statuses: Vec<&str> = text.lines().collect();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(statuses, vec!["200"; 100], "{told}");
    assert_eq!(world.refreshes(), 1, "{:#?}", world.of_kind("token"));
}

#[test]
fn a_renewal_goes_on_when_the_call_that_wanted_it_is_gone() {
    let world = connected(3600, "");
    world.works("code");
    world.forget_tokens();
    world.control("slow");
    let mut gone = world.agent();
    gone.args([
        "-o",
        "/dev/null",
        "--max-time",
        "0.4",
        "https://api.test/code",
    ]);
    assert!(!gone.stderr(Stdio::null()).status().unwrap().success());
    // The next call finds what that renewal brought, or waits for it.
    world.works("code");
    assert_eq!(world.refreshes(), 1, "{:#?}", world.of_kind("token"));
}

#[test]
fn a_gate_that_dies_while_a_renewed_token_is_first_used_has_kept_its_refresh_token() {
    for more in ["", "dpop = \"required\"\n"] {
        let mut world = connected(3600, more);
        world.works("code");
        world.forget_tokens();
        // The API gets the renewed token and does not answer; at that moment the gate dies.
        world.control("hold");
        let mut call = world.agent();
        let mut call = call
            .args(["-o", "/dev/null", "https://api.test/code"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while !world
            .of_kind("held")
            .iter()
            .any(|line| line["active"] == true)
        {
            std::thread::yield_now();
        }
        world.kill();
        call.wait().unwrap();
        world.control("let-go");
        assert_eq!(world.refreshes(), 1);

        world.serve();
        // The token is still good: nothing is asked for.
        world.works("code");
        assert_eq!(world.refreshes(), 1);
        // And so is what renews it: the server would have revoked the family for one that was used before.
        world.forget_tokens();
        world.works("code");
        assert_eq!(world.refreshes(), 2);
    }
}

#[test]
fn a_grant_that_the_server_took_back_is_dead_until_somebody_connects_again() {
    let world = connected(3600, "");
    world.works("code");
    world.control("revoke-all");
    let asked = world.values(&["connection", "list", "--ask"]);
    assert_eq!(asked[0]["state"], json!("revoked"), "{asked:?}");
    world.refused("code", "credential-dead");
    let asked = world.of_kind("token").len();
    for _ in 0..3 {
        world.refused("code", "credential-dead");
    }
    assert_eq!(
        world.of_kind("token").len(),
        asked,
        "it asked with a dead refresh token again"
    );
    let state =
        |world: &World| -> Value { world.values(&["connection", "list"])[0]["state"].clone() };
    assert_eq!(state(&world), json!("dead"));
    connect(&world, "code");
    assert_eq!(state(&world), json!("live"));
    world.works("code");
    world.holds_no_secret();
}
