//! Calls of the past with what they were called with, for whoever decides them once more; and what the policy in force was
//! made of.

use exeat_ledger::{Ending, Ledger, Outcome, Receipt};
use exeat_policy::{Policy, granted::GRANTED};
use exeat_types::{Reason, Source};
use serde_json::Value;

use super::{Desk, receipts::ledger_filter};
use crate::socket::{AskedCall, Failure, Lines, PastCall, PastEnd, PolicyTexts, ReceiptFilter};

/// Receipts that are read at a time.
const PAGE: usize = 500;

impl Desk {
    /// Sends calls, newest first, until there are no more or the client goes.
    pub(super) async fn past_calls(
        &self,
        filter: ReceiptFilter,
        lines: &Lines,
    ) -> Result<(), Failure> {
        let mut filter = ledger_filter(&filter);
        let mut left = filter.limit.unwrap_or(usize::MAX);
        while left > 0 {
            filter.limit = Some(left.min(PAGE));
            let (ledger, page) = (self.state.ledger().clone(), filter.clone());
            let read = tokio::task::spawn_blocking(move || {
                let receipts = ledger.list(&page)?;
                let last = receipts.last().map(|receipt| receipt.call);
                let calls = receipts.into_iter();
                let calls = calls.filter_map(|receipt| of(&ledger, receipt).transpose());
                anyhow::Ok((last, calls.collect::<Result<Vec<_>, _>>()?))
            });
            let (last, calls) = read.await.map_err(anyhow::Error::new)??;
            let Some(last) = last else { break };
            filter.after = Some(last);
            left = left.saturating_sub(PAGE);
            for call in calls {
                let line = serde_json::to_value(call).map_err(anyhow::Error::new)?;
                if lines.send(line).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn of(ledger: &Ledger, receipt: Receipt) -> anyhow::Result<Option<PastCall>> {
    let (call, opened) = (receipt.call, receipt.opened);
    if let Some(intent) = receipt.intent {
        let capture = match &intent.capture {
            Some(digest) => ledger.captured(call, digest)?,
            None => None,
        };
        let kept = capture.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        let (arguments, request) = match kept {
            Some(kept) if kept.get("observed").is_some() => (None, asked(kept)),
            kept => (kept, None),
        };
        return Ok(Some(PastCall {
            call,
            opened,
            agent: intent.agent,
            tool: Some(intent.tool),
            method: intent.method,
            origin: intent.origin,
            template: Some(intent.path),
            arguments,
            refused: None,
            observed: intent.observed,
            run: intent.run,
            request,
            approved: intent.approval.is_some() || is_granted(&intent.rules),
            flagged: receipt.outcome.as_ref().is_some_and(is_flagged),
            end: receipt.outcome.as_ref().map_or(PastEnd::Failed, end),
        }));
    }
    Ok(receipt.refusal.map(|refusal| PastCall {
        call,
        opened,
        agent: refusal.agent,
        tool: refusal.tool,
        method: refusal.method,
        origin: refusal.origin,
        template: None,
        arguments: None,
        refused: Some(refusal.reason),
        observed: false,
        run: None,
        request: None,
        approved: false,
        flagged: false,
        end: match refusal.reason {
            Reason::PlaceholderMisused => PastEnd::Alarm,
            _ => PastEnd::Failed,
        },
    }))
}

/// What the capture of a call says that no tool declares.
fn asked(kept: Value) -> Option<AskedCall> {
    let Value::Object(mut kept) = kept else {
        return None;
    };
    serde_json::from_value(kept.remove("observed")?).ok()
}

fn end(outcome: &Outcome) -> PastEnd {
    match (outcome.reason, outcome.result) {
        (Some(Reason::PlaceholderMisused), _) => PastEnd::Alarm,
        (_, Ending::Completed) if outcome.status.is_some_and(|status| status < 400) => {
            PastEnd::Answered
        }
        _ => PastEnd::Failed,
    }
}

fn is_flagged(outcome: &Outcome) -> bool {
    let mut flags = outcome.redactions.keys();
    flags.any(|name| name.starts_with("flag:") && name != "flag:unread-type")
}

/// Whether only what a human granted for a while let a call through.
fn is_granted(rules: &[String]) -> bool {
    !rules.is_empty() && rules.iter().all(|rule| rule.starts_with(GRANTED))
}

/// What a policy was compiled from, as it goes over the socket.
pub(super) fn texts(policy: &Policy) -> PolicyTexts {
    let (sources, world) = policy.made_of();
    let named = |sources: &[Source]| {
        let pair = |source: &Source| (source.name.to_string(), source.text.to_string());
        sources.iter().map(pair).collect()
    };
    PolicyTexts {
        digest: policy.digest(),
        tools: named(&sources.tools),
        policy: named(&sources.policy),
        cedar: named(&sources.cedar),
        agents: world.agents.clone(),
        credentials: world.credentials.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(rules: &[&str]) -> bool {
        let rules: Vec<String> = rules.iter().map(|rule| (*rule).to_owned()).collect();
        is_granted(&rules)
    }

    #[test]
    fn what_only_grants_let_through_is_told_from_what_a_standing_rule_allows() {
        assert!(granted(&["granted g-01 #1"]));
        assert!(granted(&["granted g-01 #1", "granted g-02 #1"]));
        assert!(!granted(&["granted g-01 #1", "coding reads"]));
        assert!(!granted(&["coding reads"]) && !granted(&[]));
    }
}
