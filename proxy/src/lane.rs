//! The buffered lane: bodies that were read whole and are larger than Pingora replays travel as a subrequest with a
//! preset body. The subrequest takes over the admitted call; the parent only pipes.

use std::sync::Mutex;

use bytes::Bytes;
use exeat_pipeline::{Admitted, Outgoing};
use http::header;
use pingora::{
    Error, ErrorType, Result,
    http::RequestHeader,
    proxy::{
        Session,
        subrequest::{
            BodyMode, Ctx,
            pipe::{InputBody, InputBodyType, pipe_subrequest},
        },
    },
};

/// What the parent hands to its subrequest; taken once.
pub(crate) struct Passed(Mutex<Option<Admitted>>);

/// Runs the admitted call as a subrequest and pipes its response.
pub(crate) async fn send(session: &mut Session, admitted: Admitted, body: Bytes) -> Result<()> {
    prepare_parent(session.req_header_mut(), &admitted.outgoing, body.len())?;
    let passed: Box<dyn std::any::Any + Send + Sync> = Box::new(Passed(Mutex::new(Some(admitted))));
    let context = Ctx::builder()
        .body_mode(BodyMode::ExpectBody)
        .user_ctx(passed)
        .build();
    let Some(spawner) = session.subrequest_spawner.as_ref() else {
        return Error::e_explain(ErrorType::InternalError, "no subrequest can be made here");
    };
    let (subrequest, pipes) = spawner.create_subrequest(session.as_downstream(), context);
    let input = InputBodyType::Preset(InputBody::Bytes(vec![body]));
    let piped = pipe_subrequest(session, subrequest, pipes, |task| Ok(Some(task)), input).await;
    piped.map(drop).map_err(|failed| failed.error)
}

/// Takes over what the parent admitted, when this session is a subrequest.
pub(crate) fn take(session: &mut Session) -> Option<Admitted> {
    let context = session.subrequest_ctx.as_mut()?;
    let passed = context.user_ctx_mut()?.downcast_mut::<Passed>()?;
    passed.0.get_mut().ok()?.take()
}

/// A subrequest re-parses the parent's head as HTTP/1, so an HTTP/2 head is rewritten to that form first.
fn prepare_parent(head: &mut RequestHeader, outgoing: &Outgoing, body_bytes: usize) -> Result<()> {
    let target = outgoing.target.parse();
    let wrong = |_| Error::explain(ErrorType::InternalError, "the target is no URI");
    head.set_uri(target.map_err(wrong)?);
    head.set_version(http::Version::HTTP_11);
    head.insert_header(header::HOST, outgoing.upstream.origin.authority())?;
    head.remove_header(&header::TRANSFER_ENCODING);
    head.remove_header(&header::EXPECT);
    head.insert_header(header::CONTENT_LENGTH, body_bytes)?;
    Ok(())
}
