//! The order of things on one HTTP/1 connection: a head, its body, its response; then the next head.
//!
//! Sees both directions without owning either. A head is let through only when the response before it has ended, so a
//! violation can always be answered in its place. Must never let a byte through that it has not placed.

use http::{Method, StatusCode};

use super::{
    Body, Framing, Limits, Violation, head,
    scan::{Scanner, field, lines},
};

/// Both directions of a connection.
#[derive(Debug)]
pub(super) struct Exchange {
    limits: Limits,
    requests: Requests,
    responses: Responses,
    owed: Option<Owed>,
}

#[derive(Debug)]
enum Requests {
    Head(Scanner),
    Body(Body),
    Raw,
    Ended,
}

#[derive(Debug)]
enum Responses {
    Head(Vec<u8>),
    Body(Body),
    Raw,
    Lost,
}

/// What has to be known of a request to find the end of its response.
#[derive(Debug)]
struct Owed {
    head_only: bool,
    upgrade: bool,
}

/// A rule broken by the client, and whether a response may still be written in the request's place.
#[derive(Debug)]
pub(super) enum Broken {
    Head(Violation),
    Body(Violation),
}

impl Exchange {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            requests: Requests::Head(Scanner::default()),
            responses: Responses::Head(Vec::new()),
            owed: None,
        }
    }

    /// Whether the next byte from the client belongs to a head.
    pub(super) const fn reads_head(&self) -> bool {
        matches!(self.requests, Requests::Head(_))
    }

    /// Whether bytes of the next request have to wait for the response in progress.
    pub(super) const fn waits(&self) -> bool {
        self.owed.is_some() && matches!(self.requests, Requests::Head(_))
    }

    /// Whether no further request is possible.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.requests, Requests::Ended)
    }

    /// Says how many of the bytes not yet let through may pass. The rest is offered again, with what came behind it.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let mut passed = 0;
        while let Some(rest) = bytes.get(passed..).filter(|rest| !rest.is_empty()) {
            let step = match &mut self.requests {
                Requests::Head(_) if self.owed.is_some() => break,
                Requests::Head(scanner) => match scanner.run(rest, self.limits.head_bytes_max) {
                    Ok(None) => break,
                    Ok(Some(end)) => self
                        .begin(rest.get(..end).unwrap_or_default())
                        .map(|()| end)
                        .map_err(Broken::Head),
                    Err(violation) => Err(Broken::Head(violation)),
                },
                Requests::Body(body) => {
                    let step = body.advance(rest).map_err(Broken::Body);
                    if body.is_done() {
                        self.requests = Requests::Head(Scanner::default());
                    }
                    step
                }
                Requests::Raw => Ok(rest.len()),
                Requests::Ended => break,
            };
            match step {
                Ok(count) => passed += count,
                Err(broken) if passed == 0 => return Err(broken),
                Err(_) => break,
            }
        }
        Ok(passed)
    }

    /// Reads a complete head. One that is refused is refused again when its bytes are offered again.
    fn begin(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        self.requests = Requests::Head(Scanner::default());
        let head = head::complete(bytes, &self.limits)?;
        if head.method == Method::CONNECT {
            return Err(Violation::new(
                "connect",
                "a CONNECT inside a connection to a target",
            ));
        }
        self.owed = Some(Owed {
            head_only: head.method == Method::HEAD,
            upgrade: head.upgrade,
        });
        let body = Body::new(head.framing);
        if !body.is_done() {
            self.requests = Requests::Body(body);
        }
        Ok(())
    }

    /// Follows the bytes written to the client; `true` when the next request need wait no longer.
    pub(super) fn wrote(&mut self, bytes: &[u8]) -> bool {
        let mut taken = 0;
        let mut freed = false;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            taken += match &mut self.responses {
                Responses::Head(_) => self.response_head(rest),
                Responses::Body(body) => body.advance(rest).unwrap_or_else(|_| {
                    self.lose();
                    rest.len()
                }),
                Responses::Raw | Responses::Lost => return freed,
            };
            let done = matches!(&self.responses, Responses::Body(body) if body.is_done());
            if done {
                self.responses = Responses::Head(Vec::new());
                self.owed = None;
            }
            freed |= done || matches!(self.responses, Responses::Raw | Responses::Lost);
        }
        freed
    }

    /// Gathers and reads a response head; returns how many bytes of `rest` belong to it.
    fn response_head(&mut self, rest: &[u8]) -> usize {
        let Responses::Head(held) = &mut self.responses else {
            return 0;
        };
        let before = held.len();
        if before == 0
            && let Some(end) = end_of_head(rest)
        {
            self.response(rest.get(..end).unwrap_or_default());
            return end;
        }
        held.extend_from_slice(rest);
        let Some(end) = end_of_head(held) else {
            if held.len() > RESPONSE_HEAD_BYTES_MAX {
                self.lose();
            }
            return rest.len();
        };
        let held = std::mem::take(held);
        self.response(held.get(..end).unwrap_or_default());
        end.saturating_sub(before)
    }

    /// RFC 9112 section 6.3: which body follows this response head.
    fn response(&mut self, head: &[u8]) {
        let (Some(status), Some(owed)) = (status(head), &self.owed) else {
            return self.lose();
        };
        if status == StatusCode::SWITCHING_PROTOCOLS {
            if !owed.upgrade || matches!(self.requests, Requests::Body(_)) {
                return self.lose();
            }
            self.owed = None;
            self.requests = Requests::Raw;
            self.responses = Responses::Raw;
            return;
        }
        if status.is_informational() {
            return;
        }
        let bare = owed.head_only
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        self.responses = Responses::Body(if bare {
            Body::new(Framing::None)
        } else {
            response_body(head)
        });
    }

    /// Something was written that is not the answer to a request. No further request is let in.
    fn lose(&mut self) {
        self.responses = Responses::Lost;
        self.requests = Requests::Ended;
        self.owed = None;
    }
}

/// Longest response head that is followed.
const RESPONSE_HEAD_BYTES_MAX: usize = 1024 * 1024;

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|at| at + 4)
}

fn status(head: &[u8]) -> Option<StatusCode> {
    let rest = head
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| head.strip_prefix(b"HTTP/1.0 "))?;
    StatusCode::from_bytes(rest.get(..3)?).ok()
}

fn response_body(head: &[u8]) -> Body {
    let find = |name: &str| {
        let fields = lines(head).skip(1).filter_map(field);
        fields
            .filter(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
            .last()
    };
    if let Some(coding) = find("transfer-encoding") {
        return if coding.eq_ignore_ascii_case(b"chunked") {
            Body::new(Framing::Chunked)
        } else {
            Body::endless()
        };
    }
    let length = find("content-length").and_then(|text| str::from_utf8(text).ok()?.parse().ok());
    length.map_or_else(Body::endless, |length| Body::new(Framing::Length(length)))
}
