//! Requests that an agent signed with the placeholder of an access key that a response had handed out to it: they are
//! signed anew with the key, when the tool has no credential of its own.

use std::sync::Arc;

use http::{HeaderName, header::AUTHORIZATION};

use super::{Desk, replace};
use crate::{
    Finish, Refused,
    finish::sigv4::{self, Keys},
};

/// A signature that is replaced.
pub(super) struct Session {
    finish: Arc<dyn Finish>,
    /// What the agent holds of the key, and has put into its signature.
    placeholders: Vec<String>,
}

impl Desk<'_> {
    /// What signs the request in the place of the agent, if its signature is one with a placeholder.
    pub(super) fn session(&self) -> Result<Option<Session>, Refused> {
        let Some(presented) = sigv4::presented_id(self.ask) else {
            return Ok(None);
        };
        if self.bound.is_some() || !self.watch().found_in(presented.as_bytes()) {
            return Ok(None);
        }
        let shelf = self.custody.live().minted();
        let whose = (self.ask.agent, self.ask.origin);
        let Some(keys) = shelf.keys(whose, &presented, self.ask.now)? else {
            return match self.custody.mint.is_fresh_of(self.ask.agent, &presented) {
                true => Err(Refused::Stale),
                false => Ok(None),
            };
        };
        let made = Keys::of_session(&keys.id, &keys.secret, keys.session.as_ref());
        let finish = sigv4::resign(made.map_err(Refused::Unsignable)?, self.ask)?;
        self.minted.set(self.minted.get().saturating_add(1));
        Ok(Some(Session {
            finish,
            placeholders: keys.placeholders,
        }))
    }

    /// What signs each attempt with a minted key.
    pub(crate) fn signs_minted(&self) -> Option<Arc<dyn Finish>> {
        let session = self.session.as_ref()?;
        Some(Arc::clone(&session.finish))
    }
}

impl Session {
    /// Whether a header field is part of the signature that is replaced.
    pub(super) fn has_header(name: &HeaderName) -> bool {
        *name == AUTHORIZATION || sigv4::CLAIMED.contains(name)
    }

    /// Whether a query parameter is.
    pub(super) fn has_query(name: &str) -> bool {
        sigv4::QUERIES.contains(&name)
    }

    /// What is left of such a text when the placeholders of the key are taken out.
    pub(super) fn rest_of(&self, text: &[u8]) -> Vec<u8> {
        let without = |rest: Vec<u8>, name: &String| replace(&rest, name, b"\n");
        self.placeholders.iter().fold(text.to_vec(), without)
    }
}
