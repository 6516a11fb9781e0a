//! What an agent learns of a refusal: one RFC 9457 problem document, and nothing it did not send itself.

use std::time::Duration;

use exeat_types::{ApprovalId, CallId, Digest, Reason, Timestamp};
use serde_json::json;

/// A refusal, ready to be shown.
#[derive(Debug, Clone)]
pub struct Refusal {
    reason: Reason,
    detail: String,
    receipt: Option<CallId>,
    retry_after: Option<Duration>,
    asked_for: Option<Box<AskedFor>>,
}

/// The approval that a call waits for, or that was not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedFor {
    /// Its id.
    pub id: ApprovalId,
    /// Where a human sees it, if there is a console.
    pub url: Option<String>,
    /// Until when it can be answered or used.
    pub expires: Timestamp,
    /// What it is bound to.
    pub digest: Digest,
    /// Whether an answer may still come.
    pub is_open: bool,
}

impl AskedFor {
    /// What to do next.
    const HINT: &str = "a human has to approve this call; send the identical request again, or one that names the approval in Exeat-Approval";
}

impl Refusal {
    /// A refusal that has no receipt of its own, before a call exists.
    pub fn bare(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            receipt: None,
            retry_after: None,
            asked_for: None,
        }
    }

    /// A refusal of a call, receipted under this id.
    pub(crate) fn receipted(reason: Reason, detail: impl Into<String>, receipt: CallId) -> Self {
        Self {
            reason,
            detail: detail.into(),
            receipt: Some(receipt),
            retry_after: None,
            asked_for: None,
        }
    }

    /// A refusal that ends a call whose receipt is open.
    pub fn of_call(reason: Reason, detail: impl Into<String>, call: CallId) -> Self {
        Self::receipted(reason, detail, call)
    }

    /// Says when the same request may be sent again.
    #[must_use]
    pub(crate) const fn again_in(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// The same, for a door that answers by itself.
    #[must_use]
    pub const fn to_be_repeated_in(self, wait: Option<Duration>) -> Self {
        self.again_in(wait)
    }

    /// Names the approval that it waits for, or that was not given.
    #[must_use]
    pub(crate) fn asking_for(mut self, asked_for: Option<Box<AskedFor>>) -> Self {
        self.asked_for = asked_for;
        self
    }

    /// The approval that it waits for, or that was not given.
    pub fn asked_for(&self) -> Option<&AskedFor> {
        self.asked_for.as_deref()
    }

    /// When the same request may be sent again, in whole seconds, for `Retry-After`.
    pub fn retry_after(&self) -> Option<u64> {
        let wait = self.retry_after?;
        let more = u64::from(wait.subsec_nanos() > 0);
        Some(wait.as_secs().saturating_add(more).max(1))
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
    /// RFC 9457 section 3.1, with the extension members `hint`, `retry`, `receipt` and `approval`.
    pub fn document(&self) -> Vec<u8> {
        let mut document = json!({
            "type": self.reason.urn(),
            "title": self.reason.title(),
            "status": self.reason.status(),
            "detail": self.detail,
            "hint": self.reason.hint(),
            "retry": self.reason.retry(),
        });
        let Some(members) = document.as_object_mut() else {
            return Vec::new();
        };
        if let Some(receipt) = self.receipt {
            members.insert("receipt".to_owned(), receipt.to_string().into());
        }
        if let Some(asked) = &self.asked_for {
            let mut approval = json!({
                "id": asked.id,
                "expires": asked.expires,
                "digest": asked.digest,
            });
            if let (Some(url), Some(approval)) = (&asked.url, approval.as_object_mut()) {
                approval.insert("url".to_owned(), url.as_str().into());
            }
            members.insert("approval".to_owned(), approval);
            if asked.is_open {
                members.insert("retry".to_owned(), true.into());
                members.insert("hint".to_owned(), AskedFor::HINT.into());
            }
        }
        let mut bytes = document.to_string().into_bytes();
        bytes.push(b'\n');
        bytes
    }
}
