//! Responses that hand out tokens: held whole, rewritten by custody, so that the agent gets placeholders.
//!
//! INVARIANT: of a response that hands out tokens nothing reaches the agent before all of it was read.

use std::sync::Arc;

use bytes::Bytes;
use exeat_custody::{
    Custody, MintRule, MintedAt, Minting,
    redact::{BodyRules, BodyScrubber, Flags, Formats, Hits, Patterns, Text, Unsafe},
};
use exeat_types::{AgentId, Clock, Reason, limits};
use http::{HeaderMap, StatusCode};
use tokio::runtime::{Handle, RuntimeFlavor};

/// What rewrites the responses of one call.
pub(crate) struct Minter {
    pub(crate) custody: Arc<Custody>,
    pub(crate) agent: AgentId,
    pub(crate) rules: Vec<MintRule>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The label under which tokens are counted that became placeholders.
const LABEL: &str = "minted";

impl Minter {
    fn minting(&self) -> Minting<'_> {
        Minting {
            agent: &self.agent,
            rules: &self.rules,
            now: self.clock.now(),
        }
    }

    /// Drops the fields that hand out tokens, where none may stand: in an informational head and in trailers.
    pub(crate) fn drop_fields(&self, headers: &mut HeaderMap) {
        for rule in &self.rules {
            if let MintedAt::Header(name) = &rule.at {
                headers.remove(name);
            }
        }
    }

    /// Takes the fields out that hand out tokens, with placeholders in the place of these; counts them.
    pub(crate) fn fields(
        &self,
        headers: &mut HeaderMap,
        hits: &mut Hits,
    ) -> Result<HeaderMap, Reason> {
        let mut taken = HeaderMap::new();
        for rule in &self.rules {
            if let MintedAt::Header(name) = &rule.at {
                let values: Vec<_> = headers.get_all(name).iter().cloned().collect();
                headers.remove(name);
                for value in values {
                    taken.append(name.clone(), value);
                }
            }
        }
        let minted = match taken.is_empty() {
            true => Ok(0),
            false => aside(|| self.custody.mint_fields(&self.minting(), &mut taken)),
        };
        count(minted.map_err(unsafe_response)?, hits);
        Ok(taken)
    }
}

/// Whether a response is one that hands out tokens, or an error that mostly does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is read whole or not delivered.
    Success,
    /// A page about an error that cannot be read, so that no token was found in it, is cleaned like any other.
    Failure,
}

impl Outcome {
    /// What a status says.
    pub(crate) fn of(status: StatusCode) -> Self {
        match status.is_success() {
            true => Self::Success,
            false => Self::Failure,
        }
    }
}

/// A body on its way through the rewriting.
pub(crate) struct MintedBody {
    minter: Arc<Minter>,
    decoder: BodyScrubber,
    held: Vec<u8>,
    rules: BodyRules,
    outcome: Outcome,
    bytes_max: usize,
    pub(crate) hits: Hits,
    pub(crate) flags: Flags,
}

impl MintedBody {
    /// A body under such a coding.
    pub(crate) fn new(
        minter: Arc<Minter>,
        coding: Option<&str>,
        (rules, outcome): (BodyRules, Outcome),
    ) -> Result<Self, Reason> {
        let nothing = Patterns::compile(&[], &[]).map_err(|_cause| Reason::ResponseUnsafe)?;
        let decoder = BodyScrubber::with_formats(Arc::new(nothing), coding, Formats::Keep);
        let most = rules.bytes_max.and_then(|most| usize::try_from(most).ok());
        Ok(Self {
            minter,
            decoder: decoder.map_err(unsafe_response)?,
            held: Vec::new(),
            bytes_max: most.map_or(limits::MINTED_BODY_BYTES_MAX, |most| {
                most.min(limits::MINTED_BODY_BYTES_MAX)
            }),
            rules,
            outcome,
            hits: Hits::new(),
            flags: Flags::new(),
        })
    }

    /// Takes a piece; what it holds may be no more than a bound.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<(), Reason> {
        self.decoder
            .push(chunk, &mut self.held)
            .map_err(unsafe_response)?;
        self.bound()
    }

    /// Ends the body and answers what the agent gets of it.
    pub(crate) fn finish(&mut self) -> Result<Bytes, Reason> {
        self.decoder
            .finish(&mut self.held)
            .map_err(unsafe_response)?;
        self.bound()?;
        let asked = (&self.rules.text, self.rules.written);
        let minting = self.minter.minting();
        match aside(|| self.minter.custody.mint(&minting, &self.held, asked)) {
            Ok(rewritten) => {
                self.hits = rewritten.hits;
                self.flags = rewritten.flags;
                count(rewritten.minted, &mut self.hits);
                Ok(rewritten.body.into())
            }
            Err(Unsafe::Minting(_)) if self.outcome == Outcome::Failure => {
                let newest = self.minter.custody.live().newest().clone();
                let mut text = Text::new(newest, Formats::Redact, asked);
                let mut out = Vec::with_capacity(self.held.len());
                text.push(&self.held, &mut out);
                text.finish(&mut out);
                (self.hits, self.flags) = (text.hits(), text.flags());
                Ok(out.into())
            }
            Err(wrong) => {
                tracing::warn!(agent = %self.minter.agent, why = %wrong, "a response with tokens is withheld");
                Err(Reason::ResponseUnsafe)
            }
        }
    }

    fn bound(&self) -> Result<(), Reason> {
        match self.held.len() > self.bytes_max {
            true => Err(Reason::ResponseUnsafe),
            false => Ok(()),
        }
    }
}

/// Compiling what is looked for may take some milliseconds, in which other calls go on where that can be had.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        Ok(_) | Err(_) => work(),
    }
}

fn count(minted: u64, hits: &mut Hits) {
    if minted > 0 {
        *hits.entry(LABEL.into()).or_default() += minted;
    }
}

fn unsafe_response(_cause: Unsafe) -> Reason {
    Reason::ResponseUnsafe
}
