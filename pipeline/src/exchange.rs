//! Stages 12 to 15 of one admitted call: what goes out is digested, what comes back is cleaned, the receipt is closed.
//!
//! A front door calls, in this order: [`Exchange::request_piece`] for streamed bodies, [`Exchange::answer`] for each
//! response head, [`Exchange::response_chunk`] until the end, [`Exchange::trailers`], [`Exchange::close`]. Dropping an
//! exchange closes the receipt as cut.

use std::sync::Arc;

use bytes::Bytes;
use exeat_custody::{
    BodyChange, Custody, Last, Scan,
    redact::{Deflate, Stopped, WebSocketWatch},
};
use exeat_ledger::Ending;
use exeat_policy::{Tool, Usage, UsageReader, Written};
use exeat_types::{CallId, Reason};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::{
    Stage, Standing,
    call::Watched,
    media::Media,
    minting::Minter,
    receipt::{Closing, Open},
    response::{Answered, Cleaner, clean_fields, clean_trailers},
    slots::mint_rules,
    standing::Ground,
    usage::{Counted, Left, Meter},
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
    /// Whether it was sent already.
    began: bool,
    /// Whether anything of it left.
    left: Left,
    /// What its signature does to a streamed body.
    change: Option<Box<dyn BodyChange>>,
    offered: Option<String>,
    scan: Scan,
    /// Looks into what the agent sends, once the connection is a WebSocket.
    frames: Option<Box<WebSocketWatch>>,
    sent: Counted,
    /// What came from upstream, as it came.
    arrived: u64,
    /// What was handed to the agent.
    received: Counted,
    status: Option<StatusCode>,
    cleaner: Cleaner,
    minter: Option<Arc<Minter>>,
    /// Reads what a language model says that its answer cost.
    tokens: Option<UsageReader>,
}

/// What the agent is told of each call: the receipt, the tool, and how it was decided.
const PROVENANCE: [HeaderName; 3] = [
    HeaderName::from_static("exeat-receipt"),
    HeaderName::from_static("exeat-tool"),
    HeaderName::from_static("exeat-decision"),
];
/// What the agent is told behind a body in which something was flagged.
const FLAGS: HeaderName = HeaderName::from_static("exeat-flags");

impl Exchange {
    pub(crate) fn new(start: Start) -> Self {
        let Start {
            open,
            offered,
            ground,
        } = start;
        let custody = Arc::clone(&ground.rules.custody);
        let (method, tool) = (ground.method.clone(), Arc::clone(&ground.tool));
        let rules = mint_rules(&tool);
        let minter = (!rules.is_empty()).then(|| {
            Arc::new(Minter {
                custody: Arc::clone(&custody),
                agent: ground.agent.id.clone(),
                rules,
                clock: Arc::clone(&open.gate().clock),
            })
        });
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
            began: false,
            left: Left::Nothing,
            change: None,
            offered,
            frames: None,
            sent: Counted::default(),
            arrived: 0,
            received: Counted::default(),
            status: None,
            cleaner: Cleaner::idle(),
            minter,
            tokens: None,
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
    /// `placeholder-misused`, `budget-exhausted`, or `malformed-request` for frames that cannot be read: the body must be
    /// broken off.
    fn request_chunk(&mut self, chunk: &[u8]) -> Result<(), Reason> {
        self.meters(|meter| meter.up(chunk.len()))?;
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
    pub(crate) fn restart(&mut self, change: Option<Box<dyn BodyChange>>) {
        if std::mem::replace(&mut self.began, true)
            && let Some(open) = &mut self.open
        {
            open.tries_again();
        }
        self.left = Left::Something;
        self.change = change;
        self.sent = Counted::default();
        self.scan = Scan::new(self.custody.watch());
    }

    /// There was no connection for the attempt that began last.
    pub(crate) const fn unconnected(&mut self, before: Left) {
        self.left = before;
    }

    /// Whether anything of it left.
    pub(crate) const fn left(&self) -> Left {
        self.left
    }

    /// Counts against the budgets of the call.
    fn meters(&self, count: impl FnOnce(&Meter) -> Result<(), Reason>) -> Result<(), Reason> {
        self.open
            .as_ref()
            .map_or(Ok(()), |open| count(open.meter()))
    }

    /// A body that is sent whole, as it is sent.
    ///
    /// # Errors
    /// `malformed-request` when it is not what its head promised, `budget-exhausted` when it is longer than a budget has.
    pub fn whole_piece(&mut self, body: &Bytes) -> Result<Bytes, Reason> {
        let sent = match &mut self.change {
            None => body.clone(),
            Some(change) => change
                .push(body, Last::Yes)
                .map_err(|refused| refused.reason())?,
        };
        self.request_whole(&sent)?;
        Ok(sent)
    }

    /// A piece of a streamed request body, as it is sent: looked at, and changed where its signature says so.
    ///
    /// # Errors
    /// `placeholder-misused`, `budget-exhausted`, or `malformed-request` when it is not what its head promised: the body must
    /// be broken off.
    pub fn request_piece(
        &mut self,
        piece: Option<Bytes>,
        last: Last,
    ) -> Result<Option<Bytes>, Reason> {
        if let Some(piece) = &piece {
            self.request_chunk(piece)?;
        }
        let Some(change) = &mut self.change else {
            return Ok(piece);
        };
        let changed = change
            .push(piece.as_deref().unwrap_or_default(), last)
            .map_err(|refused| refused.reason())?;
        // Nothing yet is no end: Pingora takes only an absent piece for one.
        Ok((last == Last::No || !changed.is_empty()).then_some(changed))
    }

    /// Counts a body that is sent whole.
    ///
    /// # Errors
    /// `budget-exhausted`: it must not leave.
    pub(crate) fn request_whole(&mut self, body: &[u8]) -> Result<(), Reason> {
        self.meters(|meter| meter.up(body.len()))?;
        self.left = Left::Something;
        self.sent = Counted::default();
        self.sent.count(body);
        Ok(())
    }

    /// Cleans a response head and decides how its body will be cleaned. Informational heads are cleaned and forgotten.
    ///
    /// # Errors
    /// `response-unsafe`, when the body is in a form that cannot be examined.
    pub fn answer(&mut self, status: StatusCode, headers: &mut HeaderMap) -> Result<(), Reason> {
        let live = Arc::clone(self.custody.live());
        let patterns = live.newest();
        let upgraded = status == StatusCode::SWITCHING_PROTOCOLS;
        if status.is_informational() && !upgraded {
            self.drop_minted(headers);
            clean_fields(patterns, headers);
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
            minter: self.minter.as_ref(),
        };
        self.tokens = self.tool.llm.as_ref().and_then(|llm| {
            let written = match Media::of(headers) {
                Media::Json | Media::Lines => Written::Json,
                Media::Events => Written::Events,
                Media::Markup | Media::Text | Media::Grpc | Media::Binary => return None,
            };
            Some(UsageReader::new(llm.api, written))
        });
        self.cleaner = Cleaner::choose(patterns, &answered, headers, &self.tool.response)?;
        self.show_provenance(headers)
    }

    /// Tokens are handed out in the head of an answer or in its body, and nowhere else.
    fn drop_minted(&self, headers: &mut HeaderMap) {
        if let Some(minter) = &self.minter {
            minter.drop_fields(headers);
        }
    }

    /// A text that a program wrote, without the secrets in it.
    pub(crate) fn redacted(&self, text: &[u8]) -> Vec<u8> {
        let clean = self.custody.live().patterns().scrub(text);
        clean.unwrap_or_else(|| text.to_vec())
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
    /// `response-unsafe` or `budget-exhausted`: the response must be broken off.
    pub fn response_chunk(&mut self, chunk: &[u8], last: Last) -> Result<Bytes, Reason> {
        let arrived = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        self.arrived = self.arrived.saturating_add(arrived);
        self.meters(|meter| meter.down_to(self.arrived))?;
        let clean = self.cleaner.clean(chunk, last)?;
        // SECURITY: what was compressed is more by now.
        let handed_over = self.received.with(&clean);
        self.meters(|meter| meter.down_to(handed_over))?;
        self.received.count(&clean);
        self.tokens.iter_mut().for_each(|read| read.push(&clean));
        // Before the agent has read it, and so before it can do what it says.
        if let Some(open) = self.open.as_ref().filter(|_| self.cleaner.steers()) {
            open.steers();
        }
        Ok(clean)
    }

    /// Cleans trailer fields, and says there what was flagged in the body.
    pub fn trailers(&mut self, trailers: &mut HeaderMap) {
        self.drop_minted(trailers);
        clean_trailers(self.custody.live().newest(), trailers);
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
            left: match ending {
                Ending::RefusedLate => Left::Nothing,
                _ => self.left,
            },
            tokens: self.cost(ending),
        });
    }

    /// The tokens of an answer that came whole. A request that was turned down costs none unless the answer says so.
    fn cost(&self, ending: Ending) -> Option<Usage> {
        if ending != Ending::Completed || self.tool.llm.is_none() {
            return None;
        }
        let status = self.status?;
        let turned_down = status.is_client_error() || matches!(status.as_u16(), 503 | 529);
        let said = self.tokens.as_ref().and_then(UsageReader::usage);
        said.or_else(|| turned_down.then(Usage::default))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.close(Ending::Cut, Some(Reason::Internal));
    }
}
