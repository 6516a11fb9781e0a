//! What was asked of an authenticator and is not answered yet. Each is answered once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use exeat_ledger::{Enrolment, passkey::Nonce};
use exeat_types::{DeviceFailure, Digest, Timestamp, random_bytes};

/// How long an authenticator may take.
pub(crate) const CEREMONY_LIFE: Duration = Duration::from_secs(5 * 60);
/// How long a new key waits for somebody who vouches for it.
const CANDIDATE_LIFE: Duration = Duration::from_secs(10 * 60);
/// Ceremonies at a time of those that people begin who are signed in, or have a code; the oldest goes first.
const CEREMONIES_MAX: usize = 256;
/// Ceremonies at a time that anybody can begin; they push nobody else's out.
const STRANGERS_MAX: usize = 4096;
/// New keys that wait at a time.
const CANDIDATES_MAX: usize = 16;

/// What is going on.
#[derive(Debug, Clone)]
pub(super) enum Ceremony {
    /// Somebody comes in.
    SignIn(Nonce),
    /// A key is made with a code.
    Make {
        /// The code.
        code: String,
        /// Whose key it will be.
        user: String,
        /// What the browser was given.
        challenge: Digest,
    },
    /// A key that is there vouches for a change.
    Vouch {
        /// The change.
        enrolment: Box<Enrolment>,
        /// In the challenge.
        nonce: Nonce,
        /// Who is to vouch.
        user: String,
        /// The candidate that it takes in, if it does.
        candidate: Option<String>,
        /// The one-time code that it uses up, if it takes one.
        code: Option<String>,
    },
    /// Somebody who is signed in confirms what loosens something.
    Deed {
        /// What they do.
        deed: String,
        /// In the challenge.
        nonce: Nonce,
        /// Who is to confirm it.
        user: String,
    },
}

/// A new key that waits.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// What its record will say.
    pub(super) enrolment: Enrolment,
    /// What both screens show.
    pub(super) fingerprint: String,
    until: Timestamp,
    /// How it came out: true when it was taken in.
    pub(super) ending: Option<bool>,
}

type Open = HashMap<String, (Ceremony, Timestamp)>;

/// Everything that is not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Ceremonies {
    open: Mutex<Open>,
    /// Those that anybody can begin.
    strangers: Mutex<Open>,
    candidates: Mutex<BTreeMap<String, Candidate>>,
}

impl Ceremonies {
    /// Keeps a ceremony, and gives the name under which it is answered.
    pub(super) fn begin(
        &self,
        ceremony: Ceremony,
        now: Timestamp,
    ) -> Result<String, DeviceFailure> {
        let name = fresh_name()?;
        let (mut open, most) = match ceremony {
            Ceremony::SignIn(_) => (lock(&self.strangers), STRANGERS_MAX),
            Ceremony::Make { .. } | Ceremony::Vouch { .. } | Ceremony::Deed { .. } => {
                (lock(&self.open), CEREMONIES_MAX)
            }
        };
        if open.len() >= most {
            open.retain(|_, (_, until)| now < *until);
        }
        if open.len() >= most {
            let oldest = open.iter().min_by_key(|(_, (_, until))| *until);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                open.remove(&oldest);
            }
        }
        open.insert(name.clone(), (ceremony, now.after(CEREMONY_LIFE)));
        Ok(name)
    }

    /// Takes a ceremony: nobody answers it after that.
    pub(super) fn take(&self, name: &str, now: Timestamp) -> Option<Ceremony> {
        let taken = lock(&self.open).remove(name);
        let taken = taken.or_else(|| lock(&self.strangers).remove(name));
        let (ceremony, until) = taken?;
        (now < until).then_some(ceremony)
    }

    /// Has a new key wait, and gives its name; nothing when too many wait.
    pub(super) fn wait(
        &self,
        enrolment: Enrolment,
        fingerprint: String,
        now: Timestamp,
    ) -> Result<Option<String>, DeviceFailure> {
        let name = fresh_name()?;
        let mut candidates = lock(&self.candidates);
        candidates.retain(|_, other| now < other.until);
        let waiting = |candidates: &BTreeMap<String, Candidate>| {
            let waits = candidates.values().filter(|it| it.ending.is_none());
            waits.count()
        };
        if waiting(&candidates) >= CANDIDATES_MAX {
            return Ok(None);
        }
        // Those that were answered stay for the new device to ask, and make room first.
        if candidates.len() >= CANDIDATES_MAX * 2 {
            candidates.retain(|_, other| other.ending.is_none());
        }
        let candidate = Candidate {
            enrolment,
            fingerprint,
            until: now.after(CANDIDATE_LIFE),
            ending: None,
        };
        candidates.insert(name.clone(), candidate);
        Ok(Some(name))
    }

    /// A new key by its name, for as long as it is known.
    pub(super) fn candidate(&self, name: &str, now: Timestamp) -> Option<Candidate> {
        let candidates = lock(&self.candidates);
        let found = candidates.get(name).filter(|it| now < it.until);
        found.cloned()
    }

    /// The keys that wait.
    pub(super) fn waiting(&self, now: Timestamp) -> Vec<(String, Candidate)> {
        let candidates = lock(&self.candidates);
        let waiting = candidates
            .iter()
            .filter(|(_, it)| it.ending.is_none() && now < it.until);
        waiting
            .map(|(name, it)| (name.clone(), it.clone()))
            .collect()
    }

    /// Says how it came out.
    pub(super) fn end(&self, name: &str, taken_in: Taken) {
        if let Some(candidate) = lock(&self.candidates).get_mut(name) {
            candidate.ending = Some(taken_in == Taken::In);
        }
    }
}

/// How a new key fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    In,
    Out,
}

/// A fresh nonce.
pub(super) fn fresh_nonce() -> Result<Nonce, DeviceFailure> {
    random_bytes().map(Nonce::new)
}

fn fresh_name() -> Result<String, DeviceFailure> {
    Ok(URL_SAFE_NO_PAD.encode(random_bytes::<16>()?))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ceremony_is_answered_once_and_in_time() {
        let all = Ceremonies::default();
        let now = Timestamp::from_millis(1_800_000_000_000);
        let begin = || {
            let nonce = fresh_nonce().unwrap();
            all.begin(Ceremony::SignIn(nonce), now).unwrap()
        };
        let name = begin();
        assert!(all.take("other", now).is_none());
        assert!(all.take(&name, now).is_some());
        assert!(all.take(&name, now).is_none());
        let late = begin();
        assert!(all.take(&late, now.after(CEREMONY_LIFE)).is_none());
        let deed = Ceremony::Deed {
            deed: "resume".to_owned(),
            nonce: fresh_nonce().unwrap(),
            user: "ada".to_owned(),
        };
        let deed = all.begin(deed, now).unwrap();
        let names: Vec<_> = (0..=STRANGERS_MAX).map(|_| begin()).collect();
        assert!(all.take(names.last().unwrap(), now).is_some());
        assert!(lock(&all.strangers).len() < STRANGERS_MAX);
        assert!(all.take(&deed, now).is_some(), "strangers pushed it out");
    }

    #[test]
    fn keys_that_were_answered_keep_no_new_one_out() {
        let all = Ceremonies::default();
        let now = Timestamp::from_millis(1_800_000_000_000);
        let enrolment = Enrolment {
            device: None,
            key: "key".to_owned(),
            origin: None,
            public_key: None,
            rp_id: None,
            user: "ada".to_owned(),
            vouched: None,
        };
        for _ in 0..CANDIDATES_MAX * 3 {
            let waits = all.wait(enrolment.clone(), String::new(), now);
            all.end(&waits.unwrap().unwrap(), Taken::Out);
        }
        for _ in 0..CANDIDATES_MAX {
            let waits = all.wait(enrolment.clone(), String::new(), now);
            assert!(waits.unwrap().is_some());
        }
        assert!(all.wait(enrolment, String::new(), now).unwrap().is_none());
        assert!(lock(&all.candidates).len() <= CANDIDATES_MAX * 2);
    }
}
