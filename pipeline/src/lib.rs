//! The road: one pass, top to bottom. Each stage consumes the type of the stage before it and is the only maker of its
//! own, so skipping a stage does not compile. Nothing here knows Pingora or MCP; front doors call [`admit`] and then
//! drive the [`Exchange`] they get.
//!
//! INVARIANT: no error path leads to "allow"; every accepted call ends in exactly one receipt.

mod agents;
mod approval;
mod budget;
mod call;
mod check;
mod decide;
mod dial;
mod egress;
mod error;
mod exchange;
mod gate;
mod grant;
mod history;
mod identity;
mod inject;
mod lane;
mod limits;
mod local;
mod media;
mod metrics;
mod mint;
mod minting;
mod obtain;
mod outbound;
mod path;
mod presence;
mod receipt;
mod record;
mod refusal;
mod requests;
mod resolve;
mod response;
mod risk;
mod run;
mod settle;
mod slots;
mod standing;
mod strategy;
mod tally;
mod tls;
mod tunnel;
mod usage;

pub use agents::{AgentShown, Agents};
pub use approval::{
    Answer, Approvals, Given, NotAnswered, Pause, Pending, Rewritten, Shown, is_multipart, rewrite,
};
pub use budget::NotSet;
pub use call::{Agent, BodyKind, Call, Inbound};
pub use check::BodySource;
pub use dial::Route;
pub use egress::{Network, Roots, Upstream, UpstreamProxy};
pub use error::Error;
pub use exchange::Exchange;
pub use exeat_custody::ClientIdentity;
pub use exeat_custody::Last;
pub use exeat_ledger::Ending;
pub use gate::{Gate, Parts, Rules, Stage, StageObserver};
pub use history::History;
pub use inject::{Admitted, Outgoing, OutgoingBody};
pub use lane::{Downstream, Large, carry};
pub use limits::Usage;
pub use local::{Here, HoldOf, Job, NotRun, Ran, Runner, run_here};
pub use metrics::Metrics;
pub use mint::Stilled;
pub use outbound::{Outbound, Trial};
pub use path::canonical_path;
pub use presence::{PRESENT_FOR, Presence};
pub use refusal::{AskedFor, Refusal};
pub use requests::{Confirmed, Consent, HOME, NotTaken, Order, RequestShown, Requests, is_home};
pub use run::{Mark, Run, RunSoFar};
pub use settle::{Head, Next, attempt, settle};
pub use standing::Standing;
pub use strategy::Rail;
pub use tally::{Count, Tally};
pub use tls::held_certificate;
pub use tunnel::{Tunnel, passes_unread, tunnel};

use std::sync::Arc;

/// Takes a request down the road to the point where it may leave.
///
/// # Errors
/// A [`Refusal`] that is already receipted, ready to be shown to the agent.
///
/// # Cancel safety
/// Dropping the future before the receipt is opened leaves nothing behind; dropping it later closes the receipt.
pub async fn admit(
    gate: &Arc<Gate>,
    inbound: Inbound,
    body: &mut impl BodySource,
) -> Result<Admitted, Refusal> {
    let call = call::accept(gate, inbound)?;
    let facts = record::Facts::of(&call);
    match travel(gate, call, body).await {
        Ok(admitted) => Ok(admitted),
        Err(refused) => Err(record::refuse(gate, &facts, *refused)),
    }
}

async fn travel(
    gate: &Arc<Gate>,
    mut call: Call,
    body: &mut impl BodySource,
) -> Result<Admitted, Box<record::Refused>> {
    gate.agents().admit(&call.agent.id)?;
    let mut body = approval::recall(gate, &mut call, body).await?;
    let matched = resolve::resolve(gate, call)?;
    let checked = check::check(gate, matched, &mut body).await?;
    let permitted = decide::decide(gate, checked)?;
    gate.reached(Stage::Decided);
    let granted = grant::grant(gate, permitted, &mut body).await?;
    let recorded = record::open(gate, granted).await?;
    gate.reached(Stage::Recorded);
    let equipped = obtain::obtain(gate, recorded).await?;
    gate.reached(Stage::Equipped);
    let admitted = inject::inject(equipped)?;
    gate.reached(Stage::Admitted);
    Ok(admitted)
}
