//! What is done to a request last, after every other change, once for each attempt: proofs and signatures.
//!
//! Each kind is one file (or folder) here that implements [`Finish`]. It must never see a request that will change again.

mod bound;
pub mod dpop;
pub mod signature;
mod verdict;

pub(crate) mod sigv4;

use bytes::Bytes;
use exeat_types::{Origin, Timestamp};
use http::{HeaderMap, Method, StatusCode};

use crate::{NotIssued, Refused};

pub use bound::Dpop;
pub use verdict::judge;

/// A request that is about to be written to the wire.
pub struct Draft<'a> {
    /// The method.
    pub method: &'a Method,
    /// Where it goes.
    pub origin: &'a Origin,
    /// Path and query as they are sent.
    pub target: &'a mut String,
    /// Header fields; `host` and framing are not among them and are derived from the rest.
    pub headers: &'a mut HeaderMap,
    /// The body.
    pub body: DraftBody<'a>,
    /// The time.
    pub now: Timestamp,
}

/// The body of a draft.
#[derive(Debug, Clone, Copy)]
pub enum DraftBody<'a> {
    /// None.
    Absent,
    /// These bytes.
    Whole(&'a Bytes),
    /// Bytes that nobody has seen yet.
    Streamed,
}

/// The head of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Who answered.
    pub origin: &'a Origin,
    /// The status.
    pub status: StatusCode,
    /// Its fields as they came.
    pub headers: &'a HeaderMap,
    /// The time.
    pub now: Timestamp,
}

/// What an answer means for the credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to the agent.
    Deliver,
    /// The same request with a fresh proof may succeed.
    Again,
    /// The token is no longer good: with another one the request may succeed.
    Renew,
    /// The token lacks these scopes (RFC 6750 section 3.1, RFC 9470).
    StepUp(Vec<String>),
}

/// Whether a piece of a body is the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// More may follow.
    No,
    /// The body ends here.
    Yes,
}

/// Changes a streamed body on its way. Lengths stay as they are.
pub trait BodyChange: Send + Sync {
    /// The next piece.
    ///
    /// # Errors
    /// When the body is not what its head promised: it must be broken off.
    fn push(&mut self, piece: &[u8], last: Last) -> Result<Bytes, Refused>;
}

/// Signs or proves a request, last.
pub trait Finish: Send + Sync {
    /// Whether it may take longer than a moment, as its key is in a device.
    fn blocks(&self) -> bool {
        false
    }

    /// Whether it has to see the whole body before the head is written.
    fn needs_body(&self) -> bool {
        false
    }

    /// Puts proofs and signatures in. Called afresh for each attempt.
    ///
    /// # Errors
    /// When the request cannot be signed, or the device of the key is gone. There is nothing weaker to fall back to.
    fn finish(&self, draft: &mut Draft<'_>) -> Result<(), NotIssued>;

    /// What changes a streamed body, for this attempt; called after [`Finish::finish`].
    fn body(&self) -> Option<Box<dyn BodyChange>> {
        None
    }

    /// Learns from an answer, and says whether another attempt makes sense.
    fn inspect(&self, _answer: &Answer<'_>) -> Verdict {
        Verdict::Deliver
    }
}
