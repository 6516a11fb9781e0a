//! How a person grants a credential: what they are shown, where their browser comes back to, and what came of it.
//!
//! Whoever carries it out (a browser to open, a listener on loopback) is outside custody. What is secret while a grant is
//! under way lies in a value that is used up by going on, so that no answer is taken twice.

use std::{sync::Arc, time::Duration};

use exeat_types::{Secret, Timestamp};
use oauth2::StandardDeviceAuthorizationResponse;

use super::{Keep, NotIssued, Work, oauth::Metadata};
use crate::{Error, Waiting};

/// Lets a person grant a credential.
pub trait Connect: Send + Sync {
    /// What a person has to do.
    fn way(&self) -> Way;

    /// Begins. `landing` is the whole URL that the browser is sent back to, where there is one; `wanted` are scopes besides
    /// those that are declared.
    fn begin<'a>(
        &'a self,
        landing: Option<&'a str>,
        wanted: &'a [String],
        work: Work<'a>,
    ) -> Waiting<'a, Result<Begun, NotIssued>>;

    /// Goes on with the query that the browser came back with, which [`Pending::fits`].
    fn land<'a>(
        &'a self,
        pending: Pending,
        query: &'a str,
        work: Work<'a>,
    ) -> Waiting<'a, Result<Connection, NotIssued>>;

    /// Waits until the person has agreed on another device.
    fn wait<'a>(
        &'a self,
        pending: Pending,
        work: Work<'a>,
    ) -> Waiting<'a, Result<Connection, NotIssued>>;

    /// What was granted, as it is kept.
    ///
    /// # Errors
    /// When the store fails.
    fn connection(&self, keep: &dyn Keep) -> Result<Option<Connection>, NotIssued>;

    /// Asks the issuer whether it still holds (RFC 7662).
    fn ask<'a>(&'a self, work: Work<'a>) -> Waiting<'a, Result<Standing, NotIssued>>;

    /// Forgets it here, whatever the issuer thinks of it.
    ///
    /// # Errors
    /// When the store fails.
    fn forget(&self, keep: &dyn Keep) -> Result<(), Error>;
}

/// What a person has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Agree in a browser, which is then sent back to a listener on loopback (RFC 8252 section 7.3).
    Browser(Landing),
    /// Type a code on any device (RFC 8628).
    Code,
}

/// Where the browser is sent back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landing {
    /// The host as the server knows it: `127.0.0.1` or `localhost`. It is loopback in any case.
    pub host: String,
    /// The port, where the server insists on one.
    pub port: Option<u16>,
    /// The one path that is listened to.
    pub path: String,
}

/// A grant that is under way.
pub struct Begun {
    /// What to open.
    pub url: String,
    /// What to type there, if anything.
    pub code: Option<String>,
    /// The same page with the code filled in.
    pub whole_url: Option<String>,
    /// For how long.
    pub within: Duration,
    /// The scopes that are asked for.
    pub scopes: Vec<String>,
    /// What goes on.
    pub pending: Pending,
}

/// What goes on with a grant: state, verifier and code in one value that is used up by going on.
pub struct Pending {
    /// The scopes that are asked for.
    pub(super) scopes: Vec<String>,
    /// The key that the tokens will be bound to, PKCS#8, where it is not in a signer.
    pub(super) key: Option<Secret>,
    /// What is waited for.
    pub(super) stage: Stage,
}

/// What a grant waits for.
pub(super) enum Stage {
    /// A browser.
    Landing {
        /// What the browser has to bring back.
        state: Secret,
        /// What proves that it is us who began (RFC 7636).
        verifier: Secret,
        /// Where the browser is sent back to.
        landing: String,
        /// The server that was asked, and the only one that is believed.
        at: Arc<Metadata>,
    },
    /// A person who types.
    Code(Box<StandardDeviceAuthorizationResponse>),
}

impl Pending {
    /// Whether a browser that comes back with this query belongs to this grant. Any other changes nothing.
    pub fn fits(&self, query: &str) -> bool {
        let Stage::Landing { state, .. } = &self.stage else {
            return false;
        };
        let mut states =
            form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "state");
        match (states.next(), states.next()) {
            (Some((_, brought)), None) => state.matches(brought.as_bytes()),
            (_, Some(_)) | (None, None) => false,
        }
    }
}

/// What was granted; never a value of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Who granted it.
    pub issuer: String,
    /// The scopes that were granted.
    pub scopes: Vec<String>,
    /// When the last token was obtained.
    pub obtained: Timestamp,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// Whether it can be renewed without a person.
    pub renews: bool,
    /// Whether tokens are bound to a key (RFC 9449).
    pub bound: bool,
    /// Why it is of no use any more, if it is not.
    pub dead: Option<String>,
}

/// What the issuer says of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is good.
    pub active: bool,
    /// Its scopes, as far as the issuer says.
    pub scopes: Vec<String>,
    /// When it ends, in seconds since 1970.
    pub expires_secs: Option<i64>,
    /// The thumbprint of the key it is bound to.
    pub bound_to: Option<String>,
}
