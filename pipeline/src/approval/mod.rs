//! Asking a human, and what comes of it: a question is bound to the digest of one canonical request, an answer to the
//! question, and each use of an answer to one intent.
//!
//! INVARIANT: an approval alone never permits. After it is granted policy is asked again, under the rules in force by then;
//! and the ledger counts its uses, so of two racing retries one passes.

mod answer;
mod ask;
mod book;
mod canonical;
mod desk;
mod last;
mod multipart;
mod quiet;
mod recall;
mod tend;
mod words;
mod worth;

pub(crate) use ask::Approved;
pub(crate) use canonical::value_text;
pub use desk::Approvals;
pub use multipart::{Rewritten, is_multipart, rewrite};
pub(crate) use recall::{Said, recall, said};
pub use words::{Answer, Given, NotAnswered, Pause, Pending, Shown};

use std::sync::Arc;

use bytes::Bytes;
use exeat_policy::Approve;
use exeat_types::{Digest, Reason, limits};
use http::{HeaderValue, header};

use crate::{
    BodyKind, BodySource, Gate,
    check::{self, Checked, CheckedBody},
    record::{self, Refused},
    resolve,
};

/// What a human is to be asked, and why.
pub(crate) struct Ask {
    /// What the answer has to look like.
    pub(crate) approve: Approve,
    /// The rules that ask.
    pub(crate) rules: Vec<String>,
    /// Why, in words, where it is not a rule that asks.
    pub(crate) why: Vec<String>,
    /// What spoke against the call.
    pub(crate) risk: Option<exeat_ledger::Risk>,
}

/// Obtains an approval for this very request: one that is there already, or one that a human gives while the call waits.
/// What comes back is the call as it stands under the rules in force by then.
pub(crate) async fn obtain(
    gate: &Arc<Gate>,
    mut checked: Checked,
    ask: &Ask,
    body: &mut impl BodySource,
) -> Result<(Checked, Approved), Box<Refused>> {
    make_whole(gate, &mut checked, body).await?;
    let digest = digest_of(&checked)?;
    let approved = ask::obtain(gate, (&checked, digest), ask, body).await?;
    gate.agents().admit(&checked.call.agent.id)?;
    if !Arc::ptr_eq(&checked.call.rules, &gate.rules()) {
        checked = anew(gate, checked).await?;
        if digest_of(&checked)? != digest {
            let detail =
                "the rules have changed, and with them what is to be approved; send it again";
            let refused = Refused::early(Reason::ApprovalRequired, detail).of(&checked.tool);
            return Err(refused.by(ask.rules.clone()));
        }
    }
    checked.call.approved = Some(approved.usage.by);
    Ok((checked, approved))
}

fn digest_of(checked: &Checked) -> Result<Digest, Box<Refused>> {
    record::digest_of(checked).map_err(|_cause| {
        let detail = "the request has no canonical form";
        Refused::early(Reason::LedgerUnavailable, detail).of(&checked.tool)
    })
}

/// Reads what was to pass as a stream: nobody approves what nobody has seen. A form gets a boundary that stays the same.
async fn make_whole(
    gate: &Gate,
    checked: &mut Checked,
    body: &mut impl BodySource,
) -> Result<(), Box<Refused>> {
    if checked.call.upgrade {
        return Ok(());
    }
    if matches!(checked.body, CheckedBody::Streamed) {
        let (call, most) = (&checked.call, limits::APPROVAL_BODY_BYTES_MAX);
        let read = check::read_whole(gate, call, most, body).await;
        checked.body = CheckedBody::Whole(read.map_err(|refused| refused.of(&checked.tool))?);
    }
    let CheckedBody::Whole(whole) = &mut checked.body else {
        return Ok(());
    };
    if whole.bytes.len() > limits::APPROVAL_BODY_BYTES_MAX {
        let detail = "a body that a human has to approve must be smaller";
        return Err(Refused::early(Reason::BodyTooLarge, detail).of(&checked.tool));
    }
    let headers = &mut checked.call.headers;
    let kind = headers.get(header::CONTENT_TYPE);
    let Some(kind) = kind.and_then(|kind| kind.to_str().ok()) else {
        return Ok(());
    };
    if !is_multipart(kind) {
        return Ok(());
    }
    let written = rewrite(kind, &whole.bytes);
    let written =
        written.and_then(|it| Some((HeaderValue::from_str(&it.content_type).ok()?, it.body)));
    let Some((kind, bytes)) = written else {
        let detail = "this form can be read in more than one way";
        return Err(Refused::early(Reason::ArgumentsInvalid, detail).of(&checked.tool));
    };
    headers.insert(header::CONTENT_TYPE, kind);
    whole.digest = Digest::of(&bytes);
    whole.bytes = bytes;
    checked.call.body = BodyKind::Length(u64::try_from(whole.bytes.len()).unwrap_or(u64::MAX));
    Ok(())
}

/// A body that is at hand.
struct AtHand(Option<Bytes>);

impl BodySource for AtHand {
    async fn next(&mut self) -> Result<Option<Bytes>, Reason> {
        Ok(self.0.take())
    }
}

/// Takes a call through the stages before this one again, under the rules in force.
async fn anew(gate: &Arc<Gate>, checked: Checked) -> Result<Checked, Box<Refused>> {
    let Checked { mut call, body, .. } = checked;
    let kept = match body {
        CheckedBody::Whole(whole) => Some(whole.bytes),
        CheckedBody::Absent | CheckedBody::Streamed => None,
    };
    call.rules = gate.rules();
    let matched = resolve::resolve(gate, call)?;
    let mut checked = check::check(gate, matched, &mut AtHand(kept.clone())).await?;
    if matches!(checked.body, CheckedBody::Streamed) {
        make_whole(gate, &mut checked, &mut AtHand(kept)).await?;
    }
    Ok(checked)
}
