//! Refusals as HTTP responses, the same shape whatever refused.

use bytes::Bytes;
use exeat_pipeline::Refusal;
use exeat_types::Reason;
use http::header;
use pingora::{Result, http::ResponseHeader, proxy::Session};

/// How long a client may go on sending a body that nobody will read, so that it sees the answer instead of a reset.
const DRAIN_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

/// Answers with the problem document. A connection with an unread body is not reused.
pub(crate) async fn answer(session: &mut Session, refusal: &Refusal) -> Result<()> {
    let body = Bytes::from(refusal.document());
    let mut head = ResponseHeader::build(refusal.status(), Some(6))?;
    head.insert_header(
        header::CONTENT_TYPE,
        "application/problem+json; charset=utf-8",
    )?;
    head.insert_header(header::CONTENT_LENGTH, body.len())?;
    head.insert_header(header::CACHE_CONTROL, "no-store")?;
    if let Some(receipt) = refusal.receipt() {
        head.insert_header("exeat-receipt", receipt.to_string())?;
    }
    head.insert_header("exeat-decision", "refused")?;
    if let Some(seconds) = refusal.retry_after() {
        head.insert_header(header::RETRY_AFTER, seconds)?;
    }
    if refusal.reason() == Reason::AgentUnknown {
        head.insert_header(header::PROXY_AUTHENTICATE, "Basic realm=\"exeat\"")?;
    }
    let unread = !session.as_mut().is_body_done();
    if unread {
        session.set_keepalive(None);
        session.set_total_drain_timeout(Some(DRAIN_TIMEOUT));
    }
    let bodiless = session.req_header().method == http::Method::HEAD;
    session
        .write_response_header(Box::new(head), bodiless)
        .await?;
    if !bodiless {
        session.write_response_body(Some(body), true).await?;
    }
    let waits_for_continue = session.req_header().headers.contains_key(header::EXPECT);
    if unread && !waits_for_continue {
        // The answer is out; a client that breaks off while being drained loses nothing.
        if let Err(error) = session.as_mut().drain_request_body().await {
            tracing::debug!(%error, "draining a refused body");
        }
    }
    Ok(())
}
