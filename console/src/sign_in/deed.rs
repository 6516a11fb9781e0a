//! What loosens something is confirmed with a passkey, though somebody is signed in: to let an agent go on, to raise a
//! budget that was tightened, to give back a credential.
//!
//! SECURITY: browsers send a cookie to every port of a host. Whoever got hold of a session's may look, refuse and pause;
//! a key signs for this one deed.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use exeat_ledger::{Assertion, passkey};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    SignerOf,
    ceremony::{Ceremony, fresh_nonce},
    enter::{check, no_random},
    sign_options,
};
use crate::{
    problem::{Problem, Told},
    session::Session,
    site::Site,
};

/// Letters of what is done.
const DEED_LETTERS_MAX: usize = 256;

/// What somebody is about to do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    deed: String,
}

/// Begins.
pub(super) async fn begin(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Json(wanted): Json<Wanted>,
) -> Result<Json<Value>, Told> {
    let (ceremony, options) = asked(&site, &session, wanted.deed)?;
    Ok(Json(json!({ "ceremony": ceremony, "publicKey": options })))
}

/// The name of a ceremony that confirms a deed, and what the browser is told to ask of an authenticator.
pub(crate) fn asked(site: &Site, session: &Session, deed: String) -> Result<(String, Value), Told> {
    if deed.is_empty() || deed.chars().count() > DEED_LETTERS_MAX {
        return Err(Told(Problem::bad("expected what is to be done")));
    }
    let nonce = fresh_nonce().map_err(no_random)?;
    let origin = site.origin.text();
    let signed = passkey::Deed {
        deed: &deed,
        origin,
        nonce,
    };
    let options = sign_options(site, &signed.digest(), SignerOf::User(&session.user));
    let ceremony = Ceremony::Deed {
        deed,
        nonce,
        user: session.user.clone(),
    };
    let ceremony = site.ceremonies.begin(ceremony, site.now());
    Ok((ceremony.map_err(no_random)?, options))
}

/// A passkey's word for a deed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Confirmed {
    pub(crate) ceremony: String,
    pub(crate) assertion: Assertion,
}

impl Confirmed {
    /// Out of the field of a form; nothing if there is none.
    pub(crate) fn read(field: Option<&str>) -> Option<Self> {
        serde_json::from_str(field?).ok()
    }
}

/// The same in a form.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Confirm {
    #[serde(default)]
    confirmed: Option<String>,
}

impl Confirm {
    /// What was signed, if anything.
    pub(crate) fn word(&self) -> Option<Confirmed> {
        Confirmed::read(self.confirmed.as_deref())
    }
}

/// Checks that a key of this person has signed for this very deed, and uses that up.
pub(crate) fn confirmed(
    site: &Site,
    session: &Session,
    (deed, word): (&str, Option<Confirmed>),
) -> Result<(), Problem> {
    let lacking = || {
        Problem::forbidden("this has to be confirmed with a passkey")
            .help("a page asks for it by itself, with JavaScript")
    };
    let word = word.ok_or_else(lacking)?;
    let ceremony = site.ceremonies.take(&word.ceremony, site.now());
    let Some(Ceremony::Deed {
        deed: agreed,
        nonce,
        user,
    }) = ceremony
    else {
        return Err(lacking());
    };
    if agreed != deed || user != session.user {
        return Err(Problem::forbidden("something else was confirmed"));
    }
    let signed = passkey::Deed {
        deed,
        origin: site.origin.text(),
        nonce,
    };
    let key = check(site, &word.assertion, &signed.digest()).map_err(|Told(problem)| problem)?;
    if key.user == session.user {
        Ok(())
    } else {
        Err(Problem::forbidden("somebody else's key signed it"))
    }
}
