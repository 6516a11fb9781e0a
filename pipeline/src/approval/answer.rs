//! What a human says, and whether it counts: means strong enough, no further than offered, by somebody who has not
//! answered yet, and, with a passkey, signed over a challenge of ours that nobody used before.
//!
//! INVARIANT: an answer is durable before anybody is woken by it.

use std::{sync::Arc, time::Duration};

use exeat_ledger::{
    Approval, ApprovalEvent, Assertion, Error, Extent, Means, Progress, Vote,
    passkey::{Challenge, Nonce},
};
use exeat_policy::{Approver, Remember};
use exeat_types::{AccountId, ApprovalId, Seal, Timestamp, limits, random_bytes};

use super::{Answer, Approvals, NotAnswered, Pause, Pending};

/// An answer that was checked, but for the writing.
struct Granted {
    pending: Arc<Pending>,
    by: Means,
    extent: Extent,
    expires: Timestamp,
    nonce: Option<Nonce>,
    signed: Option<Assertion>,
    user: String,
}

impl Approvals {
    /// Makes what a passkey is to sign for an answer of this extent. It is good for one answer, within five minutes.
    ///
    /// # Errors
    /// When the question cannot be answered so.
    pub async fn challenge(
        &self,
        id: &ApprovalId,
        extent: Extent,
    ) -> Result<Challenge, NotAnswered> {
        let now = self.now();
        let pending = self.pending(id)?;
        within(&pending, extent, now)?;
        let nonce = random_bytes().map_err(|_cause| NotAnswered::NotKept)?;
        let challenge = Challenge {
            agent: pending.agent.clone(),
            approval: id.clone(),
            digest: pending.digest,
            extent,
            expires: end_of(extent, now),
            nonce: Nonce::new(nonce),
        };
        let mut book = self.book();
        let entry = book
            .entry(id)
            .ok_or_else(|| NotAnswered::Unknown(id.clone()))?;
        let life = limits::APPROVAL_CHALLENGE_TIME;
        entry.challenges.retain(|(made, _)| now.since(*made) < life);
        if entry.challenges.len() >= limits::APPROVAL_CHALLENGES_MAX {
            entry.challenges.remove(0);
        }
        entry.challenges.push((now, challenge.clone()));
        Ok(challenge)
    }

    /// Grants, as far as this answer goes; where several have to, it may not be the last one.
    ///
    /// # Errors
    /// When the answer does not count, or could not be kept.
    pub async fn grant(
        &self,
        id: &ApprovalId,
        answer: Answer,
    ) -> Result<Arc<Pending>, NotAnswered> {
        let granted = self.checked(id, answer)?;
        let pending = Arc::clone(&granted.pending);
        let waited = self.now().since(pending.asked);
        let kept = self.write(granted.step()).await;
        kept.map_err(|error| not_kept(&error))?;
        self.metrics.approval_answered("granted", waited);
        self.show(id)
            .ok_or_else(|| NotAnswered::Unknown(id.clone()))
    }

    /// Refuses; the same agent may not ask for the same tool at the same place again for a while.
    ///
    /// # Errors
    /// When there is nothing to refuse any more, or it could not be kept; the agent is paused all the same, if it was to be.
    pub async fn deny(
        &self,
        id: &ApprovalId,
        user: &str,
        pause: Pause,
    ) -> Result<Arc<Pending>, NotAnswered> {
        let asked = self.show(id);
        let asked = asked.ok_or_else(|| NotAnswered::Unknown(id.clone()))?;
        // SECURITY: whoever wants an agent to stop wants it whether or not the question is still open.
        let paused = match pause {
            Pause::Agent => self.agents.pause(&asked.agent, user).await,
            Pause::No => Ok(()),
        };
        let pending = self.pending(id)?;
        let mut step = step_of(&pending, ApprovalEvent::Refused);
        step.vote = Some(Box::new(Vote {
            assertion: None,
            extent: None,
            nonce: None,
            user: user.to_owned(),
        }));
        self.write(step).await.map_err(|error| not_kept(&error))?;
        let waited = self.now().since(pending.asked);
        self.metrics.approval_answered("denied", waited);
        paused?;
        self.show(id)
            .ok_or_else(|| NotAnswered::Unknown(id.clone()))
    }

    /// Takes back what is left of a grant.
    ///
    /// # Errors
    /// When nothing is left, or it could not be kept.
    pub async fn revoke(&self, id: &ApprovalId, user: &str) -> Result<Arc<Pending>, NotAnswered> {
        let found = self.show(id);
        let pending = found.ok_or_else(|| NotAnswered::Unknown(id.clone()))?;
        if !matches!(pending.progress, Progress::Granted(_)) {
            return Err(NotAnswered::Closed);
        }
        let mut step = step_of(&pending, ApprovalEvent::Revoked);
        step.vote = Some(Box::new(Vote {
            assertion: None,
            extent: None,
            nonce: None,
            user: user.to_owned(),
        }));
        self.write(step).await.map_err(|error| not_kept(&error))?;
        self.metrics.approval_answered("revoked", Duration::ZERO);
        self.show(id)
            .ok_or_else(|| NotAnswered::Unknown(id.clone()))
    }

    /// A question that waits for an answer.
    fn pending(&self, id: &ApprovalId) -> Result<Arc<Pending>, NotAnswered> {
        let found = self.show(id);
        let pending = found.ok_or_else(|| NotAnswered::Unknown(id.clone()))?;
        // SECURITY: what nobody can be shown any more, nobody approves.
        let is_answerable = pending.progress == Progress::Pending && pending.request.is_some();
        is_answerable.then_some(pending).ok_or(NotAnswered::Closed)
    }

    fn checked(&self, id: &ApprovalId, answer: Answer) -> Result<Granted, NotAnswered> {
        let now = self.now();
        let pending = self.pending(id)?;
        let Answer {
            user,
            extent,
            signed,
        } = answer;
        within(&pending, extent, now)?;
        let by = match &signed {
            Some(_) => Means::Passkey,
            None => Means::Local,
        };
        if by == Means::Local {
            if pending.approve.by == Approver::Passkey {
                return Err(NotAnswered::NeedsPasskey);
            }
            // SECURITY: it runs as somebody who may reach the gate's socket.
            if pending.seal == Seal::None {
                return Err(NotAnswered::Unsealed);
            }
        }
        let key = signed.as_ref().map(|signed| signed.key.as_str());
        if !brings_somebody(&pending, &user, key) {
            return Err(NotAnswered::SamePerson);
        }
        let challenge = match &signed {
            Some(signed) => Some(self.signed(id, &user, extent, signed)?),
            None => None,
        };
        Ok(Granted {
            pending,
            by,
            extent,
            expires: challenge
                .as_ref()
                .map_or_else(|| end_of(extent, now), |it| it.expires),
            nonce: challenge.map(|challenge| challenge.nonce),
            signed,
            user,
        })
    }

    /// Finds the challenge that was signed and uses it up.
    fn signed(
        &self,
        id: &ApprovalId,
        user: &str,
        extent: Extent,
        signed: &Assertion,
    ) -> Result<Challenge, NotAnswered> {
        let now = self.now();
        let keys = self.ledger.passkeys();
        let mut book = self.book();
        let entry = book
            .entry(id)
            .ok_or_else(|| NotAnswered::Unknown(id.clone()))?;
        let life = limits::APPROVAL_CHALLENGE_TIME;
        let mut problem =
            "no challenge for this answer is out; it may have been used, or be too old".to_owned();
        let mut found = None;
        for (index, (made, challenge)) in entry.challenges.iter().enumerate() {
            if challenge.extent != extent || now.since(*made) >= life {
                continue;
            }
            match keys.check(signed, &challenge.digest()) {
                Ok((key, verified)) if key.user == user => found = Some((index, verified)),
                Ok(_) => problem = "the key is somebody else's".to_owned(),
                Err(error) => problem = error.to_string(),
            }
        }
        let (index, verified) = found.ok_or(NotAnswered::NotSigned(problem))?;
        self.ledger.passkey_signed(&signed.key, user, verified);
        Ok(entry.challenges.remove(index).1)
    }
}

impl Granted {
    fn step(self) -> Approval {
        let mut step = step_of(&self.pending, ApprovalEvent::Granted);
        step.by = Some(self.by);
        step.expires = self.expires;
        step.uses = match self.extent {
            Extent::Once => 1,
            Extent::Uses(uses) => uses,
            Extent::Until(_) => u32::MAX,
        };
        step.vote = Some(Box::new(Vote {
            assertion: self.signed,
            extent: Some(self.extent),
            nonce: self.nonce.map(|nonce| nonce.to_string()),
            user: self.user,
        }));
        step
    }
}

/// A step of a question, with nothing but what every step says.
pub(super) fn step_of(pending: &Pending, event: ApprovalEvent) -> Approval {
    Approval {
        account: AccountId::local(),
        agent: pending.agent.clone(),
        approval: pending.id.clone(),
        asked: None,
        by: None,
        digest: pending.digest,
        event,
        expires: pending.expires,
        tool: pending.tool.clone(),
        uses: 0,
        vote: None,
    }
}

/// Whether an answer adds a person or a key that is still lacking.
fn brings_somebody(pending: &Pending, user: &str, key: Option<&str>) -> bool {
    let given = &pending.given;
    let is_new_user = given.iter().all(|other| other.user != user);
    let is_new_key = key.is_none() || given.iter().all(|other| other.key.as_deref() != key);
    let mut keys: Vec<_> = given
        .iter()
        .filter_map(|other| other.key.as_ref())
        .collect();
    keys.sort();
    keys.dedup();
    let devices = pending.approve.devices;
    let has_few = u32::try_from(keys.len()).is_ok_and(|count| count < devices);
    // The command line is no device.
    let brings_key = key.is_some() && devices > 1 && has_few;
    is_new_key && (is_new_user || brings_key)
}

/// When a grant of this extent ends.
fn end_of(extent: Extent, now: Timestamp) -> Timestamp {
    match extent {
        Extent::Until(then) => then,
        Extent::Once | Extent::Uses(_) => now.after(limits::APPROVAL_USE_TIME),
    }
}

/// Whether a question offers as much.
fn within(pending: &Pending, extent: Extent, now: Timestamp) -> Result<(), NotAnswered> {
    let offer = pending.approve.remember;
    let fits = match (extent, offer) {
        (Extent::Once, _) => true,
        (Extent::Uses(uses), Remember::Uses(most)) => (1..=most).contains(&uses),
        (Extent::Until(then), Remember::Until(longest)) => then > now && then <= now.after(longest),
        (Extent::Uses(_) | Extent::Until(_), _) => false,
    };
    fits.then_some(())
        .ok_or_else(|| NotAnswered::TooFar(offered(offer, now)))
}

/// The most that a rule offers, from now on.
pub(super) fn offered(remember: Remember, now: Timestamp) -> Extent {
    match remember {
        Remember::Once => Extent::Once,
        Remember::Uses(uses) => Extent::Uses(uses),
        Remember::Until(time) => Extent::Until(now.after(time)),
    }
}

fn not_kept(error: &Error) -> NotAnswered {
    match error {
        Error::ApprovalUnusable => NotAnswered::Closed,
        other => {
            tracing::error!(
                error = other as &dyn std::error::Error,
                "an answer was not kept"
            );
            NotAnswered::NotKept
        }
    }
}
