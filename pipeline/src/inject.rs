//! Stage 11: the credential goes in. [`Admitted`] is the only request that may leave, and it is made only here.

use std::sync::Arc;

use bytes::Bytes;
use exeat_custody::Finish;
use exeat_policy::ResponseRules;
use exeat_types::{Reason, limits};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::{
    Exchange, Upstream,
    call::Whose,
    check::{CheckedBody, Share},
    exchange::Start,
    obtain::Equipped,
    record::Refused,
    settle::Renewal,
    standing::Ground,
};

/// A request that may leave, and the exchange that follows it to its end.
pub struct Admitted {
    /// What is written to the wire.
    pub outgoing: Outgoing,
    /// What accompanies it.
    pub exchange: Exchange,
}

/// The exact request for upstream. Holds secrets in header values that are marked sensitive.
pub struct Outgoing {
    /// Where it goes.
    pub upstream: Upstream,
    /// The method.
    pub method: Method,
    /// Canonical path and query.
    pub target: String,
    /// Every header field but those of framing and connection.
    pub headers: HeaderMap,
    /// The body.
    pub body: OutgoingBody,
    /// Whether it asks to become a WebSocket.
    pub upgrade: bool,
    /// What signs each attempt.
    pub(crate) finish: Option<Arc<dyn Finish>>,
    /// How its token is replaced.
    pub(crate) renewal: Option<Box<Renewal>>,
    /// Whether it is sent for the second time.
    pub(crate) again: bool,
    pub(crate) whose: Whose,
    _share: Share,
}

/// The body of an admitted request.
#[derive(Debug, Clone)]
pub enum OutgoingBody {
    /// None.
    Absent,
    /// These bytes.
    Whole(Bytes),
    /// The bytes that the client sends, as they come.
    Streamed,
}

const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Applies what custody prepared.
pub(crate) fn inject(equipped: Equipped) -> Result<Admitted, Box<Refused>> {
    let Equipped {
        checked,
        mut open,
        upstream,
        prepared,
        renewal,
    } = equipped;
    let call = checked.call;
    let mut headers = call.headers;
    let credentialed = prepared.used.is_some() || prepared.minted > 0;
    replace(&mut headers, prepared.headers);
    let cleaned = credentialed || checked.tool.response != ResponseRules::default();
    if cleaned && !checked.tool.ranges {
        // SECURITY: a secret fetched byte by byte would pass any redactor, and so would what the tool's rules take out.
        headers.remove(header::RANGE);
        headers.remove(header::IF_RANGE);
    }
    ask_for_plain(&mut headers);
    let query = prepared.query.unwrap_or(call.query);
    let path = call.path;
    let sent = prepared.path.as_ref().unwrap_or(&path);
    let target = match query {
        Some(query) => format!("{sent}?{query}"),
        None => sent.clone(),
    };
    let (body, share) = outgoing_body(checked.body, prepared.body);
    if target.len() > limits::TARGET_BYTES_MAX.saturating_mul(2) {
        let detail = "the target is too long with its credential";
        return Err(Refused::late(open, Reason::MalformedRequest, detail));
    }
    open.leaves();
    let seen = Arc::clone(open.meter().seen());
    let exchange = Exchange::new(Start {
        open,
        offered: offered(&headers),
        ground: Ground {
            call: call.id,
            rules: call.rules,
            agent: call.agent,
            run: call.run,
            origin: call.origin,
            method: call.method.clone(),
            path,
            tool: checked.tool,
            arguments: checked.arguments,
            basis: checked.basis,
            watched: call.watched,
            approved: call.approved,
            credential: prepared.used.map(|used| used.id),
            seen,
        },
    });
    let outgoing = Outgoing {
        upstream,
        method: call.method,
        target,
        headers,
        body,
        upgrade: call.upgrade,
        finish: prepared.finish,
        renewal,
        again: false,
        whose: call.whose,
        _share: share,
    };
    Ok(Admitted { outgoing, exchange })
}

/// What is sent, and the memory that it holds.
fn outgoing_body(checked: CheckedBody, prepared: Option<Bytes>) -> (OutgoingBody, Share) {
    match checked {
        CheckedBody::Absent => (OutgoingBody::Absent, Share::default()),
        CheckedBody::Streamed => (OutgoingBody::Streamed, Share::default()),
        CheckedBody::Whole(whole) => (
            OutgoingBody::Whole(prepared.unwrap_or(whole.bytes)),
            whole._share,
        ),
    }
}

/// The WebSocket extensions that upstream is offered.
fn offered(headers: &HeaderMap) -> Option<String> {
    let offered = headers.get(header::SEC_WEBSOCKET_EXTENSIONS)?;
    Some(offered.to_str().ok()?.to_owned())
}

/// Puts what custody says in the place of what was there.
fn replace(headers: &mut HeaderMap, changes: Vec<(HeaderName, Option<HeaderValue>)>) {
    for (name, value) in changes {
        headers.remove(&name);
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
}

/// Asks for an answer that can be read.
fn ask_for_plain(headers: &mut HeaderMap) {
    let identity = HeaderValue::from_static("identity");
    // Messages of gRPC are compressed one by one, by what this says.
    if headers.contains_key(GRPC_ACCEPT_ENCODING) {
        headers.insert(GRPC_ACCEPT_ENCODING, identity.clone());
    }
    headers.insert(header::ACCEPT_ENCODING, identity);
}

impl Outgoing {
    /// The field names that a front door manages itself: framing and the connection.
    pub const MANAGED: [HeaderName; 6] = [
        header::HOST,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::UPGRADE,
        header::TE,
    ];
}
