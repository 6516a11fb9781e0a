//! What leaves and their cache must be, judged by rustls, openssl and x509-parser.

use std::{net::IpAddr, path::Path, process::Command};

use exeat_types::FakeClock;
use rustls::{
    ClientConfig, ClientConnection, Connection, HandshakeKind, RootCertStore, ServerConnection,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    pki_types::{ServerName, UnixTime},
    time_provider::TimeProvider,
};
use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    parse_x509_certificate,
    prelude::X509Certificate,
};

use super::*;
use crate::fakes::{DAY, NOON, year_root};

fn host(text: &str) -> Host {
    Host::parse(text).unwrap()
}

fn authority() -> (Authority, Arc<FakeClock>) {
    let clock = Arc::new(FakeClock::at(NOON));
    (
        Authority::new(Arc::new(year_root()), Arc::clone(&clock) as Arc<dyn Clock>).unwrap(),
        clock,
    )
}

fn unix(moment: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(moment.millis()))
}

fn leaf(authority: &Authority, text: &str) -> CertificateDer<'static> {
    let now = authority.clock.now();
    let end = now.after(LEAF_LIFE).min(authority.root().not_after());
    authority
        .certificate(&authority.root(), &host(text), (backdated(now), end))
        .unwrap()
}

fn store(authority: &Authority) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store
        .add(authority.root().certificate_der().clone())
        .unwrap();
    store
}

#[track_caller]
fn check(authority: &Authority, minted_for: &str, asked: &str, moment: Timestamp) -> bool {
    let provider = Arc::new(default_provider());
    let roots = Arc::new(store(authority));
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .unwrap();
    let certificate = leaf(authority, minted_for);
    let name = ServerName::try_from(asked.to_owned()).unwrap();
    verifier
        .verify_server_cert(&certificate, &[], &name, &[], unix(moment))
        .is_ok()
}

#[test]
fn a_client_that_trusts_the_root_accepts_the_leaf_for_its_host_and_dates_only() {
    let (authority, _) = authority();
    let long = format!("{}.{}.example", "a".repeat(60), "b".repeat(60));
    for name in [
        "api.github.com",
        "xn--bcher-kva.example",
        "under_score.example",
        &long,
        "192.0.2.7",
    ] {
        assert!(check(&authority, name, name, NOON), "{name}");
    }
    assert!(check(&authority, "[2001:db8::7]", "2001:db8::7", NOON));
    assert!(!check(&authority, "api.github.com", "github.com", NOON));
    assert!(!check(&authority, "192.0.2.7", "192.0.2.8", NOON));
    let hour = Duration::from_secs(3600);
    assert!(check(
        &authority,
        "a.example",
        "a.example",
        Timestamp::from_millis(NOON.millis() - 3_600_000)
    ));
    assert!(!check(
        &authority,
        "a.example",
        "a.example",
        Timestamp::from_millis(NOON.millis() - 3_601_000)
    ));
    assert!(check(
        &authority,
        "a.example",
        "a.example",
        NOON.after(30 * DAY)
    ));
    assert!(!check(
        &authority,
        "a.example",
        "a.example",
        NOON.after(30 * DAY + hour)
    ));
}

fn text_of(certificate: &X509Certificate<'_>) -> String {
    let mut lines = vec![format!("subject {}", certificate.subject())];
    for extension in certificate.extensions() {
        let critical = if extension.critical { " critical" } else { "" };
        let line = match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(basic) => {
                format!("basic ca={} path={:?}", basic.ca, basic.path_len_constraint)
            }
            ParsedExtension::KeyUsage(usage) => format!("usage {usage}"),
            ParsedExtension::ExtendedKeyUsage(usage) => {
                format!(
                    "extended server={} client={} any={}",
                    usage.server_auth, usage.client_auth, usage.any
                )
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                let name = |name: &GeneralName<'_>| match name {
                    GeneralName::DNSName(name) => (*name).to_owned(),
                    GeneralName::IPAddress(bytes) => format!("{bytes:?}"),
                    other => format!("{other:?}"),
                };
                format!(
                    "names {:?}",
                    names.general_names.iter().map(name).collect::<Vec<_>>()
                )
            }
            ParsedExtension::SubjectKeyIdentifier(_) => "subject key id".to_owned(),
            ParsedExtension::AuthorityKeyIdentifier(_) => "authority key id".to_owned(),
            other => format!("{other:?}"),
        };
        lines.push(format!("{line}{critical}"));
    }
    lines.sort();
    lines.join("\n")
}

#[test]
fn root_and_leaves_say_exactly_this() {
    let (authority, _) = authority();
    let signer = authority.root();
    let root = parse_x509_certificate(signer.certificate_der()).unwrap().1;
    let expect = "basic ca=true path=Some(0) critical\nsubject CN=Exeat test root\nsubject key id\n\
                  usage Key Cert Sign, CRL Sign critical";
    assert_eq!(text_of(&root), expect);
    for (name, subject, names) in [
        ("a.example", "CN=a.example", "[\"a.example\"]"),
        ("192.0.2.7", "CN=192.0.2.7", "[\"[192, 0, 2, 7]\"]"),
        (
            "[::1]",
            "CN=::1",
            "[\"[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]\"]",
        ),
    ] {
        let der = leaf(&authority, name);
        let certificate = parse_x509_certificate(&der).unwrap().1;
        let expect = format!(
            "authority key id\nbasic ca=false path=None critical\nextended server=true client=false any=false\n\
             names {names}\nsubject {subject}\nsubject key id\nusage Digital Signature critical"
        );
        assert_eq!(text_of(&certificate), expect);
        certificate
            .verify_signature(Some(root.public_key()))
            .unwrap();
        let validity = certificate.validity();
        let day = 24 * 3600;
        assert_eq!(validity.not_before.timestamp(), 1_790_000_000 - 3600);
        assert_eq!(validity.not_after.timestamp(), 1_790_000_000 + 30 * day);
    }
    let long = "a".repeat(63) + ".example";
    let der = leaf(&authority, &long);
    let certificate = parse_x509_certificate(&der).unwrap().1;
    assert_eq!(certificate.subject().to_string(), "");
    assert!(text_of(&certificate).contains(&format!("names [\"{long}\"] critical")));
    assert_ne!(
        certificate.serial,
        parse_x509_certificate(&leaf(&authority, &long))
            .unwrap()
            .1
            .serial
    );
}

#[test]
fn openssl_accepts_the_chain_under_its_strict_rules() {
    let (authority, _) = authority();
    let temporary = tempfile::tempdir().unwrap();
    let write = |name: &str, pem: String| {
        let path = temporary.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path
    };
    let root = write("root.pem", authority.root().certificate_pem());
    let other = write("other.pem", year_root().certificate_pem());
    let name = write(
        "name.pem",
        crate::bundle::pem(&leaf(&authority, "api.example.com")),
    );
    let address = write(
        "address.pem",
        crate::bundle::pem(&leaf(&authority, "192.0.2.7")),
    );
    let moment = (NOON.millis() / 1000).to_string();
    let verify = |root: &Path, extra: [&str; 2], leaf: &Path| {
        let mut command = Command::new("openssl");
        command.args([
            "verify",
            "-x509_strict",
            "-purpose",
            "sslserver",
            "-no-CApath",
            "-no-CAstore",
        ]);
        command
            .args(["-attime", &moment])
            .arg("-CAfile")
            .arg(root)
            .args(extra)
            .arg(leaf);
        command.output().unwrap().status.success()
    };
    assert!(verify(
        &root,
        ["-verify_hostname", "api.example.com"],
        &name
    ));
    assert!(!verify(&root, ["-verify_hostname", "example.com"], &name));
    assert!(verify(&root, ["-verify_ip", "192.0.2.7"], &address));
    assert!(!verify(
        &other,
        ["-verify_hostname", "api.example.com"],
        &name
    ));
}

#[derive(Debug)]
struct Fixed;

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix(NOON))
    }
}

fn client(
    authority: &Authority,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut config =
        ClientConfig::builder_with_details(Arc::new(default_provider()), Arc::new(Fixed))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(store(authority))
            .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// Moves bytes between the two ends until neither has more to say.
fn shake(
    client: &Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    name: &str,
) -> Option<HandshakeKind> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = Connection::from(ClientConnection::new(Arc::clone(client), name).unwrap());
    let mut server = Connection::from(ServerConnection::new(server).unwrap());
    while client.wants_write() || server.wants_write() {
        relay(&mut client, &mut server);
        relay(&mut server, &mut client);
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    assert_eq!(client.alpn_protocol(), Some(b"h2".as_slice()));
    client.handshake_kind()
}

fn relay(from: &mut Connection, to: &mut Connection) {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    let mut wire = wire.as_slice();
    while !wire.is_empty() {
        to.read_tls(&mut wire).unwrap();
        to.process_new_packets().unwrap();
    }
}

#[test]
fn handshakes_work_in_both_versions_and_resume_even_after_the_leaf_was_made_anew() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (authority, clock) = authority();
        let client = client(&authority, &[version]);
        for text in ["a.example", "192.0.2.7", "[2001:db8::7]"] {
            let config = authority.server_config(&host(text)).unwrap();
            let name = text.trim_matches(['[', ']']);
            assert_ne!(
                shake(&client, config, name),
                Some(HandshakeKind::Resumed),
                "{text}"
            );
        }
        clock.advance(29 * DAY + Duration::from_secs(1));
        let config = authority.server_config(&host("a.example")).unwrap();
        assert_eq!(
            shake(&client, config, "a.example"),
            Some(HandshakeKind::Resumed)
        );
    }
}

#[test]
fn a_leaf_is_kept_until_a_day_before_its_end_and_never_outlives_the_root() {
    let (authority, clock) = authority();
    let config = || authority.server_config(&host("a.example"));
    let first = config().unwrap();
    clock.advance(29 * DAY - Duration::from_secs(1));
    assert!(Arc::ptr_eq(&first, &config().unwrap()));
    clock.advance(Duration::from_secs(1));
    let second = config().unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    clock.advance(335 * DAY);
    let third = config().unwrap();
    let der = leaf(&authority, "a.example");
    let end = parse_x509_certificate(&der)
        .unwrap()
        .1
        .validity()
        .not_after
        .timestamp();
    assert_eq!(
        end,
        i64::try_from(authority.root().not_after().millis() / 1000).unwrap()
    );
    clock.advance(DAY - Duration::from_secs(1));
    assert!(Arc::ptr_eq(&third, &config().unwrap()));
    clock.advance(Duration::from_secs(1));
    assert!(matches!(config(), Err(Error::RootExpired { .. })));
}

#[test]
fn the_cache_never_holds_more_than_its_bound_and_keeps_what_is_used() {
    let config = Arc::new(template().unwrap());
    let leaf = || Leaf {
        config: Arc::clone(&config),
        renew: NOON.after(DAY),
    };
    let number = |n: u32| Host::Ip(IpAddr::from(n.to_be_bytes()));
    let mut cache = Cache::new(Arc::new(year_root()), 8);
    cache.keep(host("used.example"), leaf());
    for n in 0..1000 {
        cache.keep(number(n), leaf());
        assert!(
            cache.find(&host("used.example"), NOON).is_some(),
            "after {n}"
        );
        assert!(cache.young.len() + cache.old.len() <= 8);
    }
    assert!(cache.find(&number(999), NOON).is_some());
    assert!(cache.find(&number(0), NOON).is_none());
    assert!(cache.find(&number(999), NOON.after(DAY)).is_none());
}

#[test]
fn an_authority_serves_many_threads_at_once() {
    let (authority, _) = authority();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let authority = &authority;
            scope.spawn(move || {
                for n in 0..50 {
                    let name = format!("host-{}.example", (n + thread) % 25);
                    authority.server_config(&host(&name)).unwrap();
                }
            });
        }
    });
    assert_eq!(authority.lock().young.len(), 25);
}

#[test]
fn another_root_signs_from_the_moment_it_is_there() {
    let (authority, _clock) = authority();
    let before = authority.server_config(&host("a.example")).unwrap();
    let same = authority.server_config(&host("a.example")).unwrap();
    assert!(Arc::ptr_eq(&before, &same));
    let old = authority.root();
    authority.replace_root(Arc::new(year_root()));
    assert_ne!(authority.root().fingerprint(), old.fingerprint());
    let after = authority.server_config(&host("a.example")).unwrap();
    assert!(!Arc::ptr_eq(&before, &after), "a leaf outlived its root");
    assert!(check(&authority, "a.example", "a.example", NOON));
}
