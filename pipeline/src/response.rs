//! Stage 14: nothing that custody keeps reaches the agent, in a head, a body, a frame or a trailer.

use std::{collections::BTreeMap, sync::Arc};

use bytes::{Bytes, BytesMut};
use exeat_custody::redact::{BodyScrubber, Formats, Hits, Patterns, WebSocketScrubber};
use exeat_policy::ResponseRules;
use exeat_types::{Reason, limits};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::Value;

use crate::exchange::Last;

/// How the body of a response is cleaned.
pub(crate) enum Cleaner {
    /// There is no body.
    Nothing,
    /// Bytes are decoded and redacted as they stream.
    Stream {
        scrubber: Box<BodyScrubber>,
        fields: Hits,
    },
    /// A JSON document is held until it is whole, and loses members that the tool removes.
    Document {
        scrubber: Box<BodyScrubber>,
        held: BytesMut,
        remove: Vec<String>,
        fields: Hits,
    },
    /// WebSocket frames are redacted message by message.
    Frames {
        scrubber: Box<WebSocketScrubber>,
        fields: Hits,
    },
}

/// Response fields that end here: they would lead the agent past the gate, or speak as Exeat.
const STRIPPED: [&str; 4] = [
    "alt-svc",
    "proxy-authenticate",
    "proxy-authentication-info",
    "exeat-receipt",
];

impl Cleaner {
    /// Cleans the head and chooses for the body.
    pub(crate) fn choose(
        patterns: Arc<Patterns>,
        (method, status): (&Method, StatusCode),
        headers: &mut HeaderMap,
        rules: &ResponseRules,
    ) -> Result<Self, Reason> {
        let fields = clean_fields(&patterns, headers);
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let scrubber = Box::new(WebSocketScrubber::new(patterns));
            return Ok(Self::Frames { scrubber, fields });
        }
        let bodiless = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
        if bodiless || *method == Method::HEAD {
            return Ok(Self::Nothing);
        }
        let coding = codings(headers)?;
        let scrubber = BodyScrubber::new(patterns, coding.as_deref())
            .map_err(|_cause| Reason::ResponseUnsafe)?;
        let scrubber = Box::new(scrubber);
        // The cleaned body may have another length, and is no longer the body these fields speak of.
        for stale in [
            header::CONTENT_LENGTH,
            HeaderName::from_static("content-md5"),
        ] {
            headers.remove(stale);
        }
        headers.remove("digest");
        headers.remove("content-digest");
        headers.remove("repr-digest");
        if rules.remove.is_empty() {
            return Ok(Self::Stream { scrubber, fields });
        }
        if !is_json(headers) {
            // SECURITY: members cannot be taken out of what is not JSON, so a success in another form is withheld.
            return if status.is_success() {
                Err(Reason::ResponseUnsafe)
            } else {
                Ok(Self::Stream { scrubber, fields })
            };
        }
        Ok(Self::Document {
            scrubber,
            held: BytesMut::new(),
            remove: rules.remove.clone(),
            fields,
        })
    }

    /// Cleans one piece.
    pub(crate) fn clean(&mut self, chunk: &[u8], last: Last) -> Result<Bytes, Reason> {
        let unsafe_body = |_| Reason::ResponseUnsafe;
        let mut out = Vec::with_capacity(chunk.len());
        match self {
            // SECURITY: bytes where none may be were not examined.
            Self::Nothing if chunk.is_empty() => {}
            Self::Nothing => return Err(Reason::ResponseUnsafe),
            Self::Frames { scrubber, .. } => scrubber.push(chunk, &mut out).map_err(unsafe_body)?,
            Self::Stream { scrubber, .. } => {
                scrubber.push(chunk, &mut out).map_err(unsafe_body)?;
                if last == Last::Yes {
                    scrubber.finish(&mut out).map_err(unsafe_body)?;
                }
            }
            Self::Document {
                scrubber,
                held,
                remove,
                ..
            } => {
                scrubber.push(chunk, &mut out).map_err(unsafe_body)?;
                if last == Last::Yes {
                    scrubber.finish(&mut out).map_err(unsafe_body)?;
                }
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

    /// What was redacted, by label.
    pub(crate) fn redactions(&self) -> BTreeMap<String, u64> {
        let (fields, hits) = match self {
            Self::Nothing => return BTreeMap::new(),
            Self::Stream { scrubber, fields }
            | Self::Document {
                scrubber, fields, ..
            } => (fields, scrubber.hits().clone()),
            Self::Frames { scrubber, fields } => (fields, scrubber.hits()),
        };
        let mut all = BTreeMap::new();
        for (label, count) in fields.iter().chain(&hits) {
            *all.entry(label.to_string()).or_default() += *count;
        }
        all
    }
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

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
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
pub(crate) fn clean_fields(patterns: &Patterns, headers: &mut HeaderMap) -> Hits {
    for name in STRIPPED {
        headers.remove(name);
    }
    clean_trailers(patterns, headers)
}

/// Redacts trailer values.
pub(crate) fn clean_trailers(patterns: &Patterns, fields: &mut HeaderMap) -> Hits {
    let mut redactions = Hits::new();
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
    use exeat_types::Secret;

    use super::*;

    const CANARY: &str = "CANARY-0123456789abcdef";

    fn patterns() -> Arc<Patterns> {
        let secret = Secret::new(CANARY.as_bytes().to_vec());
        Arc::new(Patterns::compile(&[("api", &secret)], &[]).unwrap())
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

    fn removing() -> ResponseRules {
        ResponseRules {
            remove: vec!["/secret".to_owned()],
        }
    }

    #[test]
    fn codings_on_several_lines_are_all_undone_or_refused() {
        let secret = Secret::new(b"CANARY-response-1234".to_vec());
        let patterns = Arc::new(Patterns::compile(&[("c", &secret)], &[]).unwrap());
        let mut headers = HeaderMap::new();
        headers.append(
            header::CONTENT_ENCODING,
            HeaderValue::from_static("identity"),
        );
        headers.append(header::CONTENT_ENCODING, HeaderValue::from_static("rot13"));
        let seen = (&Method::GET, StatusCode::OK);
        let rules = ResponseRules::default();
        assert!(Cleaner::choose(Arc::clone(&patterns), seen, &mut headers, &rules).is_err());
        let mut nothing = Cleaner::choose(
            patterns,
            (&Method::HEAD, StatusCode::OK),
            &mut headers,
            &rules,
        )
        .unwrap();
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
            ("location", &format!("https://x.test/?t={CANARY}")),
            ("content-length", "40"),
            ("content-encoding", "gzip"),
            ("content-digest", "sha-256=:x:"),
            ("etag", "kept"),
        ]);
        let rules = ResponseRules::default();
        let cleaner = Cleaner::choose(
            patterns(),
            (&Method::GET, StatusCode::OK),
            &mut headers,
            &rules,
        )
        .unwrap();
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
            let cleaner =
                Cleaner::choose(patterns(), (&method, status), &mut headers, &removing()).unwrap();
            assert!(matches!(cleaner, Cleaner::Nothing));
            assert_eq!(headers.len(), 2, "{method} {status}");
        }
    }

    #[test]
    fn what_cannot_be_examined_is_unsafe() {
        let check = |pairs: &[(&'static str, &str)], status: u16, expect: Option<Reason>| {
            let status = StatusCode::from_u16(status).unwrap();
            let chosen = Cleaner::choose(
                patterns(),
                (&Method::GET, status),
                &mut fields(pairs),
                &removing(),
            );
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
    }

    #[test]
    fn a_document_is_held_until_it_is_whole() {
        let mut headers = fields(&[("content-type", "application/json")]);
        let answer = (&Method::GET, StatusCode::OK);
        let mut cleaner = Cleaner::choose(patterns(), answer, &mut headers, &removing()).unwrap();
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
