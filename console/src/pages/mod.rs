//! The pages: each draws what the gate says at that moment, and has what changes something posted to it.
//!
//! INVARIANT: no GET changes anything. No page is given the value of a credential: pages get receipts, declared policy and
//! what `Operator` tells, and none of these holds one.

pub(crate) mod agents;
mod approval_page;
mod approvals;
pub(crate) mod budgets;
mod calls;
mod chart;
pub(crate) mod credentials;
mod diff;
mod events;
mod health;
mod json;
mod live;
mod policy;
mod receipts;
mod request;
mod requests;
mod risk;

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::State,
    response::{IntoResponse as _, Redirect, Response},
    routing::get,
};
use http::header;

use crate::{problem::Problem, session::Session, site::Site};

pub(crate) use approvals::waiting;

/// Every page.
pub(crate) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/", get(live::page))
        .route("/events", get(events::stream))
        .merge(agents::routes())
        .merge(approvals::routes())
        .merge(budgets::routes())
        .merge(credentials::routes())
        .merge(health::routes())
        .merge(policy::routes())
        .merge(receipts::routes())
        .merge(requests::routes())
}

/// Ends a session.
pub(crate) async fn sign_out(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
) -> Response {
    let cookie = site.sessions.close(&session);
    site.somebody_left();
    ([(header::SET_COOKIE, cookie)], Redirect::to("/sign-in")).into_response()
}

/// No page is there.
pub(crate) async fn nowhere() -> Problem {
    Problem::not_found("there is no such page")
}

/// What reads the ledger waits for its disk, on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, exeat_ledger::Error> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(_panicked) => Err(Problem::failed("the ledger could not be read")),
    }
}
