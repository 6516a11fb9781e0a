//! The whole body: JSON strings and form fields that the tool declares; nothing else in it may be a placeholder.

use bytes::Bytes;
use exeat_types::unique_json;
use http::{HeaderValue, header::CONTENT_TYPE};

use super::{Desk, Place, Writing, query::Part};
use crate::{Refused, Slot, json};

impl Desk<'_> {
    /// What becomes of the body.
    pub(crate) fn body(&self) -> Result<Option<Bytes>, Refused> {
        let misused = || Refused::misused("body");
        let Some(body) = self.ask.body.filter(|body| self.watch().found_in(body)) else {
            return Ok(None);
        };
        if self.is_form() {
            return self.form(body).map(Some);
        }
        let mut spans = Vec::new();
        if unique_json(body).is_ok() {
            let declared = self.body_slots().map(str::to_owned);
            for pointer in declared.chain(self.minted_pointers()) {
                spans.extend(json::string_at(body, &pointer).map(|span| (span, pointer)));
            }
            spans.sort_by_key(|(span, _)| span.start);
            spans.dedup_by_key(|(span, _)| span.start);
        }
        let mut out = Vec::with_capacity(body.len());
        // The body without what was resolved: whatever placeholder is left in it is misused.
        let mut rest = Vec::with_capacity(body.len());
        let mut from = 0;
        for (span, pointer) in spans {
            let (before, inside) = (body.get(from..span.start), body.get(span.clone()));
            let (before, inside) = before.zip(inside).ok_or_else(misused)?;
            let resolved = self.string(inside, &pointer)?;
            out.extend_from_slice(before);
            rest.extend_from_slice(before);
            match resolved {
                Some(text) => out.extend_from_slice(&text),
                None => {
                    out.extend_from_slice(inside);
                    rest.extend_from_slice(inside);
                }
            }
            from = span.end;
        }
        let tail = body.get(from..).unwrap_or_default();
        out.extend_from_slice(tail);
        rest.extend_from_slice(tail);
        if self.watch().found_in(&rest) {
            return Err(misused());
        }
        Ok(Some(Bytes::from(out)))
    }

    /// One string with the placeholder in it resolved, if it has one that may stand there.
    fn string(&self, inside: &[u8], pointer: &str) -> Result<Option<Vec<u8>>, Refused> {
        if let Some(token) = self.minted_string(inside, pointer)? {
            return Ok(Some(token));
        }
        match &self.bound {
            Some(bound) if self.body_slots().any(|slot| slot == pointer) => {
                bound.resolve(self.watch(), inside, Writing::Json, || "body".to_owned())
            }
            _ => Ok(None),
        }
    }

    fn body_slots(&self) -> impl Iterator<Item = &str> {
        self.ask.slots.iter().filter_map(|slot| match slot {
            Slot::Body(pointer) => Some(pointer.as_str()),
            _ => None,
        })
    }

    fn is_form(&self) -> bool {
        let value = self
            .ask
            .headers
            .get(CONTENT_TYPE)
            .map(HeaderValue::as_bytes)
            .unwrap_or_default();
        let media = value.split(|byte| *byte == b';').next().unwrap_or_default();
        media
            .trim_ascii()
            .eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    }

    fn form(&self, body: &[u8]) -> Result<Bytes, Refused> {
        let text = std::str::from_utf8(body).map_err(|_not_text| Refused::misused("body"))?;
        let declared = |name: &str| {
            self.body_slots()
                .any(|pointer| json::is_member(pointer, name))
        };
        let place = |name: &str| {
            if self.bound.is_some() && declared(name) {
                Place::Declared
            } else {
                Place::Other
            }
        };
        let (pairs, _) = self.pairs(text, Part::Body, place)?;
        Ok(Bytes::from(pairs.join("&")))
    }
}
