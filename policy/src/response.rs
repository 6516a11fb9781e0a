//! What a tool asks of its responses, as declared. Custody and the pipeline carry it out.

use exeat_types::{MintForm, Reach};
use http::HeaderName;

use crate::Slot;

/// What is done to every response of a tool, besides taking out what custody keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseRules {
    /// JSON pointers whose values are taken out.
    pub remove: Vec<String>,
    /// The largest body that the agent gets.
    pub bytes_max: Option<u64>,
    /// Personal information that is taken out.
    pub pii: Vec<Pii>,
    /// What happens to text that nobody sees.
    pub hidden: HiddenText,
    /// What happens to phrases that are known from prompt injections.
    pub markers: Markers,
    /// JSON pointers to texts that arrive in pieces, one in each event.
    pub deltas: Vec<String>,
    /// The secrets that it hands out, of which the agent gets placeholders.
    pub mints: Mints,
}

/// The secrets that responses hand out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Mints {
    /// None.
    #[default]
    Nothing,
    /// Those of a response whose form is known.
    Form {
        /// The form.
        form: MintForm,
        /// The hosts that the tokens may go to; none stands for the tool's own.
        to: Vec<Reach>,
    },
    /// Those at these places.
    Places(Vec<MintPlace>),
}

/// A place in a response that holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MintPlace {
    /// The place.
    pub at: MintedAt,
    /// The hosts that the secret may go to.
    pub to: Vec<Reach>,
    /// Where its placeholder may stand there.
    pub slots: Vec<Slot>,
}

/// Where a response holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MintedAt {
    /// In this header.
    Header(HeaderName),
    /// At this JSON pointer.
    Pointer(String),
}

/// A kind of personal information.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pii {
    /// Numbers of payment cards.
    Card,
    /// US social security numbers.
    Ssn,
    /// International bank account numbers.
    Iban,
    /// E-mail addresses.
    Email,
}

impl Pii {
    /// Every kind, with the word in tool files.
    pub const NAMED: [(&'static str, Self); 4] = [
        ("card", Self::Card),
        ("ssn", Self::Ssn),
        ("iban", Self::Iban),
        ("email", Self::Email),
    ];

    /// The word in tool files.
    pub fn name(self) -> &'static str {
        let named = Self::NAMED.iter().find(|(_, kind)| *kind == self);
        named.map_or("", |(name, _)| name)
    }
}

/// What happens to hidden characters and controls in text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HiddenText {
    /// They pass.
    #[default]
    Keep,
    /// They are dropped.
    Strip,
}

/// What happens to markers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Markers {
    /// They are not looked for.
    #[default]
    Ignore,
    /// They are flagged, and pass.
    Flag,
}
