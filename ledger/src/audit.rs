//! Approvals as somebody far away follows them: with the records alone, every signature checked again.
//!
//! The steps are those of the gate itself (`state/approvals.rs`, `passkey/keys.rs`). What is added here is what the gate
//! checked before it wrote: that a key which was enrolled at that time signed exactly what the record says, once.

use std::collections::BTreeSet;

use exeat_types::{ApprovalId, Timestamp, capability::digest_of};

use crate::{
    approval::{Approval, ApprovalEvent, Enrolment, Extent, Means},
    call::Intent,
    envelope::{Envelope, Member},
    grant::{Grant, GrantEvent},
    passkey::{Assertion, Challenge, Keys},
    record::Record,
    state::approvals::{Approvals, Use},
};

/// What was seen so far.
#[derive(Default)]
pub(crate) struct Audit {
    keys: Keys,
    approvals: Approvals,
    ids: BTreeSet<ApprovalId>,
    /// Uses of approvals that keys signed.
    pub(crate) signed: u64,
    /// Uses of approvals that no key signed, or whose records an export leaves out.
    pub(crate) unsigned: u64,
}

/// Whether an export shows everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Every record so far was there.
    Whole,
    /// Some were left out.
    Partial,
}

impl Audit {
    /// Takes a record in that says something about approvals, or about the keys that give them.
    pub(crate) fn record(&mut self, envelope: &Envelope<'_>, sight: Sight) -> Result<(), String> {
        let is_use = envelope.has(Member::APPROVAL);
        let at = || envelope.moment().map_err(|e| e.problem);
        match envelope.record().map_err(|e| e.problem)? {
            Record::Enrolment(enrolment) => self.enrolment(&enrolment, at()?),
            Record::Approval(approval) => self.approval(&approval, at()?),
            Record::Grant(grant) => self.capability(&grant),
            Record::Intent(intent) if is_use => self.intent(&intent, at()?, sight),
            _ => Ok(()),
        }
    }

    fn enrolment(&mut self, enrolment: &Enrolment, at: Timestamp) -> Result<(), String> {
        let wrong = |e: crate::Error| format!("the passkey `{}`: {e}", enrolment.key);
        self.keys.apply(enrolment, at).map_err(wrong)?;
        if enrolment.public_key.is_none() {
            self.approvals.end_of_key(&enrolment.key);
        }
        Ok(())
    }

    fn approval(&mut self, step: &Approval, at: Timestamp) -> Result<(), String> {
        let id = &step.approval;
        let wrong = |problem: &str| format!("the approval `{id}`: {problem}");
        if step.event == ApprovalEvent::Requested && !self.ids.insert(id.clone()) {
            return Err(wrong("asked twice"));
        }
        let known = self.approvals.all().get(id);
        if known.is_some_and(|known| known.tool != step.tool || known.agent != step.agent) {
            return Err(wrong("of another tool or agent than was asked about"));
        }
        let binds = known.is_some_and(|known| known.asked.is_some());
        if step.event == ApprovalEvent::Granted && binds {
            self.answer(step).map_err(|problem| wrong(&problem))?;
        }
        self.approvals
            .take_in(step, at)
            .map_err(|_cause| wrong("a step that does not follow from those before it"))
    }

    /// A capability that was granted: the person signed this very set, until then.
    fn capability(&mut self, step: &Grant) -> Result<(), String> {
        let wrong = |problem: &str| format!("the capability request `{}`: {problem}", step.grant);
        if step.event != GrantEvent::Approved || step.by != Some(Means::Passkey) {
            return Ok(());
        }
        let digest = digest_of(&step.capabilities).map_err(|e| wrong(&e.problem))?;
        if digest != step.digest {
            return Err(wrong("the digest is of something else"));
        }
        let vote = step
            .vote
            .as_deref()
            .ok_or_else(|| wrong("granted by nobody"))?;
        let nonce = vote.nonce.as_deref().and_then(|nonce| nonce.parse().ok());
        let challenge = Challenge {
            agent: step.agent.clone(),
            approval: step.grant.clone(),
            digest,
            extent: vote
                .extent
                .ok_or_else(|| wrong("it does not say what was granted"))?,
            expires: step.expires,
            nonce: nonce.ok_or_else(|| wrong("it has no nonce"))?,
        };
        if challenge.extent != Extent::Until(step.expires) {
            return Err(wrong("it grants something else than it says"));
        }
        let signed = vote
            .assertion
            .as_ref()
            .ok_or_else(|| wrong("no key signed it"))?;
        self.signed_by(&challenge, signed, &vote.user)
            .map_err(|problem| wrong(&problem))
    }

    /// An answer that grants: what was signed is what the record says.
    fn answer(&mut self, step: &Approval) -> Result<(), String> {
        let vote = step.vote.as_deref().ok_or("granted by nobody")?;
        let extent = vote.extent.ok_or("it does not say what was granted")?;
        let fits = match extent {
            Extent::Once => step.uses == 1,
            Extent::Uses(count) => step.uses == count,
            Extent::Until(then) => step.expires == then,
        };
        if !fits {
            return Err("it grants something else than it says".to_owned());
        }
        let Some(signed) = &vote.assertion else {
            return match step.by {
                Some(Means::Passkey) => Err("no key signed it".to_owned()),
                Some(Means::Local) | None => Ok(()),
            };
        };
        let challenge = Challenge::of(step).ok_or("it has no nonce")?;
        self.signed_by(&challenge, signed, &vote.user)
    }

    fn signed_by(
        &mut self,
        challenge: &Challenge,
        signed: &Assertion,
        user: &str,
    ) -> Result<(), String> {
        let checked = self.keys.check(signed, &challenge.digest());
        let (key, _) = checked.map_err(|e| e.to_string())?;
        if key.user != user {
            return Err("the key is somebody else's".to_owned());
        }
        self.keys.spend(challenge.nonce).map_err(|e| e.to_string())
    }

    fn intent(&mut self, intent: &Intent, at: Timestamp, sight: Sight) -> Result<(), String> {
        let Some(used) = &intent.approval else {
            return Ok(());
        };
        let wanted = Use {
            id: used.id.clone(),
            agent: intent.agent.clone(),
            digest: intent.call_digest,
        };
        let known = self.approvals.all().get(&used.id);
        if known.is_none() && sight == Sight::Partial {
            self.unsigned += 1;
            return Ok(());
        }
        let by_key = known.is_some_and(|known| {
            !known.votes.is_empty() && known.votes.iter().all(|vote| vote.by == Means::Passkey)
        });
        let is_bound = known.is_some_and(|known| known.asked.is_some());
        if is_bound && used.by == Means::Passkey && !by_key {
            return Err(format!(
                "the call {} was not approved with a passkey",
                intent.call
            ));
        }
        self.approvals.is_usable(&wanted, at).map_err(|_cause| {
            format!(
                "the call {} uses the approval `{}`, which does not allow it",
                intent.call, used.id
            )
        })?;
        self.approvals.spend(&wanted, at);
        if is_bound && by_key {
            self.signed += 1;
        } else {
            self.unsigned += 1;
        }
        Ok(())
    }
}
