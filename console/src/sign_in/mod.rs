//! Who comes in, and with which keys: the first passkey by a one-time code, every later one vouched for by one that is there.
//!
//! INVARIANT: no password, no secret that is kept. A ceremony is answered once, within five minutes, by whom it was begun
//! for. Whether what was signed holds is the ledger's to say, with the same code that verifiers run.

mod account;
mod ceremony;
mod codes;
mod deed;
mod enrol;
mod enter;
mod options;
mod pair;

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post},
};

use crate::site::Site;

pub(crate) use ceremony::Ceremonies;
pub use codes::{CODE_LIFE, Codes, Issued};
pub(crate) use deed::{Confirm, Confirmed, asked, confirmed};
pub(crate) use enter::inside;
pub(crate) use options::{SignerOf, sign_options};
pub use pair::user_name;

/// Every route of signing in and of keys.
pub(crate) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/sign-in", get(enter::page))
        .route("/sign-in/begin", post(enter::begin))
        .route("/sign-in/finish", post(enter::finish))
        .route("/enroll", get(enrol::page))
        .route("/enroll/begin", post(enrol::begin))
        .route("/enroll/finish", post(enrol::finish))
        .route("/enroll/state", post(enrol::state))
        .route("/account", get(account::page))
        .route("/account/candidates", get(account::candidates))
        .route("/account/dismiss", post(account::dismiss))
        .route("/account/vouch", post(account::begin))
        .route("/account/vouched", post(account::finish))
        .route("/confirm", post(deed::begin))
        .route("/pair", get(pair::page).post(pair::link))
}
