//! Asking for one token: who waits for whom before an issuer is asked, and what its answer leaves behind.
//!
//! INVARIANT: an answer changes a place only while it is the one that the place waits for.

use std::{sync::Arc, time::Duration};

use exeat_custody::{Issuer, NotIssued, Outside, Plan, Token, Want, Work};
use exeat_types::Timestamp;
use tokio::sync::{OwnedRwLockWriteGuard, watch};

use super::{
    Asks, BROKE_OFF, Outcome, Tokens,
    line::Line,
    place::{Ended, Held, Place, Refusal},
};

/// How long a refusal is remembered of a credential that no person granted: its issuer may well change its mind.
const REFUSED: Duration = Duration::from_secs(60);
/// The same for one of many tokens of a credential.
const REFUSED_NARROWED: Duration = Duration::from_secs(300);

/// No issuer is asked while it is held.
pub struct Stilled(pub(super) OwnedRwLockWriteGuard<Asks>);

impl Stilled {
    /// Nobody is asked any more: another process does that. Tokens that are held still serve.
    pub fn for_good(mut self) {
        *self.0 = Asks::Elsewhere;
    }
}

/// One token on its way.
struct Flight {
    place: Arc<Place>,
    line: Arc<Line>,
    want: Want,
    issuer: Arc<dyn Issuer>,
    mark: u64,
    spent: Option<Timestamp>,
    told: watch::Receiver<Option<Outcome>>,
}

impl Tokens {
    /// Asks the issuer in a task that nobody's going away ends.
    pub(super) fn fly(
        self: &Arc<Self>,
        place: Arc<Place>,
        plan: &Plan,
        spent: Option<Timestamp>,
        tell: watch::Sender<Option<Outcome>>,
    ) {
        let tokens = Arc::clone(self);
        let flight = Flight {
            place,
            line: self.line(&plan.want.credential),
            want: plan.want.clone(),
            issuer: Arc::clone(&plan.issuer),
            mark: plan.mark,
            spent,
            told: tell.subscribe(),
        };
        let task = async move {
            let id = flight.want.credential.clone();
            let outcome = tokens.ask(flight).await;
            match &outcome {
                Ok(token) => {
                    tracing::debug!(credential = %id, expires = ?token.expires, "a token was issued");
                }
                Err(why) => tracing::warn!(credential = %id, %why, "no token was issued"),
            }
            tell.send_replace(Some(outcome));
        };
        let outbound = &self.outbound;
        outbound.tasks().spawn_on(task, outbound.handle());
    }

    /// Waits for its turn, first behind those of the same credential, and asks on a thread that may block.
    async fn ask(self: &Arc<Self>, flight: Flight) -> Outcome {
        let line = Arc::clone(&flight.line);
        let _share = line.flights.acquire().await;
        let _alone = match flight.issuer.alone() {
            true => Some(Arc::clone(&line.alone).lock_owned().await),
            false => None,
        };
        let _turn = self.flights.acquire().await;
        let asks = Arc::clone(&self.asks).read_owned().await;
        let tokens = Arc::clone(self);
        let asked = self.outbound.tasks().spawn_blocking_on(
            move || {
                // Whatever happens to the issuer, nobody waits for it any longer.
                let _ended = Ended(&flight.place, &flight.told);
                let answer = match tokens.not_now(&flight, &asks) {
                    Some(why) => Err(why),
                    None => tokens.answer(&flight),
                };
                tokens.land(&flight, answer)
            },
            self.outbound.handle(),
        );
        asked.await.unwrap_or(Err(BROKE_OFF))
    }

    /// Why the issuer is not asked after all.
    fn not_now(&self, flight: &Flight, asks: &Asks) -> Option<NotIssued> {
        match asks {
            Asks::Elsewhere => Some(NotIssued::Unavailable("another gate has taken over")),
            // It failed for somebody who was before this one in the line.
            Asks::Here => flight.line.paused(flight.mark, self.clock.monotonic()),
        }
    }

    fn answer(&self, flight: &Flight) -> Result<Token, NotIssued> {
        let work = Work {
            outside: &*self.outbound as &dyn Outside,
            keep: &*self.keep,
            now: self.clock.now(),
            spent: flight.spent,
        };
        let issuing = flight.issuer.issue(&flight.want, work);
        self.outbound.handle().block_on(issuing)
    }

    /// Takes in what an issuer answered.
    fn land(&self, flight: &Flight, answer: Result<Token, NotIssued>) -> Outcome {
        let outcome = answer.and_then(|token| self.known(&flight.want, token));
        let (place, mark) = (&flight.place, flight.mark);
        let moment = self.clock.monotonic();
        let mut asking = place.asking();
        if !asking.waits_for(&flight.told) {
            return outcome;
        }
        asking.refused = None;
        match &outcome {
            Ok(token) => {
                flight.line.resume();
                let held = Held::new(Arc::clone(token), mark);
                place.held.store(Some(Arc::new(held)));
            }
            Err(why @ NotIssued::Dead(_)) => {
                // SECURITY: what is revoked is not used to its end.
                place.held.store(None);
                asking.refused = Some(Refusal {
                    mark,
                    why: why.clone(),
                    until: flight.lasts().map(|time| moment.saturating_add(time)),
                });
            }
            Err(why @ (NotIssued::Unavailable(_) | NotIssued::Signer(_))) => {
                flight.line.pause(mark, why, moment);
            }
            Err(NotIssued::Suspended | NotIssued::Unknown | NotIssued::Approval) => {
                place.held.store(None);
            }
            Err(NotIssued::Absent | NotIssued::Scope(_)) => {}
        }
        outcome
    }

    /// INVARIANT: looked for in responses before it is handed out.
    fn known(&self, want: &Want, token: Token) -> Outcome {
        let (label, token) = (want.credential.as_str(), Arc::new(token));
        let known = self.live.hold(label, &token, self.clock.now());
        known.map_err(|error| {
            tracing::error!(credential = label, %error, "a token cannot be looked for");
            NotIssued::Unavailable("its token cannot be looked for in responses")
        })?;
        Ok(token)
    }
}

impl Flight {
    /// How long a refusal is remembered; for ever where only a person can change it.
    fn lasts(&self) -> Option<Duration> {
        if self.issuer.connects().is_none() {
            return Some(REFUSED);
        }
        (!self.want.narrowed.is_empty()).then_some(REFUSED_NARROWED)
    }
}
