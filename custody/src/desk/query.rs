//! Query parameters, and the walk over `a=b&c=d` that form bodies share.

use std::borrow::Cow;

use exeat_types::Origin;
use percent_encoding::percent_decode_str;

use super::{Bound, Desk, Place, Presented, Writing, session::Session};
use crate::{Custody, Refused, Slot, custody::Entry, inject::Form, json};

/// A part of a request that is written as `a=b&c=d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Query,
    Body,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Body => "body",
        }
    }

    fn slot(self, name: &str) -> Slot {
        match self {
            Self::Query => Slot::Query(name.to_owned()),
            Self::Body => Slot::Body(json::pointer_of(name)),
        }
    }
}

impl Custody {
    /// The query without the parameters in which credentials of this origin travel: those are no arguments of a tool.
    pub fn arguments_of<'q>(&self, origin: &Origin, query: &'q str) -> Cow<'q, str> {
        let Some(claims) = self
            .claims
            .get(origin)
            .filter(|claims| !claims.queries.is_empty())
        else {
            return Cow::Borrowed(query);
        };
        let is_slot = |pair: &&str| {
            let name = decode_name(pair.split_once('=').map_or(*pair, |(name, _)| name));
            claims.queries.contains(&name)
        };
        Cow::Owned(
            query
                .split('&')
                .filter(|pair| !is_slot(pair))
                .collect::<Vec<_>>()
                .join("&"),
        )
    }
}

impl Desk<'_> {
    /// What becomes of the query.
    #[expect(
        clippy::disallowed_methods,
        reason = "the injected parameter is made of the secret"
    )]
    pub(crate) fn query(&self) -> Result<Option<Option<String>>, Refused> {
        let place = |name: &str| self.query_place(name);
        let (mut pairs, mut changed) =
            self.pairs(self.ask.query.unwrap_or_default(), Part::Query, place)?;
        if let Some(Bound { entry, .. }) = &self.bound
            && let Form::Query { pair, .. } = &entry.form
        {
            pairs.push(String::from_utf8_lossy(pair.open()));
            changed = true;
        }
        Ok(changed.then(|| (!pairs.is_empty()).then(|| pairs.join("&"))))
    }

    fn query_place(&self, name: &str) -> Place {
        let declared = |slot: &Slot| matches!(slot, Slot::Query(slot) if slot == name);
        let bound = self.bound.as_ref();
        let own = |bound: &Bound<'_>| bound.entry.form.queries().iter().any(|query| query == name);
        if bound.is_some_and(own) {
            Place::Own
        } else if bound.is_some() && self.ask.slots.iter().any(declared) {
            Place::Declared
        } else if self
            .claims
            .is_some_and(|claims| claims.queries.iter().any(|query| query == name))
        {
            Place::Claimed
        } else {
            Place::Other
        }
    }

    /// Walks `a=b&c=d`; answers the pairs that stay, and whether they differ from what came.
    pub(super) fn pairs<'t>(
        &self,
        text: &'t str,
        part: Part,
        place: impl Fn(&str) -> Place,
    ) -> Result<(Vec<Cow<'t, str>>, bool), Refused> {
        let mut kept = Vec::new();
        let mut changed = false;
        for pair in text.split('&').filter(|_| !text.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = decode_name(name);
            let misused = || self.pair_place(part, &decoded);
            let signed = |_: &&Session| part == Part::Query && Session::has_query(&decoded);
            if let Some(session) = self.session.as_ref().filter(signed) {
                let rest = session.rest_of(&percent_decode_str(value).collect::<Vec<u8>>());
                if self.watch().found_in(&rest) || self.watch().found_in(name.as_bytes()) {
                    return Err(Refused::misused(misused()));
                }
                changed = true;
                continue;
            }
            match (place(&decoded), &self.bound) {
                (Place::Own | Place::Claimed, _) => {
                    let value: Vec<u8> = percent_decode_str(value).collect();
                    let owns = |entry: &Entry| entry.form.queries().contains(&decoded);
                    match self.presented(&value, owns) {
                        _ if self.watch().found_in(name.as_bytes()) => {
                            return Err(Refused::misused(misused()));
                        }
                        Presented::Harmless => {}
                        Presented::Stale => return Err(Refused::Stale),
                        Presented::Foreign => return Err(Refused::misused(misused())),
                    }
                    changed = true;
                    continue;
                }
                (Place::Declared, Some(bound)) => {
                    let resolved =
                        bound.resolve(self.watch(), value.as_bytes(), Writing::Percent, misused)?;
                    if let Some(value) = resolved {
                        kept.push(Cow::Owned(format!(
                            "{name}={}",
                            String::from_utf8_lossy(&value)
                        )));
                        changed = true;
                        continue;
                    }
                }
                (Place::Declared, None) | (Place::Other, _) => {}
            }
            if self.watch().found_in(value.as_bytes())
                && let Some(value) = self.minted_value(value, &part.slot(&decoded))?
            {
                kept.push(Cow::Owned(format!("{name}={value}")));
                changed = true;
                continue;
            }
            if self.watch().found_in(pair.as_bytes()) {
                return Err(Refused::misused(misused()));
            }
            kept.push(Cow::Borrowed(pair));
        }
        Ok((kept, changed))
    }

    /// The name of a parameter for people, unless it could be a value in disguise.
    fn pair_place(&self, part: Part, name: &str) -> String {
        let part = part.name();
        let plain = name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_graphic());
        if plain && !name.is_empty() && !self.watch().found_in(name.as_bytes()) {
            format!("{part}.{name}")
        } else {
            part.to_owned()
        }
    }
}

/// A parameter name, decoded as forms are: `+` is a space.
fn decode_name(name: &str) -> String {
    let spaced = name.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}
