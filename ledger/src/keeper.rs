//! The second thread: everything that may be slow. Segments ahead of need, the index, captures, the anchor.
//!
//! Nothing a call waits for happens here; what fails here is an alarm, never a refusal.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use exeat_types::Timestamp;
use tracing::warn;

use crate::{
    Error, anchor::Anchor, capture::Captures, effect::Effect, event::Alarm, journal::Item,
    note::Head, record::Record, shared::Shared, views::Views,
};

/// How often the keeper looks around.
const ROUND: Duration = Duration::from_secs(1);
/// The anchor hears of a new head at most this often.
const ANCHOR_INTERVAL: Duration = Duration::from_secs(60);

/// Fewer records than this in a round leave time to index. Whoever asks for receipts has the index brought up to date.
const QUIET_RECORDS: u64 = 2_000;

/// What the keeper looks after.
pub(crate) struct Keeper {
    pub(crate) shared: Arc<Shared>,
    pub(crate) views: Mutex<Views>,
    pub(crate) captures: Captures,
    pub(crate) capture_days: u32,
    pub(crate) anchor: Option<Anchor>,
    anchored: Mutex<Option<(Timestamp, u64)>>,
}

impl Keeper {
    pub(crate) fn new(
        shared: Arc<Shared>,
        views: PathBuf,
        captures: Captures,
        capture_days: u32,
        anchor: Option<Anchor>,
    ) -> Self {
        let views = Mutex::new(Views::new(views, Arc::clone(&shared.storage)));
        Self {
            shared,
            views,
            captures,
            capture_days,
            anchor,
            anchored: Mutex::new(None),
        }
    }

    pub(crate) fn views(&self) -> MutexGuard<'_, Views> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs until it is told to stop.
    pub(crate) fn run(&self) {
        let mut prepared = None;
        let mut known = self.shared.end().seq;
        loop {
            let wishes = self.shared.next_wish(prepared, ROUND);
            if wishes.segment > prepared {
                self.prepare(wishes.segment);
                prepared = wishes.segment;
            }
            if wishes.stop {
                break;
            }
            if wishes.rest {
                self.sync_captures();
            } else {
                self.quick_round(&mut known);
            }
        }
        self.last_round();
    }

    /// One look around, all of it.
    pub(crate) fn round(&self) {
        if self.shared.is_resting() {
            self.sync_captures();
            return;
        }
        let now = self.shared.clock.now();
        if let Err(error) = self.views().catch_up(self.shared.end()) {
            warn!(error = %error, "the index of receipts is behind");
        }
        self.tend_files(now);
    }

    /// One look around while calls may be waiting: the index is left for a quieter moment.
    fn quick_round(&self, known: &mut u64) {
        let now = self.shared.clock.now();
        let end = self.shared.end();
        let is_quiet = end.seq.saturating_sub(*known) < QUIET_RECORDS;
        *known = end.seq;
        if is_quiet && let Err(error) = self.views().catch_up(end) {
            warn!(error = %error, "the index of receipts is behind");
        }
        self.tend_files(now);
    }

    fn tend_files(&self, now: Timestamp) {
        if let Err(error) = self
            .captures
            .sync()
            .and_then(|()| self.captures.expire(now, self.capture_days))
        {
            warn!(error = %error, "captures are not in order");
        }
        self.push_anchor(now, ANCHOR_INTERVAL);
    }

    fn last_round(&self) {
        self.sync_captures();
        if self.shared.is_resting() {
            return;
        }
        let now = self.shared.clock.now();
        if matches!(self.anchor, Some(Anchor::File(_))) {
            self.push_anchor(now, Duration::ZERO);
        }
    }

    fn sync_captures(&self) {
        if let Err(error) = self.captures.sync() {
            warn!(error = %error, "captures are not in order");
        }
    }

    fn prepare(&self, segment: Option<u32>) {
        let Some(segment) = segment else { return };
        let _preparing = self.shared.preparing();
        if self.shared.is_resting() {
            return;
        }
        let storage = &self.shared.storage;
        let known = storage
            .segments()
            .is_ok_and(|known| known.contains(&segment));
        if !known && let Err(error) = storage.prepare(segment, self.shared.segment_bytes) {
            // The writer tries again when it needs the segment, and refuses if it cannot have it.
            warn!(error = %error, "no room yet for the next segment of the journal");
        }
    }

    fn push_anchor(&self, now: Timestamp, interval: Duration) {
        let (Some(anchor), Some(note)) = (&self.anchor, self.shared.note()) else {
            return;
        };
        let size = Head::parse(&note).map_or(0, |head| head.size);
        {
            let mut anchored = self.anchored.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = anchored.is_some_and(|(at, known)| {
                known == size || (now >= at && now.since(at) < interval)
            });
            if fresh {
                return;
            }
            *anchored = Some((now, size));
        }
        if let Err(error) = anchor.push(&note) {
            warn!(error = %error, "the head could not be anchored");
            self.alarm("anchor-failed", error.kind().to_string());
        }
    }

    fn alarm(&self, alarm: &str, detail: String) {
        let alarm = Alarm {
            agent: None,
            alarm: alarm.to_owned(),
            call: None,
            detail,
        };
        let record = Record::Alarm(alarm);
        let pushed: Result<_, Error> = record.body().map(|body| {
            drop(self.shared.queue.push(
                Item {
                    kind: record.kind(),
                    body,
                },
                Effect::None,
            ));
        });
        if let Err(error) = pushed {
            warn!(error = %error, "an alarm could not be recorded");
        }
    }
}
