//! Words about credentials: sealed secrets, signers, and what persons granted. Never a value of one.

use exeat_types::{CredentialId, Timestamp};
use serde::{Deserialize, Serialize};

/// A sealed secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct SecretEntry {
    /// Its name.
    pub(crate) name: String,
    /// Counts its changes.
    pub(crate) version: u32,
    /// When this version was stored.
    pub(crate) created: Timestamp,
}

/// What is to be given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct DisconnectOrder {
    /// Which.
    pub(crate) credential: CredentialId,
    /// Whether it is forgotten even if its issuer cannot be told.
    pub(crate) forget: bool,
}

/// What is asked of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ConnectionQuery {
    /// Whether each issuer is asked if it still holds.
    pub(crate) ask: bool,
}

/// A step on the way to a granted credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub(crate) enum ConnectStep {
    /// A person has to agree there.
    #[serde(rename_all = "kebab-case")]
    Visit {
        /// The page.
        url: String,
        /// What to type there, if anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// The same page with the code filled in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        whole_url: Option<String>,
        /// What is asked for.
        scopes: Vec<String>,
    },
    /// It is granted.
    Connected(ConnectionEntry),
}

/// What a person granted, without any token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ConnectionEntry {
    /// The credential.
    pub(crate) credential: CredentialId,
    /// `absent`, `live`, `ended`, `revoked` or `dead`.
    pub(crate) state: String,
    /// Who granted it.
    pub(crate) issuer: String,
    /// What was granted.
    pub(crate) scopes: Vec<String>,
    /// What servers asked for besides; the next connect asks for it.
    pub(crate) wanted: Vec<String>,
    /// When the last token was obtained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) obtained: Option<Timestamp>,
    /// When that ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<Timestamp>,
    /// Whether it is renewed without a person.
    pub(crate) renews: bool,
    /// Whether tokens are bound to a key.
    pub(crate) bound: bool,
    /// What its issuer says, if it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) active: Option<bool>,
}

/// A signer, and its public key when it can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct SignerEntry {
    /// Its name.
    pub(crate) name: String,
    /// Where its key lies.
    pub(crate) kind: String,
    /// What it signs with, by its JOSE name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) algorithm: Option<String>,
    /// Its public key as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pem: Option<String>,
    /// Its public key as a line of OpenSSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ssh: Option<String>,
    /// Its public key as a JSON Web Key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) jwk: Option<serde_json::Value>,
    /// Why it cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}
