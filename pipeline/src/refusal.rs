//! What an agent learns of a refusal: one RFC 9457 problem document, and nothing it did not send itself.

use exeat_types::{CallId, Reason};
use serde_json::json;

/// A refusal, ready to be shown.
#[derive(Debug, Clone)]
pub struct Refusal {
    reason: Reason,
    detail: String,
    receipt: Option<CallId>,
}

impl Refusal {
    /// A refusal that has no receipt of its own, before a call exists.
    pub fn bare(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            receipt: None,
        }
    }

    /// A refusal of a call, receipted under this id.
    pub(crate) fn receipted(reason: Reason, detail: impl Into<String>, receipt: CallId) -> Self {
        Self {
            reason,
            detail: detail.into(),
            receipt: Some(receipt),
        }
    }

    /// A refusal that ends a call whose receipt is open.
    pub fn of_call(reason: Reason, detail: impl Into<String>, call: CallId) -> Self {
        Self::receipted(reason, detail, call)
    }

    /// The stable reason.
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// The sentence for the agent.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The receipt, if there is one.
    pub const fn receipt(&self) -> Option<CallId> {
        self.receipt
    }

    /// The HTTP status.
    pub const fn status(&self) -> u16 {
        self.reason.status()
    }

    /// The body as `application/problem+json`.
    ///
    /// # Spec
    /// RFC 9457 section 3.1, with the extension members `hint`, `retry` and `receipt`.
    pub fn document(&self) -> Vec<u8> {
        let mut document = json!({
            "type": self.reason.urn(),
            "title": self.reason.title(),
            "status": self.reason.status(),
            "detail": self.detail,
            "hint": self.reason.hint(),
            "retry": self.reason.retry(),
        });
        if let (Some(receipt), Some(members)) = (self.receipt, document.as_object_mut()) {
            members.insert("receipt".to_owned(), receipt.to_string().into());
        }
        let mut bytes = document.to_string().into_bytes();
        bytes.push(b'\n');
        bytes
    }
}
