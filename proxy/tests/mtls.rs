//! Client certificates towards upstream: with a key that is held, through Pingora; with a key in a device, on the lane of our
//! own, which does everything that the other one does.
#![cfg(test)]

mod support;

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use exeat_custody::{
    ClientIdentity, CredentialSpec, Custody, IdentityKey, Kind, Loaded, Mtls, Shape, SoftwareSigner,
};
use exeat_pipeline::Ending;
use exeat_types::{Algorithm, CredentialId, DeviceFailure, Origin, Secret, Signer};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{RootCertStore, server::WebPkiClientVerifier};
use support::{
    API, Rig, agent,
    client::{Answer, whole},
    until,
    upstream::Upstream,
    world,
};

/// A software key that behaves like one in a device: it blocks, it can be lost, and nobody gets at its bytes.
struct Device {
    key: SoftwareSigner,
    lost: AtomicBool,
    signed: AtomicUsize,
}

impl Signer for Device {
    fn algorithm(&self) -> Algorithm {
        self.key.algorithm()
    }
    fn public_key(&self) -> &[u8] {
        self.key.public_key()
    }
    fn blocks(&self) -> bool {
        true
    }
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
        if self.lost.load(Ordering::SeqCst) {
            return Err(DeviceFailure("the device is gone"));
        }
        self.signed.fetch_add(1, Ordering::SeqCst);
        self.key.sign(message)
    }
}

/// An authority for clients.
struct Clients {
    root: rustls::pki_types::CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, PEM.
struct Leaf {
    certificate: String,
    key: String,
}

impl Clients {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        let issuer = Issuer::new(params, key);
        Self { root, issuer }
    }

    fn leaf(&self) -> Leaf {
        let mut leaf = CertificateParams::default();
        leaf.distinguished_name.push(DnType::CommonName, "gate");
        let key = KeyPair::generate().unwrap();
        let certificate = leaf.signed_by(&key, &self.issuer).unwrap().pem();
        let key = key.serialize_pem();
        Leaf { certificate, key }
    }
}

fn held(name: &str, leaf: &Leaf) -> Loaded {
    let secret = Secret::new(leaf.key.clone().into_bytes());
    Loaded {
        secret: Some(secret),
        ..device(name, leaf, None)
    }
}

fn device(name: &str, leaf: &Leaf, signer: Option<Arc<dyn Signer>>) -> Loaded {
    let certificate = leaf.certificate.clone().into_bytes();
    Loaded {
        spec: CredentialSpec {
            id: CredentialId::new(name).unwrap(),
            kind: Kind::Made(Arc::new(Mtls { certificate })),
            origins: vec![Origin::parse("https://api.test").unwrap()],
            secret: None,
            shape: Shape::Auto,
        },
        secret: None,
        version: 1,
        signer,
    }
}

/// The key of a certificate, in a device.
fn in_a_device(leaf: &Leaf) -> (Arc<Device>, Loaded) {
    let key = Secret::new(leaf.key.clone().into_bytes());
    let signer = Arc::new(Device {
        key: SoftwareSigner::from_key(&key).unwrap(),
        lost: AtomicBool::new(false),
        signed: AtomicUsize::new(0),
    });
    let loaded = device("api", leaf, Some(Arc::clone(&signer) as Arc<dyn Signer>));
    (signer, loaded)
}

/// A gate with these credentials, in front of an upstream that lets only clients of this authority in.
async fn rig(clients: &Clients, loaded: Vec<Loaded>) -> (Rig, Upstream) {
    let rig = Rig::start().await;
    let mut roots = RootCertStore::empty();
    roots.add(clients.root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
        .build()
        .unwrap();
    let host = exeat_types::Host::parse(API).unwrap();
    let shown = rig.upstream_authority.server_config(&host).unwrap();
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::clone(shown.crypto_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(&shown.cert_resolver));
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let upstream = Upstream::start(Some(Arc::new(tls))).await;
    rig.route(API, 443, upstream.address);
    put(&rig, loaded);
    (rig, upstream)
}

fn put(rig: &Rig, loaded: Vec<Loaded>) {
    let live = Arc::clone(rig.gate.rules().custody.live());
    let custody = Custody::build(loaded, &[agent("tester")], &Secret::new(vec![3; 32]), &live);
    let custody = Arc::new(custody.unwrap_or_else(|problems| panic!("{problems:?}")));
    rig.change(|rules| rules.custody = custody);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_key_lets_in_and_nothing_else_does() {
    let ours = Clients::new("ours");
    let (rig, upstream) = rig(&ours, vec![held("api", &ours.leaf())]).await;
    for _ in 0..2 {
        let answer = rig.client.get(API, "/echo").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
    assert_eq!(upstream.connections(), 1, "the connection is reused");
    assert_eq!(upstream.seen()[0].version, http::Version::HTTP_2);
    put(&rig, vec![held("api", &Clients::new("strangers").leaf())]);
    let answer = rig.client.get(API, "/echo").await;
    assert!(answer.status.is_server_error(), "{}", answer.text());
    put(&rig, vec![]);
    let answer = rig.client.get(API, "/echo").await;
    assert_eq!(answer.reason(), "credential-missing");
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_with_one_certificate_never_serves_another() {
    let ours = Clients::new("ours");
    let (rig, upstream) = rig(&ours, vec![held("api", &ours.leaf())]).await;
    for connections in [1, 2, 3] {
        let answer = rig.client.get(API, "/echo").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert_eq!(upstream.connections(), connections);
        put(&rig, vec![held("api", &ours.leaf())]);
    }
}

#[test]
fn a_key_that_is_not_that_of_its_certificate_is_refused_at_once() {
    let ours = Clients::new("ours");
    let (one, other) = (ours.leaf(), ours.leaf());
    let key = |leaf: &Leaf| IdentityKey::from_pem(&Secret::new(leaf.key.clone().into_bytes()));
    let chain = one.certificate.as_bytes();
    assert!(ClientIdentity::from_pem(chain, key(&one).unwrap()).is_ok());
    let refused = ClientIdentity::from_pem(chain, key(&other).unwrap());
    assert_eq!(
        refused.err(),
        Some("has a key that is not that of its certificate")
    );
    for broken in ["", "-----BEGIN CERTIFICATE-----", one.key.as_str()] {
        let refused = ClientIdentity::from_pem(broken.as_bytes(), key(&one).unwrap());
        assert!(refused.is_err(), "{broken}");
    }
    assert!(IdentityKey::from_pem(&Secret::new(b"CANARY-no-key".to_vec())).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_a_device_signs_the_handshake_and_the_lane_does_all_of_the_road() {
    let ours = Clients::new("ours");
    let (signer, loaded) = in_a_device(&ours.leaf());
    let (rig, upstream) = rig(&ours, vec![loaded]).await;
    let get = rig.client.get(API, "/echo").await;
    assert_eq!(get.status, StatusCode::OK, "{}", get.text());
    assert!(get.headers.contains_key("exeat-receipt"));
    let head = rig.client.send(API, Request::head("/page")).await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    for (path, body) in [("/echo", r#"{"title":"t"}"#.to_owned()), large()] {
        let request = Request::post(path).header("content-type", "application/json");
        let answer = rig
            .client
            .send_body(API, request, body.clone().into())
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert_eq!(upstream.seen().last().unwrap().body, body);
    }
    let upload = Bytes::from(vec![7; 3 << 20]);
    let h2 = Request::post(format!("https://{API}/upload"));
    for answer in [
        rig.client
            .send_body(API, Request::post("/upload"), upload.clone())
            .await,
        rig.client.send_h2(API, h2, upload.clone()).await,
    ] {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert_eq!(upstream.seen().last().unwrap().body, upload);
    }
    let h2 = Request::get(format!("https://{API}/trailers"));
    let trailers = rig.client.send_h2(API, h2, Bytes::new()).await;
    assert_eq!(trailers.text(), "message");
    let large = rig.client.get(API, "/large").await;
    assert_eq!(large.status, StatusCode::OK);
    assert_eq!(
        rig.client.get(API, "/none").await.status,
        StatusCode::NO_CONTENT
    );
    let seen = upstream.seen();
    assert_eq!(upstream.connections(), u64::try_from(seen.len()).unwrap());
    assert_eq!(signer.signed.load(Ordering::SeqCst), seen.len());
    assert!(seen.iter().all(|it| it.version == http::Version::HTTP_11));
    let receipts = rig.receipts(seen.len()).await;
    assert_eq!(receipts.len(), seen.len());
    for receipt in receipts {
        assert_eq!(receipt.outcome.unwrap().result, Ending::Completed);
    }
}

/// A body larger than Pingora repeats.
fn large() -> (&'static str, String) {
    let text = format!(r#"{{"title":"t","text":"{}"}}"#, "x".repeat(300_000));
    ("/echo", text)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_streams_on_the_lane_arrives_piece_by_piece_in_both_directions() {
    let ours = Clients::new("ours");
    let (_, loaded) = in_a_device(&ours.leaf());
    let (rig, upstream) = rig(&ours, vec![loaded]).await;
    let mut connection = rig.client.h1(API).await;
    let request = Request::get("/stepped").header("host", API);
    let response = connection.send_request(request.body(whole("")).unwrap());
    upstream.step();
    let mut body = response.await.unwrap().into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(!first.is_empty(), "before the upstream goes on");
    upstream.steps.close();
    assert!(body.collect().await.is_ok());

    // The agent sends a part of its body, and upstream has it before the rest is there.
    let (feed, fed) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(1);
    let body = BodyExt::boxed(StreamBody::new(futures_util::stream::unfold(
        fed,
        |mut fed| async move { fed.recv().await.map(|frame| (frame, fed)) },
    )));
    let request = Request::post("/upload").header("host", API);
    let mut connection = rig.client.h1(API).await;
    let sending = support::spawn(connection.send_request(request.body(body).unwrap()));
    let before = upstream.received();
    let piece = || Ok(Frame::data(Bytes::from(vec![1; 10_000])));
    feed.send(piece()).await.unwrap();
    until("the first piece arrives", || {
        upstream.received() == before + 10_000
    })
    .await;
    feed.send(piece()).await.unwrap();
    drop(feed);
    let answer = Answer::read(sending.await.unwrap().unwrap()).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(upstream.received(), before + 20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_lane_too_a_failure_has_its_reason_and_one_receipt() {
    let ours = Clients::new("ours");
    let (signer, loaded) = in_a_device(&ours.leaf());
    let (rig, upstream) = rig(&ours, vec![loaded]).await;
    signer.lost.store(true, Ordering::SeqCst);
    let answer = rig.client.get(API, "/echo").await;
    assert_eq!(answer.reason(), "signer-unavailable", "{}", answer.text());
    signer.lost.store(false, Ordering::SeqCst);
    let answer = rig.client.get(API, "/die").await;
    assert_eq!(answer.reason(), "upstream-broken", "{}", answer.text());
    let answer = rig.client.get(API, "/coding").await;
    assert_eq!(answer.reason(), "response-unsafe", "{}", answer.text());
    // The agent goes away while upstream thinks.
    let client = rig.client.clone();
    let call = support::spawn(async move { client.get(API, "/gate").await });
    until("upstream is asked", || upstream.seen().len() == 3).await;
    call.abort();
    let receipts = rig.receipts(4).await;
    assert_eq!(receipts.len(), 4);
    let outcomes = receipts.iter().map(|it| it.outcome.as_ref().unwrap());
    assert!(outcomes.clone().all(|it| it.result != Ending::Completed));
    // The rules change while upstream thinks.
    let client = rig.client.clone();
    let call = support::spawn(async move {
        let mut connection = client.h1(API).await;
        let request = Request::get("/gate").header("host", API);
        connection
            .send_request(request.body(whole("")).unwrap())
            .await
    });
    until("upstream is asked", || upstream.seen().len() == 4).await;
    rig.change(|rules| rules.policy = Arc::new(world::policy(&[world::TOOLS], "")));
    assert!(call.await.unwrap().is_err(), "the call is cut");
    let newest = rig.receipts(5).await[0].outcome.clone().unwrap();
    assert_eq!(newest.reason.map(|it| it.code()), Some("policy-forbids"));
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_verifies_both_kinds_of_key() {
    let ours = Clients::new("ours");
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start().await;
    let server = Openssl::start(folder.path(), &ours, &rig);
    rig.route(API, 443, server.address);
    let leaf = ours.leaf();
    for loaded in [held("api", &leaf), in_a_device(&leaf).1] {
        put(&rig, vec![loaded]);
        let answer = rig.client.get(API, "/page").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert!(
            answer.text().contains("Client certificate"),
            "{}",
            answer.text()
        );
        let subject = answer.text().replace(" = ", "=");
        assert!(subject.contains("Subject: CN=gate"), "{subject}");
    }
    put(&rig, vec![held("api", &Clients::new("strangers").leaf())]);
    let answer = rig.client.get(API, "/page").await;
    assert!(answer.status.is_server_error(), "{}", answer.text());
}

/// `openssl s_server`, which lets in whoever shows a certificate of the authority, and says whose.
struct Openssl {
    child: Child,
    address: SocketAddr,
}

impl Openssl {
    fn start(folder: &Path, clients: &Clients, rig: &Rig) -> Self {
        let root = folder.join("clients.pem");
        let text = pem("CERTIFICATE", &clients.root);
        std::fs::write(&root, text).unwrap();
        let (certificate, key) = (folder.join("server.pem"), folder.join("server.key"));
        let (shown, secret) = server_certificate(rig);
        std::fs::write(&certificate, shown).unwrap();
        std::fs::write(&key, secret).unwrap();
        let mut child = Command::new("openssl")
            .args([
                "s_server",
                "-accept",
                "127.0.0.1:0",
                "-www",
                "-verify_return_error",
            ])
            .args(["-Verify", "1", "-CAfile"])
            .arg(root)
            .arg("-cert")
            .arg(certificate)
            .arg("-key")
            .arg(key)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl; `make setup` installs it");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| line.unwrap().strip_prefix("ACCEPT ")?.parse().ok());
        Self {
            child,
            address: address.unwrap(),
        }
    }
}

impl Drop for Openssl {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A certificate for the upstream and its key, PEM, of an authority that the gate trusts from here on.
fn server_certificate(rig: &Rig) -> (String, String) {
    let authority = Clients::new("servers");
    let root = authority.root.to_vec();
    rig.change(|rules| {
        rules.network.roots.id += 1;
        rules.network.roots.certificates = [root].into();
    });
    let leaf = CertificateParams::new([API.to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = leaf.signed_by(&key, &authority.issuer).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}
