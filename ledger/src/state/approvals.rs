//! Approvals as their records have them: asked, granted, used, refused, ended.
//!
//! INVARIANT: a use is taken with the intent, in one step. An intent of another agent or of another call than was asked
//! about finds nothing to use; and what several have to grant is granted by different people, with different keys.

use std::collections::{BTreeMap, BTreeSet};

use exeat_types::{AgentId, ApprovalId, Digest, Timestamp, ToolName};
use serde::Serialize;

use crate::{
    Error,
    approval::{Approval, ApprovalEvent, Asked, Extent, Means},
};

/// An approval that ended so long ago is forgotten here; the journal still has it.
const FORGOTTEN_AFTER_MS: u64 = 24 * 60 * 60 * 1000;

/// How far an approval has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "uses")]
pub enum Progress {
    /// Nobody has answered, or not everybody who has to.
    Pending,
    /// It may be used this many times more.
    Granted(u32),
    /// Every use is used.
    Consumed,
    /// Somebody said no.
    Refused,
    /// Too late.
    Expired,
}

impl Progress {
    /// Whether an answer or a use may still come.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Granted(_))
    }
}

/// One answer as its record has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Voted {
    /// Who answered.
    pub user: String,
    /// By what means.
    pub by: Means,
    /// The key that signed, if one did.
    pub key: Option<String>,
    /// What was granted; nothing if it was refused.
    pub extent: Option<Extent>,
    /// When.
    pub at: Timestamp,
}

/// An approval as its records have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApprovalState {
    /// The agent that asked.
    pub agent: AgentId,
    /// The tool.
    pub tool: ToolName,
    /// The digest of what is to be approved.
    pub digest: Digest,
    /// When it was asked.
    pub requested: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// How far it has come.
    pub progress: Progress,
    /// What was asked; records of earlier versions do not say.
    pub asked: Option<Box<Asked>>,
    /// The answers so far.
    pub votes: Vec<Voted>,
    /// The fewest uses that somebody granted.
    #[serde(skip)]
    uses: u32,
    /// The earliest end that somebody granted.
    #[serde(skip)]
    until: Timestamp,
}

/// The use of an approval that an intent names.
#[derive(Debug, Clone)]
pub(crate) struct Use {
    pub(crate) id: ApprovalId,
    pub(crate) agent: AgentId,
    pub(crate) digest: Digest,
}

/// Every approval that is open, or was a day ago.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Approvals(BTreeMap<ApprovalId, ApprovalState>);

impl Approvals {
    pub(crate) const fn all(&self) -> &BTreeMap<ApprovalId, ApprovalState> {
        &self.0
    }

    /// Whether it may be used at this moment, by this agent for this call.
    ///
    /// # Errors
    /// `ApprovalUnusable`, if not.
    pub(crate) fn is_usable(&self, wanted: &Use, now: Timestamp) -> Result<(), Error> {
        self.uses_left(wanted, now)
            .map(drop)
            .ok_or(Error::ApprovalUnusable)
    }

    /// Takes one use of it, after [`Self::is_usable`].
    pub(crate) fn spend(&mut self, wanted: &Use, now: Timestamp) {
        let Some(uses) = self.uses_left(wanted, now) else {
            return;
        };
        if let Some(known) = self.0.get_mut(&wanted.id) {
            known.progress = if uses > 1 {
                Progress::Granted(uses - 1)
            } else {
                Progress::Consumed
            };
        }
    }

    fn uses_left(&self, wanted: &Use, now: Timestamp) -> Option<u32> {
        let known = self.0.get(&wanted.id)?;
        // SECURITY: records of earlier versions bound an approval to no more than its id.
        let is_bound =
            known.asked.is_none() || (known.agent == wanted.agent && known.digest == wanted.digest);
        match known.progress {
            Progress::Granted(uses) if uses > 0 && is_bound && now < known.expires => Some(uses),
            Progress::Granted(_)
            | Progress::Pending
            | Progress::Consumed
            | Progress::Refused
            | Progress::Expired => None,
        }
    }

    /// Takes a step in.
    ///
    /// # Errors
    /// `ApprovalUnusable` when it does not follow from the steps before it.
    pub(crate) fn take_in(&mut self, step: &Approval, now: Timestamp) -> Result<(), Error> {
        let known = self.0.get_mut(&step.approval);
        match (step.event, known) {
            (ApprovalEvent::Requested, None) => {
                self.forget(now);
                self.0.insert(step.approval.clone(), asked(step, now));
                Ok(())
            }
            (ApprovalEvent::Granted, Some(known)) => known.grant(step, now),
            (ApprovalEvent::Refused, Some(known)) if known.progress == Progress::Pending => {
                known.progress = Progress::Refused;
                known.votes.extend(voted(step, now));
                Ok(())
            }
            (ApprovalEvent::Expired | ApprovalEvent::Revoked, Some(known))
                if known.progress.is_open() =>
            {
                known.progress = Progress::Expired;
                Ok(())
            }
            _ => Err(Error::ApprovalUnusable),
        }
    }

    /// A key was taken away: what it has answered and nobody has used yet ends.
    pub(crate) fn end_of_key(&mut self, key: &str) {
        for known in self.0.values_mut() {
            let signed = |vote: &Voted| vote.key.as_deref() == Some(key);
            if known.progress.is_open() && known.votes.iter().any(signed) {
                known.progress = Progress::Expired;
            }
        }
    }

    fn forget(&mut self, now: Timestamp) {
        let is_recent = |known: &ApprovalState| {
            now.millis() < known.expires.millis().saturating_add(FORGOTTEN_AFTER_MS)
        };
        self.0.retain(|_, known| is_recent(known));
    }
}

fn asked(step: &Approval, now: Timestamp) -> ApprovalState {
    ApprovalState {
        agent: step.agent.clone(),
        tool: step.tool.clone(),
        digest: step.digest,
        requested: now,
        expires: step.expires,
        progress: Progress::Pending,
        asked: step.asked.clone(),
        votes: Vec::new(),
        uses: u32::MAX,
        until: Timestamp::from_millis(u64::MAX),
    }
}

fn voted(step: &Approval, now: Timestamp) -> Option<Voted> {
    let vote = step.vote.as_ref()?;
    Some(Voted {
        user: vote.user.clone(),
        by: step.by.unwrap_or(Means::Local),
        key: vote.assertion.as_ref().map(|signed| signed.key.clone()),
        extent: vote.extent,
        at: now,
    })
}

impl ApprovalState {
    /// Takes an answer in that grants; when it was the last one that was needed, it is granted.
    fn grant(&mut self, step: &Approval, now: Timestamp) -> Result<(), Error> {
        let fits = self.progress == Progress::Pending
            && self.digest == step.digest
            && self.agent == step.agent
            && step.uses > 0;
        let Some(asked) = &self.asked else {
            // Of earlier versions: one record granted.
            return match fits {
                true => {
                    self.progress = Progress::Granted(step.uses);
                    self.expires = step.expires;
                    Ok(())
                }
                false => Err(Error::ApprovalUnusable),
            };
        };
        let vote = voted(step, now).filter(|vote| {
            fits && now < self.expires && vote.by >= asked.by && self.lacks(asked, vote)
        });
        let (approvers, devices) = (asked.approvers, asked.devices);
        self.votes.push(vote.ok_or(Error::ApprovalUnusable)?);
        self.uses = self.uses.min(step.uses);
        self.until = self.until.min(step.expires);
        if self.users() >= approvers && (devices <= 1 || self.keys() >= devices) {
            self.progress = Progress::Granted(self.uses);
            self.expires = self.until;
        }
        Ok(())
    }

    /// Whether an answer brings a person or a key that is still lacking.
    fn lacks(&self, asked: &Asked, vote: &Voted) -> bool {
        let is_new_user = self.votes.iter().all(|other| other.user != vote.user);
        let is_new_key = vote.key.is_none() || self.votes.iter().all(|other| other.key != vote.key);
        let lacks_key = asked.devices > 1 && self.keys() < asked.devices;
        is_new_key && (is_new_user || (vote.key.is_some() && lacks_key))
    }

    fn users(&self) -> u32 {
        let users: BTreeSet<_> = self.votes.iter().map(|vote| vote.user.as_str()).collect();
        u32::try_from(users.len()).unwrap_or(u32::MAX)
    }

    /// How many keys signed: an answer on the command line is by nobody's key.
    fn keys(&self) -> u32 {
        let votes = self.votes.iter();
        let keys: BTreeSet<_> = votes.filter_map(|vote| vote.key.as_deref()).collect();
        u32::try_from(keys.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use exeat_types::{AccountId, CallId, Origin, Seal};

    use super::*;
    use crate::{Assertion, Vote};

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn step(event: ApprovalEvent) -> Approval {
        Approval {
            account: AccountId::local(),
            agent: AgentId::new("claude").unwrap(),
            approval: ApprovalId::new("apr-1").unwrap(),
            asked: None,
            by: None,
            digest: Digest::of(b"call"),
            event,
            expires: Timestamp::from_millis(2_000_000),
            tool: ToolName::new("a.b").unwrap(),
            uses: 0,
            vote: None,
        }
    }

    fn asked_of(approvers: u32, devices: u32) -> Approvals {
        let mut approvals = Approvals::default();
        let mut request = step(ApprovalEvent::Requested);
        request.asked = Some(Box::new(Asked {
            approvers,
            by: Means::Passkey,
            call: CallId::from_bytes([0; 16]),
            capture: None,
            category: "write".to_owned(),
            devices,
            method: "POST".to_owned(),
            offer: Extent::Uses(9),
            origin: Origin::parse("https://api.test").unwrap(),
            policy_digest: Digest::of(b""),
            risk: None,
            rules: Vec::new(),
            seal: Seal::Sandbox,
            why: Vec::new(),
        }));
        approvals.take_in(&request, NOW).unwrap();
        approvals
    }

    fn vote(user: &str, key: &str, uses: u32) -> Approval {
        let mut vote = step(ApprovalEvent::Granted);
        vote.by = Some(Means::Passkey);
        vote.uses = uses;
        vote.vote = Some(Box::new(Vote {
            assertion: Some(Assertion {
                authenticator_data: String::new(),
                client_data: String::new(),
                key: key.to_owned(),
                signature: String::new(),
            }),
            extent: Some(Extent::Uses(uses)),
            nonce: None,
            user: user.to_owned(),
        }));
        vote
    }

    #[track_caller]
    fn check(
        (approvers, devices): (u32, u32),
        votes: &[(&str, &str, u32, bool)],
        uses: Option<u32>,
    ) {
        let mut approvals = asked_of(approvers, devices);
        for (user, key, uses, counts) in votes {
            let taken = approvals.take_in(&vote(user, key, *uses), NOW);
            assert_eq!(taken.is_ok(), *counts, "{user} {key}");
        }
        let state = approvals.all().values().next().unwrap();
        let left = match state.progress {
            Progress::Granted(uses) => Some(uses),
            _ => None,
        };
        assert_eq!(left, uses, "{votes:?}");
    }

    #[test]
    fn several_people_are_several_and_the_least_that_one_of_them_granted_holds() {
        check(
            (1, 1),
            &[("ann", "k1", 3, true), ("ben", "k2", 9, false)],
            Some(3),
        );
        check(
            (2, 1),
            &[("ann", "k1", 3, true), ("ann", "k2", 3, false)],
            None,
        );
        check(
            (2, 1),
            &[("ann", "k1", 3, true), ("ben", "k1", 3, false)],
            None,
        );
        check(
            (2, 1),
            &[("ann", "k1", 5, true), ("ben", "k2", 2, true)],
            Some(2),
        );
        check(
            (1, 2),
            &[("ann", "k1", 1, true), ("ann", "k1", 1, false)],
            None,
        );
        check(
            (1, 2),
            &[("ann", "k1", 1, true), ("ann", "k2", 1, true)],
            Some(1),
        );
    }

    #[test]
    fn the_command_line_is_a_person_and_no_device() {
        let on_the_command_line = |user: &str| {
            let mut local = vote(user, "", 1);
            local.by = Some(Means::Local);
            local.vote.as_mut().unwrap().assertion = None;
            local
        };
        let progress = |approvals: &Approvals| approvals.all().values().next().unwrap().progress;
        for (devices, expect) in [(1, Progress::Granted(1)), (2, Progress::Pending)] {
            let mut approvals = asked_of(1, devices);
            let known = approvals.0.values_mut().next().unwrap();
            known.asked.as_mut().unwrap().by = Means::Local;
            let local = on_the_command_line("local");
            approvals.take_in(&local, NOW).unwrap();
            assert_eq!(progress(&approvals), expect);
            assert!(approvals.take_in(&local, NOW).is_err(), "the same person");
        }
        let mut approvals = asked_of(1, 2);
        let known = approvals.0.values_mut().next().unwrap();
        known.asked.as_mut().unwrap().by = Means::Local;
        for step in [
            on_the_command_line("local"),
            vote("ann", "k1", 1),
            vote("ann", "k2", 1),
        ] {
            assert_eq!(progress(&approvals), Progress::Pending);
            approvals.take_in(&step, NOW).unwrap();
        }
        assert_eq!(progress(&approvals), Progress::Granted(1));
    }

    #[test]
    fn a_use_belongs_to_the_agent_and_the_call_that_were_asked_about() {
        let mut approvals = asked_of(1, 1);
        approvals.take_in(&vote("ann", "k", 2), NOW).unwrap();
        let good = Use {
            id: ApprovalId::new("apr-1").unwrap(),
            agent: AgentId::new("claude").unwrap(),
            digest: Digest::of(b"call"),
        };
        let other_call = Use {
            digest: Digest::of(b"another"),
            ..good.clone()
        };
        let other_agent = Use {
            agent: AgentId::new("other").unwrap(),
            ..good.clone()
        };
        for wrong in [other_call, other_agent] {
            assert!(approvals.is_usable(&wrong, NOW).is_err());
        }
        assert!(
            approvals
                .is_usable(&good, Timestamp::from_millis(2_000_000))
                .is_err()
        );
        for _ in 0..2 {
            approvals.is_usable(&good, NOW).unwrap();
            approvals.spend(&good, NOW);
        }
        assert!(approvals.is_usable(&good, NOW).is_err());
    }

    #[test]
    fn what_a_key_answered_ends_with_the_key() {
        let good = Use {
            id: ApprovalId::new("apr-1").unwrap(),
            agent: AgentId::new("claude").unwrap(),
            digest: Digest::of(b"call"),
        };
        let mut granted = asked_of(1, 1);
        granted.take_in(&vote("ann", "k1", 3), NOW).unwrap();
        granted.end_of_key("k2");
        granted.is_usable(&good, NOW).unwrap();
        granted.end_of_key("k1");
        assert!(granted.is_usable(&good, NOW).is_err());
        let mut half = asked_of(2, 1);
        half.take_in(&vote("ann", "k1", 3), NOW).unwrap();
        half.end_of_key("k1");
        assert!(half.take_in(&vote("ben", "k2", 3), NOW).is_err());
        assert!(half.is_usable(&good, NOW).is_err());
    }

    #[test]
    fn weaker_means_and_late_answers_do_not_count() {
        let mut approvals = asked_of(1, 1);
        let mut local = vote("ann", "k", 1);
        local.by = Some(Means::Local);
        assert!(approvals.take_in(&local, NOW).is_err());
        let late = Timestamp::from_millis(2_000_000);
        assert!(approvals.take_in(&vote("ann", "k", 1), late).is_err());
        let mut other = vote("ann", "k", 1);
        other.digest = Digest::of(b"another");
        assert!(approvals.take_in(&other, NOW).is_err());
        approvals.take_in(&vote("ann", "k", 1), NOW).unwrap();
    }
}
