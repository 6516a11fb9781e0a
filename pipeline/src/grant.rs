//! Stage 8: limits, risk, approval. Each can refuse, or have a human asked; none can allow what policy does not.

use std::sync::Arc;

use exeat_ledger::Risk;
use exeat_policy::Approve;
use exeat_types::Reason;

use crate::{
    BodySource, Gate,
    approval::{self, Approved, Ask},
    check::Checked,
    decide::{self, Permitted},
    limits::{self, Held},
    record::Refused,
    risk,
};

/// A call that may be made. Built only in this file.
pub(crate) struct Granted {
    pub(crate) checked: Checked,
    pub(crate) rules: Vec<String>,
    /// What it holds of the limits, for as long as it lasts.
    pub(crate) held: Held,
    pub(crate) risk: Option<Risk>,
    pub(crate) approval: Option<Approved>,
}

/// A call that fits the limits, and what has to be asked of a human yet.
struct Fitted {
    checked: Checked,
    rules: Vec<String>,
    held: Held,
    risk: Option<Risk>,
    asks: Option<(Approve, Vec<String>)>,
}

/// Grants what stays within the limits and, where it is asked for, what a human approved.
pub(crate) async fn grant(
    gate: &Arc<Gate>,
    permitted: Permitted,
    body: &mut impl BodySource,
) -> Result<Granted, Box<Refused>> {
    let mut fitted = fit(gate, permitted)?;
    let Some((approve, why)) = fitted.asks.take() else {
        return Ok(fitted.granted(None));
    };
    let ask = Ask {
        approve,
        rules: fitted.rules.clone(),
        why,
        risk: fitted.risk.clone(),
    };
    let weigh = |refused: Box<Refused>| refused.weighed(ask.risk.clone());
    let before = Arc::clone(&fitted.checked.call.rules);
    let obtained = approval::obtain(gate, fitted.checked, &ask, body).await;
    let (checked, approval) = obtained.map_err(weigh)?;
    fitted.checked = checked;
    if !Arc::ptr_eq(&before, &fitted.checked.call.rules) {
        // What it holds is given back first: a call is not two that are open at a time.
        drop(std::mem::take(&mut fitted.held));
        let permitted = decide::decide(gate, fitted.checked).map_err(weigh)?;
        fitted = fit(gate, permitted).map_err(weigh)?;
        let more = fitted.asks.take();
        // SECURITY: the rules in force may ask for more people, or other means, than answered.
        if more.is_some_and(|(wanted, _)| !approval.suffices(&wanted)) {
            let detail =
                "the rules have changed, and ask for more than was approved; send it again";
            let refused = Refused::early(Reason::ApprovalRequired, detail).of(&fitted.checked.tool);
            return Err(refused.by(fitted.rules).weighed(fitted.risk));
        }
    } else {
        let turn = fitted.held.turn.take();
        fitted.held = limits::admit_again(gate, &fitted.checked, turn).map_err(weigh)?;
        let (by_now, _) = strictest(Some(approve), fitted.held.asks.drain(..));
        if by_now != Some(approve) {
            let detail = "the limits ask for more by now than was approved; send it again";
            let refused = Refused::early(Reason::ApprovalRequired, detail).of(&fitted.checked.tool);
            return Err(weigh(refused.by(fitted.rules)));
        }
    }
    fitted.rules = decide::decide_again(gate, &fitted.checked).map_err(weigh)?;
    Ok(fitted.granted(Some(approval)))
}

/// Finds room for a call and weighs it, under its rules.
fn fit(gate: &Gate, permitted: Permitted) -> Result<Fitted, Box<Refused>> {
    let Permitted {
        checked,
        rules,
        approve,
    } = permitted;
    let mut held = limits::admit(gate, &checked)?;
    let asks = std::mem::take(&mut held.asks).into_iter();
    let (declared, mut why) = strictest(approve, asks);
    let weighed = risk::weigh(gate, &checked, declared);
    let (strictest, more) = strictest(declared, weighed.asks.into_iter());
    why.extend(more);
    Ok(Fitted {
        checked,
        rules,
        held,
        risk: weighed.risk,
        asks: strictest.map(|approve| (approve, why)),
    })
}

impl Fitted {
    fn granted(self, approval: Option<Approved>) -> Granted {
        Granted {
            checked: self.checked,
            rules: self.rules,
            held: self.held,
            risk: self.risk,
            approval,
        }
    }
}

/// What satisfies everybody who asks, and the reasons of those that are not rules.
fn strictest(
    rules: Option<Approve>,
    others: impl Iterator<Item = (Approve, String)>,
) -> (Option<Approve>, Vec<String>) {
    let (mut approve, mut why) = (rules, Vec::new());
    for (one, reason) in others {
        approve = Some(approve.map_or(one, |all| all.and(one)));
        why.push(reason);
    }
    (approve, why)
}
