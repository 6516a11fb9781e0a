//! AWS Signature Version 4: what an agent signed with a placeholder is signed anew with the key.
//!
//! The agent's own signature says how: region and service, which headers, in a header or in the query, the body hashed,
//! unsigned or in chunks. Region and service must be among those of the credential; the host is always signed, so that a
//! signature is good nowhere else. `stated.rs` reads, `sign.rs` signs, `chunks.rs` follows a body.

mod chunks;
mod keys;
mod sign;
mod stated;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use exeat_types::{Origin, Scheme, Secret, Timestamp};
use http::{HeaderMap, HeaderName, Method};

pub(crate) use keys::Keys;
use stated::{Place, Stated};

use self::{
    chunks::{Chain, Chunks, Compared, Ending, hash_of},
    sign::{CONTENT_HASH, Onto, Scope, Unsigned},
    stated::{PARAMETERS, is_word, unsignable},
};
use crate::{
    Ask, BodyChange, Draft, DraftBody, Finish, Made, Make, Material, NotIssued, Refused, Signs,
};

/// An access key of AWS, or of what authenticates like it.
#[derive(Debug, Clone)]
pub struct SigV4 {
    /// The id of the key; the secret may tell it too.
    pub access_key_id: Option<String>,
    /// The services that it may sign for, such as `s3`.
    pub services: Vec<String>,
    /// The regions that it may sign for, such as `eu-west-1`.
    pub regions: Vec<String>,
}

impl SigV4 {
    /// Whether a text may be a region or a service.
    pub fn is_word(text: &str) -> bool {
        is_word(text)
    }
}

impl Make for SigV4 {
    fn name(&self) -> &'static str {
        "sigv4"
    }

    fn make(&self, material: Material<'_>) -> Result<Made, &'static str> {
        let secret = material.secret.ok_or("has no secret")?;
        let mut keys = Keys::read(self.access_key_id.as_deref(), secret)?;
        let parts = keys.take_parts();
        let signs = Ready {
            kind: self.clone(),
            keys: Arc::new(keys),
        };
        Ok(Made {
            signs: Some(Arc::new(signs)),
            headers: CLAIMED.to_vec(),
            queries: PARAMETERS.map(str::to_owned).to_vec(),
            parts,
            ..Made::default()
        })
    }
}

/// What an agent may hold of a session is taken off.
pub(crate) const CLAIMED: [HeaderName; 2] = [
    HeaderName::from_static("x-amz-security-token"),
    HeaderName::from_static("x-amz-s3session-token"),
];
/// The query parameters of a signature.
pub(crate) const QUERIES: [&str; 7] = PARAMETERS;
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
const CHUNKED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const CHUNKED_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";

/// A loaded key.
struct Ready {
    kind: SigV4,
    keys: Arc<Keys>,
}

impl Signs for Ready {
    fn needs_body(&self, headers: &HeaderMap) -> bool {
        let s3 = |service: &String| sign::is_s3(service);
        !headers.contains_key(CONTENT_HASH) && !self.kind.services.iter().all(s3)
    }

    fn begin(&self, ask: &Ask<'_>) -> Result<Arc<dyn Finish>, Refused> {
        let stated = match Stated::of(ask)? {
            Some(stated) => stated,
            None => self.only_choice()?,
        };
        if !self.kind.services.contains(&stated.service) {
            return Err(unsignable("its credential is not for this service"));
        }
        if !self.kind.regions.contains(&stated.region) {
            return Err(unsignable("its credential is not for this region"));
        }
        Ok(Arc::new(Signature::of(
            Arc::clone(&self.keys),
            stated,
            ask,
        )?))
    }
}

/// The id of the access key with which a request says that it is signed; `None` when it bears no signature of version 4.
pub(crate) fn presented_id(ask: &Ask<'_>) -> Option<String> {
    Stated::of(ask).ok().flatten().map(|stated| stated.key)
}

/// Signs a request anew with the keys of a session that its agent obtained, for what the agent's own signature says.
pub(crate) fn resign(keys: Keys, ask: &Ask<'_>) -> Result<Arc<dyn Finish>, Refused> {
    let stated = Stated::of(ask)?.ok_or_else(|| unsignable("it bears no signature"))?;
    Ok(Arc::new(Signature::of(Arc::new(keys), stated, ask)?))
}

impl Ready {
    /// What a request without a signature is signed for, if there is no choice.
    fn only_choice(&self) -> Result<Stated, Refused> {
        match (self.kind.services.as_slice(), self.kind.regions.as_slice()) {
            ([service], [region]) => Ok(Stated {
                key: String::new(),
                region: region.clone(),
                service: service.clone(),
                headers: Vec::new(),
                place: Place::Header,
            }),
            _ => Err(unsignable(
                "it bears no signature that says which service and region it is for",
            )),
        }
    }
}

/// How the body is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Payload {
    /// By its hash.
    Hashed,
    /// By the hash that the agent states.
    Stated(String),
    /// Not, but for this word.
    Word(&'static str),
    /// Chunk by chunk.
    Chunked(Ending),
}

impl Payload {
    fn of(ask: &Ask<'_>, scope: &Scope, place: Place) -> Result<Self, Refused> {
        let mut values = ask.headers.get_all(CONTENT_HASH).iter();
        let (first, second) = (values.next(), values.next());
        if second.is_some() {
            return Err(unsignable("it states more than one hash of its body"));
        }
        let Some(value) = first else {
            let unseen = ask.body.is_none() && ask.origin.scheme == Scheme::Https;
            let word = scope.is_s3() && (unseen || matches!(place, Place::Query { .. }));
            return Ok(if word {
                Self::Word(UNSIGNED)
            } else {
                Self::Hashed
            });
        };
        match value.to_str().unwrap_or_default() {
            UNSIGNED => Ok(Self::Word(UNSIGNED)),
            UNSIGNED_TRAILER => Ok(Self::Word(UNSIGNED_TRAILER)),
            CHUNKED => Ok(Self::Chunked(Ending::Plain)),
            CHUNKED_TRAILER => Ok(Self::Chunked(Ending::Trailer)),
            hash if hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                let hash = hash.to_ascii_lowercase();
                if ask.body.is_some_and(|body| hash_of(body) != hash) {
                    return Err(unsignable("its body is not the one whose hash it states"));
                }
                Ok(Self::Stated(hash))
            }
            _ => Err(unsignable("it states a hash of its body that is none")),
        }
    }
}

/// How one request is signed.
struct Signature {
    keys: Arc<Keys>,
    scope: Scope,
    place: Place,
    also: Vec<HeaderName>,
    payload: Payload,
    /// When the head was signed last, its signature, and whether nobody has seen the body.
    head: Mutex<Option<Head>>,
}

struct Head {
    moment: Timestamp,
    signature: String,
    streamed: bool,
}

impl Signature {
    fn of(keys: Arc<Keys>, stated: Stated, ask: &Ask<'_>) -> Result<Self, Refused> {
        let scope = Scope {
            region: stated.region,
            service: stated.service,
        };
        Ok(Self {
            keys,
            payload: Payload::of(ask, &scope, stated.place)?,
            scope,
            place: stated.place,
            also: stated.headers,
            head: Mutex::default(),
        })
    }

    fn payload(&self, body: DraftBody<'_>) -> Result<String, NotIssued> {
        let hash = match body {
            DraftBody::Absent => Some(hash_of(b"")),
            DraftBody::Whole(bytes) => Some(hash_of(bytes)),
            DraftBody::Streamed => None,
        };
        match (&self.payload, hash) {
            (Payload::Word(word), _) => Ok((*word).to_owned()),
            (Payload::Chunked(Ending::Plain), _) => Ok(CHUNKED.to_owned()),
            (Payload::Chunked(Ending::Trailer), _) => Ok(CHUNKED_TRAILER.to_owned()),
            (Payload::Hashed | Payload::Stated(_), Some(hash)) => Ok(hash),
            (Payload::Stated(hash), None) => Ok(hash.clone()),
            (Payload::Hashed, None) => Err(NotIssued::Dead("the body is not at hand")),
        }
    }

    /// A presigned request is good as long as the agent said, and not a moment longer. One that has ended is signed for the
    /// time it was good, so that its server says so.
    fn onto(&self, now: Timestamp) -> Onto {
        let Place::Query { from, seconds } = self.place else {
            return Onto::Header { now };
        };
        let end = from.after(Duration::from_secs(seconds));
        match end.since(now).as_secs().min(seconds) {
            0 => Onto::Query { from, seconds },
            left => Onto::Query {
                from: now,
                seconds: left,
            },
        }
    }
}

impl Finish for Signature {
    fn needs_body(&self) -> bool {
        self.payload == Payload::Hashed
    }

    fn finish(&self, draft: &mut Draft<'_>) -> Result<(), NotIssued> {
        if self.keys.has_ended(draft.now) {
            return Err(NotIssued::Dead("the session of its access key has ended"));
        }
        let payload = self.payload(draft.body)?;
        let onto = self.onto(draft.now);
        let moment = match onto {
            Onto::Header { now } => now,
            Onto::Query { from, .. } => from,
        };
        let unsigned = Unsigned {
            method: draft.method,
            origin: draft.origin,
            target: draft.target,
            headers: draft.headers,
            payload: &payload,
            also: &self.also,
        };
        let signature = unsigned.sign(&self.keys, &self.scope, onto)?;
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = Some(Head {
            moment,
            signature,
            streamed: matches!(draft.body, DraftBody::Streamed),
        });
        Ok(())
    }

    fn body(&self) -> Option<Box<dyn BodyChange>> {
        let head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        let head = head.as_ref()?;
        match &self.payload {
            Payload::Chunked(ending) => {
                let chain = chain(&self.keys, &self.scope, head);
                Some(Box::new(Chunks::new(chain, *ending)))
            }
            Payload::Stated(hash) if head.streamed => Some(Box::new(Compared::with(hash))),
            Payload::Hashed | Payload::Stated(_) | Payload::Word(_) => None,
        }
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signature")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

fn chain(keys: &Keys, scope: &Scope, head: &Head) -> Chain {
    let Scope { region, service } = scope;
    let moment = UNIX_EPOCH + Duration::from_millis(head.moment.millis());
    let key = aws_sigv4::sign::v4::generate_signing_key(keys.secret(), moment, region, service);
    // `2026-01-31T12:00:00.000Z` without its marks and its milliseconds.
    let written = head.moment.to_string().replace(['-', ':'], "");
    let (stamp, _milliseconds) = written.split_once('.').unwrap_or((&written, ""));
    let (day, _clock) = stamp.split_once('T').unwrap_or((stamp, ""));
    Chain {
        key: Secret::new(key.as_ref().to_vec()),
        stamp: format!("{stamp}Z\n{day}/{region}/{service}/aws4_request"),
        signature: head.signature.clone(),
    }
}

/// A request of Exeat's own that is signed in its header, with its body hashed.
pub(crate) struct Own<'a> {
    /// Where it goes.
    pub(crate) origin: &'a Origin,
    /// Path and query.
    pub(crate) target: &'a str,
    /// Its body.
    pub(crate) body: &'a [u8],
    /// The region of the key.
    pub(crate) region: &'a str,
    /// The service.
    pub(crate) service: &'a str,
}

impl Own<'_> {
    /// Puts a signature over all of these headers in.
    pub(crate) fn sign(
        &self,
        headers: &mut HeaderMap,
        keys: &Keys,
        now: Timestamp,
    ) -> Result<(), NotIssued> {
        if keys.has_ended(now) {
            return Err(NotIssued::Dead("the session of its access key has ended"));
        }
        let also: Vec<HeaderName> = headers.keys().cloned().collect();
        let unsigned = Unsigned {
            method: &Method::POST,
            origin: self.origin,
            target: &mut self.target.to_owned(),
            headers,
            payload: &hash_of(self.body),
            also: &also,
        };
        let scope = Scope {
            region: self.region.to_owned(),
            service: self.service.to_owned(),
        };
        unsigned.sign(keys, &scope, Onto::Header { now }).map(drop)
    }
}
