//! A person's answer to a capability request, and whether it counts.
//!
//! INVARIANT: nobody grants more than was asked for; what a passkey signs is the digest of exactly what is granted, to
//! whom and until when; and without a passkey only the caller's word that the agent could not have typed it counts.

use std::sync::Arc;

use exeat_ledger::{
    Assertion, Extent, GrantEvent, GrantStanding, GrantState, Means, Vote,
    passkey::{Challenge, Nonce},
};
use exeat_policy::{Policy, granted::Granted};
use exeat_types::{ApprovalId, Capability, Timestamp, capability::digest_of, limits, random_bytes};

use super::{Consent, NotTaken, RequestShown, Requests, SECONDS, step_of, words::Confirmed};

impl Requests {
    /// Makes what a passkey is to sign to grant this. It is good for one answer, within five minutes.
    ///
    /// # Errors
    /// When it cannot be granted so.
    pub async fn challenge(
        self: &Arc<Self>,
        policy: &Policy,
        id: &ApprovalId,
        consent: &Consent,
    ) -> Result<Challenge, NotTaken> {
        let now = self.clock.now();
        let (known, capabilities, expires) = self.meant(policy, id, consent).await?;
        let nonce = random_bytes().map_err(|_cause| NotTaken::NotKept)?;
        let digest =
            digest_of(&capabilities).map_err(|problem| NotTaken::Malformed(problem.to_string()))?;
        let challenge = Challenge {
            agent: known.agent,
            approval: id.clone(),
            digest,
            extent: Extent::Until(expires),
            expires,
            nonce: Nonce::new(nonce),
        };
        let mut all = self.challenges();
        all.retain(|(made, _)| now.since(*made) < limits::APPROVAL_CHALLENGE_TIME);
        if all.len() >= limits::APPROVAL_CHALLENGES_MAX {
            all.remove(0);
        }
        all.push((now, challenge.clone()));
        Ok(challenge)
    }

    /// Grants. Without a passkey the caller answers for it that the agent could not have done this itself.
    ///
    /// # Errors
    /// When the answer does not count, the policy cannot enforce it, or it could not be kept.
    pub async fn grant(
        self: &Arc<Self>,
        policy: &Policy,
        id: &ApprovalId,
        consent: Consent,
    ) -> Result<RequestShown, NotTaken> {
        let (known, capabilities, mut expires) = self.meant(policy, id, &consent).await?;
        let digest =
            digest_of(&capabilities).map_err(|problem| NotTaken::Malformed(problem.to_string()))?;
        let mut nonce = None;
        if let Some(signed) = &consent.signed {
            let challenge = self.signed(id, &consent.user, signed)?;
            if challenge.digest != digest {
                return Err(NotTaken::NotSigned("it is for something else".to_owned()));
            }
            expires = challenge.expires;
            nonce = Some(challenge.nonce.to_string());
        }
        let mut step = step_of(&known, GrantEvent::Approved);
        step.by = Some(match &consent.signed {
            Some(_) => Means::Passkey,
            None => Means::Local,
        });
        step.capabilities = capabilities;
        step.digest = digest;
        step.expires = expires;
        step.vote = Some(Box::new(Vote {
            assertion: consent.signed,
            extent: Some(Extent::Until(expires)),
            nonce,
            user: consent.user,
        }));
        self.write(step).await?;
        self.show(id).ok_or(NotTaken::Unknown)
    }

    /// Refuses: the agent waits before it may ask again, longer each time.
    ///
    /// # Errors
    /// When there is nothing to refuse any more, or it could not be kept.
    pub async fn deny(&self, id: &ApprovalId, user: &str) -> Result<RequestShown, NotTaken> {
        self.end(id, GrantEvent::Denied, user).await
    }

    /// Takes a grant back.
    ///
    /// # Errors
    /// When it is not in force any more, or it could not be kept.
    pub async fn revoke(&self, id: &ApprovalId, user: &str) -> Result<RequestShown, NotTaken> {
        self.end(id, GrantEvent::Revoked, user).await
    }

    async fn end(
        &self,
        id: &ApprovalId,
        event: GrantEvent,
        user: &str,
    ) -> Result<RequestShown, NotTaken> {
        let known = self.ledger.grant(id).ok_or(NotTaken::Unknown)?;
        let mut step = step_of(&known, event);
        step.vote = Some(Box::new(Vote {
            assertion: None,
            extent: None,
            nonce: None,
            user: user.to_owned(),
        }));
        self.write(step).await?;
        self.show(id).ok_or(NotTaken::Unknown)
    }

    /// What exactly a consent would grant, and until when.
    async fn meant(
        self: &Arc<Self>,
        policy: &Policy,
        id: &ApprovalId,
        consent: &Consent,
    ) -> Result<(GrantState, Vec<Capability>, Timestamp), NotTaken> {
        let now = self.clock.now();
        let known = self.ledger.grant(id).ok_or(NotTaken::Unknown)?;
        if known.standing(now) != GrantStanding::Pending {
            return Err(NotTaken::Closed("it is answered or over"));
        }
        let capabilities = consent
            .capabilities
            .clone()
            .unwrap_or_else(|| known.capabilities.clone());
        for one in &capabilities {
            if !known.capabilities.iter().any(|asked| one.is_within(asked)) {
                return Err(NotTaken::TooMuch(one.words()));
            }
        }
        if consent.confirmed == Confirmed::No && capabilities.iter().any(Capability::is_grave) {
            return Err(NotTaken::NotConfirmed);
        }
        let seconds = consent.seconds.unwrap_or(known.seconds);
        if seconds > known.seconds || !SECONDS.contains(&seconds) {
            return Err(NotTaken::TooMuch(format!("{seconds} s")));
        }
        let expires = now.after(std::time::Duration::from_secs(u64::from(seconds)));
        let granted = Granted {
            id: id.as_str(),
            agent: &known.agent,
            until: expires,
            capabilities: &capabilities,
        };
        self.enforceable(policy, granted).await?;
        Ok((known, capabilities, expires))
    }

    /// Finds the challenge that was signed, and uses it up.
    fn signed(
        &self,
        id: &ApprovalId,
        user: &str,
        signed: &Assertion,
    ) -> Result<Challenge, NotTaken> {
        let now = self.clock.now();
        let keys = self.ledger.passkeys();
        let mut problem = "no challenge for it is out, or it is too old".to_owned();
        let mut all = self.challenges();
        all.retain(|(made, _)| now.since(*made) < limits::APPROVAL_CHALLENGE_TIME);
        let mut found = None;
        for (index, (_, challenge)) in all.iter().enumerate() {
            if challenge.approval != *id {
                continue;
            }
            match keys.check(signed, &challenge.digest()) {
                Ok((key, verified)) if key.user == user => found = Some((index, verified)),
                Ok(_) => problem = "the key is somebody else's".to_owned(),
                Err(error) => problem = error.to_string(),
            }
        }
        match found {
            Some((index, verified)) => {
                self.ledger.passkey_signed(&signed.key, user, verified);
                Ok(all.remove(index).1)
            }
            None => Err(NotTaken::NotSigned(problem)),
        }
    }
}
