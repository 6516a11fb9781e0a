//! Stages 12 to 15 of one admitted call: what goes out is digested, what comes back is cleaned, the receipt is closed.
//!
//! A front door calls, in this order: [`Exchange::request_chunk`] for streamed bodies, [`Exchange::answer`] for each
//! response head, [`Exchange::response_chunk`] until the end, [`Exchange::trailers`], [`Exchange::close`]. Dropping an
//! exchange closes the receipt as cut.

use std::sync::Arc;

use bytes::Bytes;
use exeat_custody::{
    Custody, Scan,
    redact::{Deflate, Stopped, WebSocketWatch},
};
use exeat_ledger::Ending;
use exeat_policy::Tool;
use exeat_types::{CallId, Digest, DigestBuilder, Reason};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::{
    Stage, Standing,
    call::Watched,
    receipt::{Closing, Open},
    response::{Answered, Cleaner, clean_fields, clean_trailers},
    standing::Ground,
};

/// What an exchange starts with.
pub(crate) struct Start {
    pub(crate) open: Open,
    /// The WebSocket extensions that upstream is offered.
    pub(crate) offered: Option<String>,
    pub(crate) ground: Ground,
}

/// One admitted call on the wire.
pub struct Exchange {
    open: Option<Open>,
    standing: Arc<Standing>,
    custody: Arc<Custody>,
    method: Method,
    tool: Arc<Tool>,
    decision: &'static str,
    offered: Option<String>,
    scan: Scan,
    /// Looks into what the agent sends, once the connection is a WebSocket.
    frames: Option<Box<WebSocketWatch>>,
    sent: Counted,
    received: Counted,
    status: Option<StatusCode>,
    cleaner: Cleaner,
}

/// What the agent is told of each call: the receipt, the tool, and how it was decided.
const PROVENANCE: [HeaderName; 3] = [
    HeaderName::from_static("exeat-receipt"),
    HeaderName::from_static("exeat-tool"),
    HeaderName::from_static("exeat-decision"),
];
/// What the agent is told behind a body in which something was flagged.
const FLAGS: HeaderName = HeaderName::from_static("exeat-flags");

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
            offered,
            ground,
        } = start;
        let custody = Arc::clone(&ground.rules.custody);
        let (method, tool) = (ground.method.clone(), Arc::clone(&ground.tool));
        let decision = match ground.watched {
            Watched::No => "allow",
            Watched::Observed => "observed",
        };
        Self {
            open: Some(open),
            standing: Arc::new(Standing::new(ground)),
            scan: Scan::new(custody.watch()),
            custody,
            method,
            tool,
            decision,
            offered,
            frames: None,
            sent: Counted::default(),
            received: Counted::default(),
            status: None,
            cleaner: Cleaner::idle(),
        }
    }

    /// What the call stands on, for the door to ask again when the rules change.
    pub fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    /// The receipt id, for the agent.
    pub fn call(&self) -> Option<CallId> {
        self.open.as_ref().map(Open::call)
    }

    /// Looks at a piece of a streamed request body before it is sent.
    ///
    /// # Errors
    /// `placeholder-misused`, or `malformed-request` for frames that cannot be read: the body must be broken off.
    pub fn request_chunk(&mut self, chunk: &[u8]) -> Result<(), Reason> {
        self.sent.count(chunk);
        let looked = match &mut self.frames {
            None => self
                .scan
                .push(chunk)
                .map_err(|_cause| ("streamed body", Reason::PlaceholderMisused)),
            Some(frames) => frames.push(chunk).map_err(|stopped| match stopped {
                Stopped::Misused => ("WebSocket message", Reason::PlaceholderMisused),
                Stopped::Unreadable(_) => ("", Reason::MalformedRequest),
            }),
        };
        looked.map_err(|(place, reason)| {
            if let (Some(open), Reason::PlaceholderMisused) = (&self.open, reason) {
                open.alarm(place);
            }
            reason
        })
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
        let deflate = match upgraded {
            true => self.handshaken(headers)?,
            false => Deflate::Off,
        };
        let answered = Answered {
            method: &self.method,
            status,
            deflate,
        };
        self.cleaner = Cleaner::choose(patterns, &answered, headers, &self.tool.response)?;
        self.show_provenance(headers)
    }

    /// What a handshake agreed on. From here on the agent sends frames.
    fn handshaken(&mut self, headers: &HeaderMap) -> Result<Deflate, Reason> {
        let answers = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS);
        let written: Option<Vec<&str>> = answers.iter().map(|value| value.to_str().ok()).collect();
        let written = written.ok_or(Reason::ResponseUnsafe)?;
        let deflate = Deflate::agreed(self.offered.as_deref(), written.into_iter())
            .map_err(|_cause| Reason::ResponseUnsafe)?;
        let frames = WebSocketWatch::new(self.custody.watch(), deflate);
        self.frames = Some(Box::new(frames));
        Ok(deflate)
    }

    fn show_provenance(&self, headers: &mut HeaderMap) -> Result<(), Reason> {
        let call = self.call().map(|call| call.to_string());
        let values = [
            call.as_deref().unwrap_or_default(),
            self.tool.name.as_str(),
            self.decision,
        ];
        for (name, value) in PROVENANCE.into_iter().zip(values) {
            let value = HeaderValue::from_str(value).map_err(|_cause| Reason::Internal)?;
            headers.insert(name, value);
        }
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

    /// Cleans trailer fields, and says there what was flagged in the body.
    pub fn trailers(&mut self, trailers: &mut HeaderMap) {
        clean_trailers(&self.custody.patterns(), trailers);
        let flags: Vec<&str> = self.cleaner.flags().into_keys().collect();
        if let (false, Ok(value)) = (flags.is_empty(), HeaderValue::from_str(&flags.join(", "))) {
            trailers.insert(FLAGS, value);
        }
    }

    /// Closes the receipt. Closing twice is harmless: the first word stands. What was cut as the rules changed is closed so.
    pub fn close(&mut self, ending: Ending, reason: Option<Reason>) {
        let Some(open) = self.open.take() else { return };
        let (ending, reason) = match (ending, self.standing.refused()) {
            (Ending::Completed, _) | (_, None) => (ending, reason),
            (_, Some(refused)) => (Ending::Cut, Some(refused)),
        };
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
            flags: self.cleaner.flags(),
        });
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.close(Ending::Cut, Some(Reason::Internal));
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
