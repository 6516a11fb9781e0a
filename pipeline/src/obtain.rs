//! Stage 10: find the address and the credential. Both may fail; then the open receipt is closed as refused late.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use exeat_custody::{Prepared, Refused as NotGiven};
use exeat_policy::Strategy;

use crate::{
    Gate, Route, Upstream,
    check::Checked,
    egress,
    receipt::Open,
    record::{Recorded, Refused},
    settle::Renewal,
    strategy::{self, Chosen, Not},
};

/// A call with everything it needs to leave. Built only in this file.
pub(crate) struct Equipped {
    pub(crate) checked: Checked,
    pub(crate) open: Open,
    pub(crate) upstream: Upstream,
    pub(crate) prepared: Prepared,
    pub(crate) renewal: Option<Box<Renewal>>,
}

/// Finds the credential and locates upstream.
pub(crate) async fn obtain(gate: &Arc<Gate>, recorded: Recorded) -> Result<Equipped, Box<Refused>> {
    let Recorded { checked, mut open } = recorded;
    let (chosen, absent) = strategy::choose(gate, &checked).await;
    open.missed(absent);
    let Chosen { prepared, renewal } = match chosen {
        Ok(chosen) => chosen,
        Err(not) => return Err(explain(open, &checked, &not)),
    };
    match &prepared.used {
        Some(used) => open.uses(used),
        None if checked.tool.otherwise.contains(&Strategy::Payment) => open.pays(),
        None => {}
    }
    let call = &checked.call;
    let located = match checked.tool.local {
        Some(_) => Ok(Route::none()),
        None => {
            let way = egress::Way::of(&call.rules, &call.agent.id);
            let resolver = &gate.resolver;
            resolver.locate(&way, &call.origin, &*gate.clock).await
        }
    };
    let route = match located {
        Ok(route) => route,
        Err(reason) => {
            let detail = egress::sentence(reason, &call.origin);
            return Err(Refused::late(open, reason, detail).of(&checked.tool));
        }
    };
    let upstream = Upstream {
        origin: call.origin.clone(),
        group: group(&checked, &prepared, &route),
        route,
        roots: call.rules.network.roots.clone(),
        identity: prepared.identity.clone(),
    };
    Ok(Equipped {
        checked,
        open,
        upstream,
        prepared,
        renewal,
    })
}

fn explain(open: Open, checked: &Checked, not: &Not) -> Box<Refused> {
    if let Not::Given(NotGiven::Misused { what }) = not {
        open.alarm(what);
    }
    let (reason, detail) = not.explain();
    Refused::late(open, reason, detail).of(&checked.tool)
}

/// Connections are reused only for the same agent, credential, certificate, trust and way, and never for another origin.
fn group(checked: &Checked, prepared: &Prepared, route: &Route) -> u64 {
    let call = &checked.call;
    let mut hasher = DefaultHasher::new();
    call.agent.account.hash(&mut hasher);
    call.agent.id.hash(&mut hasher);
    let used = prepared.used.as_ref();
    used.map(|used| &used.id).hash(&mut hasher);
    let identity = prepared.identity.as_ref();
    identity.map(|identity| identity.id()).hash(&mut hasher);
    call.origin.hash(&mut hasher);
    route.hash(&mut hasher);
    call.rules.network.roots.id.hash(&mut hasher);
    hasher.finish()
}
