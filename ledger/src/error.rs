//! What can go wrong in the ledger. Every one of these means: do not send the call.

use std::{io, path::PathBuf, sync::Arc};

use exeat_types::{DeviceFailure, Malformed, Reason};

/// Why the ledger refused. Cheap to clone, as every waiter of a failed batch is told the same.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Another process holds the folder.
    #[error("the ledger in `{folder}` is held by process {pid}")]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// The process that holds it, as it wrote itself down.
        pid: String,
    },
    /// The journal is not what was written; nothing was changed.
    #[error("the journal is damaged in segment {segment} at offset {offset}: {problem}")]
    Damaged {
        /// The segment, as in its file name.
        segment: u32,
        /// Bytes from the start of the segment.
        offset: u64,
        /// What is wrong there.
        problem: String,
    },
    /// The journal ends before a checkpoint that was anchored outside.
    #[error("the journal is not the one that was anchored: {problem}")]
    Anchored {
        /// How they differ.
        problem: String,
    },
    /// A disk operation failed.
    #[error("could not {doing}")]
    Disk {
        /// The operation, as in `write the journal`.
        doing: &'static str,
        /// The cause.
        #[source]
        cause: Arc<io::Error>,
    },
    /// The index of receipts failed; the journal is not touched by that.
    #[error("could not {doing} the index of receipts")]
    Views {
        /// The operation.
        doing: &'static str,
        /// The cause.
        #[source]
        cause: Arc<redb::Error>,
    },
    /// A key did not do what was asked of it.
    #[error("could not {doing}")]
    Device {
        /// The operation.
        doing: &'static str,
        /// The cause.
        #[source]
        cause: DeviceFailure,
    },
    /// The signing key is not of the kind the journal uses.
    #[error("the receipt key must be Ed25519")]
    WrongKey,
    /// A text did not parse.
    #[error("could not read what was given")]
    Malformed(#[source] Malformed),
    /// A record is longer than a record may be.
    #[error("a record of {bytes} bytes, the most is {bytes_max}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The longest allowed.
        bytes_max: usize,
    },
    /// Too many records wait for the disk.
    #[error("too many records wait to be written")]
    Busy,
    /// The record was not durable in time. It may become so later: close the call.
    #[error("the record was not durable in time")]
    Late,
    /// The ledger was closed.
    #[error("the ledger is closed")]
    Closed,
    /// A second receipt for a call.
    #[error("the call has a receipt already")]
    AlreadyKnown,
    /// An outcome for a call that is not open.
    #[error("the call is not open")]
    NotOpen,
    /// A reservation that does not fit its budget.
    #[error("the budget `{budget}` does not hold that much")]
    BudgetExhausted {
        /// The budget.
        budget: String,
    },
    /// An approval that is not granted, is used up, or has expired.
    #[error("the approval cannot be used")]
    ApprovalUnusable,
    /// A step that a capability request cannot take.
    #[error("the request is not taken: {0}")]
    GrantUnusable(&'static str),
    /// Something that a passkey signed, or a new passkey, that does not hold.
    #[error("{problem}")]
    NotSigned {
        /// What does not hold.
        problem: &'static str,
    },
    /// What another process hands over is not what is there.
    #[error("the ledger cannot be taken over: {problem}")]
    NotHandedOver {
        /// How they differ.
        problem: String,
    },
    /// The process that took the ledger over did not write the record.
    #[error("the gate that took over did not write the record: {problem}")]
    Successor {
        /// What it said.
        problem: String,
    },
    /// A change of a token family that does not follow from the family's record.
    #[error("the token family does not allow this change")]
    FamilyConflict,
}

impl Error {
    pub(crate) fn disk(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Disk {
            doing,
            cause: Arc::new(cause),
        }
    }

    pub(crate) fn device(doing: &'static str) -> impl FnOnce(DeviceFailure) -> Self {
        move |cause| Self::Device { doing, cause }
    }

    /// What the agent is told.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::ApprovalUnusable | Self::GrantUnusable(_) | Self::NotSigned { .. } => {
                Reason::ApprovalRequired
            }
            Self::BudgetExhausted { .. } => Reason::BudgetExhausted,
            Self::Locked { .. }
            | Self::Damaged { .. }
            | Self::Anchored { .. }
            | Self::Disk { .. }
            | Self::Views { .. }
            | Self::Device { .. }
            | Self::WrongKey
            | Self::Malformed(_)
            | Self::TooLarge { .. }
            | Self::Busy
            | Self::Late
            | Self::Closed
            | Self::AlreadyKnown
            | Self::NotOpen
            | Self::NotHandedOver { .. }
            | Self::Successor { .. }
            | Self::FamilyConflict => Reason::LedgerUnavailable,
        }
    }
}
