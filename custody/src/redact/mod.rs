//! Redaction: finds the gate's secrets in what upstream sends, in every common encoding, while it streams.
//!
//! Owns the table of encodings, the matcher, the token formats, the streaming redactor, the decoders of content codings
//! before it, and what a tool may ask for besides: personal information, hidden text, markers, sizes. It must never emit
//! a byte of a match, never hold a byte longer than a match needs, and never let through what it cannot read: an unknown
//! coding, a bomb or a malformed frame is [`Unsafe`]. Encrypted and archived content is out of reach. Read `body.rs` and `text.rs` for the order, `patterns.rs` and `stream.rs` for secrets.

mod body;
mod decode;
mod deltas;
mod encodings;
mod escapes;
mod filter;
mod formats;
mod grpc;
mod gzip;
mod headers;
mod hidden;
mod layer;
mod markers;
mod newest;
mod patterns;
mod pii;
mod stream;
mod text;
mod websocket;

use std::{collections::BTreeMap, sync::Arc};

pub use body::{BodyRules, BodyScrubber};
pub use deltas::{DeltaPath, Deltas, Pieces};
pub use grpc::GrpcScrubber;
pub use hidden::HiddenText;
pub(crate) use layer::Layer;
pub use markers::{Flags, MARKERS, Markers};
pub use newest::Newest;
pub(crate) use patterns::Formatted;
pub use patterns::Patterns;
pub use pii::{PiiKind, PiiStream};
pub use stream::Stream;
pub use text::{Hidden, Looking, Text, TextRules, Written};
pub use websocket::{Deflate, Stopped, WebSocketScrubber, WebSocketWatch};

/// How many redactions were made, by label: a credential's id, or the name of a token format.
pub type Hits = BTreeMap<Arc<str>, u64>;

/// What happens to strings that look like somebody's token, such as `ghp_...`, but are no known secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Formats {
    /// They are redacted; the default for calls that carry a credential.
    Redact,
    /// They pass.
    Keep,
}

/// A response that cannot be made safe; the call ends with `response-unsafe` and nothing more is delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsafe {
    /// The content coding is none that can be read.
    #[error("expected gzip, deflate, br, zstd or identity, got content coding `{0}`")]
    UnknownCoding(String),
    /// More codings are stacked than anybody needs.
    #[error("more than {0} content codings are stacked")]
    StackedCodings(usize),
    /// The content grows beyond what decoding may produce.
    #[error("the content expands too far under `{0}`")]
    Expanding(&'static str),
    /// The content is not what its coding says.
    #[error("the content is not valid `{0}`")]
    Corrupt(&'static str),
    /// The content ends in the middle of its coding.
    #[error("the content ends in the middle of `{0}`")]
    Truncated(&'static str),
    /// Something that has to be whole before it goes on does not end.
    #[error("{0} is longer than may be held")]
    Held(&'static str),
    /// The content is larger than its tool allows.
    #[error("the content is larger than {0} bytes")]
    TooLarge(u64),
    /// A WebSocket frame breaks a rule that redaction depends on.
    #[error("WebSocket frame: {0}")]
    Frame(&'static str),
    /// A response that may hand out tokens could not be read, so that none was found.
    #[error("a response that hands out tokens: {0}")]
    Minting(&'static str),
    /// Tokens that a response hands out were found, and could not be replaced.
    #[error("tokens of a response: {0}")]
    Unkept(&'static str),
    /// A gRPC message is compressed, or holds a secret.
    #[error("gRPC message: {0}")]
    Message(&'static str),
}

/// A secret is too short to be told from ordinary text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the secret of `{label}` is shorter than {min} bytes, too short to be redacted")]
pub struct TooShort {
    /// The label it was given under.
    pub label: String,
    /// The shortest that is accepted.
    pub min: usize,
}
