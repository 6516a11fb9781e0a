//! Stages 12 to 15 of one admitted call: what goes out is digested, what comes back is cleaned, the receipt is closed.
//!
//! A front door calls, in this order: [`Exchange::request_chunk`] for streamed bodies, [`Exchange::answer`] for each
//! response head, [`Exchange::response_chunk`] until the end, [`Exchange::trailers`], [`Exchange::close`]. Dropping an
//! exchange closes the receipt as cut.

use std::sync::Arc;

use bytes::Bytes;
use exeat_custody::{Custody, Scan};
use exeat_ledger::Ending;
use exeat_policy::Tool;
use exeat_types::{CallId, Digest, DigestBuilder, Reason};
use http::{HeaderMap, Method, StatusCode};

use crate::{
    Stage,
    receipt::{Closing, Open},
    response::{Cleaner, clean_fields, clean_trailers},
};

/// What an exchange starts with.
pub(crate) struct Start {
    pub(crate) open: Open,
    pub(crate) custody: Arc<Custody>,
    pub(crate) method: Method,
    pub(crate) tool: Arc<Tool>,
}

/// One admitted call on the wire.
pub struct Exchange {
    open: Option<Open>,
    custody: Arc<Custody>,
    method: Method,
    tool: Arc<Tool>,
    scan: Scan,
    sent: Counted,
    received: Counted,
    status: Option<StatusCode>,
    cleaner: Cleaner,
}

#[derive(Default)]
struct Counted {
    bytes: u64,
    digest: DigestBuilder,
}

impl Counted {
    fn count(&mut self, chunk: &[u8]) {
        self.bytes = self
            .bytes
            .saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        self.digest.update(chunk);
    }

    fn digest(&self) -> Option<Digest> {
        (self.bytes > 0).then(|| self.digest.clone().finish())
    }
}

impl Exchange {
    pub(crate) fn new(start: Start) -> Self {
        let Start {
            open,
            custody,
            method,
            tool,
        } = start;
        Self {
            open: Some(open),
            scan: Scan::new(custody.watch()),
            custody,
            method,
            tool,
            sent: Counted::default(),
            received: Counted::default(),
            status: None,
            cleaner: Cleaner::Nothing,
        }
    }

    /// The receipt id, for the agent.
    pub fn call(&self) -> Option<CallId> {
        self.open.as_ref().map(Open::call)
    }

    /// Looks at a piece of a streamed request body before it is sent.
    ///
    /// # Errors
    /// `placeholder-misused`: the body must be broken off.
    pub fn request_chunk(&mut self, chunk: &[u8]) -> Result<(), Reason> {
        self.sent.count(chunk);
        if self.scan.push(chunk).is_err() {
            if let Some(open) = &self.open {
                open.alarm("streamed body");
            }
            return Err(Reason::PlaceholderMisused);
        }
        Ok(())
    }

    /// Begins an attempt at upstream; what an earlier attempt counted is forgotten.
    pub fn restart(&mut self) {
        self.sent = Counted::default();
        self.scan = Scan::new(self.custody.watch());
    }

    /// Counts a body that is sent whole.
    pub fn request_whole(&mut self, body: &[u8]) {
        self.sent = Counted::default();
        self.sent.count(body);
    }

    /// Cleans a response head and decides how its body will be cleaned. Informational heads are cleaned and forgotten.
    ///
    /// # Errors
    /// `response-unsafe`, when the body is in a form that cannot be examined.
    pub fn answer(&mut self, status: StatusCode, headers: &mut HeaderMap) -> Result<(), Reason> {
        let patterns = self.custody.patterns();
        let upgraded = status == StatusCode::SWITCHING_PROTOCOLS;
        if status.is_informational() && !upgraded {
            clean_fields(&patterns, headers);
            return Ok(());
        }
        self.status = Some(status);
        if let Some(open) = &mut self.open {
            open.answers();
            open.gate().reached(Stage::Answered);
        }
        self.cleaner = Cleaner::choose(
            patterns,
            (&self.method, status),
            headers,
            &self.tool.response,
        )?;
        Ok(())
    }

    /// Cleans a piece of the response body. What comes back may be shorter, longer or nothing; the rest follows later.
    ///
    /// # Errors
    /// `response-unsafe`: the response must be broken off.
    pub fn response_chunk(&mut self, chunk: &[u8], last: Last) -> Result<Bytes, Reason> {
        self.received.count(chunk);
        self.cleaner.clean(chunk, last)
    }

    /// Cleans trailer fields.
    pub fn trailers(&mut self, trailers: &mut HeaderMap) {
        clean_trailers(&self.custody.patterns(), trailers);
    }

    /// Closes the receipt. Closing twice is harmless: the first word stands.
    pub fn close(&mut self, ending: Ending, reason: Option<Reason>) {
        let Some(open) = self.open.take() else { return };
        open.gate().reached(Stage::Delivered);
        open.close(Closing {
            ending,
            reason,
            status: self.status.map(|status| status.as_u16()),
            request_bytes: self.sent.bytes,
            response_bytes: self.received.bytes,
            request_digest: self.sent.digest(),
            response_digest: self.received.digest(),
            redactions: self.cleaner.redactions(),
        });
    }
}

/// Whether a piece of a body is the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// More may follow.
    No,
    /// The body ends here.
    Yes,
}
