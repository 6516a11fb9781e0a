//! The work behind [`Custody::prepare`]: each header field, query parameter and body of one request is asked what it
//! may hold, and is resolved, emptied, left alone or refused accordingly.
//!
//! `headers.rs`, `query.rs` and `body.rs` each know one part of a request; here is what they share.

mod body;
mod headers;
mod query;

use exeat_types::Secret;
use http::HeaderValue;
use percent_encoding::percent_encode;
use zeroize::Zeroizing;

use crate::{
    Ask, Custody, Refused, Watch,
    custody::{Claims, Entry, Names},
    inject::{self, api_key::RESERVED},
    json,
};

/// One request on the desk, with what of custody concerns it.
pub(crate) struct Desk<'a> {
    custody: &'a Custody,
    ask: &'a Ask<'a>,
    claims: Option<&'a Claims>,
    bound: Option<Bound<'a>>,
    /// The agent's placeholders that may stand in a claimed slot, from which they are taken off anyway.
    harmless: Vec<&'a str>,
}

/// The credential of the call, bound to its origin.
struct Bound<'a> {
    entry: &'a Entry,
    /// The placeholder that resolves, if this agent has one.
    own: Option<&'a str>,
}

/// What may stand in one slot of the request.
enum Place {
    /// The credential of the call goes here: whatever stands here is replaced.
    Own,
    /// A placeholder resolves here.
    Declared,
    /// Some credential of this origin goes here: whatever stands here is taken off.
    Claimed,
    /// No placeholder may stand here.
    Other,
}

/// How a secret is written in a slot.
#[derive(Clone, Copy)]
enum Writing {
    Plain,
    Percent,
    Json,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(custody: &'a Custody, ask: &'a Ask<'a>) -> Result<Self, Refused> {
        let names = custody.placeholders.get(ask.agent);
        let claims = custody.claims.get(ask.origin);
        let Some(id) = ask.credential else {
            let bound = claims
                .map(|claims| claims.credentials.as_slice())
                .unwrap_or_default();
            let known = bound.iter().filter_map(|id| names?.get(id));
            let harmless = known.flat_map(Names::all).collect();
            return Ok(Self {
                custody,
                ask,
                claims,
                bound: None,
                harmless,
            });
        };
        let entry = custody
            .entries
            .get(id)
            .ok_or_else(|| Refused::Missing(id.clone()))?;
        if !entry.spec.origins.contains(ask.origin) {
            return Err(Refused::WrongOrigin(id.clone()));
        }
        let names = names.and_then(|names| names.get(id));
        let own = names.map(|names| names.current.as_str());
        let harmless = names.into_iter().flat_map(Names::all).collect();
        Ok(Self {
            custody,
            ask,
            claims,
            bound: Some(Bound { entry, own }),
            harmless,
        })
    }

    /// The credential of the call.
    pub(crate) fn entry(&self) -> Option<&'a Entry> {
        self.bound.as_ref().map(|bound| bound.entry)
    }

    /// Whether a placeholder that is not harmless stands in the text.
    fn is_foreign(&self, text: &[u8]) -> bool {
        if !self.watch().found_in(text) {
            return false;
        }
        let rest = self
            .harmless
            .iter()
            .fold(text.to_vec(), |rest, name| replace(&rest, name, b"\n"));
        self.watch().found_in(&rest)
    }

    fn watch(&self) -> &'a Watch {
        &self.custody.watch
    }
}

impl Bound<'_> {
    /// The text with this agent's placeholder resolved; `None` when there is no placeholder in it.
    fn resolve(
        &self,
        watch: &Watch,
        text: &[u8],
        writing: Writing,
        place: impl Fn() -> String,
    ) -> Result<Option<Vec<u8>>, Refused> {
        if !watch.found_in(text) {
            return Ok(None);
        }
        let own = self.own.ok_or_else(|| Refused::misused(place()))?;
        if watch.found_in(&replace(text, own, b"\n")) {
            return Err(Refused::misused(place()));
        }
        Ok(Some(replace(
            text,
            own,
            self.entry.written(writing).as_slice(),
        )))
    }
}

impl Entry {
    /// The value as a sensitive header value.
    fn header_value(&self, value: &Secret) -> Result<HeaderValue, Refused> {
        inject::sensitive(value).ok_or_else(|| Refused::Unfit(self.spec.id.clone()))
    }

    /// The secret as it is written in such a slot.
    #[expect(
        clippy::disallowed_methods,
        reason = "the placeholder in a declared slot becomes the secret"
    )]
    fn written(&self, writing: Writing) -> Zeroizing<Vec<u8>> {
        let secret = self.secret.open();
        Zeroizing::new(match writing {
            Writing::Plain => secret.to_vec(),
            Writing::Percent => percent_encode(secret, RESERVED).to_string().into_bytes(),
            Writing::Json => json::escape(&String::from_utf8_lossy(secret)),
        })
    }
}

fn replace(text: &[u8], what: &str, with: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len().saturating_add(with.len()));
    let mut from = 0;
    for at in memchr::memmem::find_iter(text, what) {
        out.extend_from_slice(text.get(from..at).unwrap_or_default());
        out.extend_from_slice(with);
        from = at.saturating_add(what.len());
    }
    out.extend_from_slice(text.get(from..).unwrap_or_default());
    out
}
