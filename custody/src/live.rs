//! Everything that must not reach an agent at this moment: the secrets of every snapshot of custody that some call still
//! uses, and tokens that were obtained or minted meanwhile, until they expire and a while longer.
//!
//! There is one [`Live`] in a process. What cleans streams holds its [`Newest`] patterns, so that open streams are cleaned
//! of newer secrets too. INVARIANT: a secret is in the patterns before anything may be sent with it.

use std::{
    any::Any,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use exeat_types::{Secret, Timestamp};

use crate::{
    Error,
    issue::Token as Issued,
    minted::MintedTokens,
    redact::{Formatted, Layer, Newest, Patterns},
};

/// Tokens that are looked for at one moment. More are not accepted, so that what they cost stays bounded.
const TOKENS_MAX: usize = 4096;
/// Tokens of one owner, so that no credential and no agent takes the places of the others.
const TOKENS_PER_OWNER_MAX: usize = 256;
/// How long an expired token is still looked for: servers are generous, and clocks differ.
const GRACE: Duration = Duration::from_secs(600);
/// How long a token that nobody holds any more is looked for at most: a server may take it for longer than it said.
const LET_GO_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How long it is looked for at least, whatever comes meanwhile: answers to what was sent with it are on their way.
const LET_GO_MIN: Duration = Duration::from_secs(60);

/// All secrets of the process, as far as responses are cleaned of them.
pub struct Live {
    newest: Newest,
    held: Mutex<Held>,
    minted: MintedTokens,
}

/// What the patterns are made of.
struct Held {
    snapshots: Vec<Weak<Known>>,
    /// Of the snapshots.
    base: Arc<Layer>,
    formats: Option<Arc<Formatted>>,
    tokens: Vec<Token>,
    /// Of the tokens that are settled.
    settled: Arc<Layer>,
}

/// A token that is looked for.
struct Token {
    label: Arc<str>,
    /// Whose share of the places it takes.
    owner: Arc<str>,
    secret: Secret,
    until: Option<Timestamp>,
    /// What has to be gone before it may be forgotten.
    holders: Vec<Holder>,
    /// When the last of them was seen to be gone.
    let_go: Option<Timestamp>,
    /// Whether it is in the layer that is compiled rarely.
    settled: Settled,
}

/// Whoever may still send a token, as long as it exists.
pub(crate) type Holder = Weak<dyn Any + Send + Sync>;

/// A token that is to be looked for.
pub(crate) struct Wanted<'a> {
    pub(crate) secret: &'a Secret,
    pub(crate) until: Option<Timestamp>,
    pub(crate) holder: Holder,
}

impl<'a> Wanted<'a> {
    /// A token that is held as long as this exists.
    pub(crate) fn of(secret: &'a Arc<Secret>, until: Option<Timestamp>) -> Self {
        let holder: Weak<Secret> = Arc::downgrade(secret);
        Self {
            secret,
            until,
            holder,
        }
    }
}

/// How a token is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    /// Compiled again with each token that comes.
    No,
    /// Compiled together with many.
    Yes,
}

/// Tokens that are compiled again with each one that comes; beyond, they are settled together. Of many tokens it is the
/// root of their number, so that neither of the two costs much more than the other.
const FRESH_MAX: usize = 8;

/// What one snapshot of custody knows.
#[derive(Default)]
pub(crate) struct Known {
    /// Every secret and what is derived from it, by label.
    pub(crate) secrets: Vec<(String, Secret)>,
    /// Our own placeholders, which look like keys and pass.
    pub(crate) placeholders: Vec<String>,
}

impl Live {
    /// Nothing is secret yet.
    ///
    /// # Errors
    /// When no patterns can be compiled at all.
    pub fn new() -> Result<Arc<Self>, Error> {
        let base = Arc::new(Layer::compile(&[])?);
        let formats = Formatted::new(&[]);
        let patterns = Patterns::of(vec![Arc::clone(&base)], formats.clone());
        Ok(Arc::new(Self {
            newest: Newest::from(Arc::new(patterns)),
            held: Mutex::new(Held {
                snapshots: Vec::new(),
                base,
                formats,
                tokens: Vec::new(),
                settled: Arc::new(Layer::compile(&[])?),
            }),
            minted: MintedTokens::default(),
        }))
    }

    /// The patterns, as they are whenever they are looked at.
    pub const fn newest(&self) -> &Newest {
        &self.newest
    }

    /// The patterns as they are now.
    pub fn patterns(&self) -> Arc<Patterns> {
        Arc::clone(&self.newest.load())
    }

    /// Tokens that agents hold placeholders of.
    pub(crate) const fn minted(&self) -> &MintedTokens {
        &self.minted
    }

    /// Has an issued token looked for from now on, in streams that are open as well: as long as somebody holds it, and
    /// then until some time after it expires, or for a day when nobody knows when that is.
    ///
    /// # Errors
    /// When it is too short to be found, or there are too many: then it must not be used.
    pub fn hold(&self, credential: &str, token: &Arc<Issued>, now: Timestamp) -> Result<(), Error> {
        let forms = token.forms();
        let holder: Weak<Issued> = Arc::downgrade(token);
        let holder: Holder = holder;
        let wanted = |secret| Wanted {
            secret,
            until: token.expires,
            holder: Weak::clone(&holder),
        };
        let wanted: Vec<Wanted<'_>> = forms.iter().map(wanted).collect();
        self.register((credential, credential), &wanted, now)
    }

    /// Has tokens looked for from now on, under one label and as those of one owner. They are compiled once.
    pub(crate) fn register(
        &self,
        (label, owner): (&str, &str),
        wanted: &[Wanted<'_>],
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut held = self.held();
        held.tokens.retain_mut(|token| token.is_wanted(now));
        let mut fresh: Vec<Token> = Vec::new();
        for one in wanted {
            let secret = telling(one.secret);
            let mut known = held.tokens.iter_mut().chain(&mut fresh);
            if let Some(known) = known.find(|token| same(&token.secret, &secret)) {
                known.until = known
                    .until
                    .zip(one.until)
                    .map(|(one, other)| one.max(other));
                known.holders.push(Weak::clone(&one.holder));
                known.let_go = None;
                continue;
            }
            fresh.push(Token {
                label: label.into(),
                owner: owner.into(),
                secret,
                until: one.until,
                holders: vec![Weak::clone(&one.holder)],
                let_go: None,
                settled: Settled::No,
            });
        }
        if fresh.is_empty() {
            return Ok(());
        }
        let own = |token: &Token| *token.owner == *owner;
        make_room(
            &mut held.tokens,
            own,
            (TOKENS_PER_OWNER_MAX, fresh.len()),
            now,
        )?;
        make_room(&mut held.tokens, |_| true, (TOKENS_MAX, fresh.len()), now)?;
        let before = held.tokens.len();
        held.tokens.append(&mut fresh);
        let compiled = self.compile(&mut held);
        if compiled.is_err() {
            held.tokens.truncate(before);
        }
        compiled
    }

    /// Has the secrets of a new snapshot looked for, for as long as somebody holds what comes back.
    pub(crate) fn admit(&self, known: Known) -> Result<Arc<Known>, Error> {
        let known = Arc::new(known);
        let mut held = self.held();
        held.snapshots.retain(|other| other.strong_count() > 0);
        let others: Vec<Arc<Known>> = held.snapshots.iter().filter_map(Weak::upgrade).collect();
        let all: Vec<&Arc<Known>> = std::iter::once(&known).chain(&others).collect();
        held.base = Arc::new(compile_base(&all)?);
        let mut allowed: Vec<&str> = all
            .iter()
            .flat_map(|one| &one.placeholders)
            .map(String::as_str)
            .collect();
        allowed.sort_unstable();
        allowed.dedup();
        held.formats = Formatted::new(&allowed);
        self.compile(&mut held)?;
        held.snapshots.push(Arc::downgrade(&known));
        Ok(known)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compiles the tokens that need it, and puts the whole into place.
    fn compile(&self, held: &mut Held) -> Result<(), Error> {
        let fresh = |token: &&Token| token.settled == Settled::No;
        let mut newest = compile_tokens(held.tokens.iter().filter(fresh))?;
        let fresh_max = FRESH_MAX.max(held.tokens.len().isqrt());
        if held.tokens.iter().filter(fresh).count() > fresh_max {
            held.settled = Arc::new(compile_tokens(held.tokens.iter())?);
            for token in &mut held.tokens {
                token.settled = Settled::Yes;
            }
            newest = Layer::compile(&[])?;
        }
        let layers = [
            Arc::clone(&held.base),
            Arc::clone(&held.settled),
            Arc::new(newest),
        ];
        self.newest
            .replace(Patterns::of(layers.to_vec(), held.formats.clone()));
        Ok(())
    }
}

impl Token {
    /// Whether it is still looked for; notes when nobody holds it any more.
    fn is_wanted(&mut self, now: Timestamp) -> bool {
        self.holders.retain(|holder| holder.strong_count() > 0);
        if self.holders.is_empty() && self.let_go.is_none() {
            self.let_go = Some(now);
            let end = now.after(LET_GO_MAX);
            self.until = Some(self.until.map_or(end, |until| until.min(end)));
        }
        self.until.is_none_or(|until| until.after(GRACE) >= now)
    }
}

/// Forgets the tokens that nobody holds for longest, until some more have their places among these.
fn make_room(
    tokens: &mut Vec<Token>,
    among: impl Fn(&Token) -> bool,
    (max, more): (usize, usize),
    now: Timestamp,
) -> Result<(), Error> {
    let surplus = tokens.iter().filter(|token| among(token)).count();
    let surplus = surplus.saturating_add(more).saturating_sub(max);
    if surplus == 0 {
        return Ok(());
    }
    let left = |token: &Token| token.let_go.filter(|left| left.after(LET_GO_MIN) <= now);
    let own = tokens.iter().filter(|token| among(token));
    let mut lefts: Vec<Timestamp> = own.filter_map(left).collect();
    lefts.sort_unstable();
    let last = lefts.get(surplus.saturating_sub(1)).copied();
    let last = last.ok_or(Error::TooManyTokens { max })?;
    let mut gone = 0;
    tokens.retain(|token| {
        let goes = gone < surplus && among(token) && left(token).is_some_and(|left| left <= last);
        gone += usize::from(goes);
        !goes
    });
    Ok(())
}

fn compile_tokens<'t>(tokens: impl Iterator<Item = &'t Token>) -> Result<Layer, Error> {
    let tokens: Vec<(&str, &Secret)> = tokens.map(|token| (&*token.label, &token.secret)).collect();
    Ok(Layer::compile(&tokens)?)
}

/// Compiles the secrets of snapshots, each once: two snapshots mostly have the same ones.
#[expect(clippy::disallowed_methods, reason = "equal secrets are compiled once")]
fn compile_base(all: &[&Arc<Known>]) -> Result<Layer, Error> {
    let mut secrets: Vec<(&str, &Secret)> = all
        .iter()
        .flat_map(|known| &known.secrets)
        .map(|(label, secret)| (label.as_str(), secret))
        .collect();
    secrets.sort_by(|(_, one), (_, other)| one.open().cmp(other.open()));
    secrets.dedup_by(|(_, later), (_, earlier)| earlier.open() == later.open());
    Ok(Layer::compile(&secrets)?)
}

#[expect(clippy::disallowed_methods, reason = "a token is registered once")]
fn same(one: &Secret, other: &Secret) -> bool {
    one.matches(other.open())
}

/// What of a token makes it one. A signed JSON web token is worth nothing without its signature, and what stands before
/// it other tokens of the same issuer begin with too: looking for that would tear holes into harmless answers.
#[expect(
    clippy::disallowed_methods,
    reason = "what is looked for is a part of the token"
)]
fn telling(secret: &Secret) -> Secret {
    /// A signature of 256 bits.
    const SIGNATURE_LEN_MIN: usize = 43;
    let bytes = secret.open();
    let encoded = |part: &&[u8]| {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        part.iter().all(plain)
    };
    let parts: Vec<&[u8]> = bytes.split(|byte| *byte == b'.').collect();
    let [head, claims, rest] = parts.as_slice() else {
        return secret.duplicate();
    };
    // Behind the signature of an SD-JWT stand claims that are shown (RFC 9901).
    let signature = rest.split(|byte| *byte == b'~').next().unwrap_or_default();
    if head.starts_with(b"eyJ")
        && signature.len() >= SIGNATURE_LEN_MIN
        && [*head, claims, signature].iter().all(encoded)
    {
        return Secret::new(signature.to_vec());
    }
    secret.duplicate()
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let held = self.held();
        f.debug_struct("Live")
            .field("snapshots", &held.snapshots.len())
            .field("tokens", &held.tokens.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Stream;

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    fn register(live: &Live, text: &str, until: Option<u64>, now: u64) -> Result<(), Error> {
        let nobody: Weak<Secret> = Weak::new();
        held_by(live, text, nobody, until, now)
    }

    fn held_by(
        live: &Live,
        text: &str,
        holder: Holder,
        until: Option<u64>,
        now: u64,
    ) -> Result<(), Error> {
        let secret = secret(text);
        let wanted = Wanted {
            secret: &secret,
            until: until.map(at),
            holder,
        };
        live.register(("token", "owner"), &[wanted], at(now))
    }

    #[track_caller]
    fn check(live: &Live, text: &str, expect: Option<&str>) {
        let clean = live.newest().load().scrub(text.as_bytes());
        let clean = clean.map(|clean| String::from_utf8(clean).unwrap());
        assert_eq!(clean.as_deref(), expect, "{text}");
    }

    fn known(text: &str) -> Known {
        Known {
            secrets: vec![("key".to_owned(), secret(text))],
            placeholders: vec!["ghp_OURS0123456789012345678901234567890123".to_owned()],
        }
    }

    #[test]
    fn an_open_stream_is_cleaned_of_a_token_that_comes_meanwhile() {
        let live = Live::new().unwrap();
        let mut stream = Stream::new(live.newest().clone());
        let mut out = Vec::new();
        stream.push(b"CANARY-live-token-1 CANARY-li", &mut out);
        register(&live, "CANARY-live-token-1", None, 0).unwrap();
        stream.push(b"ve-token-1 CANARY-live-tok", &mut out);
        stream.push(b"en-1 end", &mut out);
        stream.finish(&mut out);
        let out = String::from_utf8(out).unwrap();
        // What was sent before anybody could know the token was sent; nothing after that.
        assert!(out.ends_with("ve-token-1 [redacted:token] end"), "{out}");
    }

    #[test]
    fn a_token_is_looked_for_until_some_time_after_it_expires() {
        let live = Live::new().unwrap();
        register(&live, "CANARY-live-token-1", Some(100), 0).unwrap();
        register(&live, "CANARY-live-token-2", Some(100), 0).unwrap();
        register(&live, "CANARY-live-token-2", Some(900), 0).unwrap();
        register(&live, "CANARY-live-token-3", Some(900), 700).unwrap();
        check(&live, "CANARY-live-token-1", Some("[redacted:token]"));
        register(&live, "CANARY-live-token-4", None, 701).unwrap();
        check(&live, "CANARY-live-token-1", None);
        for number in 2..=4 {
            let text = format!("CANARY-live-token-{number}");
            check(&live, &text, Some("[redacted:token]"));
        }
    }

    #[test]
    fn a_token_that_cannot_be_looked_for_is_refused_and_changes_nothing() {
        let live = Live::new().unwrap();
        register(&live, "CANARY-live-token-1", None, 0).unwrap();
        assert!(matches!(
            register(&live, "CANARY", None, 0),
            Err(Error::Unredactable(_))
        ));
        register(&live, "CANARY-live-token-2", None, 0).unwrap();
        check(&live, "CANARY-live-token-1", Some("[redacted:token]"));
        check(&live, "CANARY-live-token-2", Some("[redacted:token]"));
    }

    #[test]
    fn the_secrets_of_every_snapshot_that_is_held_are_looked_for() {
        let live = Live::new().unwrap();
        let old = live.admit(known("CANARY-live-old-1")).unwrap();
        register(&live, "CANARY-live-token-1", None, 0).unwrap();
        let new = live.admit(known("CANARY-live-new-1")).unwrap();
        let text = "CANARY-live-old-1 CANARY-live-new-1 CANARY-live-token-1";
        check(
            &live,
            text,
            Some("[redacted:key] [redacted:key] [redacted:token]"),
        );
        check(&live, "ghp_OURS0123456789012345678901234567890123", None);
        drop(old);
        let _newer = live.admit(known("CANARY-live-new-2")).unwrap();
        check(&live, "CANARY-live-old-1", None);
        check(&live, "CANARY-live-new-1", Some("[redacted:key]"));
        drop(new);
    }

    #[test]
    fn any_number_of_tokens_is_looked_for() {
        let live = Live::new().unwrap();
        for number in 100..140 {
            register(&live, &format!("CANARY-live-token-{number}"), None, 0).unwrap();
            for known in 100..=number {
                let text = format!("CANARY-live-token-{known}");
                check(&live, &text, Some("[redacted:token]"));
            }
        }
    }

    #[test]
    fn a_token_without_an_end_is_forgotten_a_day_after_nobody_holds_it() {
        const DAY: u64 = 24 * 60 * 60;
        let live = Live::new().unwrap();
        let holder = Arc::new(());
        let held: Weak<()> = Arc::downgrade(&holder);
        held_by(&live, "CANARY-live-token-1", held, None, 0).unwrap();
        register(&live, "CANARY-live-token-2", None, 9 * DAY).unwrap();
        drop(holder);
        register(&live, "CANARY-live-token-3", None, 10 * DAY).unwrap();
        register(&live, "CANARY-live-token-4", None, 11 * DAY).unwrap();
        check(&live, "CANARY-live-token-1", Some("[redacted:token]"));
        register(&live, "CANARY-live-token-5", None, 11 * DAY + 601).unwrap();
        check(&live, "CANARY-live-token-1", None);
    }

    #[test]
    fn what_is_held_keeps_its_place_and_one_owner_takes_no_place_of_another() {
        let live = Live::new().unwrap();
        let holder = Arc::new(());
        let held: Weak<()> = Arc::downgrade(&holder);
        held_by(&live, "CANARY-live-held", held, None, 0).unwrap();
        let text = |number: usize| format!("CANARY-live-token-{number}");
        for number in 1..TOKENS_PER_OWNER_MAX {
            register(&live, &text(number), None, 0).unwrap();
        }
        // All that nobody holds may still come back: no more are taken, of this owner.
        let refused = register(&live, "CANARY-live-more", None, 1);
        assert!(matches!(refused, Err(Error::TooManyTokens { .. })));
        let (other, nobody) = (secret("CANARY-live-other"), Weak::<()>::new());
        let wanted = Wanted {
            secret: &other,
            until: None,
            holder: nobody,
        };
        live.register(("token", "other"), &[wanted], at(1)).unwrap();
        register(&live, "CANARY-live-more", None, 61).unwrap();
        for kept in ["CANARY-live-held", "CANARY-live-other", "CANARY-live-more"] {
            check(&live, kept, Some("[redacted:token]"));
        }
    }

    #[test]
    fn a_signed_token_is_looked_for_by_its_signature() {
        let live = Live::new().unwrap();
        let head = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9";
        let (one, other) = ("CANARY".repeat(20), "another".repeat(20));
        register(&live, &format!("{head}.eyJhIjoxfQ.{one}"), None, 0).unwrap();
        let harmless = format!("{head}.eyJhIjoxfQ.{other}");
        check(&live, &harmless, None);
        let cut = format!("{head}.eyJhIjoxfQ.[redacted:token]");
        check(&live, &format!("{head}.eyJhIjoxfQ.{one}"), Some(&cut));
    }
}
