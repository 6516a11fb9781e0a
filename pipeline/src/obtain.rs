//! Stage 10: find the address and the credential. Both may fail; then the open receipt is closed as refused late.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use exeat_custody::{Ask, Prepared, Refused as NotGiven, Slot};
use exeat_types::Reason;

use crate::{
    Gate, Route, Upstream,
    check::{Checked, CheckedBody},
    egress,
    receipt::Open,
    record::{Recorded, Refused},
};

/// A call with everything it needs to leave. Built only in this file.
pub(crate) struct Equipped {
    pub(crate) checked: Checked,
    pub(crate) open: Open,
    pub(crate) upstream: Upstream,
    pub(crate) prepared: Prepared,
}

/// Locates upstream and asks custody.
pub(crate) async fn obtain(gate: &Arc<Gate>, recorded: Recorded) -> Result<Equipped, Box<Refused>> {
    let Recorded { checked, open } = recorded;
    let call = &checked.call;
    let prepared = match prepare(&checked) {
        Ok(prepared) => prepared,
        Err(not_given) => return Err(explain(open, &checked, not_given)),
    };
    let located = gate
        .resolver
        .locate(&call.rules, &call.agent.id, &call.origin, &*gate.clock)
        .await;
    let route = match located {
        Ok(route) => route,
        Err(reason) => {
            let detail = egress::sentence(reason, &call.origin);
            return Err(Refused::late(open, reason, detail).of(&checked.tool));
        }
    };
    let upstream = Upstream {
        origin: call.origin.clone(),
        group: group(&checked, &route),
        route,
        roots: call.rules.network.roots.clone(),
    };
    Ok(Equipped {
        checked,
        open,
        upstream,
        prepared,
    })
}

fn prepare(checked: &Checked) -> Result<Prepared, NotGiven> {
    let call = &checked.call;
    let slots: Vec<Slot> = checked.tool.slots.iter().map(custody_slot).collect();
    call.rules.custody.prepare(&Ask {
        agent: &call.agent.id,
        origin: &call.origin,
        path: &call.path,
        query: call.query.as_deref(),
        headers: &call.headers,
        body: match &checked.body {
            CheckedBody::Whole(whole) => Some(&whole.bytes),
            CheckedBody::Absent | CheckedBody::Streamed => None,
        },
        credential: checked.tool.credential.as_ref(),
        slots: &slots,
    })
}

fn custody_slot(slot: &exeat_policy::Slot) -> Slot {
    match slot {
        exeat_policy::Slot::Header(name) => Slot::Header(name.clone()),
        exeat_policy::Slot::Query(name) => Slot::Query(name.clone()),
        exeat_policy::Slot::Body(pointer) => Slot::Body(pointer.clone()),
    }
}

fn explain(open: Open, checked: &Checked, not_given: NotGiven) -> Box<Refused> {
    let (reason, detail) = match not_given {
        NotGiven::Misused { what } => {
            open.alarm(&what);
            let detail =
                format!("a placeholder stands in {what}, where its credential has no slot");
            (Reason::PlaceholderMisused, detail)
        }
        NotGiven::Missing(id) => (
            Reason::CredentialMissing,
            format!("custody does not hold the credential `{id}`"),
        ),
        NotGiven::Unfit(id) => (
            Reason::CredentialDead,
            format!("the secret of `{id}` does not fit its slot"),
        ),
        NotGiven::WrongOrigin(id) => (
            Reason::CredentialMissing,
            format!("the credential `{id}` is not meant for this host"),
        ),
    };
    Refused::late(open, reason, detail).of(&checked.tool)
}

/// Connections are reused only for the same agent, credential, trust and way, and never for another origin.
fn group(checked: &Checked, route: &Route) -> u64 {
    let call = &checked.call;
    let mut hasher = DefaultHasher::new();
    call.agent.account.hash(&mut hasher);
    call.agent.id.hash(&mut hasher);
    checked.tool.credential.hash(&mut hasher);
    call.origin.hash(&mut hasher);
    route.hash(&mut hasher);
    call.rules.network.roots.id.hash(&mut hasher);
    hasher.finish()
}
