//! The official Python SDKs of two model providers, streaming from a server that speaks their wire formats.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::CertificateDer,
};
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;

use crate::site::{Server, Site, programs, python, seen};

const ANTHROPIC: &str = "CANARY-anthropic-key-2Vx8";
const OPENAI: &str = "CANARY-openai-key-9Kf3";

const ANTHROPIC_TOOLS: &str = r#"
[api]
name = "anthropic"
origin = "https://api.anthropic.com"
credential = "anthropic"

[[tool]]
name = "messages.create"
request = "POST /v1/messages"
category = "write"
description = "Ask a model"
[tool.input.body]
type = "object"
required = ["model", "messages", "max_tokens"]
properties = { model = { type = "string" }, max_tokens = { type = "integer" }, messages = { type = "array" } }
"#;

const OPENAI_TOOLS: &str = r#"
[api]
name = "openai"
origin = "https://api.openai.com"
credential = "openai"

[[tool]]
name = "chat.create"
request = "POST /v1/chat/completions"
category = "write"
description = "Ask a model"
[tool.input.body]
type = "object"
required = ["model", "messages"]

[[tool]]
name = "responses.create"
request = "POST /v1/responses"
category = "write"
description = "Ask a model"
[tool.input.body]
type = "object"
required = ["model", "input"]
"#;

const POLICY: &str = r#"
[[rule]]
name = "ask models"
agents = ["coder"]
tools = ["anthropic.*", "openai.*"]
effect = "allow"
"#;

fn site() -> (Site, Server) {
    let site = Site::new(&["api.anthropic.com", "api.openai.com"]);
    let record = site.outside("seen");
    let server = site.start(
        "python3",
        "llm_server.py",
        &["--record".as_ref(), record.as_os_str()],
    );
    site.write("tools/anthropic.toml", ANTHROPIC_TOOLS);
    site.write("tools/openai.toml", OPENAI_TOOLS);
    site.write("policy.toml", POLICY);
    let credential = |name: &str, variable: &str| {
        format!(
            "[credentials.{name}]\nkind = \"bearer\"\nsecret = \"sealed:{name}\"\nhosts = [\"api.{name}.com\"]\n\
             env = \"{variable}\"\n"
        )
    };
    let network = format!(
        "[network]\nallow-private = [\"api.anthropic.com:443\", \"api.openai.com:443\"]\n\
         upstream-roots = [\"root.pem\"]\n\
         connect-to = {{ \"api.anthropic.com:443\" = \"127.0.0.1:{0}\", \"api.openai.com:443\" = \"127.0.0.1:{0}\" }}\n",
        server.port
    );
    let both =
        credential("anthropic", "ANTHROPIC_API_KEY") + &credential("openai", "OPENAI_API_KEY");
    site.write("exeat.toml", &format!("[agents.coder]\n{both}{network}"));
    site.seal("anthropic", ANTHROPIC);
    site.seal("openai", OPENAI);
    (site, server)
}

fn agent(site: &Site, script: &str, prompts: &[&str]) -> Command {
    let mut command = site.sealed();
    command
        .arg(python())
        .arg(programs().join(script))
        .args(prompts);
    command
}

/// The whole answer to each prompt.
fn answers(outcomes: &[Value]) -> Vec<&str> {
    outcomes
        .iter()
        .filter_map(|outcome| outcome["text"].as_str())
        .collect()
}

#[test]
fn the_model_sdks_stream_with_keys_they_never_hold_and_never_hear() {
    let (site, _server) = site();
    let prompts = ["hello", "please echo", "please chunks"];
    let claude = site.outcomes(
        &mut agent(&site, "anthropic_client.py", &prompts),
        &[ANTHROPIC, OPENAI],
    );
    let redacted = |name: &str| format!("your key is [redacted:{name}], I think");
    let whole = "Hello, world.";
    assert_eq!(
        answers(&claude),
        [whole, &redacted("anthropic"), &redacted("anthropic")]
    );
    let deltas = claude
        .iter()
        .filter(|outcome| outcome["prompt"] == "hello" && outcome["delta"].is_string())
        .count();
    assert_eq!(deltas, 4);

    let gpt = site.outcomes(
        &mut agent(&site, "openai_client.py", &prompts),
        &[ANTHROPIC, OPENAI],
    );
    let twice = redacted("openai");
    assert_eq!(
        answers(&gpt),
        [whole, whole, &twice, &twice, &twice, &twice]
    );

    let keys = [(ANTHROPIC, 3), (OPENAI, 6)]
        .map(|(key, times)| vec![format!("Bearer {key}"); times])
        .concat();
    let arrived: Vec<String> = seen(&site.outside("seen"))
        .iter()
        .map(|seen| seen["authorization"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(arrived, keys);
    assert!(
        site.receipts()
            .iter()
            .all(|(_, decision, _)| decision == "allowed")
    );
    site.holds_none_of(&[ANTHROPIC, OPENAI]);
}

#[test]
fn an_event_reaches_the_agent_before_the_next_one_exists() {
    let (site, server) = site();
    let mut child = agent(&site, "anthropic_client.py", &["please wait"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["delta"], "Hello");
    // Only now may the server go on; had the gate held the event back, nothing would have come.
    release(&site.file("root.pem"), server.port);
    let rest: Vec<Value> = lines
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    assert_eq!(answers(&rest), ["Hello, world."]);
    assert!(child.wait().unwrap().success());
}

/// Tells the server to go on, past the gate.
fn release(root: &Path, port: u16) {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(root).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = "api.openai.com".try_into().unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(("127.0.0.1", port)).unwrap());
    stream
        .write_all(b"GET /go HTTP/1.1\r\nhost: api.openai.com\r\n\r\n")
        .unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}
