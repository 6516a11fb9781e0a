//! Keys in services. AWS KMS is moto. Google Cloud KMS and HashiCorp Vault cannot run here and are simulated by a server of
//! ours that speaks as their public documentation says; what is proven is that the gate keeps the contract with that. Both
//! servers lie in `tests/real`. The kind `remote` is tried over mutual TLS with the whole gate, in `cli/tests/real`.

mod aws;
mod gcp_simulated;
mod loopback;
mod vault_simulated;

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use exeat_custody::Outside;
use exeat_types::{Algorithm, Origin, Secret};
use loopback::Loopback;

/// A server of `tests/real`, which ends with its standard input.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(script: &str, arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/real")
            .join(script);
        let mut child = Command::new(python())
            .arg(&script)
            .args(arguments.iter().map(OsStr::new))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let said: serde_json::Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("{} did not start: {line}", script.display()));
        let port = u16::try_from(said["port"].as_u64().unwrap()).unwrap();
        Self { child, port }
    }

    fn origin(&self) -> Origin {
        Origin::parse(&format!("http://127.0.0.1:{}", self.port)).unwrap()
    }

    /// Has the server do what only a test asks for.
    fn tell(&self, what: &str) {
        let reply = Loopback::default().send_and_wait(exeat_custody::OwnRequest {
            method: http::Method::POST,
            origin: self.origin(),
            target: format!("/test/{what}"),
            headers: http::HeaderMap::new(),
            body: Secret::new(Vec::new()),
            identity: None,
        });
        assert_eq!(reply.unwrap().status, 200);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

/// The Python that `scripts/real-deps` installs.
#[expect(
    clippy::disallowed_methods,
    reason = "the environment says where packages are kept"
)]
fn python() -> PathBuf {
    let cache = std::env::var_os("EXEAT_CACHE").map(PathBuf::from);
    let cache = cache
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/exeat"));
    let python = cache.join("real/python/bin/python");
    assert!(python.exists(), "run scripts/real-deps first");
    python
}

fn way() -> (Arc<Loopback>, Arc<dyn Outside>) {
    let loopback = Arc::new(Loopback::default());
    (Arc::clone(&loopback), loopback)
}

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

const KEYS: [(&str, Algorithm); 3] = [
    ("eddsa", Algorithm::EdDsa),
    ("es256", Algorithm::Es256),
    ("rs256", Algorithm::Rs256),
];
