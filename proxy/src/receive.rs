//! From Pingora's session to the pipeline: a request head and the facts of its connection become an [`Inbound`], and its
//! body a source that the pipeline reads where it must. It decides nothing.

use std::sync::Arc;

use bytes::Bytes;
use exeat_pipeline::{
    Admitted, Agent, BodyKind, BodySource, Gate, Inbound, Refusal, admit, is_home,
};
use exeat_types::{Reason, Scheme, limits};
use http::{Version, header};
use pingora::proxy::Session;

use crate::{
    identify, requests,
    target::{self, Connection, Named},
};

/// Takes a request down the road. A refusal without a receipt is counted here.
pub(crate) async fn receive(gate: &Arc<Gate>, session: &mut Session) -> Result<Admitted, Refusal> {
    let internal = || Refusal::bare(Reason::Internal, "the connection has no terms");
    let connection = connection(session).ok_or_else(internal)?;
    let admitted = match inbound(gate, session, &connection) {
        Ok(inbound) => admit(gate, inbound, &mut FromClient(session)).await,
        Err(refusal) => Err(refusal),
    };
    admitted.inspect_err(|refusal| {
        if refusal.receipt().is_none() {
            let agent = connection.agent.as_ref().map(|agent| &agent.id);
            identify::record(gate, &connection.door, agent, refusal.reason());
        }
    })
}

/// Who asks what, if it is asked of the gate itself. Whoever may not ask anything is refused like everywhere else.
pub(crate) fn for_the_gate(
    gate: &Gate,
    session: &Session,
) -> Option<(Arc<Connection>, Agent, String)> {
    let target = session.req_header().uri.path();
    if !requests::is_ours(target) {
        return None;
    }
    let path = target.to_owned();
    let connection = connection(session)?;
    let inbound = inbound(gate, session, &connection).ok()?;
    is_home(&inbound.origin.host).then_some((connection, inbound.agent, path))
}

fn inbound(gate: &Gate, session: &Session, connection: &Connection) -> Result<Inbound, Refusal> {
    let head = session.req_header();
    if head.version == Version::HTTP_10 {
        // Answers of unknown length go out in chunks, which HTTP/1.0 does not know.
        let detail = "HTTP/1.0 is not accepted here; HTTP/1.1 is";
        return Err(Refusal::bare(Reason::MalformedRequest, detail));
    }
    let http2 = session.is_http2();
    let named = Named {
        scheme: if http2 {
            head.uri.scheme_str().and_then(named_scheme)
        } else {
            absolute(head.raw_path())
        },
        authority: head
            .uri
            .authority()
            .map(http::uri::Authority::as_str)
            .filter(|_| http2),
        headers: &head.headers,
    };
    let origin = target::origin(connection, &named)?;
    let tokens: Vec<&[u8]> = head
        .headers
        .get_all(header::PROXY_AUTHORIZATION)
        .iter()
        .map(http::HeaderValue::as_bytes)
        .collect();
    let agent = identify::with_token(gate, &connection.door, connection.agent.clone(), &tokens)?;
    let agent = agent.ok_or_else(identify::unknown)?;
    let target = head
        .uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str)
        .to_owned();
    Ok(Inbound {
        agent,
        origin,
        method: head.method.clone(),
        target,
        headers: head.headers.clone(),
        body: body_kind(session),
        upgrade: session.is_upgrade_req(),
    })
}

/// What the front said of this connection.
fn connection(session: &Session) -> Option<Arc<Connection>> {
    let digest = session.digest()?.proxy_digest.as_ref()?;
    digest
        .user_data
        .as_ref()?
        .downcast_ref::<Arc<Connection>>()
        .cloned()
}

fn named_scheme(name: &str) -> Option<Scheme> {
    [Scheme::Http, Scheme::Https]
        .into_iter()
        .find(|scheme| scheme.name() == name)
}

/// The scheme of a request target in absolute form.
fn absolute(raw_target: &[u8]) -> Option<Scheme> {
    let (name, _) = std::str::from_utf8(raw_target).ok()?.split_once("://")?;
    named_scheme(name)
}

fn body_kind(session: &Session) -> BodyKind {
    let headers = &session.req_header().headers;
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    match length {
        Some(0) => BodyKind::Absent,
        Some(length) => BodyKind::Length(length),
        None if headers.contains_key(header::TRANSFER_ENCODING) => BodyKind::Unknown,
        None if session.is_http2() && !session.as_http2().is_some_and(|h2| h2.is_body_empty()) => {
            BodyKind::Unknown
        }
        None => BodyKind::Absent,
    }
}

/// RFC 9110 section 10.1.1: a client that expects `100 Continue` sends no body before it. The gate says so itself, once
/// the body is wanted, as not every version of HTTP upstream would.
pub(crate) async fn tell_to_go_on(session: &mut Session) -> pingora::Result<()> {
    if session
        .req_header_mut()
        .remove_header(&header::EXPECT)
        .is_some()
    {
        session.as_mut().write_continue_response().await?;
    }
    Ok(())
}

/// The body as the client sends it.
struct FromClient<'a>(&'a mut Session);

impl BodySource for FromClient<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, Reason> {
        self.0.as_mut().enable_retry_buffering();
        let told = tell_to_go_on(self.0).await;
        told.map_err(|_cause| Reason::MalformedRequest)?;
        let read = tokio::time::timeout(limits::BODY_TIMEOUT, self.0.as_mut().read_request_body());
        read.await
            .map_err(|_cause| Reason::MalformedRequest)?
            .map_err(|_cause| Reason::MalformedRequest)
    }

    async fn gone(&mut self) {
        let session = self.0.as_mut();
        if session.read_body_or_idle(true).await.is_ok() {
            return std::future::pending().await;
        }
        // Whatever came instead was read in part.
        session.set_keepalive(None);
    }
}
