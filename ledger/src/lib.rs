//! Durable truth: the journal of receipts, what it adds up to, its index, its captures, and its verification.
//!
//! The journal is the only truth; everything else is made from it. A call may leave when its intent is durable, and every
//! intent gets exactly one outcome, also after a crash. Nothing here ever holds the value of a credential, and nothing
//! here decides about a call. Every byte is defined in `docs/RECEIPTS.md`. Read `journal.rs` next, then `scan.rs`.

mod anchor;
mod approval;
mod audit;
mod call;
mod capture;
mod effect;
mod envelope;
mod error;
mod event;
mod export;
mod frame;
mod grant;
mod handover;
mod history;
mod journal;
mod json;
mod keeper;
mod ledger;
mod load;
mod lock;
mod merkle;
mod note;
mod open;
pub mod passkey;
mod queue;
mod receipt;
mod record;
mod relay;
mod rows;
mod scan;
mod shared;
mod state;
mod storage;
mod tail;
mod tally;
pub mod verify;
mod views;
mod writer;

pub use anchor::Anchor;
pub use approval::{Approval, ApprovalEvent, Asked, Enrolment, Extent, Means, Vote};
pub use call::{
    Access, ApprovalUse, CredentialUse, Ending, Intent, Outcome, Refusal, Reservation, Risk,
    Settlement, Window,
};
pub use capture::CAPTURE_BYTES_MAX;
pub use envelope::Envelope;
pub use error::Error;
pub use event::{
    AgentChange, AgentStep, Alarm, BudgetChange, Change, Checkpoint, Connection, CredentialChange,
    Cut, PolicyChange, SelfTest, Sweep, TokenChange, Upgrade,
};
pub use frame::RECORD_BYTES_MAX;
pub use grant::{Grant, GrantEvent};
pub use handover::{Ahead, HandOver, Held};
pub use history::{Hour, Past};
pub use json::COUNT_MAX;
pub use ledger::Ledger;
pub use merkle::{Tree, leaf_hash};
pub use note::{Head, NoteKey};
pub use open::{Devices, Options, Recovery};
pub use passkey::Assertion;
pub use queue::Durable;
pub use receipt::{Decision, Entry, Filter, Receipt};
pub use record::{Kind, Record, VERSION};
pub use scan::Position;
pub use state::{
    ApprovalState, Budget, COOL_DOWNS, Family, GrantStanding, GrantState, PENDING_MAX, Paused,
    Progress, State, Voted,
};
pub use storage::{Folder, Storage};
pub use tail::Tail;
