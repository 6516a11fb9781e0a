//! What is kept of a grant that a person gave: sealed, and durable before any of it is used.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use exeat_types::{Secret, Signer, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use super::{assertion::fresh, client::Client, metadata::Metadata, reply::Fresh};
use crate::{
    Connection, Error, Keep, NotIssued, Presented, SoftwareSigner, Token, Url, Work, jose::Jwk,
};

const FORMAT: u32 = 1;
/// Why a grant is of no use that an operator took back.
const TAKEN_BACK: &str = "it was taken back";

/// A grant of one person to one client of one server.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Grant {
    format: u32,
    /// Another one each time that somebody agrees.
    id: String,
    /// The server and the client it belongs to; to any other it is nothing.
    issuer: String,
    client: String,
    access: Option<String>,
    refresh: Option<String>,
    /// Whether tokens are bound to a key (RFC 9449).
    bound: bool,
    /// The thumbprint of that key.
    #[serde(default)]
    thumbprint: Option<String>,
    /// The server as its metadata names it, which may have been looked up by a protected resource.
    #[serde(default)]
    server: Option<String>,
    /// That key, PKCS#8 in base64, where it is not in a signer.
    key: Option<String>,
    obtained: u64,
    expires: Option<u64>,
    scopes: Vec<String>,
    /// Why it is of no use any more.
    dead: Option<String>,
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.access.zeroize();
        self.refresh.zeroize();
        self.key.zeroize();
    }
}

/// What somebody just gave.
pub(super) struct Given<'a> {
    pub(super) fresh: Fresh,
    /// What was asked for.
    pub(super) scopes: Vec<String>,
    /// The key that its tokens are bound to, and the same where it does not lie in a signer.
    pub(super) signer: Option<&'a Arc<dyn Signer>>,
    pub(super) key: Option<&'a Secret>,
    /// The server that granted it.
    pub(super) at: &'a Metadata,
}

impl Client {
    /// The name under which the grant is kept.
    fn note(&self) -> String {
        format!("oauth/{}", self.id)
    }

    /// Whom grants belong to: the issuer, or where its metadata is looked up, or the token endpoint.
    fn server(&self) -> String {
        let spec = &self.spec;
        let named = spec.issuer.as_ref().or(spec.protected_resource.as_ref());
        let endpoint = || spec.endpoints.token.as_ref().map(Url::to_string);
        named.cloned().or_else(endpoint).unwrap_or_default()
    }

    /// What is kept, if it belongs to this client of this server.
    #[expect(clippy::disallowed_methods, reason = "what is kept is read")]
    pub(super) fn grant(&self, keep: &dyn Keep) -> Result<Option<Grant>, NotIssued> {
        let unread = NotIssued::Unavailable("what is kept of the grant cannot be read");
        let kept = keep.load(&self.note()).map_err(|_cause| unread.clone())?;
        let Some(kept) = kept else { return Ok(None) };
        let grant: Grant = serde_json::from_slice(kept.open()).map_err(|_cause| unread)?;
        let ours = grant.format == FORMAT
            && grant.issuer == self.server()
            && grant.client == self.spec.client_id;
        Ok(ours.then_some(grant))
    }

    /// A grant that somebody just gave.
    pub(super) fn given(&self, given: Given<'_>, now: Timestamp) -> Result<Grant, NotIssued> {
        let mut grant = Grant {
            format: FORMAT,
            id: fresh()?,
            issuer: self.server(),
            client: self.spec.client_id.clone(),
            access: None,
            refresh: None,
            bound: false,
            thumbprint: given.signer.map(thumbprint).transpose()?,
            server: given.at.issuer.clone(),
            key: given.key.map(encoded),
            obtained: 0,
            expires: None,
            scopes: given.scopes,
            dead: None,
        };
        grant.renew(given.fresh, now);
        if !grant.bound {
            grant.thumbprint = None;
            grant.key.zeroize();
            grant.key = None;
        }
        Ok(grant)
    }

    /// Keeps a grant durably. When this returns it may be used.
    pub(super) fn keep(&self, grant: &Grant, keep: &dyn Keep) -> Result<(), NotIssued> {
        let unkept = NotIssued::Unavailable("what it granted could not be kept");
        let bytes = serde_json::to_vec(grant).map_err(|_cause| unkept.clone())?;
        let stored = keep.store(&self.note(), &Secret::new(bytes));
        stored.map_err(|_cause| unkept)
    }

    /// Forgets what is kept. SECURITY: that there was something is not: what was taken back is not absent, so that nothing
    /// else lets calls in in its stead.
    pub(super) fn forget(&self, keep: &dyn Keep) -> Result<(), Error> {
        let kept = self.grant(keep).ok().flatten().and_then(|mut grant| {
            grant.take_back();
            serde_json::to_vec(&grant).ok()
        });
        match kept {
            Some(note) => keep.store(&self.note(), &Secret::new(note)),
            None => keep.remove(&self.note()),
        }
    }
}

impl Grant {
    /// Takes over what a server answered. A refresh token that is not replaced stays good.
    pub(super) fn renew(&mut self, fresh: Fresh, now: Timestamp) {
        self.access.zeroize();
        self.access = Some(text(&fresh.access));
        if let Some(refresh) = &fresh.refresh {
            self.rotate(refresh);
        }
        self.bound = fresh.presented == Presented::Dpop;
        self.obtained = now.millis();
        self.expires = fresh.life.map(|life| now.after(life).millis());
        if let Some(scopes) = fresh.scopes {
            self.scopes = scopes;
        }
    }

    /// Takes over what renews it from now on.
    pub(super) fn rotate(&mut self, refresh: &Secret) {
        self.refresh.zeroize();
        self.refresh = Some(text(refresh));
    }

    /// Marks it as of no use: what it held is gone.
    pub(super) fn bury(&mut self, why: &str) {
        self.access.zeroize();
        self.refresh.zeroize();
        (self.access, self.refresh) = (None, None);
        self.dead = Some(why.to_owned());
    }

    /// Leaves nothing of it but that it was there. No renewal that is still on its way belongs to it.
    fn take_back(&mut self) {
        self.bury(TAKEN_BACK);
        self.id.clear();
        self.scopes.clear();
        self.key.zeroize();
        self.key = None;
    }

    /// Whether somebody took it back.
    pub(super) fn is_taken_back(&self) -> bool {
        self.dead.as_deref() == Some(TAKEN_BACK)
    }

    /// Whether this is the same grant, however often it was renewed.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.id == other.id
    }

    pub(super) const fn is_dead(&self) -> bool {
        self.dead.is_some()
    }

    /// Whether its tokens are bound to a key.
    pub(super) const fn is_bound(&self) -> bool {
        self.bound
    }

    /// Whether its token has ended for sure.
    pub(super) fn has_ended(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|ends| ends <= now.millis())
    }

    /// Whether this server granted it, as far as that was noted.
    pub(super) fn is_from(&self, at: &Metadata) -> bool {
        self.server.is_none() || self.server == at.issuer
    }

    /// Whether this is the key that it is bound to, if it is bound.
    pub(super) fn fits(&self, signer: Option<&Arc<dyn Signer>>) -> Result<bool, NotIssued> {
        match (signer, &self.thumbprint) {
            _ if !self.bound => Ok(true),
            (None, _) => Ok(false),
            (Some(_), None) => Ok(true),
            (Some(signer), Some(noted)) => Ok(thumbprint(signer)? == *noted),
        }
    }

    /// What renews it.
    pub(super) fn refresh(&self) -> Option<String> {
        self.refresh.clone()
    }

    /// Its token, if it has one.
    pub(super) fn access(&self) -> Option<String> {
        self.access.clone()
    }

    /// Its key, if it is bound to one that lies here.
    pub(super) fn signer(
        &self,
        device: Option<&Arc<dyn Signer>>,
    ) -> Result<Option<Arc<dyn Signer>>, NotIssued> {
        let damaged = || NotIssued::Dead("the key of the grant is damaged");
        match (&self.key, device) {
            (Some(key), _) => {
                let der = BASE64_STANDARD.decode(key).map_err(|_cause| damaged())?;
                let signer = SoftwareSigner::from_key(&Secret::new(der));
                let signer = signer.map_err(|_cause| damaged())?;
                Ok(Some(Arc::new(signer)))
            }
            (None, Some(device)) => Ok(Some(Arc::clone(device))),
            (None, None) => Ok(None),
        }
    }

    /// Its token, unless that ends soon or is the one that was of no use.
    pub(super) fn good(&self, work: Work<'_>, signer: Option<Arc<dyn Signer>>) -> Option<Token> {
        let token = self.token(signer)?;
        let spent = work.spent.is_some_and(|spent| token.obtained <= spent);
        let soon = token.used_until().is_some_and(|end| end <= work.now);
        (!spent && !soon).then_some(token)
    }

    /// Its token as it is.
    pub(super) fn token(&self, signer: Option<Arc<dyn Signer>>) -> Option<Token> {
        let access = self.access.clone()?;
        let presented = if self.bound {
            Presented::Dpop
        } else {
            Presented::Bearer
        };
        Some(Token {
            secret: Secret::new(access.into_bytes()),
            presented,
            expires: self.expires.map(Timestamp::from_millis),
            obtained: Timestamp::from_millis(self.obtained),
            scopes: self.scopes.clone(),
            bound: signer.filter(|_| self.bound),
        })
    }

    /// What an operator may see of it.
    pub(super) fn shown(&self) -> Connection {
        Connection {
            issuer: self.issuer.clone(),
            scopes: self.scopes.clone(),
            obtained: Timestamp::from_millis(self.obtained),
            expires: self.expires.map(Timestamp::from_millis),
            renews: self.refresh.is_some(),
            bound: self.bound,
            dead: self.dead.clone(),
        }
    }
}

fn thumbprint(signer: &Arc<dyn Signer>) -> Result<String, NotIssued> {
    Ok(Jwk::of(&**signer)?.thumbprint())
}

#[expect(clippy::disallowed_methods, reason = "it is sealed with the rest")]
fn encoded(key: &Secret) -> String {
    BASE64_STANDARD.encode(key.open())
}

#[expect(clippy::disallowed_methods, reason = "it is sealed with the rest")]
fn text(token: &Secret) -> String {
    String::from_utf8_lossy(token.open()).into_owned()
}
