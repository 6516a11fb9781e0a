//! Tokens of credentials that are obtained before they are used: each is asked for once, whoever waits for it, and is kept
//! until it is about to expire.
//!
//! A caller that goes away ends nothing: what an issuer has answered is taken in by a task of its own. A token is looked for in
//! every response before anybody is given it.

mod flight;
mod line;
mod place;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use exeat_custody::{Custody, Keep, Live, NotIssued, Plan, Token, Want};
use exeat_types::{Clock, CredentialId, limits};
use tokio::{
    sync::{OwnedMutexGuard, RwLock, Semaphore, watch},
    time::timeout,
};

use crate::Outbound;
use line::Line;
use place::Place;

pub use flight::Stilled;

/// A token that upstream refused is replaced no more often than this.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);
/// How many issuers are asked at a time.
const FLIGHTS_MAX: usize = 32;
/// How many lacking scopes are remembered of one credential.
const SCOPES_MAX: usize = 64;

/// What became of asking.
type Outcome = Result<Arc<Token>, NotIssued>;

/// Every token of the process.
pub(crate) struct Tokens {
    outbound: Arc<Outbound>,
    keep: Arc<dyn Keep>,
    clock: Arc<dyn Clock>,
    live: Arc<Live>,
    places: ArcSwap<HashMap<Want, Arc<Place>>>,
    lines: Mutex<HashMap<CredentialId, Arc<Line>>>,
    flights: Semaphore,
    /// Shared by whoever asks an issuer.
    asks: Arc<RwLock<Asks>>,
    lacking: Mutex<BTreeMap<CredentialId, BTreeSet<String>>>,
}

/// Which process asks issuers.
#[derive(Clone, Copy)]
pub(crate) enum Asks {
    Here,
    /// The one that took over: two that renew one grant use it up.
    Elsewhere,
}

/// Why a new token is asked for.
enum Cause<'a> {
    /// There is none, or it is about to expire.
    Lacking,
    /// Upstream refused this one.
    Refused(&'a Arc<Token>),
}

/// What came of deciding to ask.
enum Begun {
    There(Arc<Token>),
    Flying(watch::Receiver<Option<Outcome>>),
    /// A token was replaced a moment ago; another one would be refused as well.
    NotNow,
}

impl Tokens {
    pub(crate) fn new(
        outbound: Arc<Outbound>,
        keep: Arc<dyn Keep>,
        clock: Arc<dyn Clock>,
        live: Arc<Live>,
    ) -> Arc<Self> {
        Arc::new(Self {
            outbound,
            keep,
            clock,
            live,
            places: ArcSwap::default(),
            lines: Mutex::default(),
            flights: Semaphore::new(FLIGHTS_MAX),
            asks: Arc::new(RwLock::new(Asks::Here)),
            lacking: Mutex::default(),
        })
    }

    pub(crate) fn keep(&self) -> &Arc<dyn Keep> {
        &self.keep
    }

    pub(crate) fn outbound(&self) -> &Arc<Outbound> {
        &self.outbound
    }

    /// The token of a plan: the one that is kept, or a new one.
    ///
    /// # Errors
    /// Why there is none.
    ///
    /// # Cancel safety
    /// Dropping the future gives up waiting and nothing else.
    pub(crate) async fn obtain(self: &Arc<Self>, plan: &Plan) -> Outcome {
        let places = self.places.load();
        let now = self.clock.now();
        if let Some(place) = places.get(&plan.want)
            && let Some(held) = place.held(plan.mark, now)
        {
            place.touch(now);
            if held.ageing.is_some_and(|ageing| ageing <= now) {
                self.refresh_meanwhile(plan);
            }
            return Ok(Arc::clone(&held.token));
        }
        drop(places);
        self.asked(plan).await
    }

    /// Another token than this one, which upstream refused.
    ///
    /// # Errors
    /// Why there is none. There is none either, and no reason, when one was replaced a moment ago.
    pub(crate) async fn renew(
        self: &Arc<Self>,
        plan: &Plan,
        refused: &Arc<Token>,
    ) -> Result<Option<Arc<Token>>, NotIssued> {
        let place = self.place(&plan.want)?;
        match self.begin(&place, plan, &Cause::Refused(refused))? {
            Begun::There(token) => Ok(Some(token)),
            Begun::Flying(told) => landing(told).await.map(Some),
            Begun::NotNow => Ok(None),
        }
    }

    /// The same for a request that cannot be sent again: the next one will find it.
    pub(crate) fn renew_meanwhile(self: &Arc<Self>, plan: &Plan, refused: &Arc<Token>) {
        let begun = self
            .place(&plan.want)
            .and_then(|place| self.begin(&place, plan, &Cause::Refused(refused)));
        if let Err(why) = begun {
            tracing::debug!(credential = %plan.want.credential, %why, "a refused token is not replaced");
        }
    }

    /// Nobody else obtains a token of this credential while the guard is held.
    pub(crate) async fn alone(&self, id: &CredentialId) -> OwnedMutexGuard<()> {
        let line = self.line(id);
        Arc::clone(&line.alone).lock_owned().await
    }

    /// Waits until no issuer is asked, and has none asked as long as this is held.
    pub(crate) async fn still(&self) -> Stilled {
        Stilled(Arc::clone(&self.asks).write_owned().await)
    }

    /// Forgets what is known of a credential: its grant has changed.
    pub(crate) fn forget(&self, id: &CredentialId) {
        self.retain(|want| want.credential != *id);
        self.line(id).resume();
        self.lacking().remove(id);
    }

    /// Forgets tokens of credentials that are gone.
    pub(crate) fn sweep(&self, custody: &Custody) {
        if !self.places.load().is_empty() {
            self.retain(|want| custody.describe(&want.credential).is_some());
        }
    }

    /// Notes the scopes that upstream says are lacking.
    pub(crate) fn lacks(&self, id: &CredentialId, scopes: &[String]) {
        let mut lacking = self.lacking();
        let known = lacking.entry(id.clone()).or_default();
        for scope in scopes {
            if known.len() < SCOPES_MAX {
                known.insert(scope.clone());
            }
        }
    }

    /// The scopes that were noted.
    pub(crate) fn wanted(&self, id: &CredentialId) -> Vec<String> {
        let lacking = self.lacking();
        lacking.get(id).into_iter().flatten().cloned().collect()
    }

    fn refresh_meanwhile(self: &Arc<Self>, plan: &Plan) {
        let begun = self
            .place(&plan.want)
            .and_then(|place| self.begin(&place, plan, &Cause::Lacking));
        if let Err(why) = begun {
            tracing::debug!(credential = %plan.want.credential, %why, "a token that ages is not replaced yet");
        }
    }

    async fn asked(self: &Arc<Self>, plan: &Plan) -> Outcome {
        let place = self.place(&plan.want)?;
        match self.begin(&place, plan, &Cause::Lacking)? {
            Begun::There(token) => Ok(token),
            Begun::Flying(told) => landing(told).await,
            Begun::NotNow => Err(BROKE_OFF),
        }
    }

    /// Joins whoever asks already, or begins to ask.
    fn begin(
        self: &Arc<Self>,
        place: &Arc<Place>,
        plan: &Plan,
        cause: &Cause<'_>,
    ) -> Result<Begun, NotIssued> {
        let (now, moment) = (self.clock.now(), self.clock.monotonic());
        let mut asking = place.asking();
        let held = place.held(plan.mark, now);
        let mut spent = held.as_ref().map(|held| held.token.obtained);
        match (cause, &held) {
            (Cause::Lacking, Some(held)) if held.ageing.is_none_or(|ageing| now < ageing) => {
                return Ok(Begun::There(Arc::clone(&held.token)));
            }
            (Cause::Refused(refused), Some(held)) if !Arc::ptr_eq(refused, &held.token) => {
                return Ok(Begun::There(Arc::clone(&held.token)));
            }
            (Cause::Refused(refused), _) => spent = Some(refused.obtained),
            (Cause::Lacking, _) => {}
        }
        if let Some(refusal) = &asking.refused
            && refusal.holds(plan.mark, moment)
        {
            return Err(refusal.why.clone());
        }
        if let Some((mark, told)) = &asking.flight
            && *mark == plan.mark
        {
            return Ok(Begun::Flying(told.clone()));
        }
        if let Some(why) = self.line(&plan.want.credential).paused(plan.mark, moment) {
            return Err(why);
        }
        if let Cause::Refused(_) = cause {
            let last = asking.renewed;
            if last.is_some_and(|last| moment < last.saturating_add(RENEWAL_PAUSE)) {
                return Ok(Begun::NotNow);
            }
            asking.renewed = Some(moment);
            place.held.store(None);
        }
        let (tell, told) = watch::channel(None);
        asking.flight = Some((plan.mark, told.clone()));
        drop(asking);
        self.fly(Arc::clone(place), plan, spent, tell);
        Ok(Begun::Flying(told))
    }

    /// The place of a token. Where there are too many, one that is asked for by nobody goes.
    fn place(&self, want: &Want) -> Result<Arc<Place>, NotIssued> {
        let now = self.clock.now();
        if let Some(place) = self.places.load().get(want) {
            place.touch(now);
            return Ok(Arc::clone(place));
        }
        let moment = self.clock.monotonic();
        let mut found = None;
        self.places.rcu(|places| {
            let mut places = HashMap::clone(places);
            found = places.get(want).cloned();
            if found.is_none() && place::make_room(&mut places, &want.credential, (now, moment)) {
                let fresh = Arc::new(Place::new(now));
                places.insert(want.clone(), Arc::clone(&fresh));
                found = Some(fresh);
            }
            places
        });
        found.ok_or(NotIssued::Unavailable("too many tokens are asked for"))
    }

    /// Drops what is not wanted any more, and what holds no token and asks for none.
    fn retain(&self, wanted: impl Fn(&Want) -> bool) {
        let (now, moment) = (self.clock.now(), self.clock.monotonic());
        self.places.rcu(|places| {
            let mut places = HashMap::clone(places);
            places.retain(|want, place| wanted(want) && place.is_of_use(now, moment));
            places
        });
    }

    fn line(&self, id: &CredentialId) -> Arc<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lines.entry(id.clone()).or_default())
    }

    fn lacking(&self) -> MutexGuard<'_, BTreeMap<CredentialId, BTreeSet<String>>> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for what becomes of asking.
async fn landing(mut told: watch::Receiver<Option<Outcome>>) -> Outcome {
    match timeout(limits::TOKEN_TIMEOUT, told.wait_for(Option::is_some)).await {
        Ok(Ok(outcome)) => outcome.clone().unwrap_or(Err(BROKE_OFF)),
        Ok(Err(_)) => Err(BROKE_OFF),
        Err(_) => Err(NotIssued::Unavailable("no token was issued in time")),
    }
}

/// What those who wait are told when an issuer fails inside.
const BROKE_OFF: NotIssued = NotIssued::Unavailable("its issuer broke off");
