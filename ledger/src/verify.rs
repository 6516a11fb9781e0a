//! Offline verification of an export or of a journal's folder, with nothing but the public key.
//!
//! Without an anchor nobody can prove that the tail was not cut off: the verdict says how far the log is proven, and that
//! its tail is not. The key always comes from the caller, never from what is verified.

use std::{collections::HashMap, io::BufRead, path::Path};

use exeat_types::{CallId, Digest, canonical_json, unique_json};
use serde::Serialize;

use crate::{
    Error,
    audit::{Audit, Sight},
    call::Ending,
    envelope::{Envelope, Member},
    export::{EXPORT_VERSION, first_line},
    note::{Head, NoteKey},
    record::{Kind, Record},
    scan::{self, Chain},
    storage::Folder,
};

/// Which signatures to check. The last one vouches for every byte before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signatures {
    /// Only that of the last checkpoint; frames, chain, tree and one ending per call in any case.
    Last,
    /// That of every checkpoint; then every record is also checked to be of its kind and in canonical form.
    Every,
}

/// What was found to be true.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Records the last checkpoint vouches for: the log is complete up to here.
    pub complete_to: u64,
    /// Records behind that: only the last checkpoint itself, unless a write was going on.
    pub unsigned: u64,
    /// The size of the log at the anchor, if one was given and fits. Nothing before it can have been cut.
    pub anchored_to: Option<u64>,
    /// Calls with an intent.
    pub calls: u64,
    /// Calls with an intent and no outcome yet.
    pub open: u64,
    /// Calls whose outcome nobody knows.
    pub unknown: u64,
    /// Receipts of refusals.
    pub refusals: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Records that the export leaves out.
    pub hidden: u64,
    /// Calls that use an approval which passkeys signed; every signature was checked.
    pub approved: u64,
    /// Calls that use an approval which no passkey signed, or whose records the export leaves out.
    pub approved_unsigned: u64,
}

impl Verdict {
    /// Whether an anchor proves the tail too.
    pub const fn tail_is_proven(&self) -> bool {
        self.anchored_to.is_some()
    }
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{place}: {problem}")]
pub struct Failure {
    /// A line, or a segment and an offset.
    pub place: String,
    /// What is wrong there.
    pub problem: String,
}

impl Failure {
    fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            problem: problem.into(),
        }
    }
}

/// Verifies an export.
///
/// # Errors
/// The first thing that is wrong, with its line.
pub fn verify_export(
    input: impl BufRead,
    key: &NoteKey,
    anchor: Option<&str>,
    signatures: Signatures,
) -> Result<Verdict, Failure> {
    let mut input = input;
    let mut line = Vec::new();
    let mut number = 1u64;
    read_line(&mut input, &mut line, number)?;
    check_first(&line, key).map_err(|problem| Failure::new("line 1", problem))?;
    let mut check = Check::new(key, anchor, signatures)?;
    loop {
        line.clear();
        number += 1;
        if !read_line(&mut input, &mut line, number)? {
            break;
        }
        check
            .record(&line)
            .map_err(|problem| Failure::new(format!("line {number}"), problem))?;
    }
    check
        .finish()
        .map_err(|problem| Failure::new("the end", problem))
}

/// Verifies the journal in a ledger's folder, also while it is being written.
///
/// # Errors
/// The first thing that is wrong, with its segment and offset.
pub fn verify_folder(
    folder: &Path,
    key: &NoteKey,
    anchor: Option<&str>,
    signatures: Signatures,
) -> Result<Verdict, Failure> {
    let place = folder.display().to_string();
    let journal = folder.join("journal");
    if !journal.is_dir() {
        return Err(Failure::new(place, "not a ledger"));
    }
    let storage = Folder::new(&journal).map_err(|e| Failure::new(place.clone(), e.to_string()))?;
    let mut check = Check::new(key, anchor, signatures)?;
    let walk = scan::walk(
        &storage,
        key,
        scan::Walk::start(),
        &mut |envelope, position| {
            let wrong = |p: String| scan::damaged(position.segment, position.offset, &p);
            check.count(envelope).map_err(wrong)
        },
    );
    let walk = walk.map_err(|e| match e {
        Error::Damaged {
            segment,
            offset,
            problem,
        } => Failure::new(format!("segment {segment}, offset {offset}"), problem),
        other => Failure::new(place, other.to_string()),
    })?;
    check.chain = walk.chain;
    check
        .finish()
        .map_err(|problem| Failure::new("the end", problem))
}

/// Reads up to a line end; false at the end of the input. A last line that is not ended is an error.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>, number: u64) -> Result<bool, Failure> {
    let place = || format!("line {number}");
    let read = input
        .read_until(b'\n', line)
        .map_err(|e| Failure::new(place(), e.to_string()))?;
    if read == 0 {
        return Ok(false);
    }
    if line.pop() != Some(b'\n') {
        return Err(Failure::new(place(), "the line is cut off"));
    }
    Ok(true)
}

fn check_first(line: &[u8], key: &NoteKey) -> Result<(), String> {
    let value =
        unique_json(line).map_err(|_cause| "expected the first line of an export".to_owned())?;
    match value.get("export").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(EXPORT_VERSION) => {}
        Some(version) => {
            return Err(format!(
                "version {version} of the export format is not known"
            ));
        }
        None => return Err("expected the first line of an export".to_owned()),
    }
    if line != first_line(key).as_bytes() {
        return Err("an export of a ledger with another key".to_owned());
    }
    Ok(())
}

struct Check<'k> {
    key: &'k NoteKey,
    anchor: Option<Head>,
    signatures: Signatures,
    chain: Chain,
    verdict: Verdict,
    open: HashMap<CallId, ()>,
    seen: Vec<CallId>,
    audit: Audit,
    any_hidden: bool,
}

impl<'k> Check<'k> {
    fn new(
        key: &'k NoteKey,
        anchor: Option<&str>,
        signatures: Signatures,
    ) -> Result<Self, Failure> {
        let open = |note: &str| Head::open(note, key);
        let anchor = anchor.map(open).transpose();
        let anchor = anchor.map_err(|e| Failure::new("the anchor", e.problem))?;
        Ok(Self {
            key,
            anchor,
            signatures,
            chain: Chain::empty(),
            verdict: Verdict::default(),
            open: HashMap::new(),
            seen: Vec::new(),
            audit: Audit::default(),
            any_hidden: false,
        })
    }

    /// One line of an export.
    fn record(&mut self, line: &[u8]) -> Result<(), String> {
        if let Some(leaf) = line.strip_prefix(b"{\"leaf\":\"") {
            let leaf = leaf
                .strip_suffix(b"\"}")
                .and_then(|leaf| std::str::from_utf8(leaf).ok());
            let leaf: Digest = leaf
                .and_then(|leaf| leaf.parse().ok())
                .ok_or("expected a leaf hash")?;
            self.chain.follow_hidden(leaf);
            self.verdict.hidden += 1;
            self.any_hidden = true;
        } else {
            let envelope = self.chain.follow(line, self.key)?;
            self.count(&envelope)?;
        }
        self.meet_anchor()
    }

    fn meet_anchor(&mut self) -> Result<(), String> {
        let Some(anchor) = &self.anchor else {
            return Ok(());
        };
        if self.chain.tree.size() != anchor.size {
            return Ok(());
        }
        if self.chain.tree.root() != anchor.root {
            return Err("these are not the records that were anchored".to_owned());
        }
        self.verdict.anchored_to = Some(anchor.size);
        Ok(())
    }

    /// A record that fits the chain.
    fn count(&mut self, envelope: &Envelope<'_>) -> Result<(), String> {
        if self.signatures == Signatures::Every {
            check_fully(envelope, self.key)?;
        }
        match envelope.kind {
            Kind::CallIntent => {
                let call = envelope.call().ok_or("an intent without a call")?;
                if self.open.insert(call, ()).is_some() {
                    return Err(format!("a second intent for the open call {call}"));
                }
                self.seen.push(call);
                self.verdict.calls += 1;
                if envelope.has(Member::APPROVAL) {
                    self.audit.record(envelope, self.sight())?;
                }
            }
            Kind::CallOutcome => {
                let call = envelope.call().ok_or("an outcome without a call")?;
                if self.open.remove(&call).is_none() {
                    return Err(format!("an outcome for {call}, which is not open"));
                }
                if envelope.text(Member::RESULT) == Some(Ending::Unknown.name().as_bytes()) {
                    self.verdict.unknown += 1;
                }
            }
            Kind::CallRefused => {
                self.seen
                    .push(envelope.call().ok_or("a refusal without a call")?);
                self.verdict.refusals += 1;
            }
            Kind::Checkpoint => {
                self.verdict.checkpoints += 1;
                self.verdict.complete_to = envelope.seq;
            }
            Kind::Approval | Kind::Enrolment | Kind::Grant => {
                self.audit.record(envelope, self.sight())?
            }
            Kind::Connection
            | Kind::Alarm
            | Kind::PolicyChange
            | Kind::CredentialChange
            | Kind::TokenChange
            | Kind::BudgetChange
            | Kind::AgentChange
            | Kind::SelfTest
            | Kind::Sweep
            | Kind::Upgrade => {}
        }
        Ok(())
    }

    const fn sight(&self) -> Sight {
        if self.any_hidden {
            Sight::Partial
        } else {
            Sight::Whole
        }
    }

    fn finish(mut self) -> Result<Verdict, String> {
        let size = self.chain.tree.size();
        if size > 0 && self.chain.note.is_none() {
            return Err("nothing here is signed".to_owned());
        }
        self.chain.check_signature(self.key)?;
        if let Some(anchor) = &self.anchor
            && anchor.size > size
        {
            let missing = anchor.size - size;
            return Err(format!(
                "the tail is missing: {missing} records that were anchored"
            ));
        }
        self.seen.sort_unstable();
        let twice = self.seen.windows(2).find_map(|pair| match pair {
            [a, b] if a == b => Some(*a),
            _ => None,
        });
        if let Some(call) = twice {
            return Err(format!("two receipts for the call {call}"));
        }
        self.verdict.approved = self.audit.signed;
        self.verdict.approved_unsigned = self.audit.unsigned;
        self.verdict.open = u64::try_from(self.open.len()).unwrap_or(u64::MAX);
        self.verdict.unsigned = size.saturating_sub(self.verdict.complete_to);
        Ok(self.verdict)
    }
}

/// Whether it has a member that is written in another form by now, and is canonical JSON all the same.
fn is_canonical_of_old(envelope: &Envelope<'_>) -> bool {
    let old = [Member::RESERVATION, Member::SETTLED_ALONE];
    let value = unique_json(envelope.body);
    let canonical = value.and_then(|value| canonical_json(&value));
    old.into_iter().any(|member| envelope.has(member))
        && canonical.is_ok_and(|bytes| bytes == envelope.body)
}

fn check_fully(envelope: &Envelope<'_>, key: &NoteKey) -> Result<(), String> {
    let record = envelope.record().map_err(|e| e.problem)?;
    let again = record.body().map_err(|e| e.to_string())?;
    if again != envelope.body && !is_canonical_of_old(envelope) {
        return Err("not in canonical form".to_owned());
    }
    envelope.moment().map_err(|e| e.problem)?;
    match record {
        Record::Checkpoint(checkpoint) => Head::open(&checkpoint.note, key)
            .map(drop)
            .map_err(|e| e.problem),
        _ => Ok(()),
    }
}
