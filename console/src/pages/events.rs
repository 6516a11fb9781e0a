//! What happens, as it happens: how many approvals wait, each step of one, and on the page of calls each call.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{Query, State},
    response::sse::{Event, KeepAlive, Sse},
};
use exeat_ledger::{Entry, Envelope, Kind, Ledger, Record, Tail};
use exeat_pipeline::Pending;
use futures_util::Stream;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{broadcast, mpsc};

use super::{approvals, calls};
use crate::{session::Session, site::Site};

/// Which events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Calls too, when it is `1`.
    #[serde(default)]
    calls: u8,
}

/// Events that may wait for a slow reader.
const QUEUE: usize = 64;
/// Calls that are drawn at a time, and how long the next ones wait: the page is for eyes.
const CALLS_AT_ONCE: usize = 40;
const CALLS_PAUSE: Duration = Duration::from_millis(200);
/// How often it is looked whether the session still stands.
const LOOK: Duration = Duration::from_secs(20);

/// The events of one page, until it is closed, its session ends or the console does.
pub(super) async fn stream(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Query(wanted): Query<Wanted>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let teller = Teller {
        site: Arc::clone(&site),
        session,
        sender,
    };
    site.tasks.spawn(async move {
        let stop = teller.site.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = teller.tell(wanted) => {}
        }
    });
    let events = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let event = receiver.recv().await?;
        Some((Ok(event), receiver))
    });
    Sse::new(events).keep_alive(KeepAlive::new())
}

struct Teller {
    site: Arc<Site>,
    session: Arc<Session>,
    sender: mpsc::Sender<Event>,
}

/// The page went away.
struct Gone;

impl Teller {
    async fn tell(self, wanted: Wanted) {
        let ledger = self.site.gate.ledger();
        let calls = (wanted.calls == 1).then(|| ledger.tail());
        let (calls, steps, session) = (self.calls(calls), self.steps(), self.watch());
        // Each of them ends when the page is gone, and then so do the others.
        tokio::select! {
            Err(Gone) = calls => {}
            Err(Gone) = steps => {}
            Err(Gone) = session => {}
            () = self.sender.closed() => {}
            else => {}
        }
    }

    async fn watch(&self) -> Result<(), Gone> {
        loop {
            tokio::time::sleep(LOOK).await;
            if !self.site.sessions.holds(&self.session, self.site.now()) {
                return Err(Gone);
            }
        }
    }

    async fn steps(&self) -> Result<(), Gone> {
        let mut changes = self.site.gate.approvals().changes();
        let mut requests = self.site.gate.requests().changes();
        self.waiting().await?;
        loop {
            tokio::select! {
                changed = changes.recv() => match changed {
                    Ok(pending) => self.step(&pending).await?,
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return Err(Gone),
                },
                changed = requests.changed() => changed.map_err(|_closed| Gone)?,
            }
            self.waiting().await?;
        }
    }

    async fn step(&self, pending: &Pending) -> Result<(), Gone> {
        let told = json!({
            "id": pending.id,
            "state": approvals::word(pending.progress),
            "agent": pending.agent,
            "tool": pending.tool,
        });
        self.send("approval", told.to_string()).await
    }

    async fn waiting(&self) -> Result<(), Gone> {
        let count = approvals::waiting(&self.site);
        self.send("waiting", count.to_string()).await
    }

    async fn calls(&self, tail: Option<Tail>) -> Result<(), Gone> {
        let Some(mut tail) = tail else {
            return std::future::pending().await;
        };
        loop {
            let entries = match tail.next().await {
                Ok(entries) if !entries.is_empty() => entries,
                Ok(_) | Err(_) => return Err(Gone),
            };
            let ledger = self.site.gate.ledger().clone();
            let drawn = tokio::task::spawn_blocking(move || draw(&ledger, &entries)).await;
            for row in drawn.unwrap_or_default() {
                self.send("call", row).await?;
            }
            tokio::time::sleep(CALLS_PAUSE).await;
        }
    }

    async fn send(&self, name: &str, text: String) -> Result<(), Gone> {
        let event = Event::default().event(name).data(text);
        self.sender.send(event).await.map_err(|_closed| Gone)
    }
}

/// The rows of the calls that these records close, and of alarms; of many, the newest.
fn draw(ledger: &Ledger, entries: &[Entry]) -> Vec<String> {
    let mut rows = Vec::new();
    let shown = |entry: &&Entry| {
        matches!(
            entry.kind,
            Kind::CallOutcome | Kind::CallRefused | Kind::Alarm
        )
    };
    let newest = entries.iter().rev().filter(shown).take(CALLS_AT_ONCE);
    for entry in newest {
        let Ok(envelope) = Envelope::parse(entry.text.as_bytes()) else {
            continue;
        };
        if entry.kind == Kind::Alarm {
            if let (Ok(Record::Alarm(alarm)), Ok(at)) = (envelope.record(), envelope.moment()) {
                rows.push(calls::alarm(&alarm, at, entry.position.seq).into_string());
            }
            continue;
        }
        let call = envelope.call();
        if let Some(Ok(Some(receipt))) = call.map(|call| ledger.show(call)) {
            rows.push(calls::row(&receipt).into_string());
        }
    }
    rows.reverse();
    rows
}
