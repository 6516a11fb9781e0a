//! Browsers that want to be told of new questions.

use std::sync::Arc;

use axum::{Json, extract::State};
use exeat_types::Digest;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::read::{Asked, At, Nothing, Object, Sent};
use crate::{
    Subscription, Undelivered, Unusable,
    problem::{Problem, Told},
    site::Site,
};

/// Whether browsers can be told.
#[derive(Serialize, ToSchema)]
pub(super) struct PushWords {
    /// What a browser takes as `applicationServerKey`; nothing if no channel of that kind is declared.
    key: Option<String>,
}

/// A subscription as `PushSubscription.toJSON()` gives it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscriptionSent {
    #[schema(
        pattern = "^https://[a-z][a-z0-9]{0,20}(-[a-z0-9]{1,20}){0,3}(\\.[a-z][a-z0-9]{0,20}(-[a-z0-9]{1,20}){0,3}){1,5}/[A-Za-z0-9/_:=?&.%~-]{0,1000}$"
    )]
    endpoint: String,
    /// Browsers send it, in milliseconds and perhaps parts of one; it is not used.
    #[serde(default, rename = "expirationTime")]
    #[expect(dead_code, reason = "browsers send it")]
    expiration_time: Option<f64>,
    #[schema(value_type = KeysSent)]
    keys: Object<KeysSent>,
}

/// Its keys, in base64url.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeysSent {
    #[schema(pattern = "^B[A-P][A-Za-z0-9_-]{84}[AEIMQUYcgkosw048]$")]
    p256dh: String,
    #[schema(pattern = "^[A-Za-z0-9_-]{21}[AQgw]$")]
    auth: String,
}

/// What a subscription is known by.
#[derive(Serialize, ToSchema)]
pub(super) struct SubscriptionWords {
    id: String,
}

/// The key that browsers take messages from.
#[utoipa::path(get, path = "/api/v1/push", tag = "push",
    responses((status = 200, description = "the key", body = PushWords)))]
pub(super) async fn show(
    State(site): State<Arc<Site>>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Json<PushWords>, Told> {
    let key = site.notifier.push_key();
    let key = key.map_err(|why| not_kept(&why))?;
    Ok(Json(PushWords { key }))
}

/// Tells this browser too.
#[utoipa::path(post, path = "/api/v1/push", tag = "push", request_body = SubscriptionSent,
    responses((status = 201, description = "it is told from here on", body = SubscriptionWords)))]
pub(super) async fn subscribe(
    State(site): State<Arc<Site>>,
    Asked(Nothing {}): Asked<Nothing>,
    Sent(sent): Sent<SubscriptionSent>,
) -> Result<(StatusCode, Json<SubscriptionWords>), Told> {
    let keys = sent.keys.0;
    let subscription = Subscription::new(&sent.endpoint, &keys.p256dh, &keys.auth);
    let subscription = subscription.map_err(|why| Told(Problem::bad(why.to_string())))?;
    let id = subscription.id();
    let kept = site.notifier.subscribe(subscription).await;
    kept.map_err(|why| unusable(&why))?;
    Ok((StatusCode::CREATED, Json(SubscriptionWords { id })))
}

/// Tells a browser nothing any more.
#[utoipa::path(delete, path = "/api/v1/push/{id}", tag = "push",
    params(("id" = String, Path, pattern = "^sha256:[0-9a-f]{64}$")),
    responses((status = 204, description = "it is told nothing any more")))]
pub(super) async fn forget(
    State(site): State<Arc<Site>>,
    At(id): At<Digest>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<StatusCode, Told> {
    let unknown = || Told(Problem::not_found("no such browser has subscribed"));
    let forgotten = site.notifier.forget(&id.to_string()).await;
    if forgotten.map_err(|why| not_kept(&why))? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(unknown())
    }
}

fn unusable(why: &Unusable) -> Told {
    let text = why.to_string();
    Told(match why {
        Unusable::Malformed => Problem::bad(text),
        Unusable::NoChannel | Unusable::Elsewhere | Unusable::TooMany => Problem::conflict(text),
        Unusable::NotKept(_) => Problem::failed(text),
    })
}

fn not_kept(why: &Undelivered) -> Told {
    Told(Problem::failed(why.to_string()))
}
