//! Keeps the desk in line with the ledger: takes over what was open when the gate started, closes what is too late, erases
//! the requests of what is closed.

use std::{sync::Arc, time::Duration};

use exeat_ledger::{ApprovalEvent, ApprovalState, Asked, Extent, Means, Progress};
use exeat_policy::{Approve, Approver, Remember};
use exeat_types::{ApprovalId, CallId};

use super::{
    Approvals, Pending, Shown,
    answer::step_of,
    ask::PREFIX,
    book::{Entry, given},
};

/// The longest time between two looks.
const ROUND: Duration = Duration::from_secs(30);

impl Approvals {
    /// Looks after the questions for as long as the gate stands: it never ends.
    ///
    /// # Cancel safety
    /// May be dropped at any moment; what it left is done by the next one.
    pub async fn tend(self: &Arc<Self>) {
        loop {
            self.round().await;
            let next = self.book().next_end();
            let pause = next.map_or(ROUND, |end| end.since(self.now()).min(ROUND));
            // An end that has come is dealt with in the round; the clock may stand still in tests.
            let pause = pause.max(Duration::from_millis(50));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.work.notified() => {}
            }
        }
    }

    /// Does once what [`Self::tend`] does all the time.
    pub async fn round(self: &Arc<Self>) {
        let desk = Arc::clone(self);
        if tokio::task::spawn_blocking(move || desk.restore())
            .await
            .is_err()
        {
            tracing::error!("the open approvals could not be read");
        }
        let overdue = self.book().overdue(self.now());
        for id in overdue {
            let Some(pending) = self.show(&id) else {
                continue;
            };
            let step = step_of(&pending, ApprovalEvent::Expired);
            if let Err(error) = self.write(step).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "an approval could not be closed"
                );
                self.follow(&id);
            }
            if pending.given.is_empty() {
                self.metrics
                    .approval_answered("expired", self.now().since(pending.asked));
            }
        }
        let closed = self.book().erasable(self.now());
        if closed.is_empty() {
            return;
        }
        let ledger = self.ledger.clone();
        let erased = tokio::task::spawn_blocking(move || {
            for key in closed.iter().filter_map(key_of) {
                if let Err(error) = ledger.erase_capture(key) {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a request was not erased"
                    );
                }
            }
        });
        if erased.await.is_err() {
            tracing::error!("the requests of closed approvals could not be erased");
        }
    }

    /// Takes in what the ledger has and the desk does not: of an earlier process, or one that is about to end. May block.
    pub(super) fn restore(&self) {
        let now = self.now();
        for (id, known) in self.ledger.approvals() {
            let is_known = self.book().knows(&id);
            if is_known {
                continue;
            }
            let Some(asked) = known.asked.as_deref() else {
                continue;
            };
            let request = match known.progress.is_open() && now < known.expires {
                true => self.kept(&id, asked),
                false => None,
            };
            let pending = pending_of(&id, &known, asked, request);
            let refused = known
                .votes
                .last()
                .filter(|_| known.progress == Progress::Refused);
            let mut entry = Entry::new(pending.clone());
            entry.is_kept = true;
            entry.is_captured = asked.capture.is_some();
            let mut book = self.book();
            if !book.knows(&id) {
                if let Some(vote) = refused {
                    book.quiet.cool(&pending, vote.at);
                }
                book.insert(entry);
            }
        }
    }

    /// The request that is kept for a question.
    fn kept(&self, id: &ApprovalId, asked: &Asked) -> Option<Shown> {
        let (key, digest) = (key_of(id)?, asked.capture?);
        let captured = self.ledger.captured(key, &digest);
        let captured = captured.inspect_err(|error| {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "a request could not be read"
            );
        });
        Shown::from_bytes(&captured.ok()??)
    }
}

/// The id that the request of an approval is kept under.
fn key_of(id: &ApprovalId) -> Option<CallId> {
    id.as_str().strip_prefix(PREFIX)?.parse().ok()
}

fn pending_of(
    id: &ApprovalId,
    known: &ApprovalState,
    asked: &Asked,
    request: Option<Shown>,
) -> Pending {
    Pending {
        id: id.clone(),
        agent: known.agent.clone(),
        tool: known.tool.clone(),
        category: asked.category.clone(),
        method: asked.method.clone(),
        origin: asked.origin.to_string(),
        seal: asked.seal,
        call: asked.call,
        asked: known.requested,
        expires: known.expires,
        digest: known.digest,
        approve: Approve {
            by: match asked.by {
                Means::Local => Approver::Local,
                Means::Passkey => Approver::Passkey,
            },
            remember: match asked.offer {
                Extent::Once => Remember::Once,
                Extent::Uses(uses) => Remember::Uses(uses),
                Extent::Until(then) => Remember::Until(then.since(known.requested)),
            },
            approvers: asked.approvers,
            devices: asked.devices,
            within: None,
        },
        rules: asked.rules.clone(),
        why: asked.why.clone(),
        risk: asked.risk.clone(),
        progress: known.progress,
        given: given(known),
        waiting: 0,
        request: request.map(Arc::new),
    }
}
