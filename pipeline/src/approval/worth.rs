//! What an answer is good for: how strong it is, how far it goes, and whom it may serve.

use exeat_ledger::{Extent, Means, Progress};
use exeat_policy::{Approve, Approver, Remember};
use exeat_types::{AgentId, Digest, Seal};

use super::{Given, book::Entry};

/// What a call needs an approval for.
pub(super) struct Wanted<'a> {
    pub(super) agent: &'a AgentId,
    pub(super) seal: Seal,
    pub(super) digest: &'a Digest,
    pub(super) approve: Approve,
}

/// What a grant is good for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    pub(super) by: Means,
    /// What was asked; of how far it goes, no more than was granted.
    pub(super) worth: Approve,
}

/// Whether an answer to what was asked is enough for what is wanted.
///
/// SECURITY: what was asked of one person is not enough once two are wanted, nor what holds for hours where somebody is to
/// look at each call.
pub(super) fn suffices(asked: &Approve, wanted: &Approve) -> bool {
    asked.by >= wanted.by
        && asked.approvers >= wanted.approvers
        && asked.devices >= wanted.devices
        && asked.and(*wanted).remember == asked.remember
}

impl Entry {
    /// What its grant is good for.
    pub(super) fn answered(&self) -> Answered {
        Answered {
            by: self.means(),
            worth: self.worth(),
        }
    }

    /// Whether it is good enough for a call.
    pub(super) fn serves(&self, wanted: &Wanted<'_>) -> bool {
        let is_granted = matches!(self.pending.progress, Progress::Granted(_));
        let needs_key = self.pending.approve.by == Approver::Passkey
            || self.pending.seal == Seal::None
            || (is_granted && self.means() == Means::Passkey);
        // SECURITY: whoever is not sealed could have typed an answer that needs no key, whoever asked first.
        let is_safe = wanted.seal != Seal::None || needs_key;
        is_safe && suffices(&self.worth(), &wanted.approve)
    }

    fn worth(&self) -> Approve {
        let asked = self.pending.approve;
        let given: &[Given] = match self.pending.progress {
            Progress::Granted(_) => &self.pending.given,
            Progress::Pending | Progress::Consumed | Progress::Refused | Progress::Expired => &[],
        };
        let granted = given.iter().map(|given| match given.extent {
            Some(Extent::Uses(uses)) => Remember::Uses(uses),
            Some(Extent::Until(then)) => Remember::Until(then.since(given.at)),
            Some(Extent::Once) | None => Remember::Once,
        });
        granted.fold(asked, |worth, remember| {
            worth.and(Approve { remember, ..asked })
        })
    }

    fn means(&self) -> Means {
        let means = self.pending.given.iter().map(|given| given.by);
        means.min().unwrap_or(Means::Local)
    }
}
