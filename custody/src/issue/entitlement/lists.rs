//! Looks statuses up: lists are fetched, verified, kept for as long as they say, and never trusted longer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use exeat_types::Timestamp;
use http::{HeaderValue, header::ACCEPT};
use serde_json::Value;

use super::{
    Entitlement,
    held::{StatusRef, holds, moment, seconds, typed},
    status::StatusList,
};
use crate::{
    Url, Work,
    issue::exchange,
    jose::{self, Members},
};

/// For how long a list is good that does not say so.
const TTL: Duration = Duration::from_secs(5 * 60);
/// For how long a list is good at most, whatever it says.
const TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How far the clock of an issuer may be ahead of ours.
const SKEW: Duration = Duration::from_secs(60);
/// For how long a list that could not be had is not asked for again.
const PAUSE: Duration = Duration::from_secs(5);
/// Most lists that are kept.
const LISTS_MAX: usize = 64;

/// What a list says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It holds, as far as is known until then.
    Good(Timestamp),
    /// It was taken back for good.
    Revoked,
    /// It does not hold at the moment.
    Suspended,
    /// There is no telling.
    Unknown,
}

/// The lists that are known, or known not to be had for a moment.
#[derive(Default)]
pub(super) struct Lists(Mutex<HashMap<Url, Kept>>);

#[derive(Clone)]
struct Kept {
    known: Option<Arc<Known>>,
    until: Timestamp,
}

/// A list that was verified.
struct Known {
    list: StatusList,
    /// What it is about, for the W3C's.
    purpose: Value,
    until: Timestamp,
}

impl Lists {
    /// Forgets every list, so that each is asked for again.
    pub(super) fn forget(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// How the credential stands at this place.
    pub(super) async fn standing(
        &self,
        declared: &Entitlement,
        at: &StatusRef,
        work: Work<'_>,
    ) -> Standing {
        let (list, index) = match at {
            StatusRef::Token { list, index } | StatusRef::Bitstring { list, index, .. } => {
                (list, *index)
            }
            StatusRef::Foreign => return Standing::Unknown,
        };
        let Some(known) = self.known(declared, at, list, work).await else {
            return Standing::Unknown;
        };
        let status = known.list.at(index);
        match (at, status) {
            (_, Some(0)) => Standing::Good(known.until),
            (StatusRef::Token { .. }, Some(1)) => Standing::Revoked,
            (StatusRef::Token { .. }, Some(2)) => Standing::Suspended,
            (StatusRef::Bitstring { purpose, .. }, Some(1)) if purpose == "suspension" => {
                Standing::Suspended
            }
            (StatusRef::Bitstring { .. }, Some(1)) => Standing::Revoked,
            (_, Some(_) | None) => Standing::Unknown,
        }
    }

    async fn known(
        &self,
        declared: &Entitlement,
        at: &StatusRef,
        list: &Url,
        work: Work<'_>,
    ) -> Option<Arc<Known>> {
        let fits = |known: &Known| match at {
            StatusRef::Bitstring { purpose, .. } => holds(Some(&known.purpose), purpose),
            StatusRef::Token { .. } | StatusRef::Foreign => known.purpose.is_null(),
        };
        let found = {
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(list).cloned()
        };
        if let Some(found) = found.filter(|found| found.until > work.now) {
            return found.known.filter(|known| fits(known));
        }
        let fetched = fetch(declared, at, list, work).await.map(Arc::new);
        let until = fetched.as_ref().map(|known| known.until);
        let kept = Kept {
            known: fetched.clone(),
            until: until.unwrap_or_else(|| work.now.after(PAUSE)),
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, kept| kept.until > work.now);
        if known.len() < LISTS_MAX {
            known.insert(list.clone(), kept);
        }
        fetched.filter(|known| fits(known))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a list is public, but every reply is taken to be secret"
)]
async fn fetch(
    declared: &Entitlement,
    at: &StatusRef,
    list: &Url,
    work: Work<'_>,
) -> Option<Known> {
    if !declared.lists.contains(&list.origin) {
        return None;
    }
    let mut request = exchange::get(list);
    let accept = match at {
        StatusRef::Token { .. } => "application/statuslist+jwt",
        StatusRef::Bitstring { .. } | StatusRef::Foreign => "application/vc+jwt, application/jwt",
    };
    request
        .headers
        .insert(ACCEPT, HeaderValue::from_static(accept));
    let reply = work.outside.send(request).await.ok()?;
    if !reply.status.is_success() {
        return None;
    }
    let token = std::str::from_utf8(reply.body.open()).ok()?.trim();
    let verified = jose::verify(token, &declared.status_keys).ok()?;
    match at {
        StatusRef::Token { .. } => {
            typed(&verified.header, &["statuslist+jwt"]).ok()?;
            token_list(&verified.claims, list, work.now)
        }
        StatusRef::Bitstring { .. } => {
            typed(&verified.header, &["JWT", "vc+jwt", "vc+ld+jwt"]).ok()?;
            bitstring_list(&verified.claims, list, work.now)
        }
        StatusRef::Foreign => None,
    }
}

/// A Token Status List (draft-ietf-oauth-status-list section 8.3).
fn token_list(claims: &Members, list: &Url, now: Timestamp) -> Option<Known> {
    let about = claims.get("sub")?.as_str()?.parse::<Url>().ok()?;
    let issued = seconds(claims, "iat").ok()??;
    if about != *list || issued > now.after(SKEW) {
        return None;
    }
    let ttl = match claims.get("ttl") {
        Some(ttl) => Duration::from_secs(ttl.as_u64().filter(|ttl| *ttl > 0)?),
        None => TTL,
    };
    let packed = claims.get("status_list")?;
    let lst = packed.get("lst")?.as_str()?;
    Some(Known {
        list: StatusList::token(packed.get("bits")?.as_u64()?, lst).ok()?,
        purpose: Value::Null,
        until: until(seconds(claims, "exp").ok()?, ttl, now)?,
    })
}

/// A Bitstring Status List (W3C Bitstring Status List 1.0 section 3.2).
fn bitstring_list(claims: &Members, list: &Url, now: Timestamp) -> Option<Known> {
    let body = claims
        .get("vc")
        .and_then(Value::as_object)
        .unwrap_or(claims);
    let id = body.get("id").or_else(|| claims.get("jti"))?;
    let about = id.as_str()?.parse::<Url>().ok()?;
    let begins = [
        seconds(claims, "nbf").ok()?,
        moment(body, &["validFrom", "issuanceDate"]).ok()?,
    ];
    if about != *list
        || begins
            .into_iter()
            .flatten()
            .any(|begins| begins > now.after(SKEW))
    {
        return None;
    }
    let subject = body.get("credentialSubject")?;
    let kinds = ["BitstringStatusList", "StatusList2021"];
    if !kinds.iter().any(|kind| holds(subject.get("type"), kind)) {
        return None;
    }
    let ttl = match subject.get("ttl") {
        Some(ttl) => Duration::from_millis(ttl.as_u64().filter(|ttl| *ttl > 0)?),
        None => TTL,
    };
    let ends = [
        seconds(claims, "exp").ok()?,
        moment(body, &["validUntil", "expirationDate"]).ok()?,
    ];
    Some(Known {
        list: StatusList::bitstring(subject.get("encodedList")?.as_str()?).ok()?,
        purpose: subject.get("statusPurpose")?.clone(),
        until: until(ends.into_iter().flatten().min(), ttl, now)?,
    })
}

/// For how long a list may be kept; `None` when it is over.
fn until(ends: Option<Timestamp>, ttl: Duration, now: Timestamp) -> Option<Timestamp> {
    let kept = now.after(ttl.min(TTL_MAX));
    let until = ends.map_or(kept, |ends| ends.min(kept));
    (until > now).then_some(until)
}
