//! Calls that a program on this machine answers: the pipeline runs it, and this writes what it gives.

use std::sync::Arc;

use exeat_pipeline::{Admitted, Gate, Refusal, run_here};
use http::header;
use pingora::{Result, http::ResponseHeader, proxy::Session};

use crate::refuse;

/// Has the call answered and writes the answer.
pub(crate) async fn answer(
    gate: &Arc<Gate>,
    session: &mut Session,
    admitted: Admitted,
) -> Result<()> {
    let call = admitted.exchange.call();
    let here = match run_here(gate, admitted).await {
        Ok(here) => here,
        Err(reason) => {
            let refusal = match call {
                Some(call) => Refusal::of_call(reason, reason.title(), call),
                None => Refusal::bare(reason, reason.title()),
            };
            return refuse::answer(session, &refusal).await;
        }
    };
    let mut head = ResponseHeader::build(here.status, Some(here.headers.len().saturating_add(1)))?;
    for (name, value) in &here.headers {
        head.append_header(name, value)?;
    }
    head.insert_header(header::CONTENT_LENGTH, here.body.len())?;
    session.write_response_header(Box::new(head), false).await?;
    session
        .write_response_body(Some(here.body.clone()), true)
        .await?;
    here.delivered();
    Ok(())
}
