//! Receipts: search, one in full, its proof, and the export that anybody can verify offline.

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, Query, State},
    response::{Html, IntoResponse as _, Response},
    routing::get,
};
use exeat_ledger::{Decision, Filter, Ledger, Receipt};
use exeat_types::{AgentId, CallId, Timestamp};
use http::{HeaderValue, header};
use maud::{Markup, html};
use serde::{Deserialize, Serialize};

use super::{
    blocking,
    calls::{self, Kept},
};
use crate::{
    export,
    layout::{Frame, Tab, empty, heading, moment},
    problem::Problem,
    session::Session,
    site::Site,
    visible::Visible,
};

/// Receipts of a page.
const PAGE: usize = 50;

pub(super) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/receipts", get(list))
        .route("/receipts/export", get(export))
        .route("/receipts/key", get(key))
        .route("/receipts/{call}", get(one))
        .route("/receipts/{call}/detail", get(detail))
        .route("/receipts/{call}/proof", get(proof))
}

/// What is searched for, as it stands in the address.
#[derive(Debug, Default, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Search {
    #[serde(default)]
    agent: String,
    #[serde(default)]
    tool: String,
    #[serde(default)]
    decision: String,
    #[serde(default)]
    since: String,
    #[serde(default)]
    until: String,
    #[serde(default)]
    after: String,
}

impl Search {
    fn filter(&self) -> Result<Filter, Problem> {
        let decision = match self.decision.as_str() {
            "" => None,
            "allowed" => Some(Decision::Allowed),
            "refused" => Some(Decision::Refused),
            "open" => Some(Decision::Open),
            "unknown" => Some(Decision::Unknown),
            other => return Err(Problem::bad(format!("there is no decision `{other}`"))),
        };
        Ok(Filter {
            agent: parsed::<AgentId>(&self.agent)?,
            tool: (!self.tool.is_empty()).then(|| self.tool.clone()),
            since: time(&self.since)?,
            until: time(&self.until)?,
            decision,
            limit: None,
            after: parsed::<CallId>(&self.after)?,
        })
    }

    fn address(&self, path: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let fields = [
            ("agent", &self.agent),
            ("tool", &self.tool),
            ("decision", &self.decision),
            ("since", &self.since),
            ("until", &self.until),
            ("after", &self.after),
        ];
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
            query.append_pair(name, value);
        }
        let query = query.finish();
        if query.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{query}")
        }
    }

    fn is_open(&self) -> bool {
        let fields = [
            &self.agent,
            &self.tool,
            &self.decision,
            &self.since,
            &self.until,
        ];
        fields.iter().all(|field| field.is_empty())
    }
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<Option<T>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |problem: T::Err| Problem::bad(problem.to_string());
    text.parse().map(Some).map_err(wrong)
}

/// A day, a day with a time as a browser's field has it, or a whole moment; in UTC.
fn time(text: &str) -> Result<Option<Timestamp>, Problem> {
    let whole = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        16 => format!("{text}:00Z"),
        19 => format!("{text}Z"),
        _ => text.to_owned(),
    };
    parsed(&whole)
}

async fn list(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Query(search): Query<Search>,
) -> Result<Response, Problem> {
    let mut filter = search.filter()?;
    filter.limit = Some(PAGE.saturating_add(1));
    let ledger = site.gate.ledger().clone();
    let mut found = blocking(move || ledger.list(&filter)).await?;
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let next = more.then(|| found.last()).flatten().map(|last| Search {
        after: last.call.to_string(),
        ..search.clone()
    });
    let agents = site.operator.agents().await?;
    let content = html! {
        div.row.between {
            (heading("Receipts", "One for every call, signed and chained: what was asked, who decided, what became of it."))
            a.button href=(search.address("/receipts/export")) download { "Download the export" }
        }
        form.filters method="get" action="/receipts" role="search" aria-label="Search receipts" {
            label {
                "Agent"
                select name="agent" {
                    option value="" { "All agents" }
                    @for one in &agents {
                        option value=(one.id) selected[one.id.as_str() == search.agent] { (one.id) }
                    }
                }
            }
            label { "Tool" input name="tool" value=(search.tool) placeholder="github.*" autocomplete="off"; }
            label {
                "Decision"
                select name="decision" {
                    @for (value, name) in [("", "All"), ("allowed", "Allowed"), ("refused", "Refused"), ("open", "Open"), ("unknown", "Unknown")] {
                        option value=(value) selected[value == search.decision] { (name) }
                    }
                }
            }
            label { "From (UTC)" input type="datetime-local" name="since" value=(search.since); }
            label { "Before (UTC)" input type="datetime-local" name="until" value=(search.until); }
            button.main type="submit" { "Search" }
        }
        @if found.is_empty() { (nothing(&search)) } @else { (table(&found)) }
        div.row {
            @if !search.after.is_empty() { a.button href=(Search { after: String::new(), ..search.clone() }.address("/receipts")) { "Newest" } }
            @if let Some(next) = next { a.button href=(next.address("/receipts")) { "Older" } }
        }
    };
    let frame = Frame {
        site: &site,
        session: &session,
        tab: Tab::Receipts,
    };
    Ok(frame.page("Receipts", content))
}

fn nothing(search: &Search) -> Markup {
    if search.is_open() && search.after.is_empty() {
        empty(
            "No receipts yet",
            "The first call of an agent writes the first receipt.",
        )
    } else {
        empty(
            "Nothing matches",
            "No receipt fits this search. Widen it, or clear a field.",
        )
    }
}

fn table(found: &[Receipt]) -> Markup {
    html! {
        div.card {
            table.table {
                thead { tr { th { "Decision" } th { "Request" } th { "Agent" } th { "Reason" } th { "When" } } }
                tbody {
                    @for receipt in found {
                        @let (method, place) = calls::place(receipt);
                        tr {
                            td data-of="Decision" { span { (calls::decision(receipt)) } }
                            td data-of="Request" {
                                div {
                                    a.mono href=(format!("/receipts/{}", receipt.call)) { (method) " " (Visible(&place)) }
                                    @if let Some(tool) = receipt.tool() { " " span.muted.small { (tool) } }
                                }
                            }
                            td data-of="Agent" { @if let Some(agent) = receipt.agent() { (agent) } }
                            td data-of="Reason" {
                                @match calls::reason(receipt) {
                                    Some(reason) => { code.small { (reason.code()) } }
                                    None => { span.muted { "none" } }
                                }
                            }
                            td data-of="When" { (moment(receipt.opened)) }
                        }
                    }
                }
            }
        }
    }
}

struct Found {
    receipt: Receipt,
    detail: Markup,
}

async fn found(site: &Site, call: &str) -> Result<Found, Problem> {
    let unknown = || Problem::not_found(format!("there is no receipt `{call}`"));
    let id: CallId = call.parse().map_err(|_cause| unknown())?;
    let ledger = site.gate.ledger().clone();
    let found = blocking(move || {
        let Some(receipt) = ledger.show(id)? else {
            return Ok(None);
        };
        let detail = calls::detail(&receipt, &kept(&ledger, &receipt)?);
        Ok(Some(Found { receipt, detail }))
    });
    found.await?.ok_or_else(unknown)
}

fn kept(ledger: &Ledger, receipt: &Receipt) -> Result<Kept, exeat_ledger::Error> {
    let Some(intent) = &receipt.intent else {
        return Ok(Kept::Never);
    };
    let Some(digest) = &intent.capture else {
        return Ok(Kept::Digest);
    };
    let bytes = ledger.captured(receipt.call, digest)?;
    Ok(bytes.map_or(Kept::Gone, |bytes| {
        Kept::Here(String::from_utf8_lossy(&bytes).into_owned())
    }))
}

async fn one(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Path(call): Path<String>,
) -> Result<Response, Problem> {
    let Found { receipt, detail } = found(&site, &call).await?;
    let whole = serde_json::to_string_pretty(&receipt).unwrap_or_default();
    let content = html! {
        header.head {
            p.small { a href="/receipts" { "Receipts" } }
            div.row { h1.mono { (receipt.call) } (calls::decision(&receipt)) }
            p.lead { (calls::times(&receipt)) ", record " (receipt.seq) }
        }
        section.card { (detail) }
        section.card aria-labelledby="proof" {
            h2 #proof { "Proof" }
            p.muted { "The journal is a signed tree of hashes. This file holds this receipt and the hash of every other record; "
                code { "exeat receipt verify" } " checks it offline, with the public key that you keep elsewhere." }
            div.actions {
                a.button href=(format!("/receipts/{}/proof", receipt.call)) download { "Download the proof" }
                a.button href="/receipts/key" download { "Public key" }
            }
        }
        section.card aria-labelledby="record" {
            h2 #record { "As recorded" }
            pre.text tabindex="0" aria-labelledby="record" { (Visible(&whole)) }
        }
    };
    let frame = Frame {
        site: &site,
        session: &session,
        tab: Tab::Receipts,
    };
    Ok(frame.page("Receipt", content))
}

/// What a row of the live page opens to.
async fn detail(
    State(site): State<Arc<Site>>,
    Path(call): Path<String>,
) -> Result<Html<String>, Problem> {
    let Found { receipt, detail } = found(&site, &call).await?;
    let page = format!("/receipts/{}", receipt.call);
    let content = html! {
        (detail)
        p { a href=(page) { "Receipt and proof" } }
    };
    Ok(Html(content.into_string()))
}

async fn key(State(site): State<Arc<Site>>) -> Response {
    let key = format!("{}\n", site.gate.ledger().key());
    download(
        "exeat-receipts.key",
        "text/plain; charset=utf-8",
        Body::from(key),
    )
}

async fn export(
    State(site): State<Arc<Site>>,
    Query(search): Query<Search>,
) -> Result<Response, Problem> {
    let filter = search.filter()?;
    exported(&site, filter, "exeat-receipts.jsonl").await
}

/// One receipt, every other record as its hash.
async fn proof(
    State(site): State<Arc<Site>>,
    Path(call): Path<String>,
) -> Result<Response, Problem> {
    let Found { receipt, .. } = found(&site, &call).await?;
    let at = accepted(receipt.call);
    let filter = Filter {
        agent: receipt.agent().cloned(),
        tool: receipt.tool().map(ToString::to_string),
        since: Some(Timestamp::from_millis(at)),
        until: Some(Timestamp::from_millis(at.saturating_add(1))),
        ..Filter::default()
    };
    exported(&site, filter, &format!("{}.jsonl", receipt.call)).await
}

/// When a call was accepted, as its id says.
fn accepted(call: CallId) -> u64 {
    let [a, b, c, d, e, f, ..] = call.to_bytes();
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

async fn exported(site: &Site, filter: Filter, name: &str) -> Result<Response, Problem> {
    let lines = export::receipts(site, filter).await?;
    Ok(download(name, "application/jsonl", lines))
}

fn download(name: &str, media: &'static str, body: Body) -> Response {
    let named = format!("attachment; filename=\"{name}\"");
    let named = HeaderValue::from_str(&named).unwrap_or(HeaderValue::from_static("attachment"));
    let kind = HeaderValue::from_static(media);
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_DISPOSITION, named),
    ];
    (headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_read_from_an_address_and_written_to_one() {
        let search = Search {
            agent: "claude".to_owned(),
            since: "2026-01-31".to_owned(),
            until: "2026-01-31T12:30".to_owned(),
            decision: "refused".to_owned(),
            ..Search::default()
        };
        let filter = search.filter().unwrap();
        assert_eq!(
            filter.since.unwrap().to_string(),
            "2026-01-31T00:00:00.000Z"
        );
        assert_eq!(
            filter.until.unwrap().to_string(),
            "2026-01-31T12:30:00.000Z"
        );
        assert_eq!(filter.decision, Some(Decision::Refused));
        assert_eq!(
            search.address("/receipts"),
            "/receipts?agent=claude&decision=refused&since=2026-01-31&until=2026-01-31T12%3A30"
        );
        assert_eq!(Search::default().address("/receipts"), "/receipts");
        let wrong = Search {
            since: "yesterday".to_owned(),
            ..Search::default()
        };
        assert!(wrong.filter().is_err());
    }
}
