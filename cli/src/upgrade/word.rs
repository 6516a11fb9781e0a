//! What the two processes say, in this order. No word holds a key in the open: the roots of sandboxes are sealed under the
//! master key, which both have.
//!
//! `hello` `look` `prepared` `take` `socket`.. `sandbox`.. `all` `ready` `go` `serving`; afterwards `reload`, `changed`
//! and `end`, until the old process closes. In place of any word the new process may say `failed`.

use exeat_ledger::Position;
use exeat_pipeline::{Mark, RunSoFar};
use exeat_types::{Origin, RunId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    gate::Life,
    socket::{Attach, Status, Summary},
};

/// A word.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Word {
    /// The new program runs, and its configuration is in order.
    Hello {
        /// The version of this conversation.
        hand_over: u32,
        /// The version of the records it writes.
        records: u32,
        /// Its own version.
        version: String,
    },
    /// The journal may be read up to here, while it is written behind that.
    Look(Place),
    /// The new program has read that, and the stores, and the policy.
    Prepared {},
    /// Nothing is written any more. Beside it: the data folder's lock, the ledger's lock, the stream of records.
    Take {
        /// How many records the journal has.
        records: u64,
        /// The process.
        pid: u32,
        /// How long the gate lives.
        life: Life,
        /// The version of the old program.
        version: String,
    },
    /// A socket that the gate listens on, beside it.
    Socket {
        /// Which.
        name: String,
    },
    /// A sandbox. Beside it: the connection of its client, then its listeners in the order of `attach`.
    Sandbox(Moved),
    /// That was everything.
    All {},
    /// The new program could serve.
    Ready {},
    /// It shall.
    Go {},
    /// It holds journal and locks, and accepts from here on.
    Serving(Status),
    /// The rules have changed; open calls are held against them.
    Reload {},
    /// A record that changes what the old process knows, as its body.
    Changed(serde_json::Value),
    /// The new gate is about to end, so open calls must.
    End {},
    /// Why it does not take over.
    Failed {
        /// What went wrong, causes included.
        problem: String,
    },
}

/// The place behind a record, as [`Position`] has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    segment: u32,
    offset: u64,
    seq: u64,
}

impl From<Position> for Place {
    fn from(position: Position) -> Self {
        Self {
            segment: position.segment,
            offset: position.offset,
            seq: position.seq,
        }
    }
}

impl From<Place> for Position {
    fn from(place: Place) -> Self {
        Self {
            segment: place.segment,
            offset: place.offset,
            seq: place.seq,
        }
    }
}

/// The run of an agent that goes on under another gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MovedRun {
    /// Its id.
    pub(crate) id: Option<RunId>,
    /// Its first call.
    pub(crate) began: Timestamp,
    /// Where untrusted content came from first, if there was any.
    pub(crate) marked_by: Option<Origin>,
    /// Whether that looked as if it were meant to steer the agent.
    pub(crate) steers: bool,
    /// How often a placeholder was used outside its slot.
    pub(crate) alarms: u64,
}

impl From<RunSoFar> for MovedRun {
    fn from(run: RunSoFar) -> Self {
        let steers = run.mark.as_ref().is_some_and(|mark| mark.steers);
        Self {
            id: run.id,
            began: run.began,
            marked_by: run.mark.map(|mark| mark.origin),
            steers,
            alarms: run.alarms,
        }
    }
}

impl From<MovedRun> for RunSoFar {
    fn from(run: MovedRun) -> Self {
        let steers = run.steers;
        Self {
            id: run.id,
            began: run.began,
            mark: run.marked_by.map(|origin| Mark { origin, steers }),
            alarms: run.alarms,
        }
    }
}

/// A sandbox that goes on under another gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Moved {
    /// As its client asked for it.
    pub(crate) attach: Attach,
    /// Until when it is observed, if it is; that may be over.
    pub(crate) until: Option<Timestamp>,
    /// What came through it until here.
    pub(crate) summary: Summary,
    /// The hosts that calls went to.
    pub(crate) hosts: Vec<String>,
    /// Its run, once there was a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) run: Option<MovedRun>,
    /// Its root, PEM.
    pub(crate) certificate_pem: String,
    /// The root's key, sealed.
    pub(crate) sealed_key: Vec<u8>,
}
