//! The head that goes upstream: the admitted one, framed by Pingora.

use exeat_pipeline::{Head, Outgoing, OutgoingBody};
use exeat_types::Reason;
use http::header;
use pingora::{Result, http::RequestHeader};

use crate::stop::stop;

/// Replaces the whole head by the admitted one; only framing and connection fields stay Pingora's.
pub(crate) fn write_outgoing(
    request: &mut RequestHeader,
    outgoing: &Outgoing,
    head: Head,
) -> Result<()> {
    let Head {
        target,
        mut headers,
    } = head;
    for name in Outgoing::MANAGED {
        headers.remove(&name);
        if let Some(value) = request.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    let internal = |_| stop(Reason::Internal);
    let authority = http::HeaderValue::from_str(&outgoing.upstream.origin.authority());
    headers.insert(
        header::HOST,
        authority.map_err(|_cause| stop(Reason::Internal))?,
    );
    match &outgoing.body {
        OutgoingBody::Whole(body) => {
            headers.remove(header::TRANSFER_ENCODING);
            headers.insert(header::CONTENT_LENGTH, body.len().into());
        }
        OutgoingBody::Absent | OutgoingBody::Streamed => {}
    }
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = outgoing.method.clone();
    parts.version = request.version;
    parts.uri = target.parse().map_err(internal)?;
    parts.headers = headers;
    *request = RequestHeader::from(parts);
    Ok(())
}
