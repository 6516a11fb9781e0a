//! Receipts: search, one in full, its proof, and the export that anybody can verify offline.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use exeat_ledger::{Decision, Filter, Receipt};
use exeat_types::{AgentId, CallId, Timestamp, ToolName};
use http::{HeaderValue, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::read::{Asked, At, Nothing, limit, plain};
use crate::{
    export::receipts,
    problem::{Problem, Told},
    site::Site,
};

/// What became of a call.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum DecisionWanted {
    Allowed,
    Refused,
    Open,
    Unknown,
}

/// Which receipts.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Of this agent.
    #[param(required = false, value_type = String, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")]
    agent: Option<String>,
    /// Of this tool, or with `.*` behind it of every tool below.
    #[param(required = false, value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9_-]{0,31}(\\.[A-Za-z0-9][A-Za-z0-9_-]{0,31}){0,2}(\\.\\*)?$")]
    tool: Option<String>,
    /// Accepted at or after this moment, in milliseconds since 1970.
    #[param(required = false, value_type = u64, minimum = 0, maximum = 253402300799999u64)]
    since: Option<String>,
    /// Accepted before this moment, in milliseconds since 1970.
    #[param(required = false, value_type = u64, minimum = 0, maximum = 253402300799999u64)]
    until: Option<String>,
    /// With this decision.
    #[param(required = false, inline)]
    decision: Option<DecisionWanted>,
    /// Older than this one: `next` of the page before.
    #[param(required = false, value_type = String, pattern = "^[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    after: Option<String>,
    /// How many.
    #[param(required = false, value_type = u32, minimum = 1, maximum = 100)]
    limit: Option<String>,
}

/// The last millisecond of the year 9999.
const TIME_MAX: u64 = 253_402_300_799_999;

impl Which {
    fn filter(&self) -> Result<Filter, Told> {
        let decision = self.decision.map(|wanted| match wanted {
            DecisionWanted::Allowed => Decision::Allowed,
            DecisionWanted::Refused => Decision::Refused,
            DecisionWanted::Open => Decision::Open,
            DecisionWanted::Unknown => Decision::Unknown,
        });
        Ok(Filter {
            agent: plain::<AgentId>(self.agent.as_deref(), "agent")?,
            tool: self.tool.as_deref().map(tool).transpose()?,
            since: time(self.since.as_deref(), "since")?,
            until: time(self.until.as_deref(), "until")?,
            decision,
            limit: None,
            after: plain::<CallId>(self.after.as_deref(), "after")?,
        })
    }
}

fn tool(text: &str) -> Result<String, Told> {
    let name = text.strip_suffix(".*").unwrap_or(text);
    match ToolName::new(name) {
        Ok(_) => Ok(text.to_owned()),
        Err(problem) => Err(Told(Problem::bad(problem.problem))),
    }
}

fn time(text: Option<&str>, name: &str) -> Result<Option<Timestamp>, Told> {
    match plain::<u64>(text, name)? {
        Some(millis) if millis > TIME_MAX => {
            Err(Told(Problem::bad(format!("`{name}` is too far ahead"))))
        }
        millis => Ok(millis.map(Timestamp::from_millis)),
    }
}

/// A page of receipts.
#[derive(Serialize, ToSchema)]
pub(super) struct ReceiptPage {
    /// Receipts, newest first, as docs/RECEIPTS.md describes them.
    #[schema(value_type = Vec<Object>)]
    items: Vec<Value>,
    /// What to pass as `after` for the next page; nothing on the last.
    next: Option<String>,
}

/// Receipts, newest first.
#[utoipa::path(get, path = "/api/v1/receipts", tag = "receipts", params(Which),
    responses((status = 200, description = "a page of receipts", body = ReceiptPage)))]
pub(super) async fn list(
    State(site): State<Arc<Site>>,
    Asked(which): Asked<Which>,
) -> Result<Json<ReceiptPage>, Told> {
    let most = limit(which.limit.as_deref())?;
    let mut filter = which.filter()?;
    filter.limit = Some(most.saturating_add(1));
    let ledger = site.gate.ledger().clone();
    let mut found = blocking(move || ledger.list(&filter)).await?;
    let more = found.len() > most;
    found.truncate(most);
    let last = found.last().map(|last| last.call.to_string());
    let items: Result<Vec<Value>, _> = found.iter().map(serde_json::to_value).collect();
    Ok(Json(ReceiptPage {
        items: items.map_err(|_cause| unreadable())?,
        next: last.filter(|_| more),
    }))
}

/// One receipt.
#[utoipa::path(get, path = "/api/v1/receipts/{call}", tag = "receipts",
    params(("call" = String, Path, pattern = "^[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses((status = 200, description = "the receipt", body = Object)))]
pub(super) async fn show(
    State(site): State<Arc<Site>>,
    At(call): At<CallId>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Json<Value>, Told> {
    let receipt = known(&site, call).await?;
    let value = serde_json::to_value(&receipt);
    Ok(Json(value.map_err(|_cause| unreadable())?))
}

/// One receipt with the hash of every other record: what `exeat receipt verify` reads.
#[utoipa::path(get, path = "/api/v1/receipts/{call}/proof", tag = "receipts",
    params(("call" = String, Path, pattern = "^[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses((status = 200, description = "lines of JSON", body = String, content_type = "application/jsonl")))]
pub(super) async fn proof(
    State(site): State<Arc<Site>>,
    At(call): At<CallId>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Response, Told> {
    let receipt = known(&site, call).await?;
    let [a, b, c, d, e, f, ..] = call.to_bytes();
    let accepted = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
    let filter = Filter {
        agent: receipt.agent().cloned(),
        tool: receipt.tool().map(ToString::to_string),
        since: Some(Timestamp::from_millis(accepted)),
        until: Some(Timestamp::from_millis(accepted.saturating_add(1))),
        ..Filter::default()
    };
    exported(&site, filter).await
}

/// Every receipt that is searched for, and the hash of every other record.
#[utoipa::path(get, path = "/api/v1/receipts/export", tag = "receipts", params(Which),
    responses((status = 200, description = "lines of JSON", body = String, content_type = "application/jsonl")))]
pub(super) async fn export(
    State(site): State<Arc<Site>>,
    Asked(which): Asked<Which>,
) -> Result<Response, Told> {
    let mut filter = which.filter()?;
    if let Some(most) = &which.limit {
        filter.limit = Some(limit(Some(most))?);
    }
    exported(&site, filter).await
}

async fn exported(site: &Site, filter: Filter) -> Result<Response, Told> {
    let lines = receipts(site, filter).await?;
    let kind = HeaderValue::from_static("application/jsonl");
    Ok(([(header::CONTENT_TYPE, kind)], lines).into_response())
}

async fn known(site: &Site, call: CallId) -> Result<Receipt, Told> {
    let ledger = site.gate.ledger().clone();
    let found = blocking(move || ledger.show(call)).await?;
    found.ok_or_else(|| Told(Problem::not_found(format!("there is no receipt `{call}`"))))
}

fn unreadable() -> Told {
    Told(Problem::failed("the ledger could not be read"))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, exeat_ledger::Error> + Send + 'static,
) -> Result<T, Told> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done.map_err(Problem::from)?),
        Err(_panicked) => Err(unreadable()),
    }
}
