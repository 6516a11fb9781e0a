//! Ways out through the gate for one that knows what is allowed: the doctor's own gate declares these hosts.
//!
//! A call as declared has to pass, or no refusal here would mean anything.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _},
    path::Path,
    sync::Arc,
};

use anyhow::Context as _;
use exeat_sandbox::{FILES, doctor::Check};
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::ask::{PROXY, Verdict, WAIT, ask, failed, get, is_whole, judge, request};

/// The hosts that the doctor's gate knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// One that answers, over TLS.
    pub(super) host: String,
    /// Another one, over TLS.
    pub(super) other: String,
    /// A third one, without TLS.
    pub(super) plain: String,
    /// Hosts and ports, without TLS, that are declared and turn out to be this machine.
    pub(super) rebound: Vec<String>,
}

const PATH: &str = "/ok";

/// Tries all of them.
pub(super) fn probe(known: &Known) -> Vec<Check> {
    let ids = ["declared-call", "nested-connect", "host-mismatch"];
    let tried = Client::new().and_then(|client| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(runtime.block_on(async {
            let ids = [
                client.declared(known).await,
                client.nested(known).await,
                client.mismatch(known).await,
            ];
            ids.to_vec()
        }))
    });
    let mut checks = tried.unwrap_or_else(|error| {
        ids.map(|id| Check::open(id, format!("could not be tried: {error:#}")))
            .into()
    });
    checks.push(rebinding(known));
    checks
}

/// Names that a tool declares and that resolve to this machine: asked through the proxy, and through the address that our
/// own resolver gives.
fn rebinding(known: &Known) -> Check {
    let mut found = Vec::new();
    for authority in &known.rebound {
        let url = format!("http://{authority}{PATH}");
        let proxied = get(&url, authority);
        let direct = redirected(authority).map_or_else(
            |error| Err(format!("no address inside: {error}")),
            |address| ask(address, &request(PATH, authority)),
        );
        for (how, verdict) in [("proxied", proxied), ("redirected", direct)] {
            match verdict {
                Ok(reason) if reason == "target-forbidden" => {}
                Ok(other) | Err(other) => found.push(format!("{url}, {how}: {other}")),
            }
        }
    }
    let count = known.rebound.len();
    let closed =
        format!("{count} names that are this machine, declared and all the same forbidden");
    Check::of("dns-rebinding", &found, closed)
}

/// Where a name leads inside; what is not asked by name is asked at an address of nobody.
fn redirected(authority: &str) -> io::Result<SocketAddr> {
    let (host, _port) = authority.rsplit_once(':').unwrap_or((authority, ""));
    if !host.ends_with(".test") {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 80));
    }
    let mut addresses = (host, 80).to_socket_addrs()?;
    addresses
        .next()
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// A TLS client that trusts what programs inside trust.
struct Client {
    http1: TlsConnector,
    http2: TlsConnector,
}

impl Client {
    fn new() -> anyhow::Result<Self> {
        let path = Path::new(FILES).join("root.pem");
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&path).context("reading the root")? {
            roots.add(certificate.context("reading the root")?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let speaking = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            TlsConnector::from(Arc::new(config))
        };
        Ok(Self {
            http1: speaking(b"http/1.1"),
            http2: speaking(b"h2"),
        })
    }

    /// What is declared passes.
    async fn declared(&self, known: &Known) -> Check {
        let id = "declared-call";
        let asked = request(PATH, &known.host);
        match self.in_tunnel(&known.host, &known.host, &asked).await {
            Err(passed) if passed == "answered with 200" => {
                Check::closed(id, "a call that is declared and allowed passes")
            }
            Ok(other) | Err(other) => Check::open(
                id,
                format!("a call that should pass did not, so refusals prove nothing: {other}"),
            ),
        }
    }

    /// A tunnel in a tunnel.
    async fn nested(&self, known: &Known) -> Check {
        let inner = ["192.0.2.1:22", "localhost:22", known.other.as_str()];
        let mut tried = Vec::new();
        for authority in inner {
            let nested = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
            let bare = in_bare_tunnel(&known.host, nested.as_bytes()).await;
            let tls = self.in_tunnel(&known.host, &known.host, &nested).await;
            tried.push((format!("CONNECT {authority} in a tunnel"), bare));
            tried.push((format!("CONNECT {authority} in TLS"), tls));
        }
        tally("nested-connect", tried)
    }

    /// One host for the tunnel, another for TLS or for the request.
    async fn mismatch(&self, known: &Known) -> Check {
        let (host, other, plain) = (&known.host, &known.other, &known.plain);
        let for_other = request(PATH, other);
        let tried = vec![
            (
                "another server name than the tunnel's".to_owned(),
                self.in_tunnel(host, other, &for_other).await,
            ),
            (
                "another Host than the server name".to_owned(),
                self.in_tunnel(host, host, &for_other).await,
            ),
            (
                "another :authority than the server name".to_owned(),
                self.in_http2(host, other).await,
            ),
            (
                "another Host than the server name, redirected".to_owned(),
                self.redirected(host, &for_other).await,
            ),
            (
                "another Host than the URL".to_owned(),
                get(&format!("http://{plain}{PATH}"), other),
            ),
            (
                "two Hosts".to_owned(),
                get(
                    &format!("http://{plain}{PATH}"),
                    &format!("{plain}\r\nHost: {other}"),
                ),
            ),
            (
                "HTTP in the tunnel for TLS".to_owned(),
                in_bare_tunnel(host, request(PATH, host).as_bytes()).await,
            ),
        ];
        tally("host-mismatch", tried)
    }

    /// A request over TLS in a tunnel.
    async fn in_tunnel(&self, host: &str, server_name: &str, request: &str) -> Verdict {
        let stream = match tunnel(host).await {
            Ok(stream) => stream,
            Err(verdict) => return verdict,
        };
        match secured(&self.http1, stream, server_name).await {
            Ok(stream) => converse(stream, request.as_bytes()).await,
            Err(verdict) => verdict,
        }
    }

    /// A request over TLS to an address of nobody, as a program would that knows no proxy.
    async fn redirected(&self, server_name: &str, request: &str) -> Verdict {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 443);
        let stream = match TcpStream::connect(address).await {
            Ok(stream) => stream,
            Err(error) => return failed(&error),
        };
        match secured(&self.http1, stream, server_name).await {
            Ok(stream) => converse(stream, request.as_bytes()).await,
            Err(verdict) => verdict,
        }
    }

    /// A request over HTTP/2 whose authority is not the server name.
    async fn in_http2(&self, host: &str, authority: &str) -> Verdict {
        let stream = match tunnel(host).await {
            Ok(stream) => stream,
            Err(verdict) => return verdict,
        };
        let stream = match secured(&self.http2, stream, host).await {
            Ok(stream) => TokioIo::new(stream),
            Err(verdict) => return verdict,
        };
        let asked = async {
            let shake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
            let (mut sender, connection) = shake.await?;
            let request = Request::get(format!("https://{authority}{PATH}"))
                .body(Empty::<bytes::Bytes>::new())?;
            let answer = async {
                let response = sender.send_request(request).await?;
                let status = response.status().as_u16();
                let body = response.into_body().collect().await?.to_bytes();
                let text = String::from_utf8_lossy(&body);
                anyhow::Ok(format!("HTTP/2 {status} \r\n\r\n{text}"))
            };
            tokio::select! {
                answer = answer => answer,
                ended = connection => {
                    ended?;
                    Ok(String::new())
                }
            }
        };
        match timeout(WAIT, asked).await {
            Ok(Ok(answer)) => judge(answer.as_bytes()),
            Ok(Err(_broken_off)) => Ok("connection closed".to_owned()),
            Err(_elapsed) => Err("no answer".to_owned()),
        }
    }
}

fn tally(id: &str, tried: Vec<(String, Verdict)>) -> Check {
    let count = tried.len();
    let found: Vec<String> = tried
        .into_iter()
        .filter_map(|(what, verdict)| Some(format!("{what}: {}", verdict.err()?)))
        .collect();
    Check::of(id, &found, format!("{count} tried, all refused"))
}

/// A tunnel through the explicit proxy, or what came of asking for it.
async fn tunnel(host: &str) -> Result<TcpStream, Verdict> {
    let head = format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n");
    let asked = async {
        let mut stream = TcpStream::connect(PROXY).await?;
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await?);
        }
        io::Result::Ok((stream, answer))
    };
    match timeout(WAIT, asked).await {
        Ok(Ok((stream, answer))) if answer.starts_with(b"HTTP/1.1 200 ") => Ok(stream),
        Ok(Ok((_, answer))) => Err(judge(&answer)),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_elapsed) => Err(Err("no answer".to_owned())),
    }
}

/// TLS over a stream; a handshake that the other side ends is a refusal.
async fn secured(
    connector: &TlsConnector,
    stream: TcpStream,
    server_name: &str,
) -> Result<TlsStream<TcpStream>, Verdict> {
    let name = ServerName::try_from(server_name.to_owned())
        .map_err(|error| Err(format!("could not be tried: {error}")))?;
    match timeout(WAIT, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(_refused)) => Err(Ok("no handshake".to_owned())),
        Err(_elapsed) => Err(Err("no answer".to_owned())),
    }
}

async fn in_bare_tunnel(host: &str, request: &[u8]) -> Verdict {
    match tunnel(host).await {
        Ok(stream) => converse(stream, request).await,
        Err(verdict) => verdict,
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &[u8]) -> Verdict {
    let asked = async {
        stream.write_all(request).await?;
        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        while !is_whole(&answer) {
            match stream.read(&mut chunk).await {
                Ok(0) => break,
                Ok(length) => answer.extend_from_slice(chunk.get(..length).unwrap_or_default()),
                Err(_) if !answer.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        io::Result::Ok(answer)
    };
    match timeout(WAIT, asked).await {
        Ok(Ok(answer)) => judge(&answer),
        Ok(Err(error)) => failed(&error),
        Err(_elapsed) => Err("no answer".to_owned()),
    }
}
