//! Calls that the pipeline's own lane carries: this reads the agent's body from Pingora's session and writes the answer.

use bytes::Bytes;
use exeat_pipeline::{Admitted, Downstream, Gate, Large, Last, Outgoing, carry};
use exeat_types::{Reason, limits};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use pingora::{http::ResponseHeader, proxy::Session};
use tokio::time::timeout;

/// Whether an admitted request takes that lane.
pub(crate) fn takes(session: &Session, outgoing: &Outgoing) -> bool {
    let large = outgoing.whole().is_some() && session.as_ref().retry_buffer_truncated();
    // Pingora sends a body only where the client sent one.
    let recalled = outgoing.is_recalled() && outgoing.whole().is_some();
    recalled || outgoing.needs_lane(if large { Large::Yes } else { Large::No })
}

/// Carries it to its end.
///
/// # Errors
/// Why it broke off.
pub(crate) async fn send(
    gate: &Gate,
    session: &mut Session,
    admitted: &mut Admitted,
) -> Result<(), Reason> {
    let streams = matches!(
        admitted.outgoing.body,
        exeat_pipeline::OutgoingBody::Streamed
    );
    let mut agent = Agent {
        ended: !streams,
        session,
    };
    carry(gate, admitted, &mut agent).await?;
    if !session.as_mut().is_body_done() {
        // What the agent still sends belongs to no request that anybody waits for.
        session.set_keepalive(None);
    }
    Ok(())
}

/// The agent, as Pingora has it.
struct Agent<'a> {
    session: &'a mut Session,
    /// Whether nothing of its body is left to be read.
    ended: bool,
}

fn gone(error: &pingora::Error) -> Reason {
    tracing::debug!(%error, "the agent is gone");
    Reason::MalformedRequest
}

impl Downstream for Agent<'_> {
    fn length(&self) -> Option<u64> {
        let headers = &self.session.req_header().headers;
        let length = headers.get(header::CONTENT_LENGTH)?;
        length.to_str().ok()?.parse().ok()
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, Reason> {
        let read = self.session.as_mut().read_body_or_idle(self.ended);
        if self.ended {
            return read.await.map_err(|error| gone(&error));
        }
        let read = timeout(limits::BODY_TIMEOUT, read).await;
        let piece = read
            .map_err(|_late| Reason::MalformedRequest)?
            .map_err(|error| gone(&error))?;
        self.ended = piece.is_none();
        Ok(piece)
    }

    async fn head(
        &mut self,
        status: StatusCode,
        headers: HeaderMap,
        last: Last,
    ) -> Result<(), Reason> {
        let mut head = ResponseHeader::build(status, Some(headers.len().saturating_add(1)))
            .map_err(|error| gone(&error))?;
        for (name, value) in &headers {
            head.append_header(name, value)
                .map_err(|error| gone(&error))?;
        }
        let session = &mut *self.session;
        let has_length = headers.contains_key(header::CONTENT_LENGTH);
        let bodiless = session.req_header().method == http::Method::HEAD
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        if !bodiless && !has_length {
            match last {
                Last::Yes => head
                    .insert_header(header::CONTENT_LENGTH, 0)
                    .map_err(|error| gone(&error))?,
                Last::No if !session.is_http2() => head
                    .insert_header(
                        header::TRANSFER_ENCODING,
                        HeaderValue::from_static("chunked"),
                    )
                    .map_err(|error| gone(&error))?,
                Last::No => {}
            }
        }
        let end = last == Last::Yes;
        session
            .write_response_header(Box::new(head), end)
            .await
            .map_err(|error| gone(&error))?;
        if end {
            session
                .write_response_body(None, true)
                .await
                .map_err(|error| gone(&error))?;
        }
        Ok(())
    }

    async fn body(&mut self, piece: Bytes, last: Last) -> Result<(), Reason> {
        self.session
            .write_response_body(Some(piece), last == Last::Yes)
            .await
            .map_err(|error| gone(&error))
    }

    async fn trailers(&mut self, trailers: HeaderMap) -> Result<(), Reason> {
        if self.session.is_http2() && !trailers.is_empty() {
            let session = self.session.as_mut();
            return session
                .write_response_trailers(trailers)
                .await
                .map_err(|error| gone(&error));
        }
        self.body(Bytes::new(), Last::Yes).await
    }
}
