//! Grants that a person agrees to, in a browser or by typing a code.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

use super::{
    browser::Browser,
    world::{SECRET, World},
};

const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// `exeat connect`, while a person is at it.
pub(crate) struct Connecting {
    child: Child,
    out: BufReader<ChildStdout>,
    /// What is to be done.
    pub(crate) visit: Value,
}

impl Connecting {
    pub(crate) fn begin(world: &World, name: &str) -> Self {
        Self::begin_with(world, &[name])
    }

    /// The same, with these arguments.
    pub(crate) fn begin_with(world: &World, order: &[&str]) -> Self {
        let mut child = world
            .site
            .exeat()
            .args(["--json", "connect", "--no-browser"])
            .args(order)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let visit: Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}\n{}", world.log()));
        assert_eq!(visit["step"], "visit");
        Self { child, out, visit }
    }

    pub(crate) fn url(&self) -> &str {
        self.visit["url"].as_str().unwrap()
    }

    /// The person goes away.
    pub(crate) fn leave(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        self.child.wait().unwrap();
    }

    /// How it ended: what was granted, or nothing.
    pub(crate) fn end(mut self) -> Option<Value> {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.success(), !line.is_empty());
        status
            .success()
            .then(|| serde_json::from_str(&line).unwrap())
    }
}

/// A person connects a credential in a browser.
#[track_caller]
pub(crate) fn connect(world: &World, name: &str) -> Value {
    connect_with(world, &[name])
}

#[track_caller]
fn connect_with(world: &World, order: &[&str]) -> Value {
    let connecting = Connecting::begin_with(world, order);
    let page = Browser::new(world).agrees(connecting.url());
    assert!(
        page.contains("Connected."),
        "{page}\n{}\n{:#?}",
        world.log(),
        world.seen()
    );
    connecting.end().unwrap()
}

pub(crate) fn clients() -> Value {
    let native = |id: &str, more: Value| {
        let mut client = json!({
            "client_id": id, "application_type": "native", "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token", DEVICE], "response_types": ["code"],
            "redirect_uris": ["http://127.0.0.1/callback"],
        });
        for (name, value) in more.as_object().unwrap() {
            client[name] = value.clone();
        }
        client
    };
    json!([
        native("native", json!({})),
        native(
            "pushed",
            json!({ "require_pushed_authorization_requests": true })
        ),
        native("bound", json!({ "dpop_bound_access_tokens": true })),
        native(
            "secret",
            json!({ "token_endpoint_auth_method": "client_secret_basic", "client_secret": SECRET })
        ),
    ])
}

pub(crate) fn credential(client: &str, grant: &str, more: &str) -> String {
    let auth = if client == "secret" {
        "auth = \"basic\"\nsecret = \"sealed:client\"\n"
    } else {
        "auth = \"none\"\n"
    };
    format!(
        "issuer = \"https://as.test\"\nclient-id = \"{client}\"\ngrant = \"{grant}\"\nscopes = [\"openid\", \"api:read\"]\n\
         {auth}{more}"
    )
}

fn world(life_secs: u32) -> World {
    let code = "authorization-code";
    let credentials = [
        ("code", credential("native", code, "")),
        ("pushed", credential("pushed", code, "par = true\n")),
        ("proven", credential("bound", code, "dpop = \"required\"\n")),
        ("secret", credential("secret", code, "")),
        ("typed", credential("native", "device", "")),
        (
            "typed-proven",
            credential("bound", "device", "dpop = \"required\"\n"),
        ),
    ];
    let credentials: Vec<(&str, &str)> =
        credentials.iter().map(|(n, t)| (*n, t.as_str())).collect();
    let mut world = World::new(&clients(), &credentials, life_secs);
    world.serve();
    world
}

#[test]
fn a_person_connects_in_a_browser_and_the_agent_only_calls() {
    let world = world(3600);
    world.refused("code", "credential-missing");
    for name in ["code", "pushed", "proven", "secret"] {
        let connected = connect(&world, name);
        assert_eq!(connected["state"], "live", "{connected}");
        let scheme = if name == "proven" { "DPoP" } else { "Bearer" };
        let body = world.works(name);
        assert_eq!(body["authorization"], format!("{scheme} [redacted:{name}]"));
        assert_eq!(
            body["client"].as_str().unwrap(),
            match name {
                "code" => "native",
                "proven" => "bound",
                other => other,
            }
        );
    }
    // What is pushed does not stand in the browser's URL (RFC 9126).
    let connecting = Connecting::begin(&world, "pushed");
    assert!(connecting.url().contains("request_uri=") && !connecting.url().contains("scope="));
    connecting.leave();

    let listed = world.values(&["connection", "list", "--ask"]);
    let of = |name: &str| {
        listed
            .iter()
            .find(|entry| entry["credential"] == name)
            .unwrap()
    };
    assert_eq!(
        (&of("code")["active"], &of("code")["renews"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(
        (&of("proven")["bound"], &of("typed")["state"]),
        (&json!(true), &json!("absent"))
    );

    // Given back, it is gone here and there.
    let token = world
        .of_kind("api")
        .iter()
        .rfind(|line| line["path"] == "/code")
        .unwrap()["token"]
        .clone();
    world
        .site
        .own(&["disconnect", "code"].map(std::ffi::OsStr::new), b"");
    world.refused("code", "credential-dead");
    assert!(token.is_string());
    let listed = world.values(&["connection", "list"]);
    assert_eq!(
        listed
            .iter()
            .find(|entry| entry["credential"] == "code")
            .unwrap()["state"],
        "absent"
    );
    world.holds_no_secret();
}

#[test]
fn a_browser_that_brings_anything_else_changes_nothing() {
    let world = world(3600);
    let connecting = Connecting::begin(&world, "code");
    let browser = Browser::new(&world);
    let landing = connecting
        .url()
        .split('&')
        .find_map(|pair| pair.strip_prefix("redirect_uri="))
        .unwrap();
    let landing = landing.replace("%3A", ":").replace("%2F", "/");
    let nothing = "belongs to nothing";
    for wrong in [
        "?code=x&state=wrong",
        "?code=x",
        "",
        "?state=",
        "/more?code=x",
    ] {
        let (_, page) = browser.load(&format!("{landing}{wrong}"), None);
        assert!(page.contains(nothing), "{wrong}: {page}");
    }
    let by_name = landing.replace("127.0.0.1", "localhost");
    assert!(browser.load(&by_name, None).1.contains(nothing));
    // The right one is still taken, and once.
    let page = browser.agrees(connecting.url());
    assert!(page.contains("Connected."), "{page}");
    connecting.end().unwrap();
    world.works("code");
    assert_eq!(world.issued("authorization_code"), 1);
}

#[test]
fn another_issuer_in_the_answer_and_a_refusal_grant_nothing() {
    // proves RFC 9207 section 2.4, against the real server's own state
    let world = world(3600);
    for (brought, told) in [
        ("code=x&iss=https%3A%2F%2Fevil.test", "another server"),
        ("code=x", "another server"),
        (
            "error=access_denied&iss=https%3A%2F%2Fas.test",
            "did not agree",
        ),
        ("code=x&code=y&iss=https%3A%2F%2Fas.test", "twice"),
        ("code=made-up&iss=https%3A%2F%2Fas.test", "not valid"),
    ] {
        let connecting = Connecting::begin(&world, "code");
        let of = |name: &str| {
            let pair = connecting
                .url()
                .split(['?', '&'])
                .find_map(|pair| pair.strip_prefix(name));
            pair.unwrap().replace("%3A", ":").replace("%2F", "/")
        };
        let url = format!("{}?state={}&{brought}", of("redirect_uri="), of("state="));
        let (_, page) = Browser::new(&world).load(&url, None);
        assert!(page.contains(told), "{brought}: {page}");
        assert_eq!(connecting.end(), None);
    }
    world.refused("code", "credential-missing");
    assert_eq!(world.issued("authorization_code"), 0);
}

#[test]
fn a_person_connects_while_no_gate_runs() {
    let text = credential("native", "authorization-code", "");
    let mut world = World::new(&clients(), &[("code", &text)], 3600);
    connect(&world, "code");
    world.serve();
    world.works("code");
}

#[test]
fn a_person_types_a_code_on_another_device() {
    let world = world(3600);
    for name in ["typed", "typed-proven"] {
        let connecting = Connecting::begin(&world, name);
        let whole = connecting.visit["whole-url"].as_str().unwrap();
        assert!(whole.contains(connecting.visit["code"].as_str().unwrap()));
        Browser::new(&world).agrees(whole);
        let connected = connecting.end().unwrap();
        assert_eq!(connected["state"], "live", "{connected}");
        world.works(name);
    }
    world.holds_no_secret();
}

#[test]
fn a_lacking_scope_is_named_and_asked_for_when_who_connects_says_so() {
    // proves RFC 6750 section 3.1
    let world = world(3600);
    connect(&world, "code");
    world.works("code");
    world.refused("write", "scope-missing");
    let listed = world.values(&["connection", "list"]);
    let code = listed
        .iter()
        .find(|entry| entry["credential"] == "code")
        .unwrap();
    assert_eq!(code["wanted"], json!(["api:write"]));
    let connected = connect(&world, "code");
    assert_eq!(
        connected["scopes"]
            .as_array()
            .map(|all| all.contains(&json!("api:write"))),
        Some(false)
    );
    let connected = connect_with(&world, &["code", "--scope", "api:write"]);
    assert!(
        connected["scopes"]
            .as_array()
            .unwrap()
            .contains(&json!("api:write")),
        "{connected}"
    );
    world.works("write");
}
