//! A browser that wants to be told, as it says so itself.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use exeat_types::{Digest, Origin, Scheme};
use serde::{Deserialize, Serialize};

use crate::notify::Undelivered;

/// What an endpoint has at most.
const ENDPOINT_MAX: usize = 2048;

/// Where a browser is reached and the keys it reads with. SECURITY: whoever knows the endpoint can disturb the browser's user, so
/// that it is kept sealed and shown nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Said", into = "Said")]
pub struct Subscription {
    said: Said,
    origin: Origin,
    target: String,
    key: Vec<u8>,
    auth: Vec<u8>,
}

/// The same as browsers write it (`PushSubscription.toJSON`), as far as it matters.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    endpoint: String,
    p256dh: String,
    auth: String,
}

/// Why a browser cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is not what browsers write.
    #[error("expected the endpoint and both keys of a push subscription")]
    Malformed,
    /// No channel of the settings is for browsers.
    #[error("no `[[notify]]` of kind `web-push` is declared")]
    NoChannel,
    /// Its push service is not one that the settings name.
    #[error("the push service of this browser is not among `origins`")]
    Elsewhere,
    /// There are as many already as are told.
    #[error("too many browsers have subscribed")]
    TooMany,
    /// It could not be kept.
    #[error("the subscription could not be kept")]
    NotKept(#[from] Undelivered),
}

impl Subscription {
    /// Reads what a browser says.
    ///
    /// # Errors
    /// When it is not what browsers write.
    pub fn new(endpoint: &str, p256dh: &str, auth: &str) -> Result<Self, Unusable> {
        let plain = |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
        let malformed = || Unusable::Malformed;
        let key = plain(p256dh).map_err(|_cause| malformed())?;
        let secret = plain(auth).map_err(|_cause| malformed())?;
        let is_point = key.len() == 65 && key.first() == Some(&4);
        if !is_point || secret.len() != 16 || endpoint.len() > ENDPOINT_MAX {
            return Err(malformed());
        }
        let rest = endpoint.strip_prefix("https://").ok_or_else(malformed)?;
        let (authority, target) = rest.split_once('/').ok_or_else(malformed)?;
        let is_plain = |c: char| c.is_ascii_graphic() && c != '#' && c != '\\' && c != '"';
        if !target.chars().all(is_plain) {
            return Err(malformed());
        }
        let origin: Origin = format!("https://{authority}")
            .parse()
            .map_err(|_cause| malformed())?;
        if origin.scheme != Scheme::Https {
            return Err(malformed());
        }
        Ok(Self {
            said: Said {
                endpoint: endpoint.to_owned(),
                p256dh: p256dh.to_owned(),
                auth: auth.to_owned(),
            },
            origin,
            target: format!("/{target}"),
            key,
            auth: secret,
        })
    }

    /// What it is known by: a digest of its endpoint.
    pub fn id(&self) -> String {
        Digest::of(self.said.endpoint.as_bytes()).to_string()
    }

    /// Its push service.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(in crate::notify) fn is_at(&self, origins: &[Origin]) -> bool {
        origins.contains(&self.origin)
    }

    pub(super) fn target(&self) -> &str {
        &self.target
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(super) fn auth(&self) -> &[u8] {
        &self.auth
    }
}

impl TryFrom<Said> for Subscription {
    type Error = Unusable;

    fn try_from(said: Said) -> Result<Self, Unusable> {
        Self::new(&said.endpoint, &said.p256dh, &said.auth)
    }
}

impl From<Subscription> for Said {
    fn from(subscription: Subscription) -> Self {
        subscription.said
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}
