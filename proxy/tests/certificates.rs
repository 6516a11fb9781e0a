//! Who is asking, by client certificate, on listeners that speak TLS themselves.
#![cfg(test)]

mod support;

use std::{net::SocketAddr, sync::Arc};

use exeat_proxy::Mode;
use exeat_types::Host;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    server::WebPkiClientVerifier,
};
use support::{
    API, Rig, agent,
    raw::{read_answer, read_head},
    tokens::{Terms, bearer, connect, found},
    until,
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A root for client certificates, and what a listener that asks for them needs.
struct Clients {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl Clients {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            root,
        }
    }

    /// TLS for a listener named `gate.test`; a certificate is welcome but not required.
    fn listener(&self, rig: &Rig) -> Arc<ServerConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let leaf = rig
            .authority
            .server_config(&Host::parse("gate.test").unwrap())
            .unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
            .with_cert_resolver(Arc::clone(&leaf.cert_resolver));
        Arc::new(config)
    }

    /// TLS to the listener, as a client whose certificate has this common name.
    async fn come(&self, rig: &Rig, door: SocketAddr, name: Option<&str>) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(rig.client.root.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match name {
            None => config.with_no_client_auth(),
            Some(name) => {
                let key = KeyPair::generate().unwrap();
                let mut params = CertificateParams::default();
                params.distinguished_name.push(DnType::CommonName, name);
                let leaf = params.signed_by(&key, &self.issuer).unwrap().der().clone();
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                config.with_client_auth_cert(vec![leaf], key).unwrap()
            }
        };
        let tcp = TcpStream::connect(door).await.unwrap();
        let gate = ServerName::try_from("gate.test").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(gate, tcp)
            .await
            .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_names_its_agent() {
    let rig = Rig::start().await;
    let clients = Clients::new();
    let open = rig
        .open(Mode::Explicit, None, Some(clients.listener(&rig)))
        .await;
    let tester = rig
        .open(Mode::Explicit, Some("tester"), Some(clients.listener(&rig)))
        .await;
    let (token, _) = found(&rig, Terms::of("other")).await;
    let (token, none) = (bearer(&token), String::new());
    for (door, name, authorization, expect) in [
        (open, Some("other"), &none, 200),
        (open, Some("other"), &token, 200),
        (open, None, &token, 200),
        (open, None, &none, 407),
        (open, Some("tester"), &token, 403),
        (open, Some("Not A Name"), &none, 407),
        (tester, Some("tester"), &none, 200),
        (tester, Some("other"), &none, 403),
        (tester, None, &none, 200),
    ] {
        let mut stream = clients.come(&rig, door, name).await;
        stream
            .write_all(connect(authorization).as_bytes())
            .await
            .unwrap();
        let answer = read_head(&mut stream).await.unwrap();
        assert_eq!(
            answer.status, expect,
            "{name:?} {authorization}: {}",
            answer.head
        );
    }
    // The whole road, TLS inside TLS.
    let mut stream = clients.come(&rig, open, Some("other")).await;
    stream.write_all(connect("").as_bytes()).await.unwrap();
    assert_eq!(read_head(&mut stream).await.unwrap().status, 200);
    let mut inside = rig
        .client
        .handshake(stream, API, b"http/1.1")
        .await
        .unwrap();
    inside
        .write_all(b"GET /echo HTTP/1.1\r\nHost: api.test\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(read_answer(&mut inside).await.unwrap().status, 200);
    assert_eq!(rig.receipts(1).await[0].agent(), Some(&agent("other")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_somebody_elses_root_is_no_certificate() {
    let rig = Rig::start().await;
    let (clients, strangers) = (Clients::new(), Clients::new());
    let door = rig
        .open(Mode::Explicit, None, Some(clients.listener(&rig)))
        .await;
    let mut stream = strangers.come(&rig, door, Some("tester")).await;
    // In TLS 1.3 the client learns of it only when it reads.
    drop(stream.write_all(connect("").as_bytes()).await);
    assert!(read_head(&mut stream).await.is_none());
    until("it is in the ledger", || {
        rig.turned_away() == ["malformed-request"]
    })
    .await;
}
