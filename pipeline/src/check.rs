//! Stage 6: are the arguments valid? Reads the body whole where the tool needs it, and holds it within the limits.

use std::{future::Future, sync::Arc};

use bytes::{Bytes, BytesMut};
use exeat_policy::{Arguments, Body, BodyNeed, Found, Request, Tool, Unsettled, Violation};
use exeat_types::{Digest, Reason, limits};
use http::header;
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    BodyKind, Call, Gate,
    record::Refused,
    resolve::{Basis, Matched},
};

/// Where the bytes of a request body come from.
pub trait BodySource: Send {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// When the client broke off, was too slow, or sent something that is not a body.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, Reason>> + Send;

    /// Waits until nobody waits for the answer any more. Called only once the body has ended.
    fn gone(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// A body that was read whole, with its digest and its share of the process's memory.
pub(crate) struct Whole {
    pub(crate) bytes: Bytes,
    pub(crate) digest: Digest,
    pub(crate) _share: Share,
}

/// The part of the process-wide allowance that a body holds.
#[derive(Default)]
pub(crate) struct Share(Vec<OwnedSemaphorePermit>);

/// A call whose arguments fit the tool's schema. Built only in this file.
pub(crate) struct Checked {
    pub(crate) call: Call,
    pub(crate) tool: Arc<Tool>,
    pub(crate) arguments: Arguments,
    pub(crate) basis: Basis,
    pub(crate) body: CheckedBody,
}

/// The body after the check.
pub(crate) enum CheckedBody {
    Absent,
    Whole(Whole),
    Streamed,
}

/// Longer bodies of observed agents pass unread.
const LOOKED_AT_BYTES_MAX: u64 = 64 * 1024;

/// What the tool needs of the body; and a signature over it needs all of it.
fn body_need(found: &Found, call: &Call) -> BodyNeed {
    let need = found.body_need();
    let custody = &call.rules.custody;
    let mut credentials = found.tool.credentials();
    match need {
        BodyNeed::Streamed if credentials.any(|id| custody.needs_body(id, &call.headers)) => {
            BodyNeed::Whole {
                bytes_max: limits::WHOLE_BODY_BYTES_MAX,
            }
        }
        BodyNeed::Streamed | BodyNeed::Whole { .. } => need,
    }
}

/// Short JSON that an observed agent sends is read, so that it can be learned from; nothing else of it is.
fn look(call: &Call) -> BodyNeed {
    let field = |name| call.headers.get(name).map(http::HeaderValue::as_bytes);
    let media = field(header::CONTENT_TYPE).unwrap_or_default();
    let media = media.split(|byte| *byte == b';').next();
    let is_json = media.unwrap_or_default().trim_ascii() == b"application/json";
    let is_plain = field(header::CONTENT_ENCODING).is_none_or(|coding| coding == b"identity");
    match call.body {
        BodyKind::Length(length) if is_json && is_plain && length <= LOOKED_AT_BYTES_MAX => {
            BodyNeed::Whole {
                bytes_max: limits::WHOLE_BODY_BYTES_MAX,
            }
        }
        BodyKind::Absent | BodyKind::Length(_) | BodyKind::Unknown => BodyNeed::Streamed,
    }
}

/// Reads what must be read and checks the arguments.
pub(crate) async fn check(
    gate: &Gate,
    matched: Matched,
    source: &mut impl BodySource,
) -> Result<Checked, Box<Refused>> {
    let Matched { call, found, basis } = matched;
    let need = match basis {
        Basis::Declared => body_need(&found, &call),
        Basis::Observed => look(&call),
    };
    let mut body = match (call.body, need) {
        (BodyKind::Absent, _) => CheckedBody::Absent,
        (_, BodyNeed::Streamed) => CheckedBody::Streamed,
        (_, BodyNeed::Whole { bytes_max }) => {
            let read = read_whole(gate, &call, bytes_max, source).await;
            CheckedBody::Whole(read.map_err(|refused| refused.of(&found.tool))?)
        }
    };
    let (tool, mut arguments) = match basis {
        Basis::Declared => examine(found, &call, &body)?,
        Basis::Observed => (found.tool, Arguments::none()),
    };
    if let (Some(trimmed), CheckedBody::Whole(whole)) = (arguments.body.take(), &mut body) {
        // What was judged is what is sent, and what the receipt states.
        whole.digest = Digest::of(&trimmed);
        whole.bytes = trimmed.into();
    }
    Ok(Checked {
        call,
        tool,
        arguments,
        basis,
        body,
    })
}

/// Settles which tool is meant, and checks its arguments.
fn examine(
    found: Found,
    call: &Call,
    body: &CheckedBody,
) -> Result<(Arc<Tool>, Arguments), Box<Refused>> {
    // A credential's own query parameter is custody's to judge; policy sees the rest.
    let query = call
        .query
        .as_deref()
        .map(|query| call.rules.custody.arguments_of(&call.origin, query));
    let request = Request {
        method: &call.method,
        origin: &call.origin,
        path: &call.path,
        query: query.as_deref().filter(|query| !query.is_empty()),
        headers: &call.headers,
        body: match body {
            CheckedBody::Absent => Body::Absent,
            CheckedBody::Whole(whole) => Body::Whole(&whole.bytes),
            CheckedBody::Streamed => Body::Streamed,
        },
    };
    let invalid = |tool: &Tool, violations: &[Violation]| {
        Refused::early(Reason::ArgumentsInvalid, sentence(tool, violations)).of(tool)
    };
    let first = Arc::clone(&found.tool);
    let found = found
        .settle(&request)
        .map_err(|unsettled| match unsettled {
            Unsettled::Unknown(problem) => Refused::early(Reason::ToolUnknown, problem),
            Unsettled::Invalid(violations) => invalid(&first, &violations),
        })?;
    match found.check(&request) {
        Ok(arguments) => Ok((found.tool, arguments)),
        Err(violations) => Err(invalid(&found.tool, &violations)),
    }
}

fn sentence(tool: &Tool, violations: &[Violation]) -> String {
    let list: Vec<String> = violations
        .iter()
        .map(|v| format!("{}: {}", v.place, v.problem))
        .collect();
    format!("`{}` was not called: {}", tool.name, list.join("; "))
}

/// Reads a body that must be known whole.
pub(crate) async fn read_whole(
    gate: &Gate,
    call: &Call,
    bytes_max: usize,
    source: &mut impl BodySource,
) -> Result<Whole, Box<Refused>> {
    let coded = call
        .headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|v| v != "identity");
    if coded {
        // SECURITY: a compressed body would pass the schema unseen.
        let detail = "this tool takes no compressed body";
        return Err(Refused::early(Reason::ArgumentsInvalid, detail));
    }
    let too_large = || {
        Refused::early(
            Reason::BodyTooLarge,
            format!("this tool takes at most {bytes_max} bytes"),
        )
    };
    if let BodyKind::Length(length) = call.body
        && usize::try_from(length).map_or(true, |length| length > bytes_max)
    {
        return Err(too_large());
    }
    let mut share = Share::default();
    let mut read = BytesMut::new();
    loop {
        let chunk = source.next().await;
        let chunk =
            chunk.map_err(|reason| Refused::early(reason, "the body did not arrive whole"))?;
        let Some(chunk) = chunk else { break };
        if read.len().saturating_add(chunk.len()) > bytes_max {
            return Err(too_large());
        }
        share.grow(gate, chunk.len())?;
        read.extend_from_slice(&chunk);
    }
    let bytes = read.freeze();
    let digest = Digest::of(&bytes);
    Ok(Whole {
        bytes,
        digest,
        _share: share,
    })
}

impl Share {
    /// The unit of the allowance: one permit is one KiB.
    const UNIT: usize = 1024;

    pub(crate) const fn permits() -> usize {
        limits::WHOLE_BODIES_BYTES_MAX / Self::UNIT
    }

    fn grow(&mut self, gate: &Gate, bytes: usize) -> Result<(), Box<Refused>> {
        let units = u32::try_from(bytes.div_ceil(Self::UNIT)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&gate.bodies).try_acquire_many_owned(units);
        let busy = |_| {
            Refused::early(
                Reason::BodiesBusy,
                "the gate holds as many bodies as it may",
            )
        };
        self.0.push(permit.map_err(busy)?);
        Ok(())
    }
}
