//! Tools and the rules in force.

use std::sync::Arc;

use axum::{Json, extract::State};
use exeat_policy::Tool;
use serde::Serialize;
use utoipa::ToSchema;

use super::read::{Asked, Nothing};
use crate::{problem::Told, site::Site};

/// Tools that are declared.
#[derive(Serialize, ToSchema)]
pub(super) struct ToolList {
    items: Vec<ToolWords>,
}

/// A tool.
#[derive(Serialize, ToSchema)]
pub(super) struct ToolWords {
    name: String,
    category: String,
    description: String,
    method: String,
    origin: String,
    /// Its path, with parameters in braces.
    path: String,
    /// The credential it uses.
    credential: Option<String>,
}

impl From<&Tool> for ToolWords {
    fn from(tool: &Tool) -> Self {
        Self {
            name: tool.name.to_string(),
            category: tool.category.as_str().to_owned(),
            description: tool.description.clone(),
            method: tool.method.to_string(),
            origin: tool.origin.to_string(),
            path: tool.template.clone(),
            credential: tool.credential.as_ref().map(ToString::to_string),
        }
    }
}

/// Every tool.
#[utoipa::path(get, path = "/api/v1/tools", tag = "policy",
    responses((status = 200, description = "the tools", body = ToolList)))]
pub(super) async fn tools(
    State(site): State<Arc<Site>>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Json<ToolList> {
    let rules = site.gate.rules();
    let items = rules.policy.tools().map(ToolWords::from).collect();
    Json(ToolList { items })
}

/// The policy in force.
#[derive(Serialize, ToSchema)]
pub(super) struct PolicyWords {
    /// What receipts name it by.
    digest: String,
    /// How many rules it has.
    rules: usize,
    /// How many tools.
    tools: usize,
    /// All of it, compiled to Cedar.
    cedar: String,
}

/// The policy in force.
#[utoipa::path(get, path = "/api/v1/policy", tag = "policy",
    responses((status = 200, description = "the policy", body = PolicyWords)))]
pub(super) async fn show(
    State(site): State<Arc<Site>>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Json<PolicyWords>, Told> {
    let rules = site.gate.rules();
    Ok(Json(PolicyWords {
        digest: rules.policy.digest().to_string(),
        rules: rules.policy.rule_count(),
        tools: rules.policy.tools().count(),
        cedar: rules.policy.cedar_text(),
    }))
}
