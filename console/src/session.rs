//! Who is signed in: a random cookie each, known by its digest, kept in memory and nowhere else.
//!
//! INVARIANT: a session begins with a passkey (`sign_in/`) and with nothing else; it ends when it was idle for an hour, after
//! twelve in any case, when its key is removed, and with the process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use exeat_types::{DeviceFailure, Digest, Timestamp, random_bytes};
use http::{HeaderMap, HeaderValue, header};
use subtle::ConstantTimeEq as _;

use crate::PublicOrigin;

/// How long a session lives at most.
const LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// How long it lives without a request.
const IDLE: Duration = Duration::from_secs(60 * 60);
/// Sessions that are kept; the oldest goes first.
const SESSIONS_MAX: usize = 256;

/// Somebody who is signed in.
#[derive(Debug)]
pub(crate) struct Session {
    /// Whose passkey it was.
    pub(crate) user: String,
    /// The id of that passkey, base64url.
    pub(crate) key: String,
    /// What a form or a script has to send back.
    pub(crate) csrf: String,
    /// When it began.
    pub(crate) since: Timestamp,
    id: Digest,
    seen: Mutex<Timestamp>,
}

impl Session {
    /// Whether this is what the session's pages were given.
    pub(crate) fn has_csrf(&self, sent: &str) -> bool {
        self.csrf.as_bytes().ct_eq(sent.as_bytes()).into()
    }

    fn is_over(&self, now: Timestamp) -> bool {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        now.since(self.since) >= LIFE || now.since(seen) >= IDLE
    }

    fn touch(&self, now: Timestamp) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = (*seen).max(now);
    }
}

/// A session that has just begun.
pub(crate) struct Opened {
    /// `Set-Cookie`.
    pub(crate) cookie: HeaderValue,
}

/// Everybody who is signed in.
pub(crate) struct Sessions {
    known: Mutex<HashMap<Digest, Arc<Session>>>,
    name: &'static str,
    secure: &'static str,
}

impl Sessions {
    pub(crate) fn new(origin: &PublicOrigin) -> Self {
        // Browsers take the `__Host-` prefix with `Secure` only, and `Secure` over https only.
        let (name, secure) = if origin.is_https() {
            ("__Host-exeat", "; Secure")
        } else {
            ("exeat", "")
        };
        Self {
            known: Mutex::default(),
            name,
            secure,
        }
    }

    /// Begins a session for the owner of a passkey that has just been used.
    ///
    /// # Errors
    /// When no random bytes are to be had.
    pub(crate) fn open(
        &self,
        user: &str,
        key: &str,
        now: Timestamp,
    ) -> Result<Opened, DeviceFailure> {
        let cookie = URL_SAFE_NO_PAD.encode(random_bytes::<32>()?);
        let id = Digest::of(cookie.as_bytes());
        let session = Arc::new(Session {
            user: user.to_owned(),
            key: key.to_owned(),
            csrf: URL_SAFE_NO_PAD.encode(random_bytes::<32>()?),
            since: now,
            id,
            seen: Mutex::new(now),
        });
        let mut known = self.known();
        known.retain(|_, other| !other.is_over(now));
        if known.len() >= SESSIONS_MAX {
            let oldest = known.values().min_by_key(|other| other.since);
            if let Some(oldest) = oldest.map(|other| other.id) {
                known.remove(&oldest);
            }
        }
        known.insert(id, session);
        drop(known);
        Ok(Opened {
            cookie: self.cookie(&cookie, LIFE)?,
        })
    }

    /// The session of a request, if it has one that is not over. It is then seen.
    pub(crate) fn find(&self, headers: &HeaderMap, now: Timestamp) -> Option<Arc<Session>> {
        let cookies = headers.get_all(header::COOKIE).into_iter();
        let pairs = cookies
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'));
        let mut found = None;
        for pair in pairs {
            let Some((name, value)) = pair.trim().split_once('=') else {
                continue;
            };
            if name != self.name {
                continue;
            }
            // SECURITY: two cookies of this name mean that somebody else could set one; neither is believed.
            if found.replace(value).is_some() {
                return None;
            }
        }
        let id = Digest::of(found?.as_bytes());
        let session = self.known().get(&id).map(Arc::clone)?;
        if session.is_over(now) {
            self.known().remove(&id);
            return None;
        }
        if !is_poll(headers) {
            session.touch(now);
        }
        Some(session)
    }

    /// Ends a session and gives the `Set-Cookie` that clears it.
    pub(crate) fn close(&self, session: &Session) -> HeaderValue {
        self.known().remove(&session.id);
        self.cookie("", Duration::ZERO)
            .unwrap_or(HeaderValue::from_static("exeat=; Max-Age=0; Path=/"))
    }

    /// Ends every session that began with this key.
    pub(crate) fn end_of_key(&self, key: &str) {
        self.known().retain(|_, session| session.key != key);
    }

    /// Whether anybody is signed in.
    pub(crate) fn any(&self, now: Timestamp) -> bool {
        self.known().values().any(|session| !session.is_over(now))
    }

    /// Whether it still stands, for answers that stay open.
    pub(crate) fn holds(&self, session: &Session, now: Timestamp) -> bool {
        self.known().contains_key(&session.id) && !session.is_over(now)
    }

    fn cookie(&self, value: &str, life: Duration) -> Result<HeaderValue, DeviceFailure> {
        let text = format!(
            "{}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{}",
            self.name,
            life.as_secs(),
            self.secure
        );
        HeaderValue::from_str(&text).map_err(|_cause| DeviceFailure("a cookie cannot be written"))
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Session>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a script only looks: what asks by itself every minute keeps no session from being idle. Browsers say `navigate`
/// of what a person opens, and send an origin with whatever changes something.
fn is_poll(headers: &HeaderMap) -> bool {
    let mode = headers.get("sec-fetch-mode");
    mode.is_some_and(|mode| mode != "navigate") && !headers.contains_key(header::ORIGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn headers(cookies: &[&str]) -> HeaderMap {
        let pairs = cookies.iter();
        pairs
            .map(|cookie| (header::COOKIE, cookie.parse().unwrap()))
            .collect()
    }

    fn opened(sessions: &Sessions) -> (String, Arc<Session>) {
        let opened = sessions.open("ada", "key-1", START).unwrap();
        let cookie = opened.cookie.to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let session = sessions.find(&headers(&[&cookie]), START).unwrap();
        (cookie, session)
    }

    #[test]
    fn a_session_is_found_by_its_cookie_and_by_no_other() {
        let sessions = Sessions::new(&PublicOrigin::local(1));
        let (cookie, session) = opened(&sessions);
        let found = sessions.find(&headers(&["a=b", &cookie]), START).unwrap();
        assert_eq!((found.user.as_str(), &found.csrf), ("ada", &session.csrf));
        assert!(sessions.find(&headers(&[]), START).is_none());
        assert!(sessions.find(&headers(&["exeat=guess"]), START).is_none());
        let twice = headers(&[&cookie, "exeat=planted"]);
        assert!(sessions.find(&twice, START).is_none());
        assert!(session.has_csrf(&session.csrf) && !session.has_csrf(""));
    }

    #[test]
    fn a_session_ends_when_it_is_idle_or_old_or_closed_or_its_key_is_gone() {
        let sessions = Sessions::new(&PublicOrigin::local(1));
        let minutes = |count: u64| START.after(Duration::from_secs(count * 60));
        let (cookie, _) = opened(&sessions);
        assert!(sessions.find(&headers(&[&cookie]), minutes(59)).is_some());
        assert!(sessions.find(&headers(&[&cookie]), minutes(118)).is_some());
        assert!(sessions.find(&headers(&[&cookie]), minutes(178)).is_none());
        let (cookie, _) = opened(&sessions);
        for used in (30..720).step_by(30) {
            assert!(sessions.find(&headers(&[&cookie]), minutes(used)).is_some());
        }
        assert!(sessions.find(&headers(&[&cookie]), minutes(720)).is_none());
        let (cookie, session) = opened(&sessions);
        assert!(sessions.holds(&session, START));
        sessions.close(&session);
        assert!(sessions.find(&headers(&[&cookie]), START).is_none());
        let (cookie, session) = opened(&sessions);
        sessions.end_of_key("key-1");
        assert!(sessions.find(&headers(&[&cookie]), START).is_none());
        assert!(!sessions.holds(&session, START));
    }

    #[test]
    fn what_asks_by_itself_keeps_no_session_from_being_idle() {
        let sessions = Sessions::new(&PublicOrigin::local(1));
        let minutes = |count: u64| START.after(Duration::from_secs(count * 60));
        let (cookie, _) = opened(&sessions);
        let mut poll = headers(&[&cookie]);
        poll.insert("sec-fetch-mode", HeaderValue::from_static("cors"));
        assert!(sessions.find(&poll, minutes(40)).is_some());
        assert!(sessions.any(minutes(40)));
        assert!(sessions.find(&poll, minutes(60)).is_none());
        assert!(!sessions.any(minutes(60)));
        let (cookie, _) = opened(&sessions);
        let mut posted = poll;
        posted.insert(header::COOKIE, cookie.parse().unwrap());
        posted.insert(header::ORIGIN, HeaderValue::from_static("http://localhost"));
        assert!(sessions.find(&posted, minutes(40)).is_some());
        assert!(sessions.find(&posted, minutes(90)).is_some());
    }

    #[test]
    fn over_https_the_cookie_belongs_to_this_host_alone() {
        let origin = "https://exeat.example.com".parse().unwrap();
        let sessions = Sessions::new(&PublicOrigin::new(&origin).unwrap());
        let opened = sessions.open("ada", "key-1", START).unwrap();
        let cookie = opened.cookie.to_str().unwrap();
        assert!(cookie.starts_with("__Host-exeat="), "{cookie}");
        assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200; Secure"));
    }
}
