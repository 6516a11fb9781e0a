//! `exeat upgrade`: a running gate hands everything it holds to another program, and no client notices.
//!
//! The gate starts the new program as `exeat serve --upgrade`, whose standard input is one end of a socket pair. `word.rs`
//! has the words that are said over it and their order, `give.rs` the side that is replaced, `take.rs` the side that
//! replaces it, `kept.rs` the sockets that outlive both. INVARIANTS: at every moment exactly one process writes the
//! journal; until the new one says that it serves, the old one can go on as if nothing had happened, and does when
//! anything fails; afterwards the old one ends its open calls, whose receipts the new one writes. Keys travel sealed.

mod channel;
mod give;
mod kept;
mod take;
mod word;

pub(crate) use channel::Channel;
pub(crate) use give::{Given, Giving, Terms, absolute, give};
pub(crate) use kept::Kept;
pub(crate) use take::{Predecessor, Taken};
pub(crate) use word::{Moved, Word};

use std::time::Duration;

/// Changes with every change to what is said or handed over; both sides must have the same.
pub(crate) const HAND_OVER: u32 = 2;
/// The new program must have read the configuration and the stores within this time.
const PREPARING: Duration = Duration::from_secs(120);
/// While it takes over calls wait, so this is less than they wait for.
const TAKING: Duration = Duration::from_secs(7);
