//! `Exeat-Approval` and `Exeat-Wait`: a retry that names its approval stands for the request that was kept, byte for byte,
//! whatever it carries itself; and a request says how long it may be held.
//!
//! INVARIANT: only the agent that asked, at the place it asked for, gets the kept request back; and that goes down the whole
//! road again, under the rules in force.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use exeat_types::{ApprovalId, Malformed, Reason, limits};
use http::{HeaderMap, HeaderName};

use super::Shown;
use crate::{BodyKind, BodySource, Call, Gate, call::Whose, record::Refused};

const APPROVAL: HeaderName = HeaderName::from_static("exeat-approval");
const WAIT: HeaderName = HeaderName::from_static("exeat-wait");

/// What a request says of approvals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// The approval that it is the retry of.
    pub(crate) approval: Option<ApprovalId>,
    /// How long it may be held.
    pub(crate) hold: Option<Duration>,
}

/// Reads what a request says of approvals.
pub(crate) fn said(headers: &HeaderMap) -> Result<Said, Malformed> {
    let approval = one(headers, &APPROVAL)?.map(ApprovalId::new).transpose()?;
    let hold = match one(headers, &WAIT)? {
        Some(text) => Some(seconds(text)?),
        None => None,
    };
    Ok(Said { approval, hold })
}

fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Malformed> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Malformed::new(
            "header",
            format!("`{name}` stands more than once"),
        ));
    }
    let text = first.map(|value| value.to_str());
    text.transpose()
        .map_err(|_cause| Malformed::new("header", format!("`{name}` is not plain text")))
}

fn seconds(text: &str) -> Result<Duration, Malformed> {
    let is_plain = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse().ok().filter(|_| is_plain);
    let wrong = || Malformed::new("header", format!("`{WAIT}` is a number of seconds"));
    Ok(Duration::from_secs(seconds.ok_or_else(wrong)?).min(limits::APPROVAL_HOLD))
}

/// Where the body of a call comes from.
pub(crate) enum Source<'a, B> {
    /// The client that sends it.
    Client(&'a mut B),
    /// What was kept, and the client that waits for the answer.
    Kept(Option<Bytes>, &'a mut B),
}

impl<B: BodySource> BodySource for Source<'_, B> {
    async fn next(&mut self) -> Result<Option<Bytes>, Reason> {
        match self {
            Self::Client(client) => client.next().await,
            Self::Kept(bytes, _) => Ok(bytes.take()),
        }
    }

    async fn gone(&mut self) {
        match self {
            Self::Client(client) | Self::Kept(_, client) => client.gone().await,
        }
    }
}

/// Puts the kept request in the place of a retry that names it. One that names nothing that is open stands for itself.
pub(crate) async fn recall<'a, B: BodySource>(
    gate: &Arc<Gate>,
    call: &mut Call,
    body: &'a mut B,
) -> Result<Source<'a, B>, Box<Refused>> {
    let Some(shown) = named(gate, call) else {
        return Ok(Source::Client(body));
    };
    let Some(fields) = shown.fields_with(call) else {
        return Ok(Source::Client(body));
    };
    match (call.body, &shown.body) {
        (BodyKind::Absent, _) => {}
        // SECURITY: nothing would stand in the place of what the client sends.
        (_, None) => return Ok(Source::Client(body)),
        (_, Some(_)) => read_past(body).await?,
    }
    call.headers = fields;
    call.query.clone_from(&shown.query);
    call.whose = Whose::Kept;
    let kept = shown.body.clone();
    call.body = match &kept {
        None => BodyKind::Absent,
        Some(bytes) => BodyKind::Length(u64::try_from(bytes.len()).unwrap_or(u64::MAX)),
    };
    Ok(Source::Kept(kept, body))
}

fn named(gate: &Gate, call: &Call) -> Option<Arc<Shown>> {
    let id = call.said.approval.as_ref()?;
    let pending = gate.approvals().show(id)?;
    // SECURITY: an id is no secret; another agent that names it gets nothing.
    if pending.agent != call.agent.id || !pending.progress.is_open() {
        return None;
    }
    let shown = pending.request.clone()?;
    shown.is_place_of(call).then_some(shown)
}

/// Reads what is not needed, up to what a body may be.
async fn read_past(body: &mut impl BodySource) -> Result<(), Box<Refused>> {
    let mut read = 0_usize;
    loop {
        let chunk = body.next().await;
        let chunk =
            chunk.map_err(|reason| Refused::early(reason, "the body did not arrive whole"))?;
        let Some(chunk) = chunk else { return Ok(()) };
        read = read.saturating_add(chunk.len());
        if read > limits::WHOLE_BODY_BYTES_MAX {
            let detail = "a retry that names its approval needs no body";
            return Err(Refused::early(Reason::BodyTooLarge, detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(fields: &[(&'static str, &'static str)], expect: Option<&Said>) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        assert_eq!(said(&headers).ok().as_ref(), expect, "{fields:?}");
    }

    #[test]
    fn what_a_request_says_of_approvals_is_read_strictly() {
        let id = "apr-01k000000000000000000000ab";
        check(&[], Some(&Said::default()));
        check(
            &[("exeat-approval", id), ("exeat-wait", "3")],
            Some(&Said {
                approval: Some(ApprovalId::new(id).unwrap()),
                hold: Some(Duration::from_secs(3)),
            }),
        );
        check(
            &[("exeat-wait", "9999")],
            Some(&Said {
                approval: None,
                hold: Some(limits::APPROVAL_HOLD),
            }),
        );
        for wrong in ["", "A", "a b", "../x", "a,b"] {
            check(&[("exeat-approval", wrong)], None);
        }
        for wrong in ["", "-1", "+1", "1.5", "99999", "x"] {
            check(&[("exeat-wait", wrong)], None);
        }
        check(&[("exeat-approval", id), ("exeat-approval", id)], None);
        check(&[("exeat-wait", "1"), ("exeat-wait", "1")], None);
    }
}
