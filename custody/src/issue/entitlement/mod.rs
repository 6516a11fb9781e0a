//! `entitlement`: a verifiable credential that an issuer gave, shown with as little as needed, as long as it holds.
//!
//! It is imported as a secret, or obtained once from an offer. Its signature, issuer, type, key and time are checked here,
//! and its status is looked up in lists whose signatures are checked too. One that was never there is *absent*; one that is
//! expired, revoked or of unknown standing is *refused*, and nothing else is tried in its stead.

mod binding;
mod held;
mod lists;
mod offer;
mod sd_jwt;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use exeat_types::{Digest, Origin, Secret, Signer, Timestamp, limits};
use serde::Deserialize;
use serde_json::json;

use super::{Issuer, Keep, NotIssued, Presented, Token, Url, Want, Work, exchange::Hidden};
use crate::{Finish, Made, Make, Material, Waiting, jose::Jwk};

use binding::Binding;
use held::Held;
use lists::{Lists, Standing};

pub use sd_jwt::{Resolved, SdJwt};
pub use status::StatusList;

/// A credential that an issuer gave.
#[derive(Debug, Clone)]
pub struct Entitlement {
    /// How it is written.
    pub format: Format,
    /// What its issuer calls itself.
    pub issuer: String,
    /// The keys of its issuer.
    pub issuer_keys: Vec<Jwk>,
    /// What it has to be: `vct`, or one of its types.
    pub of_type: Option<String>,
    /// The claims that are shown, by their names joined by dots; `*` for all.
    pub disclose: Vec<String>,
    /// Whom a proof is made for; the origin of the request unless something else is said.
    pub audience: Option<String>,
    /// How it stands in a request.
    pub presented: Presented,
    /// The keys of who signs lists of statuses.
    pub status_keys: Vec<Jwk>,
    /// Where lists of statuses may lie.
    pub lists: Vec<Origin>,
    /// What happens when its status is not known.
    pub unknown: UnknownStatus,
    /// Where it is obtained from an offer.
    pub authority: Url,
    /// Who we are there, if that is asked for.
    pub client_id: Option<String>,
}

/// How a credential is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// SD-JWT (RFC 9901) of a verifiable credential.
    SdJwt,
    /// A verifiable credential as a JWT.
    Jwt,
}

/// What happens when a status is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownStatus {
    /// The call is refused.
    Deny,
    /// Somebody has to approve the call.
    Prompt,
}

impl Make for Entitlement {
    fn name(&self) -> &'static str {
        "entitlement"
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the credential is verified before it is used"
    )]
    fn make(&self, material: Material<'_>) -> Result<Made, &'static str> {
        let holder = material.signer.map(Arc::clone);
        let mut parts = Vec::new();
        let source = match material.secret {
            None => Source::Nothing,
            Some(secret) => {
                let text = std::str::from_utf8(secret.open());
                let text = text
                    .map_err(|_cause| "has a secret that is not text")?
                    .trim();
                if text.starts_with(offer::SCHEME) {
                    Source::Offer(Secret::new(text.as_bytes().to_vec()))
                } else {
                    let held = held::verify(self, text, holder.as_deref())?;
                    parts = telling(text);
                    Source::Held(Arc::new(held))
                }
            }
        };
        if holder.is_some() && self.format == Format::Jwt {
            return Err("has a signer, and only an SD-JWT is shown with a proof of its key");
        }
        let headers = match &self.presented {
            Presented::Header(name) => vec![name.clone()],
            Presented::Bearer | Presented::Dpop | Presented::Basic(_) | Presented::Scheme(_) => {
                Vec::new()
            }
        };
        let holding = Holding {
            declared: self.clone(),
            note: format!("entitlement/{}", material.id),
            source,
            holder,
            lists: Lists::default(),
        };
        Ok(Made {
            issuer: Some(Arc::new(holding)),
            headers,
            parts,
            ..Made::default()
        })
    }

    fn origins(&self) -> Vec<Origin> {
        let mut all = self.lists.clone();
        all.push(self.authority.origin.clone());
        all
    }
}

/// What of a credential is secret: its signature, without which it is nothing, and every claim that may be shown.
fn telling(text: &str) -> Vec<Secret> {
    let mut parts = text.split('~');
    let signature = parts.next().and_then(|jwt| jwt.rsplit('.').next());
    let all = signature.into_iter().chain(parts);
    let long = all.filter(|part| part.len() >= limits::SECRET_BYTES_MIN);
    long.map(|part| Secret::new(part.as_bytes().to_vec()))
        .collect()
}

/// The claims that an SD-JWT shows (RFC 9901 section 4): a server may repeat each of them by itself.
#[expect(
    clippy::disallowed_methods,
    reason = "what is looked for is a part of the token"
)]
pub(super) fn disclosures(token: &Secret) -> Vec<Secret> {
    let text = std::str::from_utf8(token.open()).unwrap_or_default();
    match text.split_once('~') {
        Some((jwt, _)) if jwt.starts_with("eyJ") => telling(text),
        _ => Vec::new(),
    }
}

/// Where the credential comes from.
enum Source {
    /// Nobody gave one.
    Nothing,
    /// It was imported.
    Held(Arc<Held>),
    /// It is obtained when it is first used.
    Offer(Secret),
}

/// A credential with what belongs to it.
struct Holding {
    declared: Entitlement,
    note: String,
    source: Source,
    holder: Option<Arc<dyn Signer>>,
    lists: Lists,
}

/// What is kept of a credential that was obtained.
#[derive(Deserialize)]
struct Kept {
    /// Which offer it came of.
    offer: String,
    credential: Hidden,
}

impl Holding {
    async fn obtain(&self, work: Work<'_>) -> Result<Token, NotIssued> {
        let held = match &self.source {
            Source::Nothing => return Err(NotIssued::Absent),
            Source::Held(held) => Arc::clone(held),
            Source::Offer(offer) => Arc::new(self.offered(offer, work).await?),
        };
        if held.ends.is_some_and(|ends| ends <= work.now) {
            return Err(NotIssued::Dead("it has expired"));
        }
        if held.begins.is_some_and(|begins| begins > work.now) {
            return Err(NotIssued::Unavailable("it is not good yet"));
        }
        let status = self.status(&held, work).await?;
        Ok(Token {
            secret: held.shown.duplicate(),
            presented: self.declared.presented.clone(),
            expires: held.ends.into_iter().chain(status).min(),
            obtained: work.now,
            scopes: Vec::new(),
            bound: None,
        })
    }

    /// Until when every status is known to be good.
    async fn status(&self, held: &Held, work: Work<'_>) -> Result<Option<Timestamp>, NotIssued> {
        // A server refused it: what was known of it may be old.
        if work.spent.is_some() {
            self.lists.forget();
        }
        let mut known = None;
        let mut unknown = false;
        for at in &held.statuses {
            match self.lists.standing(&self.declared, at, work).await {
                Standing::Good(until) => {
                    known = Some(known.map_or(until, |before: Timestamp| before.min(until)));
                }
                Standing::Revoked => return Err(NotIssued::Dead("it was revoked")),
                Standing::Suspended => return Err(NotIssued::Suspended),
                Standing::Unknown => unknown = true,
            }
        }
        match self.declared.unknown {
            UnknownStatus::Deny if unknown => Err(NotIssued::Unknown),
            UnknownStatus::Prompt if unknown => Err(NotIssued::Approval),
            UnknownStatus::Deny | UnknownStatus::Prompt => Ok(known),
        }
    }

    /// The credential of an offer: as it is kept, or obtained and then kept, durably, before it is used.
    #[expect(
        clippy::disallowed_methods,
        reason = "what is kept is read, and what was obtained is verified and kept"
    )]
    async fn offered(&self, offer: &Secret, work: Work<'_>) -> Result<Held, NotIssued> {
        let which = URL_SAFE_NO_PAD.encode(Digest::of(offer.open()).as_bytes());
        let failed = NotIssued::Unavailable("its notes cannot be read or written");
        let read = |secret: &Secret| serde_json::from_slice::<Kept>(secret.open()).ok();
        let kept = work
            .keep
            .load(&self.note)
            .map_err(|_cause| failed.clone())?;
        let kept = kept
            .as_ref()
            .and_then(read)
            .filter(|kept| kept.offer == which);
        let holder = self.holder.as_deref();
        let verify = |credential: &Secret| {
            let text = String::from_utf8_lossy(credential.open());
            held::verify(&self.declared, text.trim(), holder).map_err(NotIssued::Dead)
        };
        if let Some(kept) = kept {
            return verify(&kept.credential.0);
        }
        let text = String::from_utf8_lossy(offer.open());
        let credential = offer::obtain(&self.declared, &text, self.holder.as_ref(), work).await?;
        // The code of the offer is used up: what came of it is not lost for a key or a type that is declared wrong.
        let text = String::from_utf8_lossy(credential.open());
        self.keep(&which, &text, work.keep)
            .map_err(|_cause| failed)?;
        verify(&credential)
    }

    fn keep(&self, which: &str, text: &str, keep: &dyn Keep) -> Result<(), crate::Error> {
        let kept = json!({ "offer": which, "credential": text }).to_string();
        keep.store(&self.note, &Secret::new(kept.into_bytes()))
    }
}

impl Issuer for Holding {
    fn issue<'a>(
        &'a self,
        _want: &'a Want,
        work: Work<'a>,
    ) -> Waiting<'a, Result<Token, NotIssued>> {
        Box::pin(self.obtain(work))
    }

    fn finish(&self, token: &Arc<Token>) -> Option<Arc<dyn Finish>> {
        Some(Arc::new(Binding {
            signer: Arc::clone(self.holder.as_ref()?),
            token: Arc::clone(token),
            audience: self.declared.audience.clone(),
        }))
    }

    /// Forgets a credential that was obtained; only its issuer can take it back.
    fn revoke<'a>(&'a self, work: Work<'a>) -> Waiting<'a, Result<(), NotIssued>> {
        let forgotten = work.keep.remove(&self.note);
        let forgotten =
            forgotten.map_err(|_cause| NotIssued::Unavailable("its notes cannot be written"));
        Box::pin(std::future::ready(forgotten))
    }
}
