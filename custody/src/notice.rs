//! The secrets of notices, which tell people that a question waits: tokens of servers, the key that Web Push is signed
//! with, and the addresses of browsers that want to be told.

use exeat_types::{Algorithm, DeviceFailure, Origin, Secret};
use http::{HeaderMap, HeaderValue, Method, header::AUTHORIZATION};
use serde_json::Value;

use crate::{Error, Keep, OwnRequest, SoftwareSigner};

/// Where the key is kept.
const KEY: &str = "web-push/key";
/// Where the addresses are kept.
const BROWSERS: &str = "web-push/browsers";

/// Where the secret of a notice stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// As the bearer token.
    Token,
    /// As path and query.
    Target,
}

/// A notice without its secret.
#[derive(Debug, Clone)]
pub struct Notice {
    /// Where it goes.
    pub origin: Origin,
    /// Path and query, unless they are the secret.
    pub target: String,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

impl Notice {
    /// The request, with the secret in its place.
    ///
    /// # Errors
    /// When the secret has characters that cannot stand there, or, as a target, is none.
    #[expect(
        clippy::disallowed_methods,
        reason = "the request is made of the secret"
    )]
    pub fn request(self, secret: Option<(&Secret, Place)>) -> Result<OwnRequest, Error> {
        let Self {
            origin,
            mut target,
            mut headers,
            body,
        } = self;
        match secret {
            None => {}
            Some((token, Place::Token)) => {
                let mut value = b"Bearer ".to_vec();
                value.extend_from_slice(token.open());
                let value = HeaderValue::from_maybe_shared(bytes::Bytes::from(value));
                let mut value = value.map_err(|_cause| Error::NoticeSecret)?;
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
            }
            Some((path, Place::Target)) => {
                let text = std::str::from_utf8(path.open());
                let text = text.map_err(|_cause| Error::NoticeSecret)?.trim();
                let is_plain = |c: char| c.is_ascii_graphic() && c != '#';
                if !text.starts_with('/') || text.starts_with("//") || !text.chars().all(is_plain) {
                    return Err(Error::NoticeSecret);
                }
                text.clone_into(&mut target);
            }
        }
        Ok(OwnRequest {
            method: Method::POST,
            origin,
            target,
            headers,
            body: Secret::new(body),
            identity: None,
        })
    }
}

/// The key that Web Push is signed with, on P-256. It is made when there is none yet. Blocks.
///
/// # Errors
/// When it cannot be made or kept, or what was kept is no such key.
pub fn push_signer(keep: &dyn Keep) -> Result<SoftwareSigner, Error> {
    let key = match keep.load(KEY)? {
        Some(key) => key,
        None => {
            let key = SoftwareSigner::new_key(Algorithm::Es256).map_err(DeviceFailure)?;
            keep.store(KEY, &key)?;
            key
        }
    };
    Ok(SoftwareSigner::from_key(&key).map_err(DeviceFailure)?)
}

/// The browsers that want to be told, as they were kept; nothing if none were. Blocks.
///
/// # Errors
/// When they cannot be read.
#[expect(
    clippy::disallowed_methods,
    reason = "messages are made of the addresses"
)]
pub fn browsers(keep: &dyn Keep) -> Result<Option<Value>, Error> {
    let damaged = |_cause| Error::NoticeSecret;
    let kept = keep.load(BROWSERS)?;
    kept.map(|kept| serde_json::from_slice(kept.open()).map_err(damaged))
        .transpose()
}

/// Keeps the browsers that want to be told, sealed: whoever has an address can disturb its owner. Blocks.
///
/// # Errors
/// When they cannot be kept.
pub fn keep_browsers(keep: &dyn Keep, browsers: &Value) -> Result<(), Error> {
    keep.store(BROWSERS, &Secret::new(browsers.to_string().into_bytes()))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Mutex};

    use exeat_types::Signer as _;
    use serde_json::json;

    use super::*;

    #[derive(Default)]
    struct Memory(Mutex<HashMap<String, Secret>>);

    impl Keep for Memory {
        fn load(&self, name: &str) -> Result<Option<Secret>, Error> {
            let kept = self.0.lock().unwrap();
            Ok(kept.get(name).map(Secret::duplicate))
        }

        fn store(&self, name: &str, secret: &Secret) -> Result<(), Error> {
            let mut kept = self.0.lock().unwrap();
            kept.insert(name.to_owned(), secret.duplicate());
            Ok(())
        }

        fn remove(&self, name: &str) -> Result<(), Error> {
            self.0.lock().unwrap().remove(name);
            Ok(())
        }
    }

    #[test]
    fn the_key_and_the_browsers_are_the_same_the_next_time() {
        let memory = Memory::default();
        let first = push_signer(&memory).unwrap();
        assert_eq!(first.algorithm(), Algorithm::Es256);
        assert_eq!(
            push_signer(&memory).unwrap().public_key(),
            first.public_key()
        );
        assert_eq!(browsers(&memory).unwrap(), None);
        let list = json!([{"endpoint": "https://push.example/CANARY-3"}]);
        keep_browsers(&memory, &list).unwrap();
        assert_eq!(browsers(&memory).unwrap(), Some(list));
    }

    fn notice() -> Notice {
        Notice {
            origin: "https://ntfy.example".parse().unwrap(),
            target: "/topic".to_owned(),
            headers: HeaderMap::new(),
            body: b"a question waits".to_vec(),
        }
    }

    #[track_caller]
    fn check(secret: &str, place: Place, expected: Option<(&str, Option<&str>)>) {
        let secret = Secret::new(secret.into());
        let made = notice().request(Some((&secret, place)));
        match (made, expected) {
            (Ok(request), Some((target, token))) => {
                assert_eq!(request.target, target);
                let sent = request.headers.get(AUTHORIZATION);
                assert_eq!(sent.map(HeaderValue::as_bytes), token.map(str::as_bytes));
                assert!(sent.is_none_or(HeaderValue::is_sensitive));
            }
            (Err(error), None) => assert!(!error.to_string().contains("CANARY")),
            (Ok(_), None) | (Err(_), Some(_)) => panic!("expected {expected:?}"),
        }
    }

    #[test]
    fn a_secret_stands_where_it_belongs_or_nothing_is_sent() {
        use Place::{Target, Token};
        check("CANARY-1", Token, Some(("/topic", Some("Bearer CANARY-1"))));
        check("CANARY-1\r\nx: y", Token, None);
        check(
            "/services/CANARY-2?a=b\n",
            Target,
            Some(("/services/CANARY-2?a=b", None)),
        );
        check("services/CANARY-2", Target, None);
        check("//elsewhere.example/CANARY-2", Target, None);
        check("https://hooks.example/CANARY-2", Target, None);
        check("/CANARY-2 HTTP/1.1", Target, None);
        let plain = notice().request(None).unwrap();
        assert_eq!((plain.target.as_str(), plain.headers.len()), ("/topic", 0));
    }
}
