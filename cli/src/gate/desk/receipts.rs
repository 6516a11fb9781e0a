//! Receipts as clients ask for them and see them.

use exeat_ledger::{Decision, Entry, Filter, Kind};
use exeat_types::AgentId;
use serde_json::Value;

use super::Desk;
use crate::socket::{Answer as _, Failure, ReceiptFilter};

impl Desk {
    /// A record as `exeat tail` shows it: a call once it has ended, an alarm at once, nothing of the rest.
    pub(super) async fn line(
        &self,
        entry: &Entry,
        agent: Option<&AgentId>,
    ) -> Result<Option<Value>, Failure> {
        let record: Value = serde_json::from_str(&entry.text).map_err(anyhow::Error::new)?;
        let body = record.get("body").cloned().unwrap_or_default();
        match entry.kind {
            Kind::Alarm => Ok(Some(record)),
            Kind::CallOutcome | Kind::CallRefused => {
                let call = body
                    .get("call")
                    .and_then(Value::as_str)
                    .and_then(|text| text.parse().ok());
                let Some(call) = call else { return Ok(None) };
                let receipt = self.receipt_show(call).await?;
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
