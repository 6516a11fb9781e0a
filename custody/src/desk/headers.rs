//! Header fields: the kind's own slot, declared slots, slots that are claimed, and all others.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use exeat_types::{BasicPart, Secret};
use http::{
    HeaderName, HeaderValue,
    header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL},
};
use zeroize::Zeroizing;

use super::{Bound, Desk, Place, Presented, Writing, session::Session};
use crate::{
    Refused, Slot,
    inject::{Form, basic::presented_pair},
};

/// A header field and what becomes of it.
type HeaderChange = (HeaderName, Option<HeaderValue>);

impl Desk<'_> {
    /// What becomes of each header field.
    pub(crate) fn headers(&self) -> Result<Vec<HeaderChange>, Refused> {
        let mut changes = Vec::new();
        // The values of one name stand one behind another.
        let mut done: Option<&HeaderName> = None;
        for (name, value) in self.ask.headers {
            if *name == SEC_WEBSOCKET_PROTOCOL || done == Some(name) {
                continue;
            }
            let plain = matches!(self.header_place(name), Place::Other) && self.session.is_none();
            if plain && !self.watch().found_in(value.as_bytes()) {
                continue;
            }
            done = Some(name);
            changes.extend(self.header(name)?);
        }
        if let Some(Bound { entry, .. }) = &self.bound
            && let Form::Header { name, value } = &entry.form
        {
            changes.push((name.clone(), Some(entry.header_value(value)?)));
        }
        changes.extend(self.token()?);
        changes.extend(self.protocols()?);
        Ok(changes)
    }

    /// What becomes of all values of one name.
    fn header(&self, name: &HeaderName) -> Result<Option<HeaderChange>, Refused> {
        if let Some(session) = self.session.as_ref().filter(|_| Session::has_header(name)) {
            let values = self.ask.headers.get_all(name).iter();
            let rest = |value: &HeaderValue| session.rest_of(value.as_bytes());
            if values.map(rest).any(|rest| self.watch().found_in(&rest)) {
                return Err(Refused::misused(format!("header.{name}")));
            }
            return Ok(Some((name.clone(), None)));
        }
        let place = self.header_place(name);
        if let (Place::Claimed | Place::Other, Some(value)) = (&place, self.minted_header(name)?) {
            return Ok(Some((name.clone(), Some(value))));
        }
        match place {
            Place::Own | Place::Claimed => {
                self.only_harmless(name)?;
                Ok(Some((name.clone(), None)))
            }
            Place::Declared => self.declared_header(name),
            Place::Other => self.none_in(name).map(|()| None),
        }
    }

    /// The header that carries the token of the call. A credential that needs a token is never sent without one.
    fn token(&self) -> Result<Option<HeaderChange>, Refused> {
        let Some(Bound { entry, .. }) = &self.bound else {
            return Ok(None);
        };
        if entry.made().is_none_or(|made| made.issuer.is_none()) {
            return Ok(None);
        }
        let missing = || Refused::Missing(entry.spec.id.clone());
        let token = self.ask.token.ok_or_else(missing)?;
        let (name, value) = token.header();
        Ok(Some((name, Some(entry.header_value(&value)?))))
    }

    fn header_place(&self, name: &HeaderName) -> Place {
        let declared = |slot: &Slot| match slot {
            Slot::Header(slot) => slot == name,
            Slot::Basic(_) => *name == AUTHORIZATION,
            Slot::Query(_) | Slot::Body(_) | Slot::Path(_) | Slot::Protocol(_) => false,
        };
        let bound = self.bound.as_ref();
        if bound.is_some_and(|bound| bound.entry.form.headers().contains(name)) {
            Place::Own
        } else if bound.is_some() && self.ask.slots.iter().any(declared) {
            Place::Declared
        } else if self
            .claims
            .is_some_and(|claims| claims.headers.contains(name))
        {
            Place::Claimed
        } else {
            Place::Other
        }
    }

    fn none_in(&self, name: &HeaderName) -> Result<(), Refused> {
        let values = self.ask.headers.get_all(name);
        if values
            .iter()
            .any(|value| self.watch().found_in(value.as_bytes()))
        {
            return Err(Refused::misused(format!("header.{name}")));
        }
        Ok(())
    }

    fn only_harmless(&self, name: &HeaderName) -> Result<(), Refused> {
        for value in self.ask.headers.get_all(name) {
            let pair = presented_pair(value.as_bytes());
            let text = pair.as_deref().unwrap_or(value.as_bytes());
            match self.presented(text, |entry| entry.form.headers().contains(name)) {
                Presented::Harmless => {}
                Presented::Stale => return Err(Refused::Stale),
                Presented::Foreign => return Err(Refused::misused(format!("header.{name}"))),
            }
        }
        Ok(())
    }

    /// The change to a header that the tool declares, if any: resolved, or taken off when it is claimed and holds no
    /// placeholder. A field that stands twice is ambiguous, so nothing resolves in it.
    fn declared_header(&self, name: &HeaderName) -> Result<Option<HeaderChange>, Refused> {
        let mut values = self.ask.headers.get_all(name).iter();
        if let (Some(value), None, Some(bound)) = (values.next(), values.next(), &self.bound) {
            let place = || format!("header.{name}");
            if let Some(value) = self.filled_pair(name, value.as_bytes())? {
                return Ok(Some((name.clone(), Some(value))));
            }
            let resolved = bound.resolve(self.watch(), value.as_bytes(), Writing::Plain, place)?;
            if let Some(resolved) = resolved {
                let value = bound.entry.header_value(&Secret::new(resolved))?;
                return Ok(Some((name.clone(), Some(value))));
            }
        }
        self.none_in(name)?;
        let claimed = self
            .claims
            .is_some_and(|claims| claims.headers.contains(name));
        Ok(claimed.then(|| (name.clone(), None)))
    }

    /// A Basic pair with the secret in the part that the tool declares.
    fn filled_pair(&self, name: &HeaderName, value: &[u8]) -> Result<Option<HeaderValue>, Refused> {
        let part = self.ask.slots.iter().find_map(|slot| match slot {
            Slot::Basic(part) => Some(*part),
            _ => None,
        });
        let (Some(part), Some(bound), true) = (part, &self.bound, *name == AUTHORIZATION) else {
            return Ok(None);
        };
        let place = || format!("header.{name}");
        let misused = || Refused::misused(place());
        let Some(pair) = presented_pair(value).map(Zeroizing::new) else {
            return Ok(None);
        };
        let colon = memchr::memchr(b':', &pair).ok_or_else(misused)?;
        let (user, password) = pair.split_at_checked(colon).ok_or_else(misused)?;
        let password = password.get(1..).unwrap_or_default();
        let (filled, other) = match part {
            BasicPart::User => (user, password),
            BasicPart::Password => (password, user),
        };
        if self.watch().found_in(other) {
            return Err(misused());
        }
        let filled = bound.filled(self.watch(), filled, Writing::Plain, place)?;
        let pair = Zeroizing::new(match part {
            BasicPart::User if filled.contains(&b':') => {
                return Err(Refused::Unfit(bound.entry.spec.id.clone()));
            }
            BasicPart::User => [&filled, &b":"[..], other].concat(),
            BasicPart::Password => [other, b":", &filled].concat(),
        });
        let value = [&b"Basic "[..], BASE64_STANDARD.encode(&pair).as_bytes()].concat();
        bound.entry.header_value(&Secret::new(value)).map(Some)
    }
}
