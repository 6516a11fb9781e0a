//! Exports: the journal as lines of JSON that anybody can verify with the public key.
//!
//! The first line says what it is. Then one line for each record, exactly as it was written, in order. A filtered export
//! keeps the leaf hash of what it leaves out, so that tree and chain can still be checked.

use std::{
    collections::{BTreeSet, HashSet},
    io::Write,
};

use exeat_types::{ApprovalId, CallId, Malformed};

use crate::{
    Error,
    envelope::{Envelope, Member},
    merkle::leaf_hash,
    note::NoteKey,
    record::{Kind, Record},
    scan::{self, Position, damaged},
    storage::Storage,
};

/// The version of the export format.
pub(crate) const EXPORT_VERSION: u32 = 1;

/// What an export shows.
pub(crate) enum Shown {
    Everything,
    /// The records of these calls, every checkpoint, and what a verifier needs for the approvals that the calls use:
    /// their records and those of passkeys.
    Calls(HashSet<CallId>),
}

/// The line that says what this is.
pub(crate) fn first_line(key: &NoteKey) -> String {
    format!("{{\"export\":{EXPORT_VERSION},\"key\":\"{key}\"}}")
}

/// Writes the export of a journal up to a place.
pub(crate) fn export(
    storage: &dyn Storage,
    key: &NoteKey,
    end: Position,
    shown: &Shown,
    out: &mut dyn Write,
) -> Result<u64, Error> {
    let wrong = || Error::disk("write the export");
    writeln!(out, "{}", first_line(key)).map_err(wrong())?;
    let mut lines = 0;
    let used = match shown {
        Shown::Everything => BTreeSet::new(),
        Shown::Calls(calls) => approvals_of(storage, end, calls)?,
    };
    scan::frames(storage, scan::start(), end, &mut |payload, position| {
        let envelope = parse(payload, position)?;
        let is_shown = match (shown, envelope.kind) {
            (Shown::Everything, _) | (Shown::Calls(_), Kind::Checkpoint | Kind::Enrolment) => true,
            (Shown::Calls(_), Kind::Approval) => {
                matches!(read(&envelope, position)?, Record::Approval(step) if used.contains(&step.approval))
            }
            (Shown::Calls(calls), kind) => {
                is_call(kind) && envelope.call().is_some_and(|call| calls.contains(&call))
            }
        };
        if is_shown {
            out.write_all(payload).map_err(wrong())?;
            out.write_all(b"\n").map_err(wrong())?;
        } else {
            writeln!(out, "{{\"leaf\":\"{}\"}}", leaf_hash(payload)).map_err(wrong())?;
        }
        lines += 1;
        Ok(())
    })?;
    out.flush().map_err(wrong())?;
    Ok(lines)
}

/// The approvals that calls use.
fn approvals_of(
    storage: &dyn Storage,
    end: Position,
    calls: &HashSet<CallId>,
) -> Result<BTreeSet<ApprovalId>, Error> {
    let mut used = BTreeSet::new();
    scan::frames(storage, scan::start(), end, &mut |payload, position| {
        let envelope = parse(payload, position)?;
        if envelope.kind == Kind::CallIntent
            && envelope.has(Member::APPROVAL)
            && envelope.call().is_some_and(|call| calls.contains(&call))
            && let Record::Intent(intent) = read(&envelope, position)?
        {
            used.extend(intent.approval.map(|approval| approval.id));
        }
        Ok(())
    })?;
    Ok(used)
}

fn parse(payload: &[u8], position: Position) -> Result<Envelope<'_>, Error> {
    Envelope::parse(payload).map_err(|e| damaged(position.segment, position.offset, &e.problem))
}

fn read(envelope: &Envelope<'_>, position: Position) -> Result<Record, Error> {
    let wrong = |e: Malformed| damaged(position.segment, position.offset, &e.problem);
    envelope.record().map_err(wrong)
}

/// Whether records of a kind are part of a receipt.
pub(crate) const fn is_call(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::CallIntent | Kind::CallOutcome | Kind::CallRefused
    )
}
