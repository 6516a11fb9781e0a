//! Where a request goes, and whether every name agrees: CONNECT authority = SNI = Host, on every request.

use std::sync::Arc;

use exeat_pipeline::{Agent, Refusal};
use exeat_types::{Authority, Origin, Reason, Scheme};
use http::{HeaderMap, header};

use crate::{Door, Mode};

/// What is known of a connection when its HTTP begins.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) door: Arc<Door>,
    /// The agent, when the connection itself established it.
    pub(crate) agent: Option<Agent>,
    /// The one target of this connection, when CONNECT or the TLS server name fixed it.
    pub(crate) target: Option<Origin>,
}

/// The names that a request head carries.
pub(crate) struct Named<'a> {
    /// The scheme, where the request target or `:scheme` says one.
    pub(crate) scheme: Option<Scheme>,
    /// The authority of the URI: `:authority` on HTTP/2.
    pub(crate) authority: Option<&'a str>,
    pub(crate) headers: &'a HeaderMap,
}

/// Finds the origin of a request.
///
/// # Errors
/// `target-mismatch` when the request names another host than its connection; `malformed-request` when it names none.
pub(crate) fn origin(connection: &Connection, named: &Named<'_>) -> Result<Origin, Refusal> {
    let malformed = |detail: String| Refusal::bare(Reason::MalformedRequest, detail);
    let authority = written_authority(named)?;
    if let Some(target) = &connection.target {
        let requested = Origin::new(named.scheme.unwrap_or(target.scheme), authority);
        if requested != *target {
            let detail = format!("the request is for {requested}, the connection for {target}");
            return Err(Refusal::bare(Reason::TargetMismatch, detail));
        }
        return Ok(requested);
    }
    match connection.door.mode {
        Mode::Explicit if named.scheme != Some(Scheme::Http) => Err(malformed(
            "a request to a proxy names its target: use CONNECT or `http://` and the whole URL"
                .to_owned(),
        )),
        // The guard has checked that an absolute target and Host agree.
        Mode::Explicit | Mode::Transparent => Ok(Origin::new(Scheme::Http, authority)),
    }
}

fn written_authority(named: &Named<'_>) -> Result<Authority, Refusal> {
    let malformed = |detail: String| Refusal::bare(Reason::MalformedRequest, detail);
    let mut hosts = named.headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) => None,
        (Some(value), None) => Some(
            value
                .to_str()
                .map_err(|_cause| malformed("Host is not ASCII".to_owned()))?,
        ),
        (Some(_), Some(_)) => return Err(malformed("Host stands more than once".to_owned())),
    };
    let parse =
        |text: &str| Authority::parse(text).map_err(|problem| malformed(problem.to_string()));
    match (named.authority, host) {
        (None, None) => Err(malformed("the request names no host".to_owned())),
        (Some(text), None) | (None, Some(text)) => parse(text),
        (Some(one), Some(other)) => {
            let (one, other) = (parse(one)?, parse(other)?);
            if one != other {
                return Err(malformed("the authority and Host differ".to_owned()));
            }
            Ok(one)
        }
    }
}
