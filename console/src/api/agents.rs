//! Agents, and whether one is paused.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use exeat_types::AgentId;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    read::{Asked, At, Nothing, Sent},
    words::{Empty, WordSent},
};
use crate::{
    pages::agents,
    problem::{Problem, Told},
    session::Session,
    sign_in::confirmed,
    site::Site,
};

/// Every agent that is declared or paused.
#[derive(Serialize, ToSchema)]
pub(super) struct AgentList {
    items: Vec<AgentWords>,
}

/// An agent.
#[derive(Serialize, ToSchema)]
pub(super) struct AgentWords {
    /// Its name.
    id: String,
    /// Whether every call of it is refused until it may go on.
    paused: bool,
}

/// Every agent.
#[utoipa::path(get, path = "/api/v1/agents", tag = "agents",
    responses((status = 200, description = "the agents", body = AgentList)))]
pub(super) async fn list(
    State(site): State<Arc<Site>>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Json<AgentList>, Told> {
    let known = known(&site).await?;
    let items = known.iter().map(|id| words(&site, id)).collect();
    Ok(Json(AgentList { items }))
}

/// Refuses every call of an agent from here on.
#[utoipa::path(post, path = "/api/v1/agents/{id}/pause", tag = "agents",
    params(("id" = String, Path, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")), request_body = Empty,
    responses((status = 200, description = "the agent as it stands now", body = AgentWords)))]
pub(super) async fn pause(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    At(id): At<AgentId>,
    Asked(Nothing {}): Asked<Nothing>,
    Sent(Empty {}): Sent<Empty>,
) -> Result<Json<AgentWords>, Told> {
    declared(&site, &id).await?;
    let paused = site.gate.agents().pause(&id, &session.user).await;
    paused.map_err(|why| Told(Problem::failed(why.to_string())))?;
    Ok(Json(words(&site, &id)))
}

/// Lets an agent go on, confirmed with a passkey: the deed is `let the agent ID go on`.
#[utoipa::path(post, path = "/api/v1/agents/{id}/resume", tag = "agents",
    params(("id" = String, Path, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")), request_body = WordSent,
    responses((status = 200, description = "the agent as it stands now", body = AgentWords)))]
pub(super) async fn resume(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    At(id): At<AgentId>,
    Asked(Nothing {}): Asked<Nothing>,
    Sent(sent): Sent<WordSent>,
) -> Result<Json<AgentWords>, Told> {
    declared(&site, &id).await?;
    let word = Some(sent.confirmed.0.into());
    confirmed(&site, &session, (&agents::deed(&id), word))?;
    let resumed = site.gate.agents().resume(&id, &session.user).await;
    resumed.map_err(|why| Told(Problem::failed(why.to_string())))?;
    Ok(Json(words(&site, &id)))
}

async fn known(site: &Site) -> Result<Vec<AgentId>, Told> {
    let declared = site.operator.agents().await.map_err(Problem::from)?;
    let mut known: Vec<AgentId> = declared.into_iter().map(|agent| agent.id).collect();
    let paused = site.gate.agents().list().into_iter();
    known.extend(paused.map(|agent| agent.agent));
    known.sort();
    known.dedup();
    Ok(known)
}

async fn declared(site: &Site, id: &AgentId) -> Result<(), Told> {
    if known(site).await?.contains(id) {
        Ok(())
    } else {
        Err(Told(Problem::not_found(format!(
            "there is no agent `{id}`"
        ))))
    }
}

fn words(site: &Site, id: &AgentId) -> AgentWords {
    AgentWords {
        id: id.to_string(),
        paused: site.gate.agents().is_paused(id),
    }
}
