//! Capability requests and grants, as their records add up.
//!
//! INVARIANT: the bounds that keep an agent from wearing people down hold here, where nobody can race: so many requests
//! wait at most, and after a no an agent waits longer each time.

use std::{collections::BTreeMap, time::Duration};

use exeat_types::{AgentId, ApprovalId, Capability, Digest, Seal, Timestamp};
use serde::Serialize;

use crate::{
    Error,
    approval::Means,
    grant::{Grant, GrantEvent},
};

/// Most requests of one agent that wait for an answer.
pub const PENDING_MAX: usize = 5;
/// How long an agent waits after the first, the second and each further no.
pub const COOL_DOWNS: [Duration; 3] = [
    Duration::from_secs(60 * 60),
    Duration::from_secs(4 * 60 * 60),
    Duration::from_secs(24 * 60 * 60),
];
/// Most requests that are remembered.
const KEPT_MAX: usize = 4096;

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrantStanding {
    /// Nobody has answered.
    Pending,
    /// It is granted.
    Approved,
    /// Somebody said no.
    Denied,
    /// It was taken back.
    Revoked,
    /// Its time is over.
    Expired,
}

/// A request as its records have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GrantState {
    /// The request.
    pub id: ApprovalId,
    /// Who may use it.
    pub agent: AgentId,
    /// What is asked for, or granted.
    pub capabilities: Vec<Capability>,
    /// The digest of what was asked for.
    pub digest: Digest,
    /// How far it has come.
    pub state: GrantStanding,
    /// When it was asked for.
    pub asked: Timestamp,
    /// When it is too late to answer; of a grant, when it ends.
    pub expires: Timestamp,
    /// For how many seconds it was asked for.
    pub seconds: u32,
    /// What for.
    pub why: Option<String>,
    /// How well the agent was cut off when it asked.
    pub seal: Option<Seal>,
    /// By what means it was answered.
    pub by: Option<Means>,
    /// Who answered last.
    pub user: Option<String>,
    /// The key that granted it, if one did.
    #[serde(skip)]
    pub(super) key: Option<String>,
}

impl GrantState {
    /// How far it has come by now: what nobody wrote down yet is over all the same.
    pub fn standing(&self, now: Timestamp) -> GrantStanding {
        match self.state {
            GrantStanding::Pending | GrantStanding::Approved if now >= self.expires => {
                GrantStanding::Expired
            }
            state => state,
        }
    }

    /// Whether it is in force.
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.standing(now) == GrantStanding::Approved
    }
}

/// How often an agent was refused in a row, and until when it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refused {
    count: usize,
    until: Timestamp,
}

/// Every request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Grants {
    all: BTreeMap<ApprovalId, GrantState>,
    refused: BTreeMap<AgentId, Refused>,
}

impl Grants {
    pub(super) const fn all(&self) -> &BTreeMap<ApprovalId, GrantState> {
        &self.all
    }

    /// Until when an agent may not ask.
    pub(super) fn cool_down(&self, agent: &AgentId, now: Timestamp) -> Option<Timestamp> {
        let refused = self.refused.get(agent)?;
        (now < refused.until).then_some(refused.until)
    }

    pub(super) fn take_in(&mut self, step: &Grant, now: Timestamp) -> Result<(), Error> {
        let Some(known) = self.all.get_mut(&step.grant) else {
            return self.begin(step, now);
        };
        let user = step.vote.as_ref().map(|vote| vote.user.clone());
        let (is_pending, is_granted) = (
            known.standing(now) == GrantStanding::Pending,
            known.standing(now) == GrantStanding::Approved,
        );
        match step.event {
            GrantEvent::Approved if is_pending && known.agent == step.agent => {
                known.state = GrantStanding::Approved;
                known.capabilities.clone_from(&step.capabilities);
                known.expires = step.expires;
                self.refused.remove(&step.agent);
            }
            GrantEvent::Denied if is_pending => {
                known.state = GrantStanding::Denied;
                let count = self
                    .refused
                    .get(&known.agent)
                    .map_or(0, |known| known.count);
                let wait = COOL_DOWNS.get(count).or(COOL_DOWNS.last());
                let until = now.after(wait.copied().unwrap_or_default());
                let count = count.saturating_add(1);
                self.refused
                    .insert(known.agent.clone(), Refused { count, until });
            }
            GrantEvent::Revoked if is_granted => known.state = GrantStanding::Revoked,
            GrantEvent::Expired
                if matches!(
                    known.state,
                    GrantStanding::Pending | GrantStanding::Approved
                ) =>
            {
                known.state = GrantStanding::Expired;
                return Ok(());
            }
            GrantEvent::Requested
            | GrantEvent::Approved
            | GrantEvent::Denied
            | GrantEvent::Revoked
            | GrantEvent::Expired => return Err(Error::GrantUnusable("it is answered or over")),
        }
        known.by = step.by;
        known.user = user;
        let signed = step.vote.as_ref().and_then(|vote| vote.assertion.as_ref());
        known.key = signed.map(|signed| signed.key.clone());
        Ok(())
    }

    /// A key was taken away: what it has granted ends.
    pub(super) fn end_of_key(&mut self, key: &str) {
        for known in self.all.values_mut() {
            if known.state == GrantStanding::Approved && known.key.as_deref() == Some(key) {
                known.state = GrantStanding::Revoked;
            }
        }
    }

    fn begin(&mut self, step: &Grant, now: Timestamp) -> Result<(), Error> {
        if step.event != GrantEvent::Requested {
            return Err(Error::GrantUnusable("there is no such request"));
        }
        if self.cool_down(&step.agent, now).is_some() {
            return Err(Error::GrantUnusable("the agent was refused not long ago"));
        }
        let waits = |one: &&GrantState| {
            one.agent == step.agent && one.standing(now) == GrantStanding::Pending
        };
        if self.all.values().filter(waits).count() >= PENDING_MAX {
            return Err(Error::GrantUnusable("too many requests wait for an answer"));
        }
        if self.all.len() >= KEPT_MAX {
            let over = |one: &GrantState| {
                !matches!(
                    one.standing(now),
                    GrantStanding::Pending | GrantStanding::Approved
                )
            };
            let oldest = self.all.values().filter(|one| over(one));
            let oldest = oldest.min_by_key(|one| one.asked).map(|one| one.id.clone());
            oldest.map(|id| self.all.remove(&id));
        }
        self.all.insert(
            step.grant.clone(),
            GrantState {
                id: step.grant.clone(),
                agent: step.agent.clone(),
                capabilities: step.capabilities.clone(),
                digest: step.digest,
                state: GrantStanding::Pending,
                asked: now,
                expires: step.expires,
                seconds: step.seconds,
                why: step.why.clone(),
                seal: step.seal,
                by: None,
                user: None,
                key: None,
            },
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use exeat_types::{AccountId, capability::digest_of};

    use super::*;

    const HOUR: u64 = 60 * 60 * 1000;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn step(id: &str, event: GrantEvent, expires: u64) -> Grant {
        let capabilities = vec![Capability::Read {
            resource: "a.*".to_owned(),
            filter: BTreeMap::new(),
        }];
        Grant {
            account: AccountId::local(),
            agent: AgentId::new("claude").unwrap(),
            by: None,
            digest: digest_of(&capabilities).unwrap(),
            capabilities,
            event,
            expires: at(expires),
            grant: ApprovalId::new(id).unwrap(),
            seal: None,
            seconds: 60,
            vote: None,
            why: None,
        }
    }

    fn standing(grants: &Grants, id: &str, now: u64) -> GrantStanding {
        grants.all()[&ApprovalId::new(id).unwrap()].standing(at(now))
    }

    #[test]
    fn a_request_goes_one_way_only() {
        use GrantEvent::{Approved, Denied, Expired, Requested, Revoked};
        let mut grants = Grants::default();
        let mut take = |id: &str, event, expires, now| {
            grants.take_in(&step(id, event, expires), at(now)).is_ok()
        };
        assert!(!take("g1", Approved, HOUR, 0));
        assert!(take("g1", Requested, HOUR, 0));
        assert!(!take("g1", Requested, HOUR, 1));
        assert!(!take("g1", Revoked, HOUR, 1));
        assert!(take("g1", Approved, 2 * HOUR, 1));
        assert!(!take("g1", Approved, 9 * HOUR, 2) && !take("g1", Denied, HOUR, 2));
        assert!(take("g1", Revoked, HOUR, 3));
        assert!(!take("g1", Expired, HOUR, 4) && !take("g1", Approved, 9 * HOUR, 4));
        assert!(take("g2", Requested, HOUR, 4));
        assert!(!take("g2", Approved, 9 * HOUR, HOUR));
        assert_eq!(standing(&grants, "g1", 5), GrantStanding::Revoked);
        assert_eq!(standing(&grants, "g2", 5), GrantStanding::Pending);
        assert_eq!(standing(&grants, "g2", HOUR), GrantStanding::Expired);
    }

    #[test]
    fn what_a_key_granted_ends_with_the_key() {
        let mut grants = Grants::default();
        let ask = step("g1", GrantEvent::Requested, HOUR);
        grants.take_in(&ask, at(0)).unwrap();
        let mut yes = step("g1", GrantEvent::Approved, HOUR);
        yes.vote = Some(Box::new(crate::Vote {
            assertion: Some(crate::Assertion {
                authenticator_data: String::new(),
                client_data: String::new(),
                key: "k1".to_owned(),
                signature: String::new(),
            }),
            extent: None,
            nonce: None,
            user: "ann".to_owned(),
        }));
        grants.take_in(&yes, at(1)).unwrap();
        grants.end_of_key("k2");
        assert_eq!(standing(&grants, "g1", 2), GrantStanding::Approved);
        grants.end_of_key("k1");
        assert_eq!(standing(&grants, "g1", 2), GrantStanding::Revoked);
    }

    #[test]
    fn an_agent_cannot_wear_people_down() {
        use GrantEvent::{Approved, Denied, Requested};
        let mut grants = Grants::default();
        for id in ["a1", "a2", "a3", "a4", "a5"] {
            grants.take_in(&step(id, Requested, HOUR), at(0)).unwrap();
        }
        grants
            .take_in(&step("a6", Requested, HOUR), at(0))
            .unwrap_err();
        let agent = AgentId::new("claude").unwrap();
        let mut now = 10;
        for (id, hours) in [("a1", 1), ("b1", 4), ("b2", 24), ("b3", 24)] {
            if id != "a1" {
                grants
                    .take_in(&step(id, Requested, now + HOUR), at(now))
                    .unwrap();
            }
            grants.take_in(&step(id, Denied, HOUR), at(now)).unwrap();
            let until = now + hours * HOUR;
            assert_eq!(grants.cool_down(&agent, at(now)), Some(at(until)));
            grants
                .take_in(&step("c", Requested, until + HOUR), at(until - 1))
                .unwrap_err();
            now = until;
        }
        grants
            .take_in(&step("d1", Requested, now + HOUR), at(now))
            .unwrap();
        grants
            .take_in(&step("d1", Approved, now + HOUR), at(now))
            .unwrap();
        grants
            .take_in(&step("d2", Requested, now + HOUR), at(now))
            .unwrap();
        grants
            .take_in(&step("d2", Denied, now + HOUR), at(now))
            .unwrap();
        assert_eq!(grants.cool_down(&agent, at(now)), Some(at(now + HOUR)));
    }
}
