//! Tinyproxy, as it stands between a company and the Internet: with a name and a password, and without.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::site::{Server, Site, seen};

const TOKEN: &str = "CANARY-model-key-3Hd7";
const CORPORATE: &str = "CANARY-corporate-8Ty2";
const MODEL: &str = "api.anthropic.com";

const TOOLS: &str = r#"
[[tool]]
name = "messages.create"
request = "POST /v1/messages"
category = "write"
description = "Ask a model"
[tool.input.body]
type = "object"
required = ["model", "messages", "max_tokens"]
"#;

const POLICY: &str = r#"
[[rule]]
name = "ask models"
agents = ["coder"]
tools = ["anthropic.*"]
effect = "allow"
"#;

/// A running tinyproxy that knows one name of the Internet.
struct Tinyproxy {
    child: Child,
    port: u16,
}

impl Tinyproxy {
    /// Starts one that asks for a password. It resolves names by a hosts file that only it sees.
    #[expect(
        clippy::disallowed_methods,
        reason = "tinyproxy does not say when it listens"
    )]
    fn start(site: &Site) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let (conf, hosts, log) = (
            site.outside("tinyproxy.conf"),
            site.outside("hosts"),
            site.outside("tinyproxy.log"),
        );
        fs::write(&hosts, format!("127.0.0.1 {MODEL}\n")).unwrap();
        let text = format!(
            "Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nBasicAuth gate {CORPORATE}\nLogFile \"{}\"\nLogLevel Connect\n",
            log.display()
        );
        fs::write(&conf, text).unwrap();
        let script = "mount --bind \"$1\" /etc/hosts && exec tinyproxy -d -c \"$2\"";
        let child = Command::new("unshare")
            .args([
                "--user",
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                script,
                "sh",
            ])
            .args([&hosts, &conf])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let proxy = Self { child, port };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "tinyproxy does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        proxy
    }
}

impl Drop for Tinyproxy {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A site whose only way out is the proxy; `lines` are added to `[network]`.
fn site(lines: &str) -> (Site, Server, Tinyproxy) {
    let site = Site::new(&[MODEL]);
    let record = site.outside("seen");
    let server = site.start(
        "python3",
        "llm_server.py",
        &["--record".as_ref(), record.as_os_str()],
    );
    let proxy = Tinyproxy::start(&site);
    let (origin, way) = (
        format!("https://{MODEL}:{}", server.port),
        format!("127.0.0.1:{}", proxy.port),
    );
    let api =
        format!("[api]\nname = \"anthropic\"\norigin = \"{origin}\"\ncredential = \"model\"\n");
    site.write("tools/anthropic.toml", &(api + TOOLS));
    site.write("policy.toml", POLICY);
    site.write(
        "exeat.toml",
        &format!(
            "[agents.coder]\n\
             [credentials.model]\nkind = \"bearer\"\nsecret = \"sealed:model\"\nhosts = [\"{origin}\"]\nenv = \"MODEL_KEY\"\n\
             [credentials.corp]\nkind = \"basic\"\nusername = \"gate\"\nsecret = \"sealed:corp\"\nhosts = [\"http://{way}\"]\n\
             [network]\nupstream-roots = [\"root.pem\"]\nallow-private = [\"{way}\"]\n\
             upstream-proxy = \"http://{way}\"\n{lines}"
        ),
    );
    site.seal("model", TOKEN);
    site.seal("corp", CORPORATE);
    (site, server, proxy)
}

/// What a sealed curl prints of one call.
fn ask(site: &Site, server: &Server) -> String {
    let body = r#"{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"please echo"}]}"#;
    let mut command = site.sealed();
    command.args([
        "curl",
        "--silent",
        "--show-error",
        "--write-out",
        "\n%{http_code}\n",
    ]);
    command.args(["--header", "content-type: application/json", "--data", body]);
    command.arg(format!("https://{MODEL}:{}/v1/messages", server.port));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("CANARY"), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn calls_go_through_a_corporate_proxy_that_wants_a_password() {
    let (site, server, _proxy) = site("upstream-proxy-credential = \"corp\"\n");
    let printed = ask(&site, &server);
    assert!(printed.ends_with("\n200\n"), "{printed}");
    assert!(printed.contains("[redacted:model]"), "{printed}");
    let seen = seen(&site.outside("seen"));
    assert!(
        seen.len() == 1 && seen[0].to_string().contains(TOKEN),
        "{seen:?}"
    );
    let log = fs::read_to_string(site.outside("tinyproxy.log")).unwrap();
    assert!(
        log.contains(&format!("CONNECT {MODEL}:{}", server.port)),
        "{log}"
    );
    assert!(!log.contains(TOKEN), "what the proxy carries is TLS");
    let allowed = ("anthropic.messages.create", "allowed", "");
    let allowed = (
        allowed.0.to_owned(),
        allowed.1.to_owned(),
        allowed.2.to_owned(),
    );
    assert_eq!(site.receipts(), [allowed]);
    site.holds_none_of(&[TOKEN, CORPORATE]);
}

#[test]
fn a_corporate_proxy_that_is_given_no_password_ends_the_call_in_an_answer() {
    let (site, server, _proxy) = site("");
    let printed = ask(&site, &server);
    assert!(printed.ends_with("\n502\n"), "{printed}");
    assert!(
        printed.contains("urn:exeat:reason:upstream-unreachable"),
        "{printed}"
    );
    assert!(!printed.contains("inyproxy"), "{printed}");
    assert!(seen(&site.outside("seen")).is_empty());
}
