//! Stage 3, first half: CONNECT. The authority is parsed once and becomes the only target of the connection.

use std::sync::Arc;

use exeat_pipeline::{Agent, Refusal};
use exeat_types::{Authority, Origin, Reason, Scheme};
use http::StatusCode;
use tokio::io::AsyncWriteExt as _;

use crate::{
    Door, Error, Proxy,
    framing::{self, Head, Limits, Target},
    identify,
    stream::Wire,
};

/// An accepted CONNECT.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) agent: Option<Agent>,
    authority: Authority,
    port: u16,
}

impl Tunnel {
    /// The target, once it is known what is spoken inside.
    pub(crate) fn target(&self, scheme: Scheme) -> Origin {
        Origin {
            scheme,
            host: self.authority.host.clone(),
            port: self.port,
        }
    }
}

/// Reads the head of a CONNECT request and decides whether there is anything behind it to talk about.
///
/// # Errors
/// A refusal: the head is malformed, the agent unknown, or no tool names the host.
///
/// # Spec
/// RFC 9110 section 9.3.6.
pub(crate) fn open(
    proxy: &Arc<Proxy>,
    door: &Door,
    agent: Option<Agent>,
    head: &[u8],
) -> Result<Tunnel, Refusal> {
    let malformed = |detail: String| Refusal::bare(Reason::MalformedRequest, detail);
    let parsed = framing::parse(head, &Limits::STANDARD)
        .map_err(|violation| malformed(violation.to_string()))?;
    let Some(Head {
        target: Target::Authority(authority),
        ..
    }) = &parsed
    else {
        return Err(malformed("expected a whole CONNECT request".to_owned()));
    };
    // HTTP/1.0 as well: so asks the `http.client` of Python before 3.12, and with it pip and requests.
    let Some(port) = authority.port else {
        return Err(malformed("CONNECT needs a port".to_owned()));
    };
    let authority = authority.clone();
    let token = parsed
        .as_ref()
        .and_then(|parsed| head.get(parsed.proxy_authorization.clone()?));
    let agent = identify::with_token(&proxy.gate, door, agent, token.as_slice())?;
    if agent.is_none() {
        return Err(identify::unknown());
    }
    // Policy before resolve: a host that no tool names is not worth a connection.
    if !proxy.gate.reaches(door.regime, &authority.host, port) {
        let detail = format!("no tool is declared for {}:{port}", authority.host);
        return Err(Refusal::bare(Reason::ToolUnknown, detail));
    }
    Ok(Tunnel {
        agent,
        authority,
        port,
    })
}

/// Tells the client that the tunnel stands.
pub(crate) async fn answer_established(wire: &mut Wire) -> Result<(), Error> {
    wire.write_all(b"HTTP/1.1 200 Connection Established\r\n\r\n")
        .await
        .map_err(Error::Client)?;
    wire.flush().await.map_err(Error::Client)
}

/// Answers with a problem document and closes. A refusal without a receipt is counted in a connection record.
pub(crate) async fn answer_refusal(
    proxy: &Arc<Proxy>,
    wire: &mut Wire,
    door: &Door,
    refusal: &Refusal,
) -> Result<(), Error> {
    if refusal.receipt().is_none() {
        identify::record(&proxy.gate, door, None, refusal.reason());
    }
    wire.write_all(&response(refusal))
        .await
        .map_err(Error::Client)?;
    wire.shutdown().await.map_err(Error::Client)
}

/// The refusal as the bytes of an HTTP/1.1 response that closes the connection.
pub(crate) fn response(refusal: &Refusal) -> Vec<u8> {
    let body = refusal.document();
    let phrase = StatusCode::from_u16(refusal.status())
        .ok()
        .and_then(|status| status.canonical_reason());
    let challenge = match refusal.reason() {
        Reason::AgentUnknown => "Proxy-Authenticate: Basic realm=\"exeat\"\r\n",
        _ => "",
    };
    let again = refusal
        .retry_after()
        .map(|seconds| format!("Retry-After: {seconds}\r\n"))
        .unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: application/problem+json; charset=utf-8\r\nContent-Length: {}\r\n{challenge}{again}Connection: close\r\n\r\n",
        refusal.status(),
        phrase.unwrap_or("Refused"),
        body.len(),
    );
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&body);
    bytes
}
