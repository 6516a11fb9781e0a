//! A client that goes through the proxy: CONNECT, then TLS that trusts only the gate's root, then hyper.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::raw::{RawAnswer, read_answer, read_head};

/// A request body.
pub(crate) type Outbound = BoxBody<Bytes, std::io::Error>;

/// A request body that is known from the start.
pub(crate) fn whole(body: impl Into<Bytes>) -> Outbound {
    Full::new(body.into())
        .map_err(|never| match never {})
        .boxed()
}

/// How a client reaches a target.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) proxy: SocketAddr,
    pub(crate) root: rustls::pki_types::CertificateDer<'static>,
    pub(crate) proxy_authorization: Option<String>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The reason code of a problem document.
    pub(crate) fn reason(&self) -> String {
        let document: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let urn = document["type"].as_str().unwrap_or_default().to_owned();
        urn.strip_prefix("urn:exeat:reason:")
            .unwrap_or("none")
            .to_owned()
    }

    pub(crate) async fn read(response: Response<Incoming>) -> Result<Self, hyper::Error> {
        let (parts, body) = response.into_parts();
        let collected = body.collect().await?;
        let trailers = collected.trailers().cloned();
        Ok(Self {
            status: parts.status,
            headers: parts.headers,
            trailers,
            body: collected.to_bytes(),
        })
    }
}

impl Client {
    /// Sends CONNECT and returns the answer's head and the stream behind it.
    pub(crate) async fn connect(&self, authority: &str) -> (String, TcpStream) {
        let mut tcp = TcpStream::connect(self.proxy).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let token = self
            .proxy_authorization
            .as_ref()
            .map(|value| format!("Proxy-Authorization: {value}\r\n"))
            .unwrap_or_default();
        let head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{token}\r\n");
        tcp.write_all(head.as_bytes()).await.unwrap();
        let head = read_head(&mut tcp)
            .await
            .map(|answer| answer.head)
            .unwrap_or_default();
        (head, tcp)
    }

    /// A TLS stream to the target through the proxy, with this ALPN.
    pub(crate) async fn tls(
        &self,
        host: &str,
        port: u16,
        alpn: &[u8],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let (head, tcp) = self.connect(&format!("{host}:{port}")).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        self.handshake(tcp, host, alpn).await
    }

    /// Intercepted TLS over a stream that leads to the target.
    pub(crate) async fn handshake<S>(
        &self,
        stream: S,
        name: &str,
        alpn: &[u8],
    ) -> std::io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }

    /// One HTTP/1.1 request on a connection of its own.
    pub(crate) async fn get(&self, host: &str, target: &str) -> Answer {
        self.send(host, Request::get(target)).await
    }

    /// One HTTP/1.1 request without a body.
    pub(crate) async fn send(&self, host: &str, request: http::request::Builder) -> Answer {
        self.send_body(host, request, Bytes::new()).await
    }

    /// One HTTP/1.1 request with a body, `content-length` framed when it is not empty.
    pub(crate) async fn send_body(
        &self,
        host: &str,
        request: http::request::Builder,
        body: Bytes,
    ) -> Answer {
        let request = request.header("host", host).body(whole(body)).unwrap();
        Answer::read(self.h1(host).await.send_request(request).await.unwrap())
            .await
            .unwrap()
    }

    /// One HTTP/2 request on a connection of its own.
    pub(crate) async fn send_h2(
        &self,
        host: &str,
        request: http::request::Builder,
        body: Bytes,
    ) -> Answer {
        let request = request.body(whole(body)).unwrap();
        Answer::read(self.h2(host).await.send_request(request).await.unwrap())
            .await
            .unwrap()
    }

    /// A HTTP/2 connection to a target, to send many requests on.
    pub(crate) async fn h2(&self, host: &str) -> http2::SendRequest<Outbound> {
        let stream = self.tls(host, 443, b"h2").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        super::spawn(connection);
        sender
    }

    /// A HTTP/1.1 connection to a target, to send one request after another on.
    pub(crate) async fn h1(&self, host: &str) -> http1::SendRequest<Outbound> {
        let stream = self.tls(host, 443, b"http/1.1").await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        super::spawn(connection.with_upgrades());
        sender
    }

    /// Sends raw bytes inside the intercepted TLS and reads one answer.
    pub(crate) async fn raw(&self, host: &str, bytes: &[u8]) -> Option<RawAnswer> {
        let mut stream = self.tls(host, 443, b"http/1.1").await.unwrap();
        stream.write_all(bytes).await.unwrap();
        read_answer(&mut stream).await
    }
}
