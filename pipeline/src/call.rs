//! Stage 4: head and connection facts become one canonical `Call`. What is built here is what policy sees, what the
//! receipt states and what is written to the wire.

use std::{sync::Arc, time::Duration};

use exeat_custody::redact::Deflate;
use exeat_ledger::Means;
use exeat_types::{AccountId, AgentId, CallId, Malformed, Origin, Reason, Regime, Seal, limits};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::{
    Gate, Refusal, Rules, Run, Tally,
    approval::{self, Said},
    path,
};

/// Who is asking, as the front door established it.
#[derive(Debug, Clone)]
pub struct Agent {
    /// The account the agent belongs to.
    pub account: AccountId,
    /// The agent.
    pub id: AgentId,
    /// How well it is cut off from other ways out.
    pub seal: Seal,
    /// How it is held.
    pub regime: Regime,
    /// Where what it asks for is counted, if somebody wants to know.
    pub tally: Option<Arc<Tally>>,
}

/// Whether a body follows the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// No body.
    Absent,
    /// A body of this many bytes.
    Length(u64),
    /// A body whose length shows only at its end.
    Unknown,
}

/// A request as a front door hands it over. The origin is proven: CONNECT authority, SNI and Host agreed.
#[derive(Debug)]
pub struct Inbound {
    /// The agent.
    pub agent: Agent,
    /// Where the request is meant to go.
    pub origin: Origin,
    /// The method.
    pub method: Method,
    /// Path and query as received.
    pub target: String,
    /// The header fields as received.
    pub headers: HeaderMap,
    /// Whether a body follows.
    pub body: BodyKind,
    /// Whether the request asks to become a WebSocket.
    pub upgrade: bool,
}

/// A canonical request that has an id and will end in exactly one receipt. Built only in this file.
#[derive(Debug)]
pub struct Call {
    pub(crate) id: CallId,
    pub(crate) started: Duration,
    pub(crate) rules: Arc<Rules>,
    pub(crate) agent: Agent,
    pub(crate) run: Arc<Run>,
    pub(crate) watched: Watched,
    pub(crate) origin: Origin,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: BodyKind,
    pub(crate) upgrade: bool,
    /// What it says of approvals.
    pub(crate) said: Said,
    pub(crate) whose: Whose,
    /// How a human approved it.
    pub(crate) approved: Option<Means>,
}

/// Whose bytes a call sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Those of the client that waits for the answer.
    Client,
    /// Those of a request that was kept for a human.
    Kept,
}

/// Whether the agent of a call was observed when the call was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    No,
    /// What needs no credential passes unless it is forbidden, and the receipt says that the agent was observed.
    Observed,
}

/// Fields that name another method or target than the request line does.
const OVERRIDES: [&str; 6] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-method",
    "x-original-url",
    "x-rewrite-url",
];

/// Fields that end at this gate: they speak of this hop, or of framing that is written anew.
const HOP_FIELDS: [HeaderName; 9] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
    header::TRANSFER_ENCODING,
    header::TRAILER,
    header::HOST,
    header::CONTENT_LENGTH,
];

/// Makes the canonical call.
///
/// # Errors
/// When the request could be read in more than one way. Such a request is not a call; the door counts it in a
/// connection record.
pub(crate) fn accept(gate: &Gate, inbound: Inbound) -> Result<Call, Refusal> {
    canonical(gate, inbound)
        .map_err(|problem| Refusal::bare(Reason::MalformedRequest, problem.to_string()))
}

fn canonical(gate: &Gate, inbound: Inbound) -> Result<Call, Malformed> {
    let (raw_path, query) = match inbound.target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (inbound.target.as_str(), None),
    };
    let path = path::canonical_path(raw_path)?;
    if let Some(query) = &query {
        path::check_query(query)?;
    }
    if inbound.target.len() > limits::TARGET_BYTES_MAX {
        return Err(Malformed::new("target", "longer than the limit"));
    }
    let said = approval::said(&inbound.headers)?;
    let headers = canonical_headers(inbound.headers)?;
    let now = gate.clock.now();
    let watched = match inbound.agent.regime.observes(now) {
        true => Watched::Observed,
        false => Watched::No,
    };
    let id = CallId::new(now).map_err(|e| Malformed::new("receipt id", e.to_string()))?;
    Ok(Call {
        id,
        started: gate.clock.monotonic(),
        rules: gate.rules(),
        run: gate.run_of(&inbound.agent),
        agent: inbound.agent,
        watched,
        origin: inbound.origin,
        method: inbound.method,
        path,
        query,
        headers,
        body: inbound.body,
        upgrade: inbound.upgrade,
        said,
        whose: Whose::Client,
        approved: None,
    })
}

fn canonical_headers(mut headers: HeaderMap) -> Result<HeaderMap, Malformed> {
    if headers.len() > limits::HEADER_FIELDS_MAX {
        return Err(Malformed::new("header", "more fields than the limit"));
    }
    for name in OVERRIDES {
        // SECURITY: policy decided on the request line; upstream must not act on another one.
        if headers.contains_key(name) {
            return Err(Malformed::new(
                "header",
                format!("`{name}` is not accepted"),
            ));
        }
    }
    let types = headers.get_all(header::CONTENT_TYPE).iter().count();
    if types > 1 {
        return Err(Malformed::new(
            "header",
            "`content-type` stands more than once",
        ));
    }
    for field in HOP_FIELDS {
        headers.remove(field);
    }
    let ours: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("exeat-"))
        .cloned()
        .collect();
    for name in ours {
        headers.remove(name);
    }
    offer_extensions(&mut headers);
    Ok(headers)
}

/// An extension that nobody here can read would hide frames from the redactor; without the offer nobody agrees on it.
fn offer_extensions(headers: &mut HeaderMap) {
    let offers = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS);
    let readable = Deflate::offered(offers.iter().filter_map(|value| value.to_str().ok()));
    headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
    if let Some(value) = readable.and_then(|value| HeaderValue::from_str(&value).ok()) {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, value);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[track_caller]
    fn check(
        given: &[(&'static str, &'static str)],
        expect: Option<&[(&'static str, &'static str)]>,
    ) {
        assert_eq!(
            canonical_headers(fields(given)).ok(),
            expect.map(fields),
            "{given:?}"
        );
    }

    #[test]
    fn fields_of_this_hop_and_fields_that_are_ours_end_here() {
        let kept = [
            ("accept", "a"),
            ("accept", "b"),
            ("authorization", "x"),
            ("x-any", "y"),
            ("exeatly", "z"),
        ];
        check(&kept, Some(&kept));
        check(
            &[
                ("accept", "a"),
                ("proxy-authorization", "CANARY-token"),
                ("proxy-authenticate", "Basic"),
                ("transfer-encoding", "chunked"),
                ("trailer", "x"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "keep-alive"),
                ("host", "api.test"),
                ("content-length", "4"),
                ("expect", "100-continue"),
                ("exeat-receipt", "forged"),
                ("exeat-anything", "forged"),
                ("sec-websocket-extensions", "x-webkit-deflate-frame"),
            ],
            Some(&[("accept", "a")]),
        );
    }

    #[test]
    fn fields_that_would_be_read_in_two_ways_are_refused() {
        for name in OVERRIDES {
            check(&[(name, "DELETE")], None);
        }
        check(&[("content-type", "a/b"), ("content-type", "a/b")], None);
        check(&[("content-type", "a/b")], Some(&[("content-type", "a/b")]));
        let many = [("x-many", "y"); limits::HEADER_FIELDS_MAX + 1];
        check(&many, None);
        check(&many[1..], Some(&many[1..]));
    }
}
