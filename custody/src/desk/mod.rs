//! The work behind [`Custody::prepare`]: each header field, query parameter and body of one request is asked what it
//! may hold, and is resolved, emptied, left alone or refused accordingly.
//!
//! `headers.rs`, `protocols.rs`, `path.rs`, `query.rs` and `body.rs` each know one part of a request, `minted.rs` the
//! placeholders of tokens that responses handed out; here is what they share.

mod body;
mod headers;
mod minted;
mod path;
mod protocols;
mod query;
mod session;

use std::cell::Cell;

use exeat_types::{CredentialId, Secret};
use http::HeaderValue;
use percent_encoding::{AsciiSet, percent_encode};
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
    /// Those of earlier versions, each with its credential.
    stale: Vec<(&'a str, &'a Entry)>,
    /// How many placeholders of minted tokens were resolved.
    minted: Cell<u64>,
    /// What signs in the place of the agent.
    session: Option<session::Session>,
}

/// The credential of the call, bound to its origin.
struct Bound<'a> {
    entry: &'a Entry,
    /// The placeholder that resolves, if this agent has one.
    own: Option<&'a str>,
    /// Those of earlier versions.
    earlier: &'a [String],
}

/// What the placeholders in a text mean in a slot that is emptied anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presented {
    /// There is none, or it is the agent's own.
    Harmless,
    /// It was the agent's own.
    Stale,
    /// It belongs elsewhere.
    Foreign,
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
    Path,
    Json,
}

/// What a segment of a path cannot hold as it is (RFC 3986 section 3.3).
const NOT_IN_PATH: &AsciiSet = &RESERVED
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

impl<'a> Desk<'a> {
    pub(crate) fn new(custody: &'a Custody, ask: &'a Ask<'a>) -> Result<Self, Refused> {
        let claims = custody.claims.get(ask.origin);
        let mut desk = Self {
            custody,
            ask,
            claims,
            bound: None,
            harmless: Vec::new(),
            stale: Vec::new(),
            minted: Cell::new(0),
            session: None,
        };
        let Some(id) = ask.credential else {
            let bound = claims.map(|claims| claims.credentials.as_slice());
            for id in bound.unwrap_or_default() {
                desk.recognise(id);
            }
            desk.session = desk.session()?;
            return Ok(desk);
        };
        let entry = custody
            .entries
            .get(id)
            .ok_or_else(|| Refused::Missing(id.clone()))?;
        if !entry.spec.origins.contains(ask.origin) {
            return Err(Refused::WrongOrigin(id.clone()));
        }
        let names = desk.recognise(id);
        for other in ask.others {
            desk.recognise(other);
        }
        desk.bound = Some(Bound {
            entry,
            own: names.map(|names| names.current.as_str()),
            earlier: names
                .map(|names| names.earlier.as_slice())
                .unwrap_or_default(),
        });
        Ok(desk)
    }

    /// Takes note of what this agent holds, or has held, of a credential.
    fn recognise(&mut self, id: &CredentialId) -> Option<&'a Names> {
        let names = self.custody.placeholders.get(self.ask.agent)?.get(id)?;
        self.harmless.push(&names.current);
        if !names.earlier.is_empty()
            && let Some(entry) = self.custody.entries.get(id)
        {
            let earlier = names.earlier.iter().map(|name| (name.as_str(), entry));
            self.stale.extend(earlier);
        }
        Some(names)
    }

    /// The credential of the call.
    pub(crate) fn entry(&self) -> Option<&'a Entry> {
        self.bound.as_ref().map(|bound| bound.entry)
    }

    /// What the placeholders in a text mean in a slot that is emptied anyway, and that belongs to such credentials.
    fn presented(&self, text: &[u8], owns: impl Fn(&Entry) -> bool) -> Presented {
        if !self.watch().found_in(text) {
            return Presented::Harmless;
        }
        let mut behind = self
            .harmless
            .iter()
            .map(|name| text.strip_suffix(name.as_bytes()));
        if behind.any(|before| before.is_some_and(|before| !self.watch().found_in(before))) {
            return Presented::Harmless;
        }
        let mut rest = self
            .harmless
            .iter()
            .fold(text.to_vec(), |rest, name| replace(&rest, name, b"\n"));
        if !self.watch().found_in(&rest) {
            return Presented::Harmless;
        }
        for (name, _) in self.stale.iter().filter(|(_, entry)| owns(entry)) {
            rest = replace(&rest, name, b"\n");
        }
        match self.watch().found_in(&rest) {
            true => Presented::Foreign,
            false => Presented::Stale,
        }
    }

    fn watch(&self) -> &'a Watch {
        &self.custody.watch
    }
}

impl Bound<'_> {
    /// What is written into a slot that is filled whatever stands in it, unless that is a placeholder of somebody else.
    fn filled(
        &self,
        watch: &Watch,
        text: &[u8],
        writing: Writing,
        place: impl Fn() -> String,
    ) -> Result<Zeroizing<Vec<u8>>, Refused> {
        self.resolve(watch, text, writing, place)?;
        self.entry.written(writing)
    }

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
        let rest = replace(text, own, b"\n");
        if watch.found_in(&rest) {
            let cleared = |rest: Vec<u8>, name: &String| replace(&rest, name, b"\n");
            return match watch.found_in(&self.earlier.iter().fold(rest, cleared)) {
                true => Err(Refused::misused(place())),
                false => Err(Refused::Stale),
            };
        }
        Ok(Some(replace(
            text,
            own,
            self.entry.written(writing)?.as_slice(),
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
    fn written(&self, writing: Writing) -> Result<Zeroizing<Vec<u8>>, Refused> {
        // SECURITY: the key that a kind signs with, or obtains tokens with, is never sent itself.
        let works = self.made().is_some_and(|made| {
            made.issuer.is_some() || made.signs.is_some() || made.identity.is_some()
        });
        let unfit = || Refused::Unfit(self.spec.id.clone());
        let secret = self.secret.as_ref().filter(|_| !works);
        let secret = secret.ok_or_else(unfit)?.open();
        Ok(Zeroizing::new(match writing {
            Writing::Plain => secret.to_vec(),
            Writing::Path => percent_encode(secret, NOT_IN_PATH).to_string().into_bytes(),
            Writing::Percent => percent_encode(secret, RESERVED).to_string().into_bytes(),
            Writing::Json => json::escape(&String::from_utf8_lossy(secret)),
        }))
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
