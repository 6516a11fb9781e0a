//! Receipts as clients ask for them and see them.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
};

use exeat_ledger::{Decision, Entry, Filter, Kind};
use exeat_types::{AgentId, CallId};
use serde_json::Value;

use super::Desk;
use crate::socket::{Exported, Failure, Lines, ReceiptFilter};

/// Receipts that a list shows when no limit is asked for.
const LIST_MAX: usize = 1000;

impl Desk {
    /// Writes receipts and checkpoints to a file.
    pub(super) async fn exported(
        &self,
        filter: ReceiptFilter,
        into: File,
    ) -> Result<Exported, Failure> {
        let ledger = self.state.ledger().clone();
        let filter = ledger_filter(&filter);
        let written = tokio::task::spawn_blocking(move || {
            let mut out = BufWriter::new(into);
            let records = ledger.export(&mut out, &filter)?;
            out.flush()?;
            anyhow::Ok(records)
        });
        let records = written
            .await
            .map_err(|error| Failure::from(anyhow::Error::new(error)))??;
        Ok(Exported { records })
    }

    /// Receipts, newest last.
    pub(super) async fn receipts(&self, filter: ReceiptFilter) -> Result<Vec<Value>, Failure> {
        let ledger = self.state.ledger().clone();
        let mut filter = ledger_filter(&filter);
        filter.limit.get_or_insert(LIST_MAX);
        let list = tokio::task::spawn_blocking(move || ledger.list(&filter)).await;
        let receipts = list
            .map_err(anyhow::Error::new)?
            .map_err(anyhow::Error::new)?;
        // The ledger gives the newest first; a list that scrolls ends with it.
        receipts
            .iter()
            .rev()
            .map(|receipt| {
                serde_json::to_value(receipt)
                    .map_err(anyhow::Error::new)
                    .map_err(Failure::from)
            })
            .collect()
    }

    /// One receipt in full.
    pub(super) async fn receipt(&self, call: CallId) -> Result<Value, Failure> {
        let ledger = self.state.ledger().clone();
        let found = tokio::task::spawn_blocking(move || ledger.show(call))
            .await
            .map_err(anyhow::Error::new)?;
        let found = found.map_err(anyhow::Error::new)?;
        let receipt = found.ok_or_else(|| Failure::new(format!("there is no receipt `{call}`")))?;
        Ok(serde_json::to_value(receipt).map_err(anyhow::Error::new)?)
    }

    /// Sends what closes, until the client goes.
    pub(super) async fn tailed(
        &self,
        agent: Option<&AgentId>,
        lines: &Lines,
    ) -> Result<(), Failure> {
        let mut records = self.state.ledger().tail();
        loop {
            let entries = records.next().await.map_err(anyhow::Error::new)?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in entries {
                let Some(line) = self.line(&entry, agent).await? else {
                    continue;
                };
                if lines.send(line).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    /// A record as `exeat tail` shows it: a call once it has ended, an alarm and a step of an
    /// approval at once, nothing of the rest.
    async fn line(&self, entry: &Entry, agent: Option<&AgentId>) -> Result<Option<Value>, Failure> {
        let record: Value = serde_json::from_str(&entry.text).map_err(anyhow::Error::new)?;
        let body = record.get("body").cloned().unwrap_or_default();
        match entry.kind {
            Kind::Alarm => Ok(Some(record)),
            Kind::Approval | Kind::Grant | Kind::AgentChange => {
                let of = body.get("agent").and_then(Value::as_str);
                let wanted = agent.is_none_or(|agent| of == Some(agent.as_str()));
                Ok(wanted.then_some(record))
            }
            Kind::CallOutcome | Kind::CallRefused => {
                let call = body
                    .get("call")
                    .and_then(Value::as_str)
                    .and_then(|text| text.parse().ok());
                let Some(call) = call else { return Ok(None) };
                let receipt = self.receipt(call).await?;
                let found =
                    |part: &str| receipt.get(part)?.get("agent")?.as_str().map(str::to_owned);
                let of = found("intent").or_else(|| found("refusal"));
                let wanted = agent.is_none_or(|agent| of.as_deref() == Some(agent.as_str()));
                Ok(wanted.then_some(receipt))
            }
            _ => Ok(None),
        }
    }
}

/// What a client asks for, as the ledger takes it.
pub(super) fn ledger_filter(filter: &ReceiptFilter) -> Filter {
    Filter {
        agent: filter.agent.clone(),
        tool: filter.tool.as_ref().map(ToString::to_string),
        since: filter.since,
        until: filter.until,
        decision: filter.refused.map(|refused| {
            if refused {
                Decision::Refused
            } else {
                Decision::Allowed
            }
        }),
        limit: filter.limit.and_then(|limit| usize::try_from(limit).ok()),
        after: None,
    }
}
