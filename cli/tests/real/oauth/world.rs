//! An authorization server, an API that checks its tokens, a gate, and an agent behind it.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD, prelude::BASE64_STANDARD};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use crate::site::{Server, Site, node, real, seen};

/// The secret of every client that has one.
pub(crate) const SECRET: &str = "CANARY-oauth-client-secret-7Hq3";

/// Everything that a test needs.
pub(crate) struct World {
    pub(crate) site: Site,
    server: Server,
    gate: Option<Gate>,
}

struct Gate {
    child: Child,
    status: Value,
    _out: BufReader<ChildStdout>,
}

/// What the agent got.
pub(crate) struct Got {
    pub(crate) status: u64,
    pub(crate) body: Value,
}

/// A key of a client, and how the server knows it.
pub(crate) struct ClientKey {
    pub(crate) pem: String,
    pub(crate) jwk: Value,
    pub(crate) certificate: String,
}

impl ClientKey {
    /// A key on P-256 with a certificate that it signed itself.
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["client.test".to_owned()]).unwrap();
        let certificate = certificate.self_signed(&key).unwrap();
        let point = key.public_key_raw();
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]),
            "y": URL_SAFE_NO_PAD.encode(&point[33..]),
            "x5c": [BASE64_STANDARD.encode(certificate.der())],
        });
        Self {
            pem: key.serialize_pem(),
            jwk,
            certificate: certificate.pem(),
        }
    }
}

impl World {
    /// Starts the server with these clients, and a gate with these credentials. Each credential has a tool of its name,
    /// `GET /<name>`, but for what `tools` says.
    pub(crate) fn new(clients: &Value, credentials: &[(&str, &str)], life_secs: u32) -> Self {
        let site = Site::new(&["as.test", "api.test", "mtls.test", "control.test"]);
        fs::write(site.outside("clients.json"), clients.to_string()).unwrap();
        let (record, list) = (site.outside("record"), site.outside("clients.json"));
        let (real, root, life) = (real(), site.file("root.pem"), life_secs.to_string());
        let more: [&OsStr; 10] = [
            "--real".as_ref(),
            real.as_ref(),
            "--record".as_ref(),
            record.as_ref(),
            "--clients".as_ref(),
            list.as_ref(),
            "--ca".as_ref(),
            root.as_ref(),
            "--life".as_ref(),
            life.as_ref(),
        ];
        let server = site.start(node().to_str().unwrap(), "oauth_server.mjs", &more);
        let mut config = format!(
            "[[listener]]\nmode = \"explicit\"\naddress = \"127.0.0.1:0\"\nagent = \"coder\"\n\
             [agents.coder]\n\
             [network]\nallow-private = [\"as.test:443\", \"api.test:443\", \"mtls.test:443\"]\n\
             upstream-roots = [\"root.pem\"]\n\
             connect-to = {{ \"as.test:443\" = \"127.0.0.1:{0}\", \"api.test:443\" = \"127.0.0.1:{0}\", \
             \"mtls.test:443\" = \"127.0.0.1:{1}\" }}\n",
            server.port, server.said["mtls"]
        );
        let mut tools = "[api]\nname = \"api\"\norigin = \"https://api.test\"\n".to_owned();
        for (name, text) in credentials {
            config += &format!(
                "[credentials.{name}]\nkind = \"oauth\"\nhosts = [\"api.test\"]\n{text}\n"
            );
            tools += &format!(
                "[[tool]]\nname = \"{name}\"\nrequest = \"GET /{name}\"\ncategory = \"read\"\ncredential = \"{name}\"\n"
            );
        }
        if let Some((first, _)) = credentials.first() {
            tools += &format!(
                "[[tool]]\nname = \"write\"\nrequest = \"GET /write\"\ncategory = \"write\"\ncredential = \"{first}\"\n"
            );
        }
        site.write("exeat.toml", &config);
        site.write("tools/api.toml", &tools);
        site.write(
            "policy.toml",
            "[[rule]]\nname = \"all\"\nagents = [\"coder\"]\ntools = [\"api.*\"]\neffect = \"allow\"\n",
        );
        site.seal("client", SECRET);
        site.own(&["ca", "init"].map(OsStr::new), b"");
        let bundle = site.own(&["ca", "bundle"].map(OsStr::new), b"");
        site.write("bundle.pem", &bundle);
        Self {
            site,
            server,
            gate: None,
        }
    }

    /// Starts the gate.
    pub(crate) fn serve(&mut self) {
        let log = fs::File::create(self.site.outside("gate.log")).unwrap();
        let mut child = self
            .site
            .exeat()
            .args(["--json", "serve", "--log", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let status = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("the gate did not start: {}", self.log()));
        self.gate = Some(Gate {
            child,
            status,
            _out: out,
        });
    }

    /// Kills the gate without a warning.
    pub(crate) fn kill(&mut self) {
        let mut gate = self.gate.take().unwrap();
        let pid = gate.status["pid"].to_string();
        assert!(
            Command::new("kill")
                .args(["-KILL", &pid])
                .status()
                .unwrap()
                .success()
        );
        gate.child.wait().unwrap();
    }

    /// What the gate logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.site.outside("gate.log")).unwrap()
    }

    /// One of our own commands that prints JSON and ends well.
    #[track_caller]
    pub(crate) fn values(&self, arguments: &[&str]) -> Vec<Value> {
        let mut all: Vec<&OsStr> = vec!["--json".as_ref()];
        all.extend(arguments.iter().map(OsStr::new));
        let printed = self.site.own(&all, b"");
        printed
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The agent's client, about to be run with more arguments.
    pub(crate) fn agent(&self) -> Command {
        let gate = self.gate.as_ref().unwrap();
        let proxy = format!("http://{}", gate.status["listeners"][0].as_str().unwrap());
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "60", "--proxy", &proxy, "--cacert"]);
        curl.arg(self.site.file("bundle.pem"));
        curl
    }

    /// The agent calls a tool.
    #[track_caller]
    pub(crate) fn call(&self, name: &str) -> Got {
        let output = self
            .agent()
            .args(["-w", "\n%{http_code}", &format!("https://api.test/{name}")])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        Got {
            status: status.parse().unwrap(),
            body: serde_json::from_str(body).unwrap_or_else(|_| json!(body)),
        }
    }

    /// The agent calls a tool and is answered by the API.
    #[track_caller]
    pub(crate) fn works(&self, name: &str) -> Value {
        let got = self.call(name);
        let seen = self.seen();
        assert_eq!(
            got.status,
            200,
            "{name}: {}\n{seen:#?}\n{}",
            got.body,
            self.log()
        );
        got.body
    }

    /// The agent calls a tool and is refused by the gate for this reason.
    #[track_caller]
    pub(crate) fn refused(&self, name: &str, reason: &str) {
        let got = self.call(name);
        let kind = got.body["type"].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            kind,
            format!("urn:exeat:reason:{reason}"),
            "{}\n{}",
            got.body,
            self.log()
        );
    }

    /// What the servers wrote down.
    pub(crate) fn seen(&self) -> Vec<Value> {
        seen(&self.site.outside("record"))
    }

    /// What they wrote down of this kind.
    pub(crate) fn of_kind(&self, kind: &str) -> Vec<Value> {
        let mut seen = self.seen();
        seen.retain(|line| line["kind"] == kind);
        seen
    }

    /// How many tokens of this grant were issued.
    pub(crate) fn issued(&self, grant: &str) -> usize {
        let tokens = self.of_kind("token");
        tokens
            .iter()
            .filter(|line| line["grant"] == grant && line["status"] == 200)
            .count()
    }

    /// Where the authorization server really is.
    pub(crate) const fn port(&self) -> u16 {
        self.server.port
    }

    /// No secret lies in a file of the site, in the clear, nor did the gate log one.
    #[track_caller]
    pub(crate) fn holds_no_secret(&self) {
        self.site.holds_none_of(&[SECRET]);
        assert!(!self.log().contains("CANARY"));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut gate) = self.gate.take() {
            let pid = gate.status["pid"].to_string();
            Command::new("kill").arg(&pid).status().unwrap();
            gate.child.wait().unwrap();
        }
    }
}
