//! Pingora's hooks, thin: each calls one step of the pipeline and translates. They run in this order: `request_filter`,
//! `upstream_peer`, `upstream_request_filter`, `request_body_filter`, `upstream_response_filter`,
//! `response_body_filter`, `upstream_response_trailer_filter`, `response_trailer_filter`, `logging`.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use exeat_pipeline::{
    Admitted, Ending, Exchange, Gate, Last, Next, Outgoing, OutgoingBody, Refusal, attempt, settle,
};
use exeat_types::Reason;
use http::HeaderMap;
use pingora::{
    Error, ErrorSource, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
    modules::http::HttpModules,
    proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session},
    upstreams::peer::HttpPeer,
};

use crate::{
    drive, here, lane, own, peer, receive, refuse, requests,
    stop::{broke_off, once_more, reason_of, stop},
    trust::Trust,
    write::write_outgoing,
};

/// The proxy's hooks.
pub(crate) struct Hooks {
    gate: Arc<Gate>,
    trust: Trust,
}

/// One request's state between hooks.
#[derive(Default)]
pub(crate) struct Context {
    outgoing: Option<Outgoing>,
    exchange: Option<Exchange>,
    body_sent: bool,
    /// Whether the response body was said to be over.
    body_ended: bool,
    /// What was held until the trailers came.
    rest: Option<Bytes>,
    failed: Option<Reason>,
    /// What follows an answer that is not delivered.
    next: Option<Next>,
}

impl Hooks {
    /// Has the pipeline's own lane carry the call.
    async fn carry(
        &self,
        session: &mut Session,
        mut admitted: Admitted,
        ctx: &mut Context,
    ) -> Result<bool> {
        receive::tell_to_go_on(session).await?;
        let carried = own::send(&self.gate, session, &mut admitted).await;
        ctx.exchange = Some(admitted.exchange);
        match carried {
            Ok(()) => Ok(true),
            Err(reason) => {
                ctx.failed = Some(reason);
                Err(broke_off(reason))
            }
        }
    }

    pub(crate) fn new(gate: Arc<Gate>) -> Self {
        let trust = Trust::new(gate.rules().network.roots.id);
        Self { gate, trust }
    }
}

#[async_trait]
impl ProxyHttp for Hooks {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::default()
    }

    /// Without this override Pingora would add its compression module.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    fn allow_spawning_subrequest(&self, _: &Session, _: &Context) -> bool {
        true
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        if requests::answer(&self.gate, session).await? {
            return Ok(true);
        }
        let admitted = match lane::take(session) {
            Some(admitted) => admitted,
            None => match receive::receive(&self.gate, session).await {
                Ok(admitted) => {
                    if let Err(reason) = drive::stand(&self.gate, admitted.exchange.standing()) {
                        ctx.exchange = Some(admitted.exchange);
                        ctx.failed = Some(reason);
                        return Err(stop(reason));
                    }
                    if admitted.exchange.runs_here() {
                        let answered = here::answer(&self.gate, session, admitted).await;
                        return answered.map(|()| true);
                    }
                    if own::takes(session, &admitted.outgoing) {
                        return self.carry(session, admitted, ctx).await;
                    }
                    if let OutgoingBody::Whole(body) = &admitted.outgoing.body
                        && session.as_ref().retry_buffer_truncated()
                    {
                        let body = body.clone();
                        return lane::send(session, admitted, body).await.map(|()| true);
                    }
                    receive::tell_to_go_on(session).await?;
                    admitted
                }
                Err(refusal) => return refuse::answer(session, &refusal).await.map(|()| true),
            },
        };
        ctx.outgoing = Some(admitted.outgoing);
        ctx.exchange = Some(admitted.exchange);
        Ok(false)
    }

    async fn upstream_peer(&self, _: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
        let outgoing = ctx
            .outgoing
            .as_ref()
            .ok_or_else(|| stop(Reason::Internal))?;
        let peer = peer::peer(outgoing, &self.trust).map_err(stop)?;
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        ctx.body_sent = false;
        ctx.body_ended = false;
        ctx.rest = None;
        let (Some(outgoing), Some(exchange)) = (&ctx.outgoing, &mut ctx.exchange) else {
            return Err(stop(Reason::Internal));
        };
        match attempt(&self.gate, outgoing, exchange).await {
            Ok(head) => write_outgoing(request, outgoing, head),
            Err(reason) => {
                ctx.failed = Some(reason);
                Err(stop(reason))
            }
        }
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        let Some(outgoing) = &ctx.outgoing else {
            return Err(stop(Reason::Internal));
        };
        let Some(exchange) = &mut ctx.exchange else {
            return Err(stop(Reason::Internal));
        };
        match &outgoing.body {
            OutgoingBody::Whole(whole) => {
                // What was checked is what is sent, whatever pieces Pingora replays it in.
                *body = None;
                if !std::mem::replace(&mut ctx.body_sent, true) {
                    match exchange.whole_piece(whole) {
                        Ok(sent) => *body = Some(sent),
                        Err(reason) => {
                            ctx.failed = Some(reason);
                            return Err(stop(reason).into_down());
                        }
                    }
                }
            }
            OutgoingBody::Streamed | OutgoingBody::Absent => {
                let last = if end { Last::Yes } else { Last::No };
                match exchange.request_piece(body.take(), last) {
                    Ok(piece) => *body = piece,
                    Err(reason) => {
                        ctx.failed = Some(reason);
                        // Any other failure here would have Pingora wait for an HTTP/2 upstream that waits for the rest.
                        return Err(stop(reason).into_down());
                    }
                }
            }
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let (Some(exchange), Some(outgoing)) = (&mut ctx.exchange, &mut ctx.outgoing) else {
            return Err(stop(Reason::Internal));
        };
        match settle(&self.gate, outgoing, response.status, &response.headers).await {
            Ok(Next::Deliver) => {}
            Ok(Next::Again) => {
                ctx.next = Some(Next::Again);
                return Err(once_more());
            }
            Err(reason) => {
                ctx.failed = Some(reason);
                return Err(stop(reason));
            }
        }
        let taken = std::mem::replace(
            response,
            ResponseHeader::build_no_case(response.status, None)?,
        );
        let mut parts = http::response::Parts::from(taken);
        if let Err(reason) = exchange.answer(parts.status, &mut parts.headers) {
            ctx.failed = Some(reason);
            return Err(stop(reason));
        }
        *response = ResponseHeader::from(parts);
        Ok(())
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        let Some(exchange) = &mut ctx.exchange else {
            return Err(stop(Reason::Internal));
        };
        let last = if end { Last::Yes } else { Last::No };
        ctx.body_ended |= end;
        let chunk = body.take().unwrap_or_default();
        match exchange.response_chunk(&chunk, last) {
            Ok(cleaned) => {
                *body = (!cleaned.is_empty()).then_some(cleaned);
                Ok(None)
            }
            Err(reason) => {
                ctx.failed = Some(reason);
                Err(stop(reason))
            }
        }
    }

    /// Before trailers no piece of the body is the last one, so the body ends here. An error of the next hook would only be
    /// logged; this one's breaks the response off.
    fn upstream_response_trailer_filter(
        &self,
        _: &mut Session,
        _: &mut HeaderMap,
        ctx: &mut Context,
    ) -> Result<()> {
        let Some(exchange) = &mut ctx.exchange else {
            return Err(stop(Reason::Internal));
        };
        if std::mem::replace(&mut ctx.body_ended, true) {
            return Ok(());
        }
        match exchange.response_chunk(&[], Last::Yes) {
            Ok(rest) => {
                ctx.rest = (!rest.is_empty()).then_some(rest);
                Ok(())
            }
            Err(reason) => {
                ctx.failed = Some(reason);
                Err(stop(reason))
            }
        }
    }

    /// What was held of the body leaves instead of the trailers: Pingora sends one or the other.
    async fn response_trailer_filter(
        &self,
        _: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut Context,
    ) -> Result<Option<Bytes>> {
        if let Some(exchange) = &mut ctx.exchange {
            exchange.trailers(trailers);
        }
        Ok(ctx.rest.take())
    }

    /// A request that is sent once more is sent; everything else is repeated as Pingora would: when it may be, and a pooled
    /// connection turned out to be dead.
    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Context,
        client_reused: bool,
    ) -> Box<Error> {
        if ctx.next.take() == Some(Next::Again) {
            error.set_retry(true);
        } else if !session.req_header().method.is_idempotent()
            || session.as_ref().retry_buffer_truncated()
        {
            error.set_retry(false);
        } else {
            error.retry.decide_reuse(client_reused);
        }
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Context,
    ) -> FailToProxy {
        let reason = ctx.failed.unwrap_or_else(|| reason_of(error));
        ctx.failed = Some(reason);
        let refused = matches!(error.etype(), ErrorType::Custom(_));
        let client_is_there = refused || *error.esource() != ErrorSource::Downstream;
        let mut status = 0;
        if client_is_there && session.response_written().is_none() {
            let refusal = match ctx.exchange.as_ref().and_then(Exchange::call) {
                Some(call) => Refusal::of_call(reason, reason.title(), call),
                None => Refusal::bare(reason, reason.title()),
            };
            status = refusal.status();
            if let Err(error) = refuse::answer(session, &refusal).await {
                tracing::debug!(%error, "the client did not take the refusal");
            }
        }
        FailToProxy {
            error_code: status,
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, _: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        let Some(exchange) = &mut ctx.exchange else {
            return;
        };
        match error {
            None => exchange.close(Ending::Completed, None),
            Some(error) => {
                let reason = ctx.failed.unwrap_or_else(|| reason_of(error));
                let ending = match error.esource() {
                    ErrorSource::Upstream => Ending::UpstreamFailed,
                    ErrorSource::Downstream | ErrorSource::Internal | ErrorSource::Unset => {
                        Ending::Cut
                    }
                };
                exchange.close(ending, Some(reason));
            }
        }
    }

    /// Pingora's own lines would show paths and hosts; the finished call has its one event already.
    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Context,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }

    fn request_summary(&self, _: &Session, _: &Context) -> String {
        String::new()
    }
}
