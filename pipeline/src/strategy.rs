//! What lets a call in: the strategies of its tool in their order. The next is tried only when the one before is absent,
//! never when it was refused, is revoked, or cannot be asked.

use std::sync::Arc;

use exeat_custody::{Ask, Asked, NotIssued, Prepared, Refused as NotGiven};
use exeat_policy::Strategy;
use exeat_types::{CredentialId, Origin, Reason};

use crate::{
    Gate,
    check::{Checked, CheckedBody},
    settle::Renewal,
    slots::slots,
};

/// Pays for calls that no credential covers.
pub trait Rail: Send + Sync {
    /// Whether it can pay there.
    fn can_pay(&self, origin: &Origin) -> bool;
}

/// What lets a call in.
pub(crate) struct Chosen {
    pub(crate) prepared: Prepared,
    /// How its token is replaced, if it has one.
    pub(crate) renewal: Option<Box<Renewal>>,
}

/// Why nothing does.
pub(crate) enum Not {
    /// Custody refused the request, or does not hold the credential.
    Given(NotGiven),
    /// There is no token.
    Issued(CredentialId, NotIssued),
    /// The credential is declared, but its secret or its key cannot be had, for this reason.
    Reached(CredentialId, Reason),
    /// No credential was there, and nobody can pay.
    Paid,
}

impl Not {
    /// SECURITY: only what was never there makes room for the next.
    fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::Given(NotGiven::Missing(_)) | Self::Issued(_, NotIssued::Absent)
        )
    }

    /// What the agent is told: reason and sentence.
    pub(crate) fn explain(&self) -> (Reason, String) {
        match self {
            Self::Given(NotGiven::WrongOrigin(id)) => (
                Reason::CredentialMissing,
                format!("the credential `{id}` is not meant for this host"),
            ),
            Self::Given(not_given) => (not_given.reason(), not_given.to_string()),
            Self::Issued(id, why) => (why.reason(), format!("the credential `{id}`: {why}")),
            Self::Reached(id, reason) => {
                let told = match reason {
                    Reason::SignerUnavailable => "the key of `{}` cannot be used",
                    Reason::CredentialDead => "the secret of `{}` was removed",
                    _ => "what keeps the secret of `{}` does not give it",
                };
                (*reason, told.replace("{}", id.as_str()))
            }
            Self::Paid => (
                Reason::CredentialMissing,
                "no credential of this tool is there, and payment is unavailable".to_owned(),
            ),
        }
    }
}

/// Chooses. Says which credentials were absent, whatever comes of it.
pub(crate) async fn choose(
    gate: &Gate,
    checked: &Checked,
) -> (Result<Chosen, Not>, Vec<CredentialId>) {
    let tool = &checked.tool;
    let mut absent = Vec::new();
    let first = tool.credential.clone().map(Strategy::Credential);
    let order: Vec<Strategy> = first.into_iter().chain(tool.otherwise.clone()).collect();
    if order.is_empty() {
        let prepared = prepare(gate, checked, None, None).map_err(Not::Given);
        let renewal = None;
        return (
            prepared.map(|prepared| Chosen { prepared, renewal }),
            absent,
        );
    }
    let mut last = Not::Paid;
    for strategy in &order {
        let tried = match strategy {
            Strategy::Credential(id) => equip(gate, checked, id).await,
            Strategy::Payment => pay(gate, checked),
        };
        match (tried, strategy) {
            (Err(not), Strategy::Credential(id)) if not.is_absence() => {
                absent.push(id.clone());
                last = not;
            }
            (tried, _) => return (tried, absent),
        }
    }
    (Err(last), absent)
}

async fn equip(gate: &Gate, checked: &Checked, id: &CredentialId) -> Result<Chosen, Not> {
    let call = &checked.call;
    if let Some(reason) = call.rules.unreachable.get(id) {
        return Err(Not::Reached(id.clone(), *reason));
    }
    let asked = Asked {
        origin: &call.origin,
        path: &call.path,
        tool: checked.tool.name.as_str(),
        category: checked.tool.category.as_str(),
    };
    let Some(plan) = call.rules.custody.plan(id, &asked) else {
        let prepared = prepare(gate, checked, Some(id), None).map_err(Not::Given)?;
        let renewal = None;
        return Ok(Chosen { prepared, renewal });
    };
    let token = gate.mint.obtain(&plan).await;
    let token = token.map_err(|why| Not::Issued(id.clone(), why))?;
    let prepared = prepare(gate, checked, Some(id), Some(&token)).map_err(Not::Given)?;
    let renewal = Some(Box::new(Renewal::new(plan, token)));
    Ok(Chosen { prepared, renewal })
}

/// Leaves without a credential; what upstream asks for is paid when it asks.
fn pay(gate: &Gate, checked: &Checked) -> Result<Chosen, Not> {
    let origin = &checked.call.origin;
    if !gate.rail.get().is_some_and(|rail| rail.can_pay(origin)) {
        return Err(Not::Paid);
    }
    let prepared = prepare(gate, checked, None, None).map_err(Not::Given)?;
    let renewal = None;
    Ok(Chosen { prepared, renewal })
}

fn prepare(
    gate: &Gate,
    checked: &Checked,
    credential: Option<&CredentialId>,
    token: Option<&Arc<exeat_custody::Token>>,
) -> Result<Prepared, NotGiven> {
    let call = &checked.call;
    let others = checked
        .tool
        .credentials()
        .filter(|id| Some(*id) != credential);
    let others: Vec<CredentialId> = others.cloned().collect();
    let slots = slots(&checked.tool, &call.path);
    let prepared = call.rules.custody.prepare(&Ask {
        agent: &call.agent.id,
        origin: &call.origin,
        path: &call.path,
        query: call.query.as_deref(),
        headers: &call.headers,
        body: match &checked.body {
            CheckedBody::Whole(whole) => Some(&whole.bytes),
            CheckedBody::Absent | CheckedBody::Streamed => None,
        },
        method: &call.method,
        credential,
        others: &others,
        token,
        slots: &slots,
        now: gate.clock.now(),
    })?;
    let streams = matches!(checked.body, CheckedBody::Streamed);
    let needs_body = prepared.finish.as_ref().is_some_and(|it| it.needs_body());
    if streams && needs_body {
        // SECURITY: nothing leaves with a signature over a body that nobody has seen.
        return Err(NotGiven::Unsignable("its body would have to be read first"));
    }
    Ok(prepared)
}
