//! Agent tokens, and the requests that present them.

use std::{net::SocketAddr, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use exeat_custody::token::Minted;
use exeat_ledger::{Change, Record, TokenChange};
use exeat_types::{FamilyId, Timestamp};

use super::{Rig, agent, clock, raw::RawAnswer};

/// A token's terms.
pub(crate) struct Terms {
    pub(crate) agent: &'static str,
    pub(crate) listener: Option<SocketAddr>,
    pub(crate) expires: Timestamp,
}

impl Terms {
    pub(crate) fn of(agent: &'static str) -> Self {
        Self {
            agent,
            listener: None,
            expires: clock().now().after(Duration::from_secs(3600)),
        }
    }
}

pub(crate) async fn record(rig: &Rig, change: Change, minted: &Minted, terms: &Terms) {
    let change = TokenChange {
        agent: agent(terms.agent),
        change,
        digest: minted.claim.digest,
        expires: terms.expires,
        family: minted.claim.family.clone(),
        generation: minted.claim.generation,
        listener: terms.listener.map(|address| address.to_string()),
    };
    rig.ledger
        .append(&Record::TokenChange(change))
        .done()
        .await
        .unwrap();
}

/// A new family with its first token.
pub(crate) async fn found(rig: &Rig, terms: Terms) -> (String, FamilyId) {
    let minted = rig.tokens.found_family().unwrap();
    record(rig, Change::Created, &minted, &terms).await;
    (minted.reveal().to_string(), minted.claim.family)
}

pub(crate) fn basic(token: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("agent:{token}")))
}

pub(crate) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

pub(crate) fn connect(authorization: &str) -> String {
    let field = match authorization {
        "" => String::new(),
        value => format!("Proxy-Authorization: {value}\r\n"),
    };
    format!("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n{field}\r\n")
}

pub(crate) fn absolute(authorization: &str) -> String {
    connect(authorization)
        .replace("CONNECT api.test:443", "GET http://plain.test/echo")
        .replace("api.test:443", "plain.test")
}

#[track_caller]
pub(crate) fn is_unknown(answer: &RawAnswer) {
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (407, "agent-unknown"),
        "{}",
        answer.head
    );
    assert_eq!(
        answer.header("proxy-authenticate"),
        Some("Basic realm=\"exeat\"")
    );
}
