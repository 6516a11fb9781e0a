//! Stage 14: nothing that custody keeps reaches the agent, in a head, a body, a frame or a trailer; and of the rest,
//! what its tool says should not.

use std::{collections::BTreeMap, sync::Arc};

use bytes::{Bytes, BytesMut};
use exeat_custody::Last;
use exeat_custody::redact::{
    BodyScrubber, Deflate, Flags, Formats, GrpcScrubber, Hits, Newest, WebSocketScrubber,
};
use exeat_policy::ResponseRules;
use exeat_types::{Reason, limits};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::Value;

use crate::{
    media::{self, Media},
    minting::{MintedBody, Minter, Outcome},
};

/// How a response is cleaned.
pub(crate) struct Cleaner {
    body: Body,
    /// What was taken out of the head.
    fields: Hits,
    /// What the head alone says.
    flags: Flags,
}

enum Body {
    /// There is none.
    Nothing,
    /// Bytes are decoded and redacted as they stream.
    Stream(Box<BodyScrubber>),
    /// A JSON document is held until it is whole, and loses members that the tool removes.
    Document {
        scrubber: Box<BodyScrubber>,
        held: BytesMut,
        remove: Vec<String>,
    },
    /// WebSocket frames are redacted message by message.
    Frames(Box<WebSocketScrubber>),
    /// A body that hands out tokens is held until it is whole, and rewritten.
    Minted {
        body: Box<MintedBody>,
        remove: Vec<String>,
    },
    /// So are messages of gRPC, none of which waits for the next.
    Messages {
        scrubber: Box<GrpcScrubber>,
        /// How many bytes may still come out.
        left: u64,
    },
}

/// Response fields that end here: they would lead the agent past the gate.
const STRIPPED: [&str; 4] = [
    "alt-svc",
    "alt-used",
    "proxy-authenticate",
    "proxy-authentication-info",
];
/// The flag of a success that the tool's rules for text could not be applied to.
pub(crate) const UNREAD_TYPE: &str = "unread-type";
/// What Exeat's own fields begin with; nobody else's reach the agent.
const OURS: &str = "exeat-";

/// What of an exchange the choice depends on.
pub(crate) struct Answered<'a> {
    pub(crate) method: &'a Method,
    pub(crate) status: StatusCode,
    /// What the handshake agreed on, when this is the answer to one.
    pub(crate) deflate: Deflate,
    /// What rewrites it, if it hands out tokens.
    pub(crate) minter: Option<&'a Arc<Minter>>,
}

impl Cleaner {
    /// Nothing to clean yet.
    pub(crate) const fn idle() -> Self {
        Self {
            body: Body::Nothing,
            fields: Hits::new(),
            flags: Flags::new(),
        }
    }

    /// Cleans the head and chooses for the body.
    pub(crate) fn choose(
        patterns: &Newest,
        answered: &Answered<'_>,
        headers: &mut HeaderMap,
        rules: &ResponseRules,
    ) -> Result<Self, Reason> {
        let mut minted = Hits::new();
        let taken = answered
            .minter
            .map(|minter| minter.fields(headers, &mut minted));
        let mut fields = clean_fields(patterns, headers);
        fields.append(&mut minted);
        headers.extend(taken.transpose()?.unwrap_or_default());
        let body = Body::choose(patterns, answered, headers, rules)?;
        let unread = body.has_content()
            && answered.status.is_success()
            && media::asks_for_text(rules)
            && !Media::of(headers).is_text();
        let flags = unread.then_some((UNREAD_TYPE, 1)).into_iter().collect();
        Ok(Self {
            body,
            fields,
            flags,
        })
    }

    /// Cleans one piece.
    pub(crate) fn clean(&mut self, chunk: &[u8], last: Last) -> Result<Bytes, Reason> {
        self.body.clean(chunk, last)
    }

    /// What was redacted, by label.
    pub(crate) fn redactions(&self) -> BTreeMap<String, u64> {
        let hits = match &self.body {
            Body::Nothing => Hits::new(),
            Body::Stream(scrubber) | Body::Document { scrubber, .. } => scrubber.hits(),
            Body::Frames(scrubber) => scrubber.hits(),
            Body::Minted { body, .. } => body.hits.clone(),
            Body::Messages { scrubber, .. } => scrubber.hits().clone(),
        };
        let mut all = BTreeMap::new();
        for (label, count) in self.fields.iter().chain(&hits) {
            *all.entry(label.to_string()).or_default() += *count;
        }
        all
    }

    /// Whether something that came through looks as if it were meant to steer the agent.
    pub(crate) fn steers(&self) -> bool {
        self.flags().keys().any(|flag| *flag != UNREAD_TYPE)
    }

    /// The flags raised so far.
    pub(crate) fn flags(&self) -> Flags {
        let mut flags = match &self.body {
            Body::Stream(scrubber) | Body::Document { scrubber, .. } => scrubber.flags(),
            Body::Frames(scrubber) => scrubber.flags(),
            Body::Minted { body, .. } => body.flags.clone(),
            Body::Nothing | Body::Messages { .. } => Flags::new(),
        };
        flags.extend(&self.flags);
        flags
    }
}

impl Body {
    fn choose(
        patterns: &Newest,
        answered: &Answered<'_>,
        headers: &mut HeaderMap,
        rules: &ResponseRules,
    ) -> Result<Self, Reason> {
        let status = answered.status;
        if status == StatusCode::SWITCHING_PROTOCOLS && answered.minter.is_some() {
            return Err(Reason::ResponseUnsafe);
        }
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let text = media::text_rules(rules);
            let scrubber = WebSocketScrubber::with_rules(patterns.clone(), &text, answered.deflate);
            return Ok(Self::Frames(Box::new(scrubber)));
        }
        let bodiless = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
        if bodiless || *answered.method == Method::HEAD {
            return Ok(Self::Nothing);
        }
        let coding = codings(headers)?;
        let length = headers.remove(header::CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| rules.bytes_max.is_some_and(|most| length > most)) {
            return Err(Reason::ResponseUnsafe);
        }
        // The cleaned body may have another length, and is no longer the body these fields speak of.
        for stale in STALE {
            headers.remove(stale);
        }
        let media = Media::of(headers);
        if !rules.remove.is_empty() && media != Media::Json && status.is_success() {
            // SECURITY: members cannot be taken out of what is not JSON, so a success in another form is withheld.
            return Err(Reason::ResponseUnsafe);
        }
        if let Some(minter) = answered.minter {
            let asked = (media.rules(headers, rules)?, Outcome::of(status));
            let body = MintedBody::new(Arc::clone(minter), coding.as_deref(), asked)?;
            let remove = match media {
                Media::Json => rules.remove.clone(),
                _ => Vec::new(),
            };
            let body = Box::new(body);
            return Ok(Self::Minted { body, remove });
        }
        if media == Media::Grpc && coding.is_none() {
            return Ok(Self::Messages {
                scrubber: Box::new(GrpcScrubber::new(patterns.clone())),
                left: rules.bytes_max.unwrap_or(u64::MAX),
            });
        }
        let asked = media.rules(headers, rules)?;
        let scrubber = BodyScrubber::with_rules(patterns.clone(), coding.as_deref(), &asked)
            .map_err(|_cause| Reason::ResponseUnsafe)?;
        let scrubber = Box::new(scrubber);
        if rules.remove.is_empty() || media != Media::Json {
            return Ok(Self::Stream(scrubber));
        }
        Ok(Self::Document {
            scrubber,
            held: BytesMut::new(),
            remove: rules.remove.clone(),
        })
    }

    /// Whether there is something besides frames, which say themselves whether they are text.
    const fn has_content(&self) -> bool {
        !matches!(self, Self::Nothing | Self::Frames(_))
    }

    fn clean(&mut self, chunk: &[u8], last: Last) -> Result<Bytes, Reason> {
        let unsafe_body = |_| Reason::ResponseUnsafe;
        let mut out = Vec::with_capacity(chunk.len());
        match self {
            // SECURITY: bytes where none may be were not examined.
            Self::Nothing if chunk.is_empty() => {}
            Self::Nothing => return Err(Reason::ResponseUnsafe),
            Self::Frames(scrubber) => scrubber.push(chunk, &mut out).map_err(unsafe_body)?,
            Self::Messages { scrubber, left } => {
                scrubber.push(chunk, &mut out).map_err(unsafe_body)?;
                let made = u64::try_from(out.len()).unwrap_or(u64::MAX);
                *left = left.checked_sub(made).ok_or(Reason::ResponseUnsafe)?;
                if last == Last::Yes {
                    scrubber.finish().map_err(unsafe_body)?;
                }
            }
            Self::Minted { body, remove } => {
                body.push(chunk)?;
                return match last {
                    Last::No => Ok(Bytes::new()),
                    Last::Yes if remove.is_empty() => body.finish(),
                    Last::Yes => without_members(&body.finish()?, remove),
                };
            }
            Self::Stream(scrubber) => scrub(scrubber, chunk, last, &mut out)?,
            Self::Document {
                scrubber,
                held,
                remove,
            } => {
                scrub(scrubber, chunk, last, &mut out)?;
                if held.len().saturating_add(out.len()) > limits::WHOLE_BODY_BYTES_MAX {
                    return Err(Reason::ResponseUnsafe);
                }
                held.extend_from_slice(&out);
                if last == Last::No {
                    return Ok(Bytes::new());
                }
                return without_members(held, remove);
            }
        }
        Ok(out.into())
    }
}

/// Fields that speak of a body as upstream sent it.
const STALE: [&str; 4] = ["content-md5", "digest", "content-digest", "repr-digest"];

fn scrub(
    scrubber: &mut BodyScrubber,
    chunk: &[u8],
    last: Last,
    out: &mut Vec<u8>,
) -> Result<(), Reason> {
    let unsafe_body = |_| Reason::ResponseUnsafe;
    scrubber.push(chunk, out).map_err(unsafe_body)?;
    if last == Last::Yes {
        scrubber.finish(out).map_err(unsafe_body)?;
    }
    Ok(())
}

/// Takes the content codings off the head; several lines are one list (RFC 9110 section 5.3).
fn codings(headers: &mut HeaderMap) -> Result<Option<String>, Reason> {
    let mut all = Vec::new();
    for value in headers.get_all(header::CONTENT_ENCODING) {
        all.push(
            value
                .to_str()
                .map_err(|_cause| Reason::ResponseUnsafe)?
                .to_owned(),
        );
    }
    headers.remove(header::CONTENT_ENCODING);
    Ok((!all.is_empty()).then(|| all.join(", ")))
}

fn without_members(held: &[u8], remove: &[String]) -> Result<Bytes, Reason> {
    if held.iter().all(u8::is_ascii_whitespace) {
        return Ok(Bytes::copy_from_slice(held));
    }
    let mut document: Value =
        serde_json::from_slice(held).map_err(|_cause| Reason::ResponseUnsafe)?;
    for pointer in remove {
        let path: Vec<String> = pointer
            .split('/')
            .skip(1)
            .map(|part| part.replace("~1", "/").replace("~0", "~"))
            .collect();
        remove_at(&mut document, &path);
    }
    serde_json::to_vec(&document)
        .map(Bytes::from)
        .map_err(|_cause| Reason::ResponseUnsafe)
}

/// Removes the member; arrays on the way are entered, every element alike.
fn remove_at(value: &mut Value, path: &[String]) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| remove_at(item, path)),
        Value::Object(members) if rest.is_empty() => {
            members.shift_remove(first);
        }
        Value::Object(members) => {
            if let Some(inner) = members.get_mut(first) {
                remove_at(inner, rest);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Redacts header values and drops the fields that must not pass; counts what was redacted.
pub(crate) fn clean_fields(patterns: &Newest, headers: &mut HeaderMap) -> Hits {
    for name in STRIPPED {
        headers.remove(name);
    }
    clean_trailers(patterns, headers)
}

/// Redacts trailer values, and drops fields that speak as Exeat.
pub(crate) fn clean_trailers(patterns: &Newest, fields: &mut HeaderMap) -> Hits {
    let mut redactions = Hits::new();
    let patterns = patterns.load();
    let ours = fields.keys().filter(|name| name.as_str().starts_with(OURS));
    for name in ours.cloned().collect::<Vec<HeaderName>>() {
        fields.remove(name);
    }
    for (_, value) in fields.iter_mut() {
        let cleaned = patterns.scrub_counting(value.as_bytes(), Formats::Redact, &mut redactions);
        if let Some(cleaned) = cleaned {
            *value =
                HeaderValue::from_bytes(&cleaned).unwrap_or(HeaderValue::from_static("[redacted]"));
        }
    }
    redactions
}

#[cfg(test)]
mod tests {
    use exeat_custody::redact::Patterns;
    use exeat_types::Secret;

    use super::*;

    const CANARY: &str = "CANARY-0123456789abcdef";

    fn patterns() -> Newest {
        let secret = Secret::new(CANARY.as_bytes().to_vec());
        Arc::new(Patterns::compile(&[("api", &secret)], &[]).unwrap()).into()
    }

    fn fields(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        };
        pairs.iter().map(pair).collect()
    }

    const fn answered(method: &Method, status: StatusCode) -> Answered<'_> {
        Answered {
            method,
            status,
            deflate: Deflate::Off,
            minter: None,
        }
    }

    fn removing() -> ResponseRules {
        ResponseRules {
            remove: vec!["/secret".to_owned()],
            ..ResponseRules::default()
        }
    }

    #[test]
    fn codings_on_several_lines_are_all_undone_or_refused() {
        let secret = Secret::new(b"CANARY-response-1234".to_vec());
        let patterns = Newest::from(Arc::new(Patterns::compile(&[("c", &secret)], &[]).unwrap()));
        let mut headers = HeaderMap::new();
        headers.append(
            header::CONTENT_ENCODING,
            HeaderValue::from_static("identity"),
        );
        headers.append(header::CONTENT_ENCODING, HeaderValue::from_static("rot13"));
        let rules = ResponseRules::default();
        let get = answered(&Method::GET, StatusCode::OK);
        assert!(Cleaner::choose(&patterns, &get, &mut headers, &rules).is_err());
        let head = answered(&Method::HEAD, StatusCode::OK);
        let mut nothing = Cleaner::choose(&patterns, &head, &mut headers, &rules).unwrap();
        assert_eq!(nothing.clean(b"", Last::Yes), Ok(Bytes::new()));
        assert_eq!(
            nothing.clean(b"CANARY-response-1234", Last::Yes),
            Err(Reason::ResponseUnsafe)
        );
    }

    #[test]
    fn members_are_removed_everywhere_on_the_path() {
        let document = br#"{"user":{"email":"a","name":"b"},"list":[{"id":1,"key":2},{"key":3}]}"#;
        let remove = [
            "/user/email".to_owned(),
            "/list/key".to_owned(),
            "/absent/x".to_owned(),
        ];
        let cleaned = without_members(document, &remove).unwrap();
        assert_eq!(
            &cleaned[..],
            br#"{"user":{"name":"b"},"list":[{"id":1},{}]}"#
        );
        assert!(without_members(b"not json", &remove).is_err());
    }

    #[test]
    fn heads_lose_what_would_lead_past_the_gate_and_what_is_secret() {
        let mut headers = fields(&[
            ("alt-svc", "h3=\":443\""),
            ("proxy-authenticate", "Basic"),
            ("exeat-receipt", "forged"),
            ("exeat-flags", "forged"),
            ("alt-used", "elsewhere.test"),
            ("location", &format!("https://x.test/?t={CANARY}")),
            ("content-length", "40"),
            ("content-encoding", "gzip"),
            ("content-digest", "sha-256=:x:"),
            ("etag", "kept"),
        ]);
        let rules = ResponseRules::default();
        let get = answered(&Method::GET, StatusCode::OK);
        let cleaner = Cleaner::choose(&patterns(), &get, &mut headers, &rules).unwrap();
        let left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(
            !headers["location"].to_str().unwrap().contains(CANARY) && headers["etag"] == "kept"
        );
        assert_eq!(cleaner.redactions().values().sum::<u64>(), 1);
    }

    #[test]
    fn answers_without_a_body_keep_their_length() {
        let answers = [
            (Method::HEAD, 200),
            (Method::GET, 204),
            (Method::GET, 304),
            (Method::HEAD, 500),
        ];
        for (method, status) in answers {
            let status = StatusCode::from_u16(status).unwrap();
            let mut headers =
                fields(&[("content-length", "5"), ("content-encoding", "unheard-of")]);
            let asked = answered(&method, status);
            let cleaner = Cleaner::choose(&patterns(), &asked, &mut headers, &removing()).unwrap();
            assert!(matches!(cleaner.body, Body::Nothing));
            assert_eq!(headers.len(), 2, "{method} {status}");
        }
    }

    #[test]
    fn what_cannot_be_examined_is_unsafe() {
        let check = |pairs: &[(&'static str, &str)], status: u16, expect: Option<Reason>| {
            let status = StatusCode::from_u16(status).unwrap();
            let get = answered(&Method::GET, status);
            let chosen = Cleaner::choose(&patterns(), &get, &mut fields(pairs), &removing());
            assert_eq!(chosen.err(), expect, "{pairs:?} {status}");
        };
        let json = ("content-type", "application/json; charset=utf-8");
        check(&[json], 200, None);
        check(&[("content-type", "application/problem+json")], 200, None);
        check(
            &[json, ("content-encoding", "unheard-of")],
            200,
            Some(Reason::ResponseUnsafe),
        );
        check(
            &[
                json,
                ("content-encoding", "gzip, gzip, gzip, gzip, gzip, gzip"),
            ],
            200,
            Some(Reason::ResponseUnsafe),
        );
        check(
            &[("content-type", "text/plain")],
            200,
            Some(Reason::ResponseUnsafe),
        );
        check(&[], 200, Some(Reason::ResponseUnsafe));
        check(&[("content-type", "text/plain")], 500, None);
        let grpc = ("content-type", "application/grpc+proto");
        check(&[grpc], 200, Some(Reason::ResponseUnsafe));
        check(&[grpc], 500, None);
    }

    #[test]
    fn messages_of_grpc_are_held_to_their_size() {
        let rules = ResponseRules {
            bytes_max: Some(10),
            ..ResponseRules::default()
        };
        let mut headers = fields(&[("content-type", "application/grpc")]);
        let get = answered(&Method::POST, StatusCode::OK);
        let mut cleaner = Cleaner::choose(&patterns(), &get, &mut headers, &rules).unwrap();
        assert_eq!(cleaner.clean(&[0; 10], Last::No).unwrap().len(), 10);
        assert_eq!(
            cleaner.clean(&[0; 5], Last::Yes),
            Err(Reason::ResponseUnsafe)
        );
    }

    #[test]
    fn a_success_that_rules_for_text_cannot_read_is_flagged() {
        let asking = ResponseRules {
            pii: vec![exeat_policy::Pii::Card],
            ..ResponseRules::default()
        };
        let check = |rules: &ResponseRules, kind: &str, status: u16, flagged: bool| {
            let get = answered(&Method::GET, StatusCode::from_u16(status).unwrap());
            let mut headers = fields(&[("content-type", kind)]);
            let cleaner = Cleaner::choose(&patterns(), &get, &mut headers, rules).unwrap();
            let flags = cleaner.flags();
            assert_eq!(flags.contains_key(UNREAD_TYPE), flagged, "{kind} {status}");
        };
        check(&asking, "image/png", 200, true);
        check(&asking, "application/grpc", 200, true);
        check(&asking, "image/png", 404, false);
        check(&asking, "image/png", 204, false);
        check(
            &asking,
            "application/octet-stream; charset=utf-8",
            200,
            false,
        );
        check(&ResponseRules::default(), "image/png", 200, false);
    }

    #[test]
    fn a_document_is_held_until_it_is_whole() {
        let mut headers = fields(&[("content-type", "application/json")]);
        let get = answered(&Method::GET, StatusCode::OK);
        let mut cleaner = Cleaner::choose(&patterns(), &get, &mut headers, &removing()).unwrap();
        let text = format!(r#"{{"secret":1,"other":"{CANARY}"}}"#);
        let (first, second) = text.as_bytes().split_at(30);
        assert!(cleaner.clean(first, Last::No).unwrap().is_empty());
        let cleaned = cleaner.clean(second, Last::Yes).unwrap();
        let cleaned: Value = serde_json::from_slice(&cleaned).unwrap();
        assert!(
            cleaned.get("secret").is_none()
                && cleaned["other"].as_str().unwrap().contains("[redacted")
        );
        assert!(cleaner.clean(b"{", Last::Yes).is_err());
    }
}
