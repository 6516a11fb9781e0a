//! A HashiCorp Vault server (or OpenBao), as a store of secrets (KV version 2) and as the client that Transit keys share.
//!
//! The gate logs in with a token, or as an AppRole, whose tokens it renews by logging in again. Texts of the server go
//! nowhere. The vault of Exeat itself is another thing: `vault.rs`.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use exeat_types::{Clock, Origin, Secret, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use crate::{Error, Outside, OwnRequest, Reply, SecretRef, issue::Url};

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// How long a token of an `AppRole` is used at most, whatever its lease.
const LEASE_MAX: Duration = Duration::from_secs(60 * 60);

/// Where a Vault server is, and as whom the gate logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultServer {
    /// Its address.
    pub address: Url,
    /// The namespace, where the server has such.
    pub namespace: Option<String>,
    /// As whom.
    pub login: VaultLogin,
}

/// As whom the gate logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VaultLogin {
    /// With this token, as it is.
    Token(SecretRef),
    /// As an application.
    AppRole {
        /// Where the method is mounted, such as `approle`.
        mount: String,
        /// Its role.
        role: String,
        /// Where its secret id lies.
        secret: SecretRef,
    },
}

impl VaultServer {
    /// What is needed to log in.
    pub const fn secret(&self) -> &SecretRef {
        match &self.login {
            VaultLogin::Token(secret) | VaultLogin::AppRole { secret, .. } => secret,
        }
    }

    /// Where it is.
    pub const fn origin(&self) -> &Origin {
        &self.address.origin
    }

    /// A client that logs in with this secret when it is first asked.
    pub fn client(
        &self,
        secret: Secret,
        outside: Arc<dyn Outside>,
        clock: Arc<dyn Clock>,
    ) -> VaultClient {
        VaultClient {
            server: self.clone(),
            secret,
            outside,
            clock,
            leased: Mutex::default(),
            silent: AtomicBool::new(false),
        }
    }
}

/// A client of a Vault server.
pub struct VaultClient {
    server: VaultServer,
    secret: Secret,
    outside: Arc<dyn Outside>,
    clock: Arc<dyn Clock>,
    leased: Mutex<Option<Leased>>,
    /// It did not answer once. This client reads no secret there any more, so that many do not wait one after the other.
    silent: AtomicBool,
}

/// A token that was obtained, and until when it is used.
struct Leased {
    token: HeaderValue,
    until: Timestamp,
}

/// Why a Vault server gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    #[error("the server does not answer")]
    Silent,
    #[error("the server refuses")]
    Refused,
    #[error("the server has no such thing")]
    Absent,
    #[error("the server fails")]
    Failed,
    #[error("the server answers in an unknown form")]
    UnknownForm,
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct Versioned {
    data: Option<Map<String, Value>>,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    version: u32,
    destroyed: bool,
    deletion_time: String,
}

impl Metadata {
    /// Whether nobody has taken the version away. One may be bound to go at a time that is still to come.
    fn is_in_force(&self, now: Timestamp) -> bool {
        let going = || self.deletion_time.parse::<Timestamp>();
        !self.destroyed && (self.deletion_time.is_empty() || going().is_ok_and(|going| now < going))
    }
}

#[derive(Deserialize)]
struct LoggedIn {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: String,
    lease_duration: u64,
}

impl VaultClient {
    /// One field of the newest version of a secret, and that version. Blocks.
    ///
    /// # Errors
    /// When the server does not answer or refuses, or has no such secret or field, or the field is no text, or the newest
    /// version was deleted. None of these says that there never was one.
    pub fn read(&self, place: &VaultPlace) -> Result<(Secret, u32), Error> {
        // SECURITY: the server says the same of what was never there and of what somebody took away.
        let failed = |problem: Denied| Error::VaultServer {
            name: place.to_string(),
            problem: problem.to_string(),
        };
        if self.silent.load(Ordering::Relaxed) {
            return Err(failed(Denied::Silent));
        }
        let target = format!("{}/data/{}", place.mount, place.path);
        let found = self.ask::<Versioned>(&Method::GET, &target, None);
        if matches!(found, Err(Denied::Silent)) {
            self.silent.store(true, Ordering::Relaxed);
        }
        let Versioned { data, metadata } = found.map_err(failed)?;
        let version = metadata.version;
        let revoked = || Error::SecretRevoked {
            name: place.to_string(),
            store: "Vault",
        };
        let mut fields = data
            .filter(|_| metadata.is_in_force(self.clock.now()))
            .ok_or_else(revoked)?;
        match fields.remove(&place.field) {
            Some(Value::String(text)) => Ok((Secret::new(text.into_bytes()), version)),
            Some(_) => Err(failed(Denied::UnknownForm)),
            None => Err(failed(Denied::Absent)),
        }
    }

    /// Asks below `/v1/`, and reads what is in `data`. A token that is no longer good is replaced once.
    pub(crate) fn ask<T: DeserializeOwned>(
        &self,
        method: &Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<T, Denied> {
        let mut reply = self.send(method, target, body, Some(self.token()?))?;
        let again = matches!(self.server.login, VaultLogin::AppRole { .. });
        if reply.status == StatusCode::FORBIDDEN && again {
            self.forget();
            reply = self.send(method, target, body, Some(self.token()?))?;
        }
        let answer: Answer<T> = read(&reply)?;
        Ok(answer.data)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the gate logs in with the secret"
    )]
    fn token(&self) -> Result<HeaderValue, Denied> {
        let VaultLogin::AppRole { mount, role, .. } = &self.server.login else {
            return sensitive(self.secret.open());
        };
        let now = self.clock.now();
        let mut leased = self.leased.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leased) = leased.as_ref().filter(|leased| now < leased.until) {
            return Ok(leased.token.clone());
        }
        let secret = String::from_utf8_lossy(self.secret.open());
        let body = json!({ "role_id": role, "secret_id": secret });
        let target = format!("auth/{mount}/login");
        let reply = self.send(&Method::POST, &target, Some(&body), None)?;
        let LoggedIn { auth } = read(&reply)?;
        let token = sensitive(auth.client_token.as_bytes())?;
        // A fifth of the lease is left for the request itself, and for clocks that differ.
        let seconds = auth.lease_duration.saturating_mul(4) / 5;
        let until = now.after(Duration::from_secs(seconds).min(LEASE_MAX));
        *leased = Some(Leased {
            token: token.clone(),
            until,
        });
        Ok(token)
    }

    fn forget(&self) {
        *self.leased.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn send(
        &self,
        method: &Method,
        target: &str,
        body: Option<&Value>,
        token: Option<HeaderValue>,
    ) -> Result<Reply, Denied> {
        let mut headers = HeaderMap::new();
        headers.extend(token.map(|token| (TOKEN, token)));
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        if let Some(namespace) = &self.server.namespace {
            let value = HeaderValue::from_str(namespace).map_err(|_cause| Denied::Refused)?;
            headers.insert(NAMESPACE, value);
        }
        if body.is_some() {
            let json = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, json);
        }
        let base = self.server.address.target.trim_end_matches('/');
        let body = body.map(Value::to_string).unwrap_or_default();
        let reply = self.outside.send_and_wait(OwnRequest {
            method: method.clone(),
            origin: self.server.address.origin.clone(),
            target: format!("{base}/v1/{target}"),
            headers,
            body: Secret::new(body.into_bytes()),
            identity: None,
        });
        reply.map_err(|_cause| Denied::Silent)
    }
}

impl fmt::Debug for VaultClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultClient")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the reply of the server holds the secret"
)]
fn read<T: DeserializeOwned>(reply: &Reply) -> Result<T, Denied> {
    match reply.status {
        StatusCode::OK => {
            serde_json::from_slice(reply.body.open()).map_err(|_cause| Denied::UnknownForm)
        }
        StatusCode::NOT_FOUND => Err(Denied::Absent),
        status if status.is_client_error() => Err(Denied::Refused),
        _ => Err(Denied::Failed),
    }
}

fn sensitive(token: &[u8]) -> Result<HeaderValue, Denied> {
    let mut value = HeaderValue::from_bytes(token).map_err(|_cause| Denied::Refused)?;
    value.set_sensitive(true);
    Ok(value)
}

/// One field of a secret in KV version 2: `MOUNT/PATH#FIELD`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VaultPlace {
    text: String,
    mount: String,
    path: String,
    field: String,
}

impl VaultPlace {
    /// Reads `MOUNT/PATH#FIELD`. The mount is the first part of the path.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (place, field) = text.split_once('#')?;
        let (mount, path) = place.split_once('/')?;
        let plain = |part: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            !part.is_empty() && part.bytes().all(allowed) && !matches!(part, "." | "..")
        };
        let good = plain(mount) && path.split('/').all(plain) && plain(field);
        good.then(|| Self {
            text: text.to_owned(),
            mount: mount.to_owned(),
            path: path.to_owned(),
            field: field.to_owned(),
        })
    }

    /// As it is written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for VaultPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_in_force_until_the_time_of_its_deletion() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        for (destroyed, deletion_time, expect) in [
            (false, "", true),
            (false, "2026-01-31T12:00:00.000000001Z", false),
            (false, "2026-01-31T11:59:59Z", false),
            (false, "2026-01-31T12:00:01.5Z", true),
            (false, "tomorrow", false),
            (true, "", false),
            (true, "2027-01-31T12:00:00Z", false),
        ] {
            let metadata = Metadata {
                version: 1,
                destroyed,
                deletion_time: deletion_time.to_owned(),
            };
            assert_eq!(metadata.is_in_force(now), expect, "{deletion_time}");
        }
    }
}
