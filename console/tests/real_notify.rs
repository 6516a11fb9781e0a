//! Notices, judged by programs of others: `http-ece` opens what Web Push sends, PyJWT checks who signed it, and the desktop
//! daemon dunst shows what went over D-Bus.
#![cfg(test)]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use exeat_console::{
    Carrier, Channel, Letter, Notice, Notifier, PublicOrigin, Subscription, Undelivered,
};
use exeat_types::{Algorithm, DeviceFailure, Signer, SystemClock};
use http::StatusCode;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

struct Key(EcdsaKeyPair);

impl Key {
    fn new() -> Self {
        let (kind, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let made = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(kind, made.as_ref(), &random).unwrap())
    }
}

impl Signer for Key {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Es256
    }

    fn public_key(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
        let signed = self.0.sign(&SystemRandom::new(), message).unwrap();
        Ok(signed.as_ref().to_vec())
    }
}

/// A push service that only keeps what it is given.
struct Service {
    key: Arc<Key>,
    browsers: Mutex<Vec<Subscription>>,
    letters: Mutex<Vec<Letter>>,
    status: StatusCode,
}

#[async_trait]
impl Carrier for Service {
    async fn post(&self, letter: Letter) -> Result<StatusCode, Undelivered> {
        self.letters.lock().unwrap().push(letter);
        Ok(self.status)
    }

    async fn signer(&self) -> Result<Arc<dyn Signer>, Undelivered> {
        Ok(Arc::clone(&self.key) as Arc<dyn Signer>)
    }

    async fn subscriptions(&self) -> Result<Vec<Subscription>, Undelivered> {
        Ok(self.browsers.lock().unwrap().clone())
    }

    async fn keep(&self, subscriptions: Vec<Subscription>) -> Result<(), Undelivered> {
        *self.browsers.lock().unwrap() = subscriptions;
        Ok(())
    }
}

/// A notifier with one channel, and what it sends through.
struct Stage {
    service: Arc<Service>,
    notifier: Arc<Notifier>,
    tasks: TaskTracker,
}

impl Stage {
    fn new(channel: Channel, status: StatusCode) -> Self {
        let service = Arc::new(Service {
            key: Arc::new(Key::new()),
            browsers: Mutex::default(),
            letters: Mutex::default(),
            status,
        });
        let tasks = TaskTracker::new();
        let notifier = Notifier::new(
            Arc::clone(&service) as Arc<dyn Carrier>,
            Arc::new(SystemClock::new()),
            PublicOrigin::local(8089),
            tasks.clone(),
        );
        notifier.use_channels(vec![channel]);
        Self {
            service,
            notifier,
            tasks,
        }
    }

    async fn tell(&self) {
        self.notifier.tell(&notice(), &CancellationToken::new());
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn notice() -> Notice {
    Notice {
        agent: "buyer".to_owned(),
        approval: "apr-00000000000000000000000001".to_owned(),
        expires: "2027-01-15T08:00:00.000Z".to_owned(),
        text: "buyer asks for approval of pay".to_owned(),
        tool: "pay".to_owned(),
        url: "http://localhost:8089/approvals/apr-00000000000000000000000001".to_owned(),
    }
}

fn web_push() -> Channel {
    Channel::WebPush {
        origins: vec!["https://push.example".parse().unwrap()],
        contact: Some("mailto:ops@example.com".to_owned()),
    }
}

fn python() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/real-deps");
    let told = Command::new(script).output().unwrap();
    assert!(told.status.success(), "scripts/real-deps failed");
    let folder = String::from_utf8(told.stdout).unwrap();
    Path::new(folder.trim()).join("python/bin/python")
}

/// The browser's half of Web Push: it makes the keys, then reads a message.
struct Browser {
    child: Child,
    lines: BufReader<ChildStdout>,
}

const BROWSER: &str = r#"
import base64, json, sys
import http_ece, jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

def b64(data): return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
def raw(text): return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

private, auth = ec.generate_private_key(ec.SECP256R1()), b"0123456789abcdef"
point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
print(json.dumps({"p256dh": b64(point), "auth": b64(auth)}), flush=True)
sent = json.loads(sys.stdin.readline())
text = http_ece.decrypt(raw(sent["body"]), private_key=private, auth_secret=auth, version="aes128gcm")
scheme, rest = sent["authorization"].split(" ", 1)
parts = dict(part.strip().split("=", 1) for part in rest.split(","))
key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw(parts["k"]))
claims = jwt.decode(parts["t"], key, algorithms=["ES256"], audience="https://push.example")
print(json.dumps({"scheme": scheme, "text": json.loads(text), "claims": claims, "key": parts["k"]}), flush=True)
"#;

impl Browser {
    /// A browser, and its subscription.
    fn new() -> (Self, Subscription) {
        let mut child = Command::new(python())
            .args(["-c", BROWSER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut browser = Self { child, lines };
        let keys = browser.line();
        let text = |name: &str| keys[name].as_str().unwrap().to_owned();
        let endpoint = "https://push.example/send/CANARY-endpoint?x=1";
        let made = Subscription::new(endpoint, &text("p256dh"), &text("auth"));
        (browser, made.unwrap())
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn read(mut self, letter: &Letter) -> Value {
        let sent = json!({
            "body": URL_SAFE_NO_PAD.encode(&letter.body),
            "authorization": letter.headers["authorization"].to_str().unwrap(),
        });
        let mut input = self.child.stdin.take().unwrap();
        writeln!(input, "{sent}").unwrap();
        let read = self.line();
        assert!(self.child.wait().unwrap().success());
        read
    }
}

#[tokio::test]
async fn a_browser_reads_what_web_push_sends_and_the_service_knows_who_sends_it() {
    let stage = Stage::new(web_push(), StatusCode::CREATED);
    let (browser, subscription) = Browser::new();
    stage.notifier.subscribe(subscription).await.unwrap();
    stage.tell().await;

    let letters = stage.service.letters.lock().unwrap().clone();
    let [letter] = letters.as_slice() else {
        panic!("{} letters", letters.len());
    };
    assert_eq!(letter.target, "/send/CANARY-endpoint?x=1");
    assert_eq!(letter.headers["content-encoding"], "aes128gcm");
    assert_eq!(letter.headers["topic"], notice().approval.as_str());
    assert!(letter.headers["authorization"].is_sensitive());
    let read = browser.read(letter);
    assert_eq!(read["scheme"], "vapid");
    assert_eq!(read["claims"]["sub"], "mailto:ops@example.com");
    assert_eq!(read["text"]["text"], notice().text.as_str());
    assert_eq!(read["text"]["url"], notice().url.as_str());
    let key = stage.notifier.push_key().unwrap();
    assert_eq!(read["key"].as_str(), key.as_deref());
}

#[tokio::test]
async fn a_browser_that_is_gone_is_forgotten() {
    let stage = Stage::new(web_push(), StatusCode::GONE);
    let (mut browser, subscription) = Browser::new();
    stage.notifier.subscribe(subscription).await.unwrap();
    stage.tell().await;
    assert!(stage.service.browsers.lock().unwrap().is_empty());
    drop(browser.child.stdin.take());
    browser.child.wait().unwrap();
}

/// A bus and a screen of their own, with dunst on them; then this test program again, which sends the notice.
const DESKTOP: &str = r#"
set -eu
dir=$(mktemp -d)
mkfifo "$dir/display"
Xvfb -displayfd 3 -screen 0 640x480x16 -nolisten tcp 3<>"$dir/display" >/dev/null 2>&1 &
screen=$!
trap 'kill $screen; wait; rm -r "$dir"' EXIT
read -r number <"$dir/display"
DISPLAY=:$number dunst -conf /dev/null >/dev/null 2>&1 &
daemon=$!
trap 'kill $daemon $screen; wait; rm -r "$dir"' EXIT
gdbus wait --session --timeout 20 org.freedesktop.Notifications
EXEAT_DESKTOP=1 "$0" --exact a_desktop_shows_a_notice_as_it_is >&2
dunstctl close-all
dunstctl history
"#;

#[tokio::test]
async fn a_desktop_shows_a_notice_as_it_is() {
    if std::env::vars_os().any(|(name, _)| name == "EXEAT_DESKTOP") {
        Stage::new(Channel::Desktop, StatusCode::OK).tell().await;
        return;
    }
    let own = std::env::current_exe().unwrap();
    let ran = Command::new("dbus-run-session")
        .args(["--", "bash", "-c", DESKTOP])
        .arg(own)
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&ran.stdout).into_owned();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{shown}\n{said}");
    let notice = notice();
    for part in ["Approval needed", &notice.text, &notice.url, "Exeat"] {
        assert!(shown.contains(part), "{part} is not in {shown}\n{said}");
    }
}
