//! `http://exeat.internal/requests`: where an agent asks for capabilities, and sees what became of it. The gate answers by
//! itself; nothing of such a request leaves it.
//!
//! SECURITY: an agent sees its own requests only, and nothing here grants anything.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use exeat_pipeline::{Agent, Gate, NotTaken, Order, Refusal, RequestShown};
use exeat_types::{ApprovalId, Reason};
use http::{Method, StatusCode, header};
use pingora::{Result, http::ResponseHeader, proxy::Session};
use serde_json::{Value, json};

use crate::{identify, receive, refuse};

/// Longest request, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Where requests are.
const PLACE: &str = "/requests";

/// Answers a request that is for the gate itself. False if it is for somebody else.
pub(crate) async fn answer(gate: &Arc<Gate>, session: &mut Session) -> Result<bool> {
    let Some((connection, agent, path)) = receive::for_the_gate(gate, session) else {
        return Ok(false);
    };
    let served = match gate.agents().is_paused(&agent.id) {
        true => Err(Refusal::bare(
            Reason::AgentPaused,
            "an operator has paused this agent",
        )),
        false => serve(gate, session, &agent, &path).await,
    };
    match served {
        Ok((status, body)) => write(session, status, &body).await?,
        Err(refusal) => {
            identify::record(gate, &connection.door, Some(&agent.id), refusal.reason());
            refuse::answer(session, &refusal).await?;
        }
    }
    Ok(true)
}

/// Whether a path is one of ours; others at the same host may be tools.
pub(crate) fn is_ours(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    path == PLACE || path.starts_with("/requests/")
}

async fn serve(
    gate: &Arc<Gate>,
    session: &mut Session,
    agent: &Agent,
    path: &str,
) -> Result<(StatusCode, Value), Refusal> {
    let method = session.req_header().method.clone();
    let own = |shown: &RequestShown| shown.agent == agent.id;
    let rest = path.strip_prefix(PLACE).unwrap_or_default();
    match (method, rest.strip_prefix('/')) {
        (Method::POST, None) => {
            let body = read(session).await?;
            let order = Order::parse(&body).map_err(|problem| refusal(&problem))?;
            let policy = Arc::clone(&gate.rules().policy);
            let asked = gate
                .requests()
                .ask(&policy, &agent.id, order, Some(agent.seal));
            let shown = asked.await.map_err(|problem| refusal(&problem))?;
            Ok((StatusCode::ACCEPTED, json!(shown)))
        }
        (Method::GET, None) => {
            let mut all = gate.requests().list();
            all.retain(own);
            Ok((StatusCode::OK, json!({ "requests": all })))
        }
        (Method::GET, Some(id)) => {
            let id = ApprovalId::new(id).ok();
            let shown = id.and_then(|id| gate.requests().show(&id)).filter(own);
            let shown = shown.ok_or_else(|| refusal(&NotTaken::Unknown))?;
            Ok((StatusCode::OK, json!(shown)))
        }
        _ => Err(Refusal::bare(
            Reason::MalformedRequest,
            "here are `POST /requests`, `GET /requests` and `GET /requests/{id}`",
        )),
    }
}

fn refusal(problem: &NotTaken) -> Refusal {
    let wait = match problem {
        NotTaken::TooSoon(wait) | NotTaken::TooOften(wait) => Some(*wait),
        _ => None,
    };
    Refusal::bare(problem.reason(), problem.to_string()).to_be_repeated_in(wait)
}

async fn read(session: &mut Session) -> Result<Bytes, Refusal> {
    let broken = |_cause| Refusal::bare(Reason::MalformedRequest, "the request broke off");
    receive::tell_to_go_on(session).await.map_err(broken)?;
    let mut bytes = BytesMut::new();
    loop {
        let piece = session.as_mut().read_request_body();
        let piece = tokio::time::timeout(exeat_types::limits::BODY_TIMEOUT, piece).await;
        let late = |_late| Refusal::bare(Reason::MalformedRequest, "the request came too slowly");
        let Some(piece) = piece.map_err(late)?.map_err(broken)? else {
            return Ok(bytes.freeze());
        };
        if bytes.len().saturating_add(piece.len()) > BODY_BYTES_MAX {
            let detail = format!("a request here has at most {BODY_BYTES_MAX} bytes");
            return Err(Refusal::bare(Reason::BodyTooLarge, detail));
        }
        bytes.extend_from_slice(&piece);
    }
}

async fn write(session: &mut Session, status: StatusCode, body: &Value) -> Result<()> {
    let body = Bytes::from(body.to_string());
    let mut head = ResponseHeader::build(status, Some(3))?;
    head.insert_header(header::CONTENT_TYPE, "application/json")?;
    head.insert_header(header::CONTENT_LENGTH, body.len())?;
    head.insert_header(header::CACHE_CONTROL, "no-store")?;
    if !session.as_mut().is_body_done() {
        session.set_keepalive(None);
    }
    session.write_response_header(Box::new(head), false).await?;
    session.write_response_body(Some(body), true).await
}
