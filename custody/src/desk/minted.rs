//! Placeholders of tokens that responses handed out. They resolve where they were made to stand: in a header only when
//! the tool has no credential of its own, as a call never carries two.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use exeat_types::Secret;
use http::{HeaderName, HeaderValue, header::AUTHORIZATION};
use percent_encoding::percent_encode;
use zeroize::Zeroizing;

use super::{Desk, RESERVED};
use crate::{
    Refused, Slot,
    inject::{self, basic::presented_pair},
    json,
    minted::MintedToken,
};

/// Body fields in which placeholders of refresh tokens stand.
const REFRESH: [&str; 2] = ["/refresh_token", "/refreshToken"];

impl Desk<'_> {
    /// How many placeholders of minted tokens were resolved so far.
    pub(crate) const fn minted_count(&self) -> u64 {
        self.minted.get()
    }

    /// The header field with the minted token in it, if it holds a placeholder of one.
    pub(super) fn minted_header(&self, name: &HeaderName) -> Result<Option<HeaderValue>, Refused> {
        let mut values = self.ask.headers.get_all(name).iter();
        let (Some(value), None, None) = (values.next(), values.next(), &self.bound) else {
            return Ok(None);
        };
        if !self.watch().found_in(value.as_bytes()) {
            return Ok(None);
        }
        let slot = Slot::Header(name.clone());
        let pair = presented_pair(value.as_bytes()).filter(|_| name == AUTHORIZATION);
        let value = match pair.map(String::from_utf8) {
            Some(Ok(pair)) => self.minted_pair(&pair, &slot)?,
            Some(Err(_)) => None,
            None => {
                let text = value.to_str().unwrap_or_default();
                let (before, presented) = match text.rfind(' ') {
                    Some(at) => text.split_at(at.saturating_add(1)),
                    None => ("", text),
                };
                let token = self.minted(presented, &slot)?;
                token
                    .filter(|_| !self.watch().found_in(before.as_bytes()))
                    .map(|token| {
                        let value = [before.as_bytes(), &opened(&token.secret)].concat();
                        Secret::new(value)
                    })
            }
        };
        let unfit = || Refused::misused(format!("header.{name}"));
        value
            .map(|value| inject::sensitive(&value).ok_or_else(unfit))
            .transpose()
    }

    /// A Basic pair whose password or user name is a placeholder.
    fn minted_pair(&self, pair: &str, slot: &Slot) -> Result<Option<Secret>, Refused> {
        let Some((user, password)) = pair.split_once(':') else {
            return Ok(None);
        };
        let encoded = |pair: Zeroizing<Vec<u8>>| {
            Secret::new([&b"Basic "[..], BASE64_STANDARD.encode(&pair).as_bytes()].concat())
        };
        if let Some(token) = self.minted(password, slot)?
            && !self.watch().found_in(user.as_bytes())
        {
            let pair = [user.as_bytes(), b":", &opened(&token.secret)].concat();
            return Ok(Some(encoded(Zeroizing::new(pair))));
        }
        if let Some(token) = self.minted(user, slot)?
            && !self.watch().found_in(password.as_bytes())
        {
            let pair = [&opened(&token.secret), &b":"[..], password.as_bytes()].concat();
            return Ok(Some(encoded(Zeroizing::new(pair))));
        }
        Ok(None)
    }

    /// The value of a query parameter or a form field, encoded, if it is a placeholder of a minted token.
    pub(super) fn minted_value(&self, value: &str, slot: &Slot) -> Result<Option<String>, Refused> {
        let token = self.minted(value, slot)?;
        Ok(token.map(|token| percent_encode(&opened(&token.secret), RESERVED).to_string()))
    }

    /// The inside of a JSON string, if it is a placeholder of a minted token.
    pub(super) fn minted_string(
        &self,
        inside: &[u8],
        pointer: &str,
    ) -> Result<Option<Vec<u8>>, Refused> {
        let slot = Slot::Body(pointer.to_owned());
        let token = self.minted(std::str::from_utf8(inside).unwrap_or_default(), &slot)?;
        Ok(token.map(|token| json::escape(&String::from_utf8_lossy(&opened(&token.secret)))))
    }

    /// The JSON pointers at which placeholders of minted tokens may stand.
    pub(super) fn minted_pointers(&self) -> Vec<String> {
        let shelf = self.custody.live().minted();
        let mut pointers = shelf.pointers(self.ask.agent, self.ask.origin);
        pointers.extend(REFRESH.map(str::to_owned));
        pointers
    }

    /// What this text stands for in this slot; `None` when it is no placeholder that may stand there.
    fn minted(&self, presented: &str, slot: &Slot) -> Result<Option<Arc<MintedToken>>, Refused> {
        let (agent, origin) = (self.ask.agent, self.ask.origin);
        let Some(token) = self.custody.live().minted().find(presented) else {
            // One that was forgotten since is recognised where it would have stood.
            let usual = match slot {
                Slot::Header(name) => name == AUTHORIZATION,
                Slot::Body(pointer) => REFRESH.contains(&pointer.as_str()),
                Slot::Query(_) | Slot::Path(_) | Slot::Basic(_) | Slot::Protocol(_) => false,
            };
            return match usual && self.custody.mint.is_fresh_of(agent, presented) {
                true => Err(Refused::Stale),
                false => Ok(None),
            };
        };
        if !token.is_for(agent, origin) || !token.slots.contains(slot) {
            return Ok(None);
        }
        if !token.is_fresh(self.ask.now) {
            return Err(Refused::Stale);
        }
        self.minted.set(self.minted.get().saturating_add(1));
        Ok(Some(token))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the placeholder of a minted token becomes the token"
)]
fn opened(secret: &Secret) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(secret.open().to_vec())
}
