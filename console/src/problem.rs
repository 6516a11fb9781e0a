//! What goes wrong, as a page for people and as problem details (RFC 9457) for programs.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use maud::html;
use serde_json::json;

use crate::{Failed, layout};

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    text: String,
    help: Option<String>,
}

impl Problem {
    /// A problem of this status.
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            help: None,
        }
    }

    /// There is no such thing.
    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// It was asked for wrongly.
    pub(crate) fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// It may not be done so.
    pub(crate) fn forbidden(text: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, text)
    }

    /// It cannot be done as things stand.
    pub(crate) fn conflict(text: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, text)
    }

    /// We failed.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    /// Says what to do next.
    pub(crate) fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }
}

impl From<Failed> for Problem {
    fn from(failed: Failed) -> Self {
        let problem = Self::conflict(failed.problem);
        match failed.help {
            Some(help) => problem.help(help),
            None => problem,
        }
    }
}

impl From<exeat_ledger::Error> for Problem {
    fn from(error: exeat_ledger::Error) -> Self {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the ledger failed"
        );
        Self::failed("the ledger could not be read").help("the gate's log says why")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = title(self.status);
        let content = html! {
            h1 { (title) }
            p.lead { (layout::marked(&sentence(&self.text))) }
            @if let Some(help) = &self.help { p { (layout::marked(&sentence(help))) } }
            p { a.button href="/" { "Back to the console" } }
        };
        let mut response = layout::bare(title, content);
        *response.status_mut() = self.status;
        response
    }
}

/// An answer of a script's question.
#[derive(Debug)]
pub(crate) struct Told(pub(crate) Problem);

impl From<Problem> for Told {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Told {
    fn into_response(self) -> Response {
        document(self.0.status, &self.0.text, self.0.help.as_deref())
    }
}

/// A page for people.
pub(crate) fn page(status: StatusCode, text: &str) -> Response {
    Problem::new(status, text).into_response()
}

/// Problem details for programs.
pub(crate) fn document(status: StatusCode, text: &str, help: Option<&str>) -> Response {
    let document = json!({
        "type": "about:blank",
        "title": title(status),
        "status": status.as_u16(),
        "detail": text,
        "hint": help,
    });
    let mut response = (status, document.to_string()).into_response();
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn title(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Problem")
}

/// Messages begin low and have no end; on a page they are sentences.
pub(crate) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let mut out: String = letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default();
    if !out.ends_with(['.', '!', '?']) {
        out.push('.');
    }
    out
}
