//! Steps of approvals as they happen, for programs that would otherwise ask again and again.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::Stream;
use tokio::{sync::broadcast::error::RecvError, time::interval};

use super::{
    approvals::shown,
    read::{Asked, Nothing},
};
use crate::{problem::Told, session::Session, site::Site};

/// How often it is looked whether the session still stands.
const LOOK: Duration = Duration::from_secs(20);

/// Every step of every approval, as server-sent events of the kind `approval`, until the session or the console ends.
#[utoipa::path(get, path = "/api/v1/events", tag = "approvals",
    responses((status = 200, description = "events", body = String, content_type = "text/event-stream")))]
pub(super) async fn stream(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Told> {
    let changes = site.gate.approvals().changes();
    let begun = (site, session, changes, interval(LOOK));
    let events =
        futures_util::stream::unfold(begun, |(site, session, mut changes, mut look)| async {
            let stop = site.stop.clone();
            loop {
                let changed = tokio::select! {
                    () = stop.cancelled() => return None,
                    _ = look.tick() => {
                        if site.sessions.holds(&session, site.now()) {
                            continue;
                        }
                        return None;
                    }
                    changed = changes.recv() => changed,
                };
                let pending = match changed {
                    Ok(pending) => pending,
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return None,
                };
                let text = serde_json::to_string(&shown(&site, &pending)).unwrap_or_default();
                let event = Event::default().event("approval").data(text);
                return Some((Ok(event), (site, session, changes, look)));
            }
        });
    Ok(Sse::new(events).keep_alive(KeepAlive::new()))
}
