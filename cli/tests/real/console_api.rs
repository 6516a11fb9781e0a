//! The admin API as schemathesis attacks it by its description, and the browser extension in a real Chromium, both with a
//! session that began with a (virtual) passkey.

use std::{
    ffi::OsStr,
    fs,
    io::{BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::Value;

use crate::site::{Site, node, programs, python, real};

const TOOLS: &str = r#"
[api]
name = "pay"
origin = "http://127.0.0.1:9"

[[tool]]
name = "transfers.create"
request = "POST /transfers"
category = "write"
[tool.input.body]
type = "object"
additionalProperties = false
properties = { amount = { type = "integer" } }
"#;

const POLICY: &str = r#"
[[rule]]
name = "a human approves transfers"
agents = ["coder"]
tools = ["pay.*"]
effect = "prompt"
"#;

/// A gate whose notices go to a program that writes them down.
fn settings(told: &str) -> String {
    format!(
        "[agents.coder]\n[[listener]]\nmode = \"explicit\"\naddress = \"127.0.0.1:0\"\n\
         [console]\naddress = \"127.0.0.1:0\"\n[network]\nallow-private = [\"127.0.0.1:9\"]\n\
         [[notify]]\nkind = \"command\"\ncommand = [\"/bin/sh\", \"-c\", \"cat >> {told}\"]\n\
         [[notify]]\nkind = \"web-push\"\n"
    )
}

/// A gate, and a browser that is signed in to its console.
struct Stage {
    site: Site,
    gate: Child,
    status: Value,
    _out: BufReader<ChildStdout>,
    browser: Child,
    input: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
}

impl Stage {
    fn new(arguments: &[&OsStr]) -> Self {
        let site = Site::new(&["api.pay.test"]);
        site.write("policy.toml", POLICY);
        site.write("tools/pay.toml", TOOLS);
        let told = site.outside("told");
        site.write("exeat.toml", &settings(told.to_str().unwrap()));
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
        let status = line(&mut out);
        let asked = ["--json", "console", "enroll", "--user", "ada"];
        let enrolling: Value =
            serde_json::from_str(&site.own(&asked.map(OsStr::new), b"")).unwrap();
        let mut browser = Command::new(node())
            .arg(programs().join("browser/session.mjs"))
            .arg("--real")
            .arg(real())
            .args(["--origin", status["console"].as_str().unwrap()])
            .args(["--enroll", enrolling["url"].as_str().unwrap()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            site,
            gate,
            status,
            _out: out,
            input: browser.stdin.take(),
            lines: BufReader::new(browser.stdout.take().unwrap()),
            browser,
        }
    }

    fn text(&self, name: &str) -> &str {
        self.status[name].as_str().unwrap()
    }

    fn step(&mut self, name: &str) -> Value {
        let told = line(&mut self.lines);
        assert_eq!(told["step"], name, "{told}");
        told
    }

    fn say(&mut self, text: &str) {
        writeln!(self.input.as_mut().unwrap(), "{text}").unwrap();
    }
}

fn line(from: &mut impl std::io::BufRead) -> Value {
    let mut text = String::new();
    from.read_line(&mut text).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("`{text}` is no JSON"))
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.input.take());
        self.browser.wait().unwrap();
        let pid = self.status["pid"].to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        self.gate.wait().unwrap();
    }
}

#[test]
fn schemathesis_finds_nothing_in_the_admin_api() {
    let mut stage = Stage::new(&[]);
    let session = stage.step("session");
    let origin = stage.text("console").to_owned();
    let (name, cookie) = session["cookie"].as_str().unwrap().split_once('=').unwrap();
    assert_eq!(name, "exeat");
    let config = stage.site.outside("schemathesis.toml");
    let keys = format!(
        "[auth.openapi.session]\napi_key = \"{cookie}\"\n[auth.openapi.csrf]\napi_key = \"{}\"\n",
        session["csrf"].as_str().unwrap()
    );
    fs::write(&config, keys).unwrap();
    // The stream of events does not end by itself.
    let ran = Command::new("timeout")
        .arg("300")
        .arg(python().with_file_name("schemathesis"))
        .arg("--config-file")
        .arg(&config)
        .arg("run")
        .arg(programs().join("../../console/openapi.json"))
        .args(["--url", &origin, "--header", &format!("Origin: {origin}")])
        .args(["--exclude-path", "/api/v1/events", "--max-examples", "25"])
        .args(["--seed", "1"])
        .current_dir(config.parent().unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    let failed = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}\n{failed}");
    assert!(
        said.contains("Coverage") && !said.contains("Tested: 0"),
        "{said}"
    );
}

#[test]
fn the_extension_counts_what_waits_and_opens_the_page_that_answers_it() {
    let extension = programs().join("../../extension");
    let extension = fs::canonicalize(extension).unwrap();
    let mut stage = Stage::new(&["--extension".as_ref(), extension.as_os_str()]);
    assert_eq!(stage.step("signed-out")["text"], "?");
    stage.step("session");
    stage.say("badge ");
    assert_eq!(stage.step("badge")["title"], "Exeat: nothing waits for you");

    let made = ["--json", "token", "create", "--agent", "coder"];
    let made: Value = serde_json::from_str(&stage.site.own(&made.map(OsStr::new), b"")).unwrap();
    let proxy = format!(
        "http://agent:{}@{}",
        made["token"].as_str().unwrap(),
        stage.status["listeners"][0].as_str().unwrap()
    );
    let asked = Command::new("curl")
        .args(["--silent", "--max-time", "60", "--proxy", &proxy])
        .args([
            "--header",
            "exeat-wait: 0",
            "--json",
            r#"{"amount":471100}"#,
        ])
        .arg("http://127.0.0.1:9/transfers")
        .output()
        .unwrap();
    let asked: Value = serde_json::from_slice(&asked.stdout).unwrap();
    let id = asked["approval"]["id"].as_str().unwrap().to_owned();
    stage.say("badge 1");
    assert_eq!(stage.step("badge")["text"], "1");
    stage.say("open");
    let opened = stage.step("open");
    let page = format!("{}/approvals/{id}", stage.text("console"));
    assert_eq!(opened["url"], page.as_str());

    // The program that is told of questions has been told of this one, and of none of its arguments.
    let told = stage.site.outside("told");
    let told = crate::site::seen(&told);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["approval"], id.as_str());
    assert_eq!(told[0]["url"], page.as_str());
    assert!(!told[0].to_string().contains("471100"));
}
