//! Stage 13: each attempt at upstream is proven and signed afresh, last of all, and its answer may ask for one more.
//!
//! INVARIANT: at most one more, and only of a request whose body can be sent again. A lacking scope is a refusal, never
//! a reason to take more.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use exeat_custody::{
    Answer, BodyChange, Draft, DraftBody, Finish, NotIssued, Plan, Token, Verdict, judge,
};
use exeat_types::{Clock, Origin, Reason};
use http::{HeaderMap, Method, StatusCode};
use tokio::time::timeout;

use crate::{Exchange, Gate, Outgoing, OutgoingBody, call::Whose};

/// How many requests devices sign at a time: one that hangs must not take every thread of the process.
pub(crate) const SIGNING_MAX: usize = 64;
/// A request waits no longer than this for its turn.
const SIGNING_WAIT: Duration = Duration::from_secs(2);

/// How the token of a call is replaced when upstream refuses it.
pub(crate) struct Renewal {
    plan: Plan,
    token: Arc<Token>,
}

impl Renewal {
    pub(crate) const fn new(plan: Plan, token: Arc<Token>) -> Self {
        Self { plan, token }
    }
}

/// The head of one attempt, with the proofs and signatures of this attempt.
pub struct Head {
    /// Path and query.
    pub target: String,
    /// Every header field but those of framing and connection.
    pub headers: HeaderMap,
}

/// What follows an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It goes to the agent.
    Deliver,
    /// The request is sent once more.
    Again,
}

/// Begins an attempt: nothing may change the request after this.
///
/// # Errors
/// When it cannot be signed. Then it does not leave.
pub async fn attempt(
    gate: &Gate,
    outgoing: &Outgoing,
    exchange: &mut Exchange,
) -> Result<Head, Reason> {
    let mut head = Head {
        target: outgoing.target.clone(),
        headers: outgoing.headers.clone(),
    };
    let Some(finish) = &outgoing.finish else {
        exchange.restart(None);
        return Ok(head);
    };
    let last = LastStep {
        finish: Arc::clone(finish),
        method: outgoing.method.clone(),
        origin: outgoing.upstream.origin.clone(),
        body: outgoing.body.clone(),
        clock: Arc::clone(&gate.clock),
    };
    let finished = if finish.blocks() {
        let outbound = gate.mint.outbound();
        let turn = timeout(SIGNING_WAIT, Arc::clone(&gate.signing).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            tracing::warn!(origin = %outgoing.upstream.origin, "too many requests wait for devices to sign");
            return Err(Reason::SignerUnavailable);
        };
        let task = move || {
            let finished = last.take(head);
            drop(turn);
            finished
        };
        let asked = outbound.tasks().spawn_blocking_on(task, outbound.handle());
        asked.await.map_err(|_cause| Reason::SignerUnavailable)?
    } else {
        last.take(head)
    };
    let (finished, change) = finished.map_err(|why| {
        tracing::warn!(origin = %outgoing.upstream.origin, %why, "a request was not signed");
        why.reason()
    })?;
    head = finished;
    exchange.restart(change);
    Ok(head)
}

/// The last step, as it may be taken on another thread.
struct LastStep {
    finish: Arc<dyn Finish>,
    method: Method,
    origin: Origin,
    body: OutgoingBody,
    clock: Arc<dyn Clock>,
}

type Finished = (Head, Option<Box<dyn BodyChange>>);

impl LastStep {
    fn take(&self, mut head: Head) -> Result<Finished, NotIssued> {
        self.finish.finish(&mut Draft {
            method: &self.method,
            origin: &self.origin,
            target: &mut head.target,
            headers: &mut head.headers,
            body: match &self.body {
                OutgoingBody::Absent => DraftBody::Absent,
                OutgoingBody::Whole(bytes) => DraftBody::Whole(bytes),
                OutgoingBody::Streamed => DraftBody::Streamed,
            },
            now: self.clock.now(),
        })?;
        Ok((head, self.finish.body()))
    }
}

/// Looks at the head of an answer before anybody else does.
///
/// # Errors
/// `scope-missing`, or why there is no other token for one that upstream refused.
pub async fn settle(
    gate: &Gate,
    outgoing: &mut Outgoing,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<Next, Reason> {
    let nobody_looks = outgoing.finish.is_none() && outgoing.renewal.is_none();
    if nobody_looks || status.is_informational() {
        return Ok(Next::Deliver);
    }
    let answer = Answer {
        origin: &outgoing.upstream.origin,
        status,
        headers,
        now: gate.clock.now(),
    };
    let verdict = match &outgoing.finish {
        Some(finish) => finish.inspect(&answer),
        None => judge(&answer),
    };
    match verdict {
        Verdict::Deliver => Ok(Next::Deliver),
        Verdict::Again => Ok(outgoing.once_more()),
        Verdict::Renew => renew(gate, outgoing).await,
        Verdict::StepUp(scopes) => {
            if let Some(renewal) = &outgoing.renewal {
                let id = &renewal.plan.want.credential;
                tracing::warn!(credential = %id, ?scopes, "upstream says that a scope is lacking");
                gate.mint.lacks(id, &scopes);
            }
            Err(Reason::ScopeMissing)
        }
    }
}

async fn renew(gate: &Gate, outgoing: &mut Outgoing) -> Result<Next, Reason> {
    let may = outgoing.may_go_again();
    let Some(renewal) = &mut outgoing.renewal else {
        return Ok(Next::Deliver);
    };
    if !may {
        if !outgoing.again {
            gate.mint.renew_meanwhile(&renewal.plan, &renewal.token);
        }
        return Ok(Next::Deliver);
    }
    let refused = |why: NotIssued| why.reason();
    let renewed = gate.mint.renew(&renewal.plan, &renewal.token).await;
    let Some(token) = renewed.map_err(refused)? else {
        return Ok(Next::Deliver);
    };
    let (name, value) = token.field().map_err(refused)?;
    outgoing.headers.insert(name, value);
    outgoing.finish = renewal.plan.issuer.finish(&token);
    renewal.token = token;
    Ok(outgoing.once_more())
}

impl Outgoing {
    /// Whether the request may be sent a second time, for all that is known here.
    const fn may_go_again(&self) -> bool {
        let is_held = matches!(self.body, OutgoingBody::Absent | OutgoingBody::Whole(_));
        is_held && !self.again && !self.upgrade
    }

    /// Uses up the one repetition.
    fn once_more(&mut self) -> Next {
        if !self.may_go_again() {
            return Next::Deliver;
        }
        self.again = true;
        Next::Again
    }

    /// Whether an answer may have this request sent once more.
    pub fn may_repeat(&self) -> bool {
        self.may_go_again() && (self.finish.is_some() || self.renewal.is_some())
    }

    /// Whether it is a request that was kept, so that its body is not the client's.
    pub const fn is_recalled(&self) -> bool {
        matches!(self.whose, Whose::Kept)
    }

    /// The body, if all of it is at hand.
    pub const fn whole(&self) -> Option<&Bytes> {
        match &self.body {
            OutgoingBody::Whole(bytes) => Some(bytes),
            OutgoingBody::Absent | OutgoingBody::Streamed => None,
        }
    }
}
