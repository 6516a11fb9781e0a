//! Approvals with a passkey in a real Chromium, against a real gate, judged by three verifiers of the log.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

use crate::site::{Server, Site, node, programs, python, real, seen};

pub(crate) const TOKEN: &str = "CANARY-pay-token-9Kd3";

const TOOLS: &str = r#"
[api]
name = "pay"
origin = "https://api.pay.test"
credential = "pay"

[[tool]]
name = "transfers.create"
request = "POST /transfers"
category = "write"
[tool.input.body]
type = "object"
required = ["amount"]
additionalProperties = false
properties = { amount = { type = "integer" }, to = { type = "string" }, note = { type = "string" } }
"#;

const POLICY: &str = r#"
[[rule]]
name = "a human approves transfers"
agents = ["coder"]
tools = ["pay.*"]
effect = "prompt"
approve = { by = "passkey" }

[[rule]]
name = "some of them soon"
agents = ["coder"]
tools = ["pay.*"]
when = "context.args.amount == 13"
effect = "prompt"
approve = { by = "passkey", within = "10s" }
"#;

/// What a gate is to have besides, or instead of, what every test of the console needs.
pub(crate) struct Plan<'a> {
    pub(crate) tools: &'a str,
    pub(crate) policy: &'a str,
    /// Further lines of `[console]`.
    pub(crate) console: &'a str,
    /// Further servers by name, with the port on loopback that each leads to.
    pub(crate) hosts: &'a [(&'a str, u16)],
    /// Further tables.
    pub(crate) more: &'a str,
    /// Further secrets by name, to be sealed.
    pub(crate) secrets: &'a [(&'a str, &'a str)],
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self {
            tools: TOOLS,
            policy: POLICY,
            console: "",
            hosts: &[],
            more: "",
            secrets: &[],
        }
    }
}

/// The settings of such a gate, with the port of the API.
fn settings(plan: &Plan<'_>, port: u16) -> String {
    let pay = [("api.pay.test", port)];
    let hosts = || pay.iter().chain(plan.hosts);
    let allowed: Vec<String> = hosts().map(|(name, _)| format!("\"{name}:443\"")).collect();
    let leads = |(name, port): &(&str, u16)| format!("\"{name}:443\" = \"127.0.0.1:{port}\"");
    let led: Vec<String> = hosts().map(leads).collect();
    let (allowed, led) = (allowed.join(", "), led.join(", "));
    let Plan { console, more, .. } = plan;
    format!(
        "[agents.coder]\n[[listener]]\nmode = \"explicit\"\naddress = \"127.0.0.1:0\"\n\
         [console]\naddress = \"127.0.0.1:0\"\n{console}\n\
         [credentials.pay]\nkind = \"bearer\"\nsecret = \"sealed:pay\"\nhosts = [\"api.pay.test\"]\n\
         [network]\nallow-private = [{allowed}]\nupstream-roots = [\"root.pem\"]\n\
         connect-to = {{ {led} }}\n{more}\n"
    )
}

/// A gate with a console, and the API behind it.
pub(crate) struct World {
    pub(crate) site: Site,
    pub(crate) status: Value,
    gate: Child,
    out: BufReader<ChildStdout>,
    _server: Server,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Site::new(&["api.pay.test"]), &Plan::default())
    }

    /// A gate on a site whose certificate is for `api.pay.test` too.
    pub(crate) fn with(site: Site, plan: &Plan<'_>) -> Self {
        let record = site.outside("seen");
        let server = site.start(
            "node",
            "pay_server.mjs",
            &["--record".as_ref(), record.as_os_str()],
        );
        site.write("policy.toml", plan.policy);
        site.write("tools/pay.toml", plan.tools);
        site.write("exeat.toml", &settings(plan, server.port));
        for (name, secret) in [("pay", TOKEN)].iter().chain(plan.secrets) {
            site.seal(name, secret);
        }
        site.own(&["ca", "init"].map(OsStr::new), b"");
        let bundle = site.own(&["ca", "bundle"].map(OsStr::new), b"");
        site.write("bundle.pem", &bundle);
        let log = fs::File::create(site.outside("gate.log")).unwrap();
        let mut gate = site
            .exeat()
            .args(["--json", "serve", "--log", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut out = BufReader::new(gate.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let log = || fs::read_to_string(site.outside("gate.log")).unwrap();
        let status = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no gate: {}", log()));
        Self {
            site,
            gate,
            status,
            out,
            _server: server,
        }
    }

    /// What one of our own commands says, as JSON.
    pub(crate) fn value(&self, arguments: &[&str]) -> Value {
        let mut all: Vec<&OsStr> = vec!["--json".as_ref()];
        all.extend(arguments.iter().map(OsStr::new));
        serde_json::from_str(&self.site.own(&all, b"")).unwrap()
    }

    /// The way of the agent.
    pub(crate) fn proxy(&self) -> String {
        let made = self.value(&["token", "create", "--agent", "coder"]);
        let listener = self.status["listeners"][0].as_str().unwrap();
        let token = made["token"].as_str().unwrap();
        format!("http://agent:{token}@{listener}")
    }

    /// What the browser did, step by step.
    pub(crate) fn browse(&self, script: &str, more: &[&str]) -> BTreeMap<String, Value> {
        let enrolling = self.value(&["console", "enroll", "--user", "ada"]);
        let url = enrolling["url"].as_str().unwrap();
        let (origin, _) = url.split_once("/enroll").unwrap();
        let proxy = self.proxy();
        let output = Command::new("timeout")
            .arg("240")
            .arg(node())
            .arg(programs().join("browser").join(script))
            .arg("--real")
            .arg(real())
            .args(["--origin", origin, "--enroll", url, "--proxy", &proxy])
            .arg("--roots")
            .arg(self.site.file("bundle.pem"))
            .args(["--target", "https://api.pay.test/transfers"])
            .args(more)
            .output()
            .unwrap();
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        let log = fs::read_to_string(self.site.outside("gate.log")).unwrap();
        assert!(output.status.success(), "{out}\n{err}\n{log}");
        let step = |line: &str| {
            let mut told: Value = serde_json::from_str(line).unwrap();
            let name = told.as_object_mut().unwrap().remove("step").unwrap();
            (name.as_str().unwrap().to_owned(), told)
        };
        out.lines().map(step).collect()
    }

    /// The verdicts of our verifier, of the one in Python, and of `@simplewebauthn/server`.
    pub(crate) fn judged(&self) -> (Value, Value, Value) {
        let path = |name: &str| self.site.outside(name);
        let (export, key) = (path("export.jsonl"), path("key"));
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let (export, key) = (text(&export), text(&key));
        self.site.own(
            &["receipt", "export", "--out", &export].map(OsStr::new),
            b"",
        );
        fs::write(
            &key,
            self.site.own(&["receipt", "key"].map(OsStr::new), b""),
        )
        .unwrap();
        let json = |command: &mut Command| {
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            let failed = String::from_utf8_lossy(&output.stderr);
            serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}\n{failed}"))
        };
        let ours = json(
            self.site
                .exeat()
                .args(["--json", "receipt", "verify", &export, "--key", &key]),
        );
        let verifier = programs().join("../../docs/verify/verify.py");
        let python = json(
            Command::new(python())
                .arg(verifier)
                .args([&export, "--key", &key, "--json"]),
        );
        let judge = json(
            Command::new(node())
                .arg(programs().join("browser/judge.mjs"))
                .arg("--real")
                .arg(real())
                .args(["--export", &export]),
        );
        (ours, python, judge)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let pid = self.status["pid"].to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        self.gate.wait().unwrap();
        // Whatever took its place has our end of the pipe too.
        self.out.read_to_end(&mut Vec::new()).unwrap();
    }
}

#[test]
fn a_person_approves_in_a_browser_and_nothing_else_counts() {
    let world = World::new();
    let steps = world.browse("passkeys.mjs", &[]);
    let expected = [
        ("enrolled", json!({ "at": "/", "keys": 1 })),
        ("code-again", json!({ "status": 200 })),
        ("code-used", json!({ "status": 400 })),
        ("signed-out", json!({ "at": "/sign-in" })),
        ("signed-in", json!({ "at": "/" })),
        (
            "approved-once",
            json!({ "changed": 403, "after": 403, "same": 200, "more": 403, "asksAgain": true }),
        ),
        ("approved-while-held", json!({ "status": 200 })),
        (
            "denied",
            json!({ "status": 403, "reason": "approval-refused", "grant": 409 }),
        ),
        (
            "replayed",
            json!({ "other": 403, "good": 200, "twice": 409 }),
        ),
        ("widened", json!({ "status": 400 })),
        (
            "unverified",
            json!({ "browser": "NotAllowedError", "gate": 403 }),
        ),
        ("two-tabs", json!({ "won": 1 })),
        ("two-retries", json!({ "passed": 1 })),
        ("paired", json!({ "stranger": 403, "at": "/" })),
        ("removed", json!({ "at": "/sign-in" })),
        (
            "expired",
            json!({ "grant": 409, "held": 403, "states": ["expired"], "asksAgain": true }),
        ),
        ("forged", json!({ "status": 403 })),
    ];
    for (step, outcome) in &expected {
        assert_eq!(steps.get(*step), Some(outcome), "{step}");
    }
    assert_eq!(steps.len(), expected.len());
    let paid = seen(&world.site.outside("seen"));
    let amounts: Vec<&str> = paid
        .iter()
        .filter_map(|seen| seen["body"].as_str())
        .collect();
    assert_eq!(
        amounts,
        [r#"{"amount":10}"#, r#"{"amount":11}"#, r#"{"amount":25}"#]
    );
    assert!(
        paid.iter()
            .all(|seen| seen["authorization"] == format!("Bearer {TOKEN}"))
    );

    let (ours, python, judge) = world.judged();
    assert_eq!(
        (&ours["approved"], &ours["approved_unsigned"]),
        (&json!(3), &json!(0)),
        "{ours}"
    );
    for word in ["approved", "approved_unsigned", "calls", "complete_to"] {
        assert_eq!(ours[word], python[word], "{word}: {ours} {python}");
    }
    let expected = json!({ "enrolled": 2, "vouched": 2, "granted": 4, "refused": 0 });
    assert_eq!(judge, expected);
    world.site.holds_none_of(&[TOKEN]);
}
