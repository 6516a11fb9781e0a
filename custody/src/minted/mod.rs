//! Tokens that responses hand out: the agent gets a fresh placeholder, the token stays here.
//!
//! `places.rs` finds the tokens in a body, `rewrite.rs` puts placeholders in their place, `shelf.rs` keeps the tokens
//! until they expire, in memory only, and tells which one a placeholder means. It must never let a body pass that it
//! could not read whole, and never resolve a placeholder for another agent, host or place than it was made for.

mod places;
mod rewrite;
mod shelf;

use exeat_types::{AgentId, MintForm, Origin, Reach, Secret, Timestamp};
use http::{HeaderName, header::AUTHORIZATION};

use crate::Slot;

pub use rewrite::Rewritten;
pub(crate) use shelf::{MintedToken, MintedTokens};

/// Which secrets a response hands out, and where each may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MintRule {
    /// Where in the response it stands.
    pub at: MintedAt,
    /// What it is.
    pub part: MintedPart,
    /// The hosts that its placeholder may be sent to.
    pub to: Vec<Reach>,
    /// The places where its placeholder may stand there.
    pub slots: Vec<Slot>,
}

/// Where a response holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MintedAt {
    /// In this header field.
    Header(HeaderName),
    /// In every member, form field or element of this name, however deep.
    Member(&'static str),
    /// At this JSON pointer.
    Pointer(String),
}

/// What a minted secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MintedPart {
    /// A token that lives as long as the response says.
    Token,
    /// A token that outlives the others, such as a refresh token.
    Lasting,
    /// Signed claims that a client reads: they stay readable, their signature does not stay valid.
    Claims,
    /// The id of an access key of AWS, which belongs to the other two.
    KeyId,
    /// Its secret.
    SecretKey,
    /// The token of its session.
    SessionToken,
}

impl MintRule {
    /// What is secret in a response of this form from `here`: tokens may go `to` these hosts, a refresh token only back.
    pub fn known(form: MintForm, to: &[Reach], here: &Origin) -> Vec<Self> {
        use MintedPart::{Claims, KeyId, Lasting, SecretKey, SessionToken, Token};
        let members: &[(&'static str, MintedPart)] = match form {
            MintForm::Oauth => &[
                ("access_token", Token),
                ("accessToken", Token),
                ("refresh_token", Lasting),
                ("refreshToken", Lasting),
                ("id_token", Claims),
                ("idToken", Claims),
            ],
            MintForm::Sts => &[
                ("AccessKeyId", KeyId),
                ("accessKeyId", KeyId),
                ("SecretAccessKey", SecretKey),
                ("secretAccessKey", SecretKey),
                ("SessionToken", SessionToken),
                ("sessionToken", SessionToken),
            ],
            MintForm::Registry => &[
                ("token", Token),
                ("access_token", Token),
                ("refresh_token", Lasting),
            ],
            MintForm::Github => &[("token", Token)],
        };
        let rule = |(name, part): &(&'static str, MintedPart)| {
            let back = || vec![Reach::from(here.clone())];
            let (to, slots) = match part {
                Token => (to.to_vec(), vec![Slot::Header(AUTHORIZATION)]),
                Lasting => (back(), vec![Slot::Body(format!("/{name}"))]),
                Claims => (Vec::new(), Vec::new()),
                KeyId | SecretKey | SessionToken => (to.to_vec(), Vec::new()),
            };
            Self {
                at: MintedAt::Member(name),
                part: *part,
                to,
                slots,
            }
        };
        members.iter().map(rule).collect()
    }
}

/// A response that hands out secrets, and to whom.
#[derive(Clone, Copy)]
pub struct Minting<'a> {
    /// Who would get them.
    pub agent: &'a AgentId,
    /// What is secret in it.
    pub rules: &'a [MintRule],
    /// The time.
    pub now: Timestamp,
}

/// An access key of AWS that a response handed out.
pub(crate) struct MintedKeys {
    /// Its id.
    pub(crate) id: Secret,
    /// Its secret.
    pub(crate) secret: Secret,
    /// The token of its session, if it has one.
    pub(crate) session: Option<Secret>,
    /// What the agent holds of it.
    pub(crate) placeholders: Vec<String>,
}
