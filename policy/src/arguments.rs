//! A request as policy sees it, and the typed arguments that a check makes of it.

use std::sync::OnceLock;

use exeat_types::{Digest, Origin, canonical_json};
use http::{HeaderMap, Method};
use serde::Serialize;
use serde_json::Value;

/// The parts of a request that can hold arguments, in canonical form.
pub struct Request<'a> {
    /// The method.
    pub method: &'a Method,
    /// The origin it is meant for.
    pub origin: &'a Origin,
    /// The canonical path, without the query.
    pub path: &'a str,
    /// The query, without `?`.
    pub query: Option<&'a str>,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// The body.
    pub body: Body<'a>,
}

/// The body of a request as far as it is known before the decision.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    /// There is none.
    Absent,
    /// All of it.
    Whole(&'a [u8]),
    /// It is still to come.
    Streamed,
}

/// One thing wrong with a request's arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Where: `path.owner`, `query.page`, `header.x-api-version`, `body/title`.
    pub place: String,
    /// What is wrong, without repeating long values.
    pub problem: String,
}

impl Violation {
    pub(crate) fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            problem: problem.into(),
        }
    }
}

/// The declared arguments of a call, typed as the tool's schema says.
#[derive(Debug)]
pub struct Arguments {
    /// `{"path": {}, "query": {}, "header": {}, "body": .., "git": {}, "graphql": {}, "llm": {}}`, only what was declared and sent.
    pub value: Value,
    /// What is sent instead of the body that came, when the tool took something out of it. This is what was judged.
    pub body: Option<Vec<u8>>,
    digest: OnceLock<Digest>,
}

impl Arguments {
    pub(crate) const fn new(value: Value) -> Self {
        Self {
            value,
            body: None,
            digest: OnceLock::new(),
        }
    }

    /// No arguments: those of a request that no tool declares.
    pub fn none() -> Self {
        Self::new(Value::Object(serde_json::Map::new()))
    }

    /// The digest of the canonical JSON of the arguments.
    pub fn digest(&self) -> Digest {
        let of = || canonical_json(&self.value).unwrap_or_default();
        *self.digest.get_or_init(|| Digest::of(&of()))
    }
}
