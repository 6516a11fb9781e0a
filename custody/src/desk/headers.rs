//! Header fields: the kind's own slot, declared slots, slots that are claimed, and all others.

use exeat_types::Secret;
use http::{HeaderName, HeaderValue};

use super::{Bound, Desk, Place, Writing};
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
        for name in self.ask.headers.keys() {
            match self.header_place(name) {
                Place::Own => self.only_harmless(name)?,
                Place::Claimed => {
                    self.only_harmless(name)?;
                    changes.push((name.clone(), None));
                }
                Place::Declared => changes.extend(self.declared_header(name)?),
                Place::Other => self.none_in(name)?,
            }
        }
        if let Some(Bound { entry, .. }) = &self.bound
            && let Form::Header { name, value } = &entry.form
        {
            changes.push((name.clone(), Some(entry.header_value(value)?)));
        }
        Ok(changes)
    }

    fn header_place(&self, name: &HeaderName) -> Place {
        let declared = |slot: &Slot| matches!(slot, Slot::Header(slot) if slot == name);
        let bound = self.bound.as_ref();
        if bound.and_then(|bound| bound.entry.form.header()) == Some(name) {
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
            if self.is_foreign(pair.as_deref().unwrap_or(value.as_bytes())) {
                return Err(Refused::misused(format!("header.{name}")));
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
}
