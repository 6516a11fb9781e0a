//! Where one token lies: what is held, who asks for it now, and what the issuer said last.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use exeat_custody::{NotIssued, Token, Want};
use exeat_types::{CredentialId, Timestamp, limits};
use tokio::sync::watch;

use super::Outcome;

/// How many tokens of one credential have a place. What they are narrowed to, agents choose.
const PLACES_PER_CREDENTIAL: usize = 64;

/// Where the token for one want lies.
pub(super) struct Place {
    pub(super) held: ArcSwapOption<Held>,
    asking: Mutex<Asking>,
    /// When it was wanted last.
    wanted: AtomicU64,
}

/// A token, and how long it serves.
pub(super) struct Held {
    pub(super) token: Arc<Token>,
    mark: u64,
    /// From here on a new one is asked for meanwhile.
    pub(super) ageing: Option<Timestamp>,
    /// From here on it is not used.
    ends: Option<Timestamp>,
}

/// Who asks for a token, and what came of asking before.
#[derive(Default)]
pub(super) struct Asking {
    /// Whoever asks now, and for which declaration of the credential.
    pub(super) flight: Option<(u64, watch::Receiver<Option<Outcome>>)>,
    /// What the issuer said last, if it was no.
    pub(super) refused: Option<Refusal>,
    /// When a token was last replaced as upstream had refused it.
    pub(super) renewed: Option<Duration>,
}

/// What the issuer said instead of a token.
pub(super) struct Refusal {
    pub(super) mark: u64,
    pub(super) why: NotIssued,
    /// Forever, if there is no end.
    pub(super) until: Option<Duration>,
}

impl Refusal {
    /// Whether it stands now, for this declaration of its credential.
    pub(super) fn holds(&self, mark: u64, moment: Duration) -> bool {
        self.mark == mark && self.lasts(moment)
    }

    fn lasts(&self, moment: Duration) -> bool {
        self.until.is_none_or(|until| moment < until)
    }
}

impl Asking {
    /// Whether this is what it waits for.
    pub(super) fn waits_for(&self, told: &watch::Receiver<Option<Outcome>>) -> bool {
        let flight = self.flight.as_ref();
        flight.is_some_and(|(_, own)| own.same_channel(told))
    }
}

/// Has a place for one more token of a credential, and says whether there is one. The one that is of least use goes, and
/// none that somebody waits at.
pub(super) fn make_room(
    places: &mut HashMap<Want, Arc<Place>>,
    id: &CredentialId,
    (now, moment): (Timestamp, Duration),
) -> bool {
    let is_own = |want: &&Want| want.credential == *id;
    let crowded = places.keys().filter(is_own).count() >= PLACES_PER_CREDENTIAL;
    if !crowded && places.len() < limits::TOKENS_MAX {
        return true;
    }
    let free = places
        .iter()
        .filter(|(want, place)| (!crowded || is_own(want)) && place.asking().flight.is_none());
    let least = free.min_by_key(|(_, place)| {
        let wanted = place.wanted.load(Ordering::Relaxed);
        (place.is_of_use(now, moment), wanted)
    });
    let least = least.map(|(want, _)| want.clone());
    least.is_some_and(|want| places.remove(&want).is_some())
}

impl Place {
    /// One that is wanted now.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            held: ArcSwapOption::empty(),
            asking: Mutex::default(),
            wanted: AtomicU64::new(now.millis()),
        }
    }

    /// Notes that it is wanted now.
    pub(super) fn touch(&self, now: Timestamp) {
        self.wanted.store(now.millis(), Ordering::Relaxed);
    }

    /// What it holds, if that is good now.
    pub(super) fn held(&self, mark: u64, now: Timestamp) -> Option<Arc<Held>> {
        let held = self.held.load_full();
        held.filter(|held| held.serves(mark, now))
    }

    pub(super) fn asking(&self) -> MutexGuard<'_, Asking> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it holds, is asked for, or is known to be refused.
    pub(super) fn is_of_use(&self, now: Timestamp, moment: Duration) -> bool {
        let held = self.held.load();
        let holds = held.as_ref().is_some_and(|held| held.lasts(now));
        let asking = self.asking();
        let refused = asking.refused.as_ref();
        holds || refused.is_some_and(|refusal| refusal.lasts(moment)) || asking.flight.is_some()
    }
}

/// Notes at its end that nobody asks any more.
pub(super) struct Ended<'a>(
    pub(super) &'a Place,
    pub(super) &'a watch::Receiver<Option<Outcome>>,
);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut asking = self.0.asking();
        if asking.waits_for(self.1) {
            asking.flight = None;
        }
    }
}

impl Held {
    /// When it ages and ends follows from its life.
    pub(super) fn new(token: Arc<Token>, mark: u64) -> Self {
        let life = token.expires.map(|ends| ends.since(token.obtained));
        let ends = token.used_until();
        let ageing = life.map(|life| token.obtained.after(life / 5 * 4));
        Self {
            mark,
            ageing: ageing.zip(ends).map(|(ageing, ends)| ageing.min(ends)),
            ends,
            token,
        }
    }

    fn lasts(&self, now: Timestamp) -> bool {
        self.ends.is_none_or(|ends| now < ends)
    }

    /// Whether it is good now, for this declaration of its credential.
    pub(super) fn serves(&self, mark: u64, now: Timestamp) -> bool {
        self.mark == mark && self.lasts(now)
    }
}
