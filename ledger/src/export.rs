//! Exports: the journal as lines of JSON that anybody can verify with the public key.
//!
//! The first line says what it is. Then one line for each record, exactly as it was written, in order. A filtered export
//! keeps the leaf hash of what it leaves out, so that tree and chain can still be checked.

use std::{collections::HashSet, io::Write};

use exeat_types::CallId;

use crate::{
    Error,
    envelope::Envelope,
    merkle::leaf_hash,
    note::NoteKey,
    record::Kind,
    scan::{self, Position, damaged},
    storage::Storage,
};

/// The version of the export format.
pub(crate) const EXPORT_VERSION: u32 = 1;

/// What an export shows.
pub(crate) enum Shown {
    Everything,
    /// The records of these calls, and every checkpoint.
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
    scan::frames(storage, scan::start(), end, &mut |payload, position| {
        let envelope = Envelope::parse(payload)
            .map_err(|e| damaged(position.segment, position.offset, &e.problem))?;
        let is_shown = match shown {
            Shown::Everything => true,
            Shown::Calls(_) if envelope.kind == Kind::Checkpoint => true,
            Shown::Calls(calls) => {
                is_call(envelope.kind) && envelope.call().is_some_and(|call| calls.contains(&call))
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

/// Whether records of a kind are part of a receipt.
pub(crate) const fn is_call(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::CallIntent | Kind::CallOutcome | Kind::CallRefused
    )
}
