//! The side of the calls: find what was granted for this very request, or have somebody asked and wait for a while.
//!
//! INVARIANT: a question is durable, and its request kept, before anybody is shown it; and a call that goes on holds a use
//! that nobody else holds.

use std::{sync::Arc, time::Duration};

use exeat_ledger::{ApprovalEvent, ApprovalUse, Asked, Means, Progress};
use exeat_policy::{Approve, Approver};
use exeat_types::{AgentId, ApprovalId, CallId, Digest, Reason, Timestamp, limits};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{
    Approvals, Ask, Pending,
    answer::{offered, step_of},
    book::{Entry, Found, NotAsked},
    canonical,
    worth::{Answered, Wanted, suffices},
};
use crate::{BodySource, Gate, check::Checked, record::Refused, refusal::AskedFor};

/// One use of an approval, held until the intent is written or the call is over.
pub(crate) struct Approved {
    pub(crate) usage: ApprovalUse,
    worth: Approve,
    _claim: Claim,
}

impl Approved {
    /// Whether it is enough for what is wanted.
    pub(crate) fn suffices(&self, wanted: &Approve) -> bool {
        suffices(&self.worth, wanted)
    }
}

/// What is released when it is dropped: then the ledger says whether the use is gone.
struct Claim {
    desk: Arc<Approvals>,
    id: ApprovalId,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.desk.book().release(&self.id);
        self.desk.follow(&self.id);
    }
}

/// A place to wait in.
struct Seat {
    desk: Arc<Approvals>,
    id: ApprovalId,
    _room: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.desk.book().leaves(&self.id);
    }
}

/// How waiting ended.
enum Turn {
    Granted(Answered),
    Closed(Progress),
    Late,
    Gone,
}

/// A question that may not come to be: then it is taken out again.
struct Draft {
    desk: Arc<Approvals>,
    id: Option<ApprovalId>,
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            self.desk.book().remove(id);
        }
    }
}

/// Obtains an approval of a request whose body is at hand, under its digest.
pub(super) async fn obtain(
    gate: &Arc<Gate>,
    (checked, digest): (&Checked, Digest),
    ask: &Ask,
    body: &mut impl BodySource,
) -> Result<Approved, Box<Refused>> {
    let desk = gate.approvals();
    let agent = &checked.call.agent.id;
    let refused = |refused: Box<Refused>| refused.of(&checked.tool).by(ask.rules.clone());
    let found = desk.book().find(&wanted(checked, &digest, ask), desk.now());
    let (id, turn) = match found {
        Found::Usable(id, answered) => return Ok(desk.approved(id, answered)),
        Found::Waiting(id, turn) => (id, turn),
        Found::Nothing => {
            let asked = desk.ask(gate, (checked, digest), ask).await;
            asked.map_err(refused)?
        }
    };
    let held = checked.call.said.hold.unwrap_or(limits::APPROVAL_HOLD);
    let turned = match desk.seat(agent, &id) {
        Some(seat) => {
            let turned = desk
                .wait((&id, turn), held.min(limits::APPROVAL_HOLD), body)
                .await;
            drop(seat);
            turned
        }
        None => Turn::Late,
    };
    match turned {
        Turn::Granted(answered) => Ok(desk.approved(id, answered)),
        Turn::Closed(progress) => Err(refused(desk.refusal(&id, progress, checked))),
        Turn::Late | Turn::Gone => Err(refused(desk.refusal(&id, Progress::Pending, checked))),
    }
}

fn wanted<'a>(checked: &'a Checked, digest: &'a Digest, ask: &Ask) -> Wanted<'a> {
    Wanted {
        agent: &checked.call.agent.id,
        seal: checked.call.agent.seal,
        digest,
        approve: ask.approve,
    }
}

impl Approvals {
    fn approved(self: &Arc<Self>, id: ApprovalId, answered: Answered) -> Approved {
        Approved {
            usage: ApprovalUse {
                by: answered.by,
                id: id.clone(),
            },
            worth: answered.worth,
            _claim: Claim {
                desk: Arc::clone(self),
                id,
            },
        }
    }

    fn seat(self: &Arc<Self>, agent: &AgentId, id: &ApprovalId) -> Option<Seat> {
        let room = Arc::clone(&self.waits).try_acquire_owned().ok()?;
        let mut book = self.book();
        if book.waiting_of(agent) >= limits::APPROVAL_WAITS_PER_AGENT_MAX {
            return None;
        }
        book.waits(id);
        drop(book);
        Some(Seat {
            desk: Arc::clone(self),
            id: id.clone(),
            _room: room,
        })
    }

    /// Waits for an answer, for so long, and as long as somebody waits for the call.
    async fn wait(
        &self,
        (id, turn): (&ApprovalId, watch::Receiver<()>),
        held: Duration,
        body: &mut impl BodySource,
    ) -> Turn {
        let waited = async {
            let answered = tokio::time::timeout(held, self.answered(id, turn.clone())).await;
            let is_granted = || {
                let progress = self.book().progress(id, self.now());
                matches!(progress, Some(Progress::Granted(_)))
            };
            match answered {
                Ok(turn) => turn,
                Err(_) if is_granted() => {
                    let settled = self.answered(id, turn);
                    let settled = tokio::time::timeout(limits::JOURNAL_TIMEOUT, settled).await;
                    settled.unwrap_or(Turn::Late)
                }
                Err(_) => Turn::Late,
            }
        };
        tokio::select! {
            biased;
            () = body.gone() => Turn::Gone,
            turned = waited => turned,
        }
    }

    /// Waits until there is a use for this call, or will be none.
    async fn answered(&self, id: &ApprovalId, mut turn: watch::Receiver<()>) -> Turn {
        loop {
            if let Some(turn) = self.turned(id) {
                return turn;
            }
            if turn.changed().await.is_err() {
                return self.turned(id).unwrap_or(Turn::Late);
            }
        }
    }

    /// What an answer means for one that waits; nothing while there is none.
    fn turned(&self, id: &ApprovalId) -> Option<Turn> {
        let now = self.now();
        let mut book = self.book();
        if let Some(answered) = book.claim(id, now) {
            return Some(Turn::Granted(answered));
        }
        match book.progress(id, now) {
            // Of a grant others hold what is left; it shows in a moment whether they use it.
            Some(Progress::Pending | Progress::Granted(_)) => None,
            Some(progress) => Some(Turn::Closed(progress)),
            None => Some(Turn::Late),
        }
    }

    /// Asks a new question.
    async fn ask(
        self: &Arc<Self>,
        gate: &Arc<Gate>,
        (checked, digest): (&Checked, Digest),
        ask: &Ask,
    ) -> Result<(ApprovalId, watch::Receiver<()>), Box<Refused>> {
        let unavailable = |what: &'static str| Refused::early(Reason::LedgerUnavailable, what);
        let now = self.now();
        let key = CallId::new(now).map_err(|_cause| unavailable("no id could be made"))?;
        let pending = pending_of((checked, digest), ask, (key, now));
        let pending = pending.ok_or_else(|| unavailable("no id could be made"))?;
        let id = pending.id.clone();
        let shown = pending.request.clone();
        let turn = {
            let mut book = self.book();
            // Another call with the same question may have been faster.
            match book.find(&wanted(checked, &digest, ask), now) {
                Found::Waiting(id, turn) => return Ok((id, turn)),
                Found::Usable(id, _) => book.release(&id),
                Found::Nothing => {}
            }
            let may = book.may_ask(&pending, now);
            may.map_err(|why| not_asked(&why, checked))?;
            let entry = Entry::new(pending.clone());
            let turn = entry.turn();
            book.insert(entry);
            turn
        };
        let mut draft = Draft {
            desk: Arc::clone(self),
            id: Some(id.clone()),
        };
        let kept = shown.as_deref().and_then(|shown| shown.to_bytes().ok());
        let kept = kept.ok_or_else(|| unavailable("the request could not be written down"))?;
        let ledger = gate.ledger.clone();
        let captured = tokio::task::spawn_blocking(move || ledger.capture(key, &kept)).await;
        let capture = captured.ok().and_then(Result::ok);
        let capture = capture.ok_or_else(|| unavailable("the request could not be kept"))?;
        if let Some(entry) = self.book().entry_to_keep(&id) {
            entry.is_captured = true;
        }
        let mut step = step_of(&pending, ApprovalEvent::Requested);
        step.asked = Some(Box::new(asked_of(&pending, checked, capture)));
        let written = self.write(step).await;
        written.map_err(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a question was not kept"
            );
            unavailable("the question could not be kept")
        })?;
        draft.id = None;
        self.present(&id);
        Ok((id, turn))
    }

    /// What the agent is told whose question came to this.
    fn refusal(&self, id: &ApprovalId, progress: Progress, checked: &Checked) -> Box<Refused> {
        let name = &checked.tool.name;
        let detail = match progress {
            Progress::Pending => format!("a human has to approve `{name}`, and has not yet"),
            Progress::Refused => format!("a human said no to `{name}`"),
            Progress::Granted(_) | Progress::Consumed => {
                format!(
                    "`{name}` was approved, and other calls used it up; send it again to ask again"
                )
            }
            Progress::Expired => {
                format!(
                    "nobody approved `{name}` in time, or it was taken back; send it again to ask again"
                )
            }
        };
        let mut refused = Refused::early(Self::reason_of(progress), detail);
        if progress == Progress::Refused
            && let Some(wait) = self
                .show(id)
                .and_then(|pending| self.book().quiet.cools(&pending, self.now()))
        {
            refused = refused.again_in(wait);
        }
        let Some(pending) = self.show(id) else {
            return refused;
        };
        refused.asked_for(AskedFor {
            url: self.url(id),
            id: id.clone(),
            expires: pending.expires,
            digest: pending.digest,
            is_open: pending.progress.is_open(),
        })
    }
}

fn not_asked(why: &NotAsked, checked: &Checked) -> Box<Refused> {
    let name = &checked.tool.name;
    match why {
        NotAsked::Cooling(wait) => {
            let detail = format!("a human said no to `{name}` here a short while ago");
            Refused::early(Reason::ApprovalRefused, detail).again_in(*wait)
        }
        NotAsked::TooMany => {
            let detail = "this agent waits for as many approvals as it may";
            Refused::early(Reason::RateLimited, detail).again_in(limits::APPROVAL_NOTICE_PAUSE)
        }
    }
}

/// The id of an approval, made from the id that its request is kept under.
fn id_of(key: CallId) -> Option<ApprovalId> {
    ApprovalId::new(&format!("{PREFIX}{key}")).ok()
}

/// What every id begins with.
pub(super) const PREFIX: &str = "apr-";

fn pending_of(
    (checked, digest): (&Checked, Digest),
    ask: &Ask,
    (key, now): (CallId, Timestamp),
) -> Option<Pending> {
    let call = &checked.call;
    Some(Pending {
        id: id_of(key)?,
        agent: call.agent.id.clone(),
        tool: checked.tool.name.clone(),
        category: checked.tool.category.to_string(),
        method: call.method.to_string(),
        origin: call.origin.to_string(),
        seal: call.agent.seal,
        call: call.id,
        asked: now,
        expires: now.after(ask.approve.open_for()),
        digest,
        approve: ask.approve,
        rules: ask.rules.clone(),
        why: ask.why.clone(),
        risk: ask.risk.clone(),
        progress: Progress::Pending,
        given: Vec::new(),
        waiting: 0,
        request: Some(Arc::new(canonical::shown(checked))),
    })
}

fn asked_of(pending: &Pending, checked: &Checked, capture: Digest) -> Asked {
    Asked {
        approvers: pending.approve.approvers,
        by: match pending.approve.by {
            Approver::Local => Means::Local,
            Approver::Passkey => Means::Passkey,
        },
        call: pending.call,
        capture: Some(capture),
        category: pending.category.clone(),
        devices: pending.approve.devices,
        method: pending.method.clone(),
        offer: offered(pending.approve.remember, pending.asked),
        origin: checked.call.origin.clone(),
        policy_digest: checked.call.rules.policy.digest(),
        risk: pending.risk.clone(),
        rules: pending.rules.clone(),
        seal: pending.seal,
        why: pending.why.clone(),
    }
}
