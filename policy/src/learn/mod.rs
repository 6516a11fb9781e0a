//! From what agents were seen to do to a proposal: tools and rules that would allow just that, with the evidence beside it.
//!
//! INVARIANT: a proposal is text for a person to read. Nothing here puts it in force, nothing in it takes the rest of a
//! path, and what was first seen under doubt stands in it as a comment. Read `line.rs` next, then `paths.rs`, `shape.rs`,
//! `doubt.rs` and `write.rs`.

mod doubt;
mod line;
mod literals;
mod name;
mod paths;
mod shape;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use exeat_types::{AgentId, CallId, CredentialId, Host, Origin, RunId, Timestamp, ToolName};
use http::Method;
use serde::Serialize;
use serde_json::Value;

pub use self::write::as_patch;
use crate::Policy;

/// A call of the past that was let through.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The call, and so the receipt.
    pub call: CallId,
    /// When it was accepted.
    pub at: Timestamp,
    /// Who called.
    pub agent: AgentId,
    /// In which run; calls that know none count as one.
    pub run: Option<RunId>,
    /// What for.
    pub tool: ToolName,
    /// How.
    pub method: Method,
    /// Where.
    pub origin: Origin,
    /// What was asked there, if no tool declares it.
    pub request: Option<Asked>,
    /// With which declared arguments, if they are kept.
    pub arguments: Option<Value>,
    /// Whether a human let it through, by an approval or a grant: it tells what else happened, but is no evidence.
    pub approved: bool,
    /// Whether its answer looks as if it were meant to steer the agent.
    pub flagged: bool,
    /// How it ended.
    pub end: End,
}

/// What a call asked that no tool declares.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// The canonical path.
    pub path: String,
    /// The query, without `?`.
    pub query: Option<String>,
    /// The body.
    pub body: Sent,
}

/// The body of such a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Sent {
    /// There was none.
    Nothing,
    /// JSON that was read.
    Json(Value),
    /// Something that was not read.
    Unread,
}

/// How a call ended, as far as learning goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was answered.
    Answered,
    /// A placeholder was used outside its slot.
    Alarm,
    /// It was refused late, broke off, or was answered with an error: no evidence.
    Failed,
}

/// What a proposal is for.
#[derive(Clone, Copy)]
pub struct Ground<'g> {
    /// The policy that is in force.
    pub policy: &'g Policy,
    /// The origins that credentials are bound to.
    pub credentials: &'g BTreeMap<CredentialId, Vec<Origin>>,
    /// This moment.
    pub now: Timestamp,
}

/// Why a line is proposed as a comment only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case", tag = "doubt")]
pub enum Doubt {
    /// It was first seen after a response that was flagged, in the same run.
    AfterFlag {
        /// The receipt of that response.
        receipt: CallId,
    },
    /// It was first seen after a placeholder was misused, in the same run.
    AfterAlarm {
        /// The receipt of that.
        receipt: CallId,
    },
    /// The agent first called the host less than a day ago.
    NewHost,
    /// A name in it looks as if it were made of random characters.
    RandomName {
        /// The name.
        name: String,
    },
    /// A host where anybody can leave or collect anything.
    DropHost,
    /// The connection is not encrypted.
    PlainHttp,
    /// The body was not read, and the host is one that a credential is for.
    UnreadBody,
    /// It cannot be said as a tool.
    Unsayable {
        /// Why.
        problem: String,
    },
}

/// What speaks for a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// How many calls.
    pub calls: usize,
    /// In how many runs.
    pub runs: usize,
    /// When first.
    pub first: Timestamp,
    /// When last.
    pub last: Timestamp,
    /// Some of the receipts, the first ones.
    pub receipts: Vec<CallId>,
}

/// A rule that is proposed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// For whom.
    pub agent: AgentId,
    /// The tool, in force or proposed.
    pub tool: String,
    /// Its method and path.
    pub request: String,
    /// Where it is called.
    pub origin: Origin,
    /// Arguments whose values became literals.
    pub literals: BTreeMap<String, BTreeSet<String>>,
    /// What speaks for it.
    pub evidence: Evidence,
    /// What speaks against it; it is active only if nothing does.
    pub doubts: BTreeSet<Doubt>,
}

/// What is proposed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proposal {
    /// Name and text of each tool file.
    pub files: BTreeMap<String, String>,
    /// What is added to the rules.
    pub rules: String,
    /// The rules one by one.
    pub lines: Vec<Line>,
}

/// Receipts that are named beside a line.
const RECEIPTS_NAMED: usize = 3;

impl Seen {
    /// Whether a line may rest on it.
    fn is_evidence(&self) -> bool {
        !self.approved && self.end != End::Failed
    }
}

impl Evidence {
    fn of<'s>(calls: impl Iterator<Item = &'s Seen>) -> Self {
        let mut all: Vec<&Seen> = calls.collect();
        all.sort_by_key(|seen| (seen.at, seen.call));
        let runs: BTreeSet<_> = all.iter().map(|seen| seen.run.as_ref()).collect();
        let moment = |seen: Option<&&Seen>| seen.map_or(Timestamp::from_millis(0), |seen| seen.at);
        Self {
            calls: all.len(),
            runs: runs.len(),
            first: moment(all.first()),
            last: moment(all.last()),
            receipts: all
                .iter()
                .take(RECEIPTS_NAMED)
                .map(|seen| seen.call)
                .collect(),
        }
    }
}

impl Ground<'_> {
    /// Whether some credential is for this host.
    fn is_credentialed(&self, host: &Host) -> bool {
        let mut origins = self.credentials.values().flatten();
        origins.any(|origin| origin.host == *host)
    }
}

/// Makes a proposal of what was seen, for all agents in it.
pub fn learn(seen: &[Seen], ground: &Ground<'_>) -> Proposal {
    let doubts = doubt::Timeline::of(seen);
    let sites = line::sites(seen, &doubts, ground);
    let declared = line::declared(seen, &doubts, ground);
    write::proposal(&sites, declared, ground)
}
