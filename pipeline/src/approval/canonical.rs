//! The canonical request as a human sees it, as it is kept until the question is closed, and as it is sent in the end.
//!
//! INVARIANT: what is shown, what is kept and what the digest covers are made from one value; and nothing of it is cut.

use bytes::Bytes;
use exeat_policy::{Strategy, Tool};
use exeat_types::{CredentialId, Malformed};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::Shown;
use crate::{
    Call,
    check::{Checked, CheckedBody},
    record::{bound_headers, is_volatile},
};

/// The kept form: this in one line of JSON, a line feed, the body.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    credentials: Vec<String>,
    has_body: bool,
    headers: Vec<(String, String)>,
    method: String,
    origin: String,
    path: String,
    query: Option<String>,
    v: u32,
}

const VERSION: u32 = 1;

/// Stands before a header value that is not plain UTF-8, whose bytes follow as characters.
const NOT_TEXT: char = '\u{fffd}';

/// What a human is shown of a call.
pub(crate) fn shown(checked: &Checked) -> Shown {
    let call = &checked.call;
    Shown {
        method: call.method.to_string(),
        origin: call.origin.to_string(),
        path: call.path.clone(),
        query: call.query.clone(),
        headers: bound_headers(checked),
        body: match &checked.body {
            CheckedBody::Whole(whole) => Some(whole.bytes.clone()),
            CheckedBody::Absent | CheckedBody::Streamed => None,
        },
        credentials: ways(&checked.tool),
    }
}

/// Every way to let a call of this tool in, in their order.
fn ways(tool: &Tool) -> Vec<String> {
    let others = tool.otherwise.iter().map(|way| match way {
        Strategy::Credential(id) => id.as_str(),
        Strategy::Payment => "payment",
    });
    let first = tool.credential.iter().map(CredentialId::as_str);
    first.chain(others).map(str::to_owned).collect()
}

/// A header value as text, so that no two values have the same text.
pub(crate) fn value_text(value: &HeaderValue) -> String {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) if !text.contains(NOT_TEXT) => text.to_owned(),
        Ok(_) | Err(_) => {
            let bytes = value.as_bytes().iter().copied().map(char::from);
            std::iter::once(NOT_TEXT).chain(bytes).collect()
        }
    }
}

fn value_of(text: &str) -> Option<HeaderValue> {
    let Some(rest) = text.strip_prefix(NOT_TEXT) else {
        return HeaderValue::from_bytes(text.as_bytes()).ok();
    };
    let bytes: Option<Vec<u8>> = rest.chars().map(|c| u8::try_from(c).ok()).collect();
    HeaderValue::from_bytes(&bytes?).ok()
}

impl Shown {
    /// How many bytes it holds of the memory for bodies.
    pub(super) fn size(&self) -> usize {
        self.body.as_ref().map_or(0, Bytes::len)
    }

    /// The form in which it is kept.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, Malformed> {
        let head = Head {
            credentials: self.credentials.clone(),
            has_body: self.body.is_some(),
            headers: self.headers.clone(),
            method: self.method.clone(),
            origin: self.origin.clone(),
            path: self.path.clone(),
            query: self.query.clone(),
            v: VERSION,
        };
        let head = serde_json::to_vec(&head);
        let mut bytes = head.map_err(|e| Malformed::new("request", e.to_string()))?;
        bytes.push(b'\n');
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        Ok(bytes)
    }

    /// The same from its kept form.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (head, rest) = bytes.split_at_checked(end)?;
        let (_, body) = rest.split_first()?;
        let head: Head = serde_json::from_slice(head).ok()?;
        if head.v != VERSION || (!head.has_body && !body.is_empty()) {
            return None;
        }
        Some(Self {
            method: head.method,
            origin: head.origin,
            path: head.path,
            query: head.query,
            headers: head.headers,
            body: head.has_body.then(|| Bytes::copy_from_slice(body)),
            credentials: head.credentials,
        })
    }

    /// Whether a call goes to the same place, so that it may stand for this request.
    pub(super) fn is_place_of(&self, call: &Call) -> bool {
        self.method == call.method.as_str()
            && self.origin == call.origin.to_string()
            && self.path == call.path
    }

    /// The header fields as they were kept, beside those of a call that change with every attempt.
    pub(super) fn fields_with(&self, call: &Call) -> Option<HeaderMap> {
        let mut fields = HeaderMap::new();
        let is_kept = |name: &str| self.headers.iter().any(|(kept, _)| kept == name);
        for (name, value) in &call.headers {
            if is_volatile(call, name.as_str()) && !is_kept(name.as_str()) {
                fields.append(name.clone(), value.clone());
            }
        }
        for (name, text) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            fields.append(name, value_of(text)?);
        }
        Some(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_request_reads_back_byte_for_byte() {
        let shown = Shown {
            method: "POST".to_owned(),
            origin: "https://api.test".to_owned(),
            path: "/a/b".to_owned(),
            query: Some("x=1".to_owned()),
            headers: vec![("x-a".to_owned(), "1\u{202e}".to_owned())],
            body: Some(Bytes::from_static(b"\n\x00{\"a\":1}\n")),
            credentials: vec!["key".to_owned()],
        };
        let kept = shown.to_bytes().unwrap();
        assert_eq!(Shown::from_bytes(&kept), Some(shown.clone()));
        let bare = Shown {
            body: None,
            ..shown
        };
        assert_eq!(Shown::from_bytes(&bare.to_bytes().unwrap()), Some(bare));
        for broken in [&b""[..], b"{}", b"{}\n", b"[]\nx"] {
            assert_eq!(Shown::from_bytes(broken), None);
        }
    }

    #[test]
    fn different_header_values_have_different_texts() {
        let values: [&[u8]; 5] = [
            b"a",
            b"\xff",
            b"\xfe",
            "\u{fffd}".as_bytes(),
            "\u{e9}".as_bytes(),
        ];
        let values = values.map(|bytes| HeaderValue::from_bytes(bytes).unwrap());
        let mut texts: Vec<String> = values.iter().map(value_text).collect();
        for (value, text) in values.iter().zip(&texts) {
            assert_eq!(value_of(text).as_ref(), Some(value));
        }
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), values.len());
    }
}
