//! Ways out, as the binary wires them: roots that change under a running gate, and connections that pass unread.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::Arc,
    thread,
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::support::{Place, text};

/// How often a test asks again for something that the gate does in its own time.
const TRIES: usize = 100;

const TOOLS: &str = r#"
[api]
name = "notes"
origin = "https://notes.example"
[[tool]]
name = "show"
request = "GET /notes/{id}"
category = "read"
"#;
const POLICY: &str =
    "[[rule]]\nname = \"read\"\nagents = [\"claude\"]\ntools = [\"notes.*\"]\neffect = \"allow\"\n";

/// A TLS server that says `ok` to every request; gives its address and its root, PEM.
fn server() -> (SocketAddr, String) {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // OpenSSL takes a leaf with its issuer's name for its own issuer.
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "a root");
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let names = ["notes.example", "pinned.example"].map(str::to_owned);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(names.to_vec()).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for tcp in listener.incoming() {
            let config = Arc::clone(&config);
            // A client that does not trust this server breaks off.
            thread::spawn(move || drop(answer(tcp.unwrap(), config)));
        }
    });
    (address, root.pem())
}

fn answer(tcp: TcpStream, config: Arc<ServerConfig>) -> std::io::Result<()> {
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(connection, tcp);
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.extend(byte);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// A configuration whose one agent is held to these lines of `[network]`.
fn config(server: SocketAddr, lines: &str) -> String {
    format!(
        "[[listener]]\nmode = \"explicit\"\naddress = \"127.0.0.1:0\"\nagent = \"claude\"\n[agents.claude]\n\
         [network]\nallow-private = [\"notes.example:443\", \"pinned.example:443\"]\n\
         connect-to = {{ \"notes.example:443\" = \"{server}\", \"pinned.example:443\" = \"{server}\" }}\n{lines}\n"
    )
}

fn place(server: SocketAddr, root: &str, lines: &str) -> Place {
    Place::with(&[
        ("exeat.toml", &config(server, lines)),
        ("tools/notes.toml", TOOLS),
        ("policy.toml", POLICY),
        ("root.pem", root),
    ])
}

/// What curl gets through a gate, and with which status; it trusts one root.
fn curl(place: &Place, proxy: &str, root: &str, url: &str) -> String {
    let output = Command::new("curl")
        .args([
            "--silent",
            "--max-time",
            "20",
            "--write-out",
            " %{http_code}",
        ])
        .args(["--proxy", &format!("http://{proxy}"), "--cacert", root, url])
        .current_dir(place.path())
        .output()
        .unwrap();
    text(&output.stdout)
}

/// Asks until the answer is as expected.
#[track_caller]
#[expect(
    clippy::disallowed_methods,
    reason = "a gate does not say when it has read its configuration again"
)]
fn until(expect: &str, mut ask: impl FnMut() -> String) {
    let mut last = String::new();
    for _ in 0..TRIES {
        last = ask();
        if last == expect {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(last, expect);
}

#[test]
fn upstream_roots_and_passthrough_change_under_a_running_gate() {
    let (server, root) = server();
    let place = place(server, &root, "");
    let gate = place.serve();
    let proxy = gate.status["listeners"][0].as_str().unwrap().to_owned();
    let bundle = place.prints(&["ca", "export"]);
    place.write("gate.pem", &bundle);
    let read = || curl(&place, &proxy, "gate.pem", "https://notes.example/notes/7");
    let unread = || {
        curl(
            &place,
            &proxy,
            "root.pem",
            "https://pinned.example/anything",
        )
    };
    assert!(read().ends_with(" 502"), "{}", read());
    assert!(unread().ends_with(" 000"), "{}", unread());

    place.write(
        "exeat.toml",
        &config(server, "upstream-roots = [\"root.pem\"]"),
    );
    until("ok 200", read);
    let lines = "upstream-roots = [\"root.pem\"]\npassthrough = [\"pinned.example:443\"]";
    place.write("exeat.toml", &config(server, lines));
    until("ok 200", unread);
    let receipts = place.values(&["receipt", "list"]);
    let unseen = receipts
        .iter()
        .map(|receipt| &receipt["intent"])
        .find(|intent| intent["tool"] == "passthrough");
    assert_eq!(unseen.unwrap()["path"], "pinned.example:443");
    let log = std::fs::read_to_string(place.path().join("serve.log")).unwrap();
    assert!(
        log.contains("TLS of every agent to pinned.example:443 passes unread"),
        "{log}"
    );
    assert!(log.contains("a connection passes unread"), "{log}");

    place.write("exeat.toml", &config(server, ""));
    until(" 000", unread);
    assert!(read().ends_with(" 502"), "{}", read());
    gate.stop();
}

#[test]
fn what_passes_unread_is_loud_in_check_and_explained_by_why() {
    let (server, root) = server();
    let lines = "passthrough = [{ target = \"pinned.example:443\", agents = [\"claude\"] }]";
    let place = place(server, &root, lines);
    let checked = place.told(&["check"]);
    let warning = "warning: TLS of claude to pinned.example:443 passes unread: no tool, no rule, no redaction";
    assert!(
        checked.contains(warning) && checked.contains("ok: "),
        "{checked}"
    );
    assert_eq!(
        place.values(&["check"])[0]["warnings"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let why = |url: &str| place.told(&["why", "CONNECT", url]);
    insta::assert_snapshot!(why("https://pinned.example"), @r"
    allow: `[network] passthrough` names it: it passes unread, but never under `exeat run --strict`
    exit status: 0
    ");
    insta::assert_snapshot!(why("https://notes.example"), @r"
    allow: tools are declared for it, so it is opened to be read; ask about the request inside
    exit status: 0
    ");
    insta::assert_snapshot!(why("https://pinned.example:8443"), @r"
    tool-unknown: no tool is declared for it, and it does not pass unread
    exit status: 1
    ");
}
