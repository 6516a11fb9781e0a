//! Answers with a token: the one that is kept, a renewed one, or one that nobody has to agree to.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use exeat_types::{Algorithm, Secret, Signer, Timestamp};
use oauth2::RefreshToken;

use super::{
    client::{Client, lacking},
    config::{Dpop as Binding, Flow, Subject},
    exchange::Exchanged,
    grant::Grant,
    metadata::Metadata,
    reply::{Fresh, GRANT_GONE, Proves, TokenReply, refusal},
    revoke::Held,
    wire::Wire,
};
use crate::{
    Connect, Dpop, Finish, Issuer, NotIssued, SoftwareSigner, Token, Waiting, Want, Work,
    finish::dpop::Nonces,
};

/// How long metadata is believed.
const METADATA_LIFE: Duration = Duration::from_secs(60 * 60);

/// What a grant is that was bound to another key.
const KEY_CHANGED: &str =
    "it is bound to a key that is not used any more; it has to be granted again";

/// Issues the tokens of one OAuth credential.
pub(super) struct OauthIssuer {
    pub(super) client: Client,
    /// The key that tokens are bound to, where it is in a signer.
    device: Option<Arc<dyn Signer>>,
    /// The key that tokens are bound to which nobody agreed to, and that are not kept.
    passing: OnceLock<Arc<dyn Signer>>,
    nonces: Arc<Nonces>,
    metadata: Mutex<Option<(Arc<Metadata>, Timestamp)>>,
    /// A renewed grant that could not be kept: the server has forgotten the one before it.
    unkept: Mutex<Option<Grant>>,
}

impl OauthIssuer {
    pub(super) fn new(client: Client, device: Option<Arc<dyn Signer>>) -> Self {
        Self {
            client,
            device,
            passing: OnceLock::new(),
            nonces: Arc::new(Nonces::new()),
            metadata: Mutex::default(),
            unkept: Mutex::default(),
        }
    }

    /// Requests to the server; with a key, as they go to the token endpoint.
    pub(super) fn wire<'a>(
        &'a self,
        work: Work<'a>,
        proves: Option<&'a Arc<dyn Signer>>,
    ) -> Wire<'a> {
        Wire::new(&self.client, work, proves, &self.nonces)
    }

    /// The endpoints of the server, looked up once in a while.
    pub(super) async fn metadata(&self, wire: &Wire<'_>) -> Result<Arc<Metadata>, NotIssued> {
        let known = locked(&self.metadata)
            .as_ref()
            .filter(|(_, since)| wire.now().since(*since) < METADATA_LIFE)
            .map(|(metadata, _)| Arc::clone(metadata));
        if let Some(known) = known {
            return Ok(known);
        }
        let fresh = Arc::new(wire.metadata().await?);
        *locked(&self.metadata) = Some((Arc::clone(&fresh), wire.now()));
        Ok(fresh)
    }

    /// The key in a signer that tokens are bound to, if they are and it is there.
    pub(super) fn device(&self) -> Option<&Arc<dyn Signer>> {
        self.device
            .as_ref()
            .filter(|_| self.client.spec.dpop != Binding::Off)
    }

    /// Whether tokens from this server have to be bound, and whether its own words allow for it.
    pub(super) fn proves(
        &self,
        at: &Metadata,
        key: Option<&Arc<dyn Signer>>,
    ) -> Result<Proves, NotIssued> {
        let takes = |key: &Arc<dyn Signer>| {
            let name = key.algorithm().name();
            let known = at.proofs.as_ref();
            known.is_none_or(|known| known.iter().any(|known| known == name))
        };
        match (self.client.spec.dpop, key.is_some_and(takes)) {
            (Binding::Off, _) | (Binding::Asked, false) => Ok(Proves::No),
            (Binding::Asked, true) => Ok(Proves::May),
            (Binding::Required, true) => Ok(Proves::Must),
            (Binding::Required, false) => {
                Err(NotIssued::Dead("it takes no proofs of this kind of key"))
            }
        }
    }

    /// The token of a flow.
    fn obtain<'a>(
        &'a self,
        flow: &'a Flow,
        work: Work<'a>,
    ) -> Waiting<'a, Result<Token, NotIssued>> {
        Box::pin(async move {
            match flow {
                Flow::AuthorizationCode | Flow::Device => self.granted(work).await,
                Flow::ClientCredentials | Flow::JwtBearer { .. } | Flow::TokenExchange { .. } => {
                    self.asked(flow, work).await
                }
            }
        })
    }

    /// A token that nobody has to agree to.
    async fn asked(&self, flow: &Flow, work: Work<'_>) -> Result<Token, NotIssued> {
        let spec = &self.client.spec;
        let scopes = spec.scopes.clone();
        let key = self.passing_key()?;
        let at = self.metadata(&self.wire(work, None)).await?;
        let proves = self.proves(&at, key)?;
        let key = key.filter(|_| proves != Proves::No);
        let wire = self.wire(work, key).to(&at);
        let reply = match flow {
            Flow::JwtBearer { subject } => {
                let what = (subject.as_str(), scopes.as_slice());
                self.client.jwt_bearer(&at, &wire, what).await
            }
            Flow::TokenExchange {
                subject,
                subject_type,
                requested_type,
            } => {
                let own;
                let token = match subject {
                    Subject::Own(flow) => {
                        own = self.obtain(flow, work).await?;
                        &own.secret
                    }
                    Subject::Secret => {
                        let held = self.client.subject.as_ref();
                        held.ok_or(NotIssued::Dead("there is no token to exchange"))?
                    }
                };
                let exchanged = Exchanged {
                    token,
                    kind: subject_type,
                    requested: requested_type.as_deref(),
                };
                let what = (exchanged, scopes.as_slice());
                self.client.token_exchange(&at, &wire, what).await
            }
            Flow::ClientCredentials | Flow::AuthorizationCode | Flow::Device => {
                self.client.client_credentials(&at, &wire, &scopes).await
            }
        };
        let fresh = Fresh::of(reply?, proves)?;
        let granted = fresh.scopes.unwrap_or(scopes);
        let bound = fresh.presented == crate::Presented::Dpop;
        Ok(Token {
            secret: fresh.access,
            presented: fresh.presented,
            expires: fresh.life.map(|life| work.now.after(life)),
            obtained: work.now,
            scopes: granted,
            bound: key.filter(|_| bound).map(Arc::clone),
        })
    }

    /// The key of tokens that are not kept.
    fn passing_key(&self) -> Result<Option<&Arc<dyn Signer>>, NotIssued> {
        if self.client.spec.dpop == Binding::Off {
            return Ok(None);
        }
        if let Some(device) = &self.device {
            return Ok(Some(device));
        }
        if self.passing.get().is_none() {
            let signer: Arc<dyn Signer> = Arc::new(signer_of(&new_key()?)?);
            drop(self.passing.set(signer));
        }
        Ok(self.passing.get())
    }

    /// The token that somebody agreed to, renewed when it has to be.
    async fn granted(&self, work: Work<'_>) -> Result<Token, NotIssued> {
        self.catch_up(work)?;
        let grant = self.client.grant(work.keep)?.ok_or(NotIssued::Absent)?;
        if grant.is_dead() {
            return Err(NotIssued::Dead(GRANT_GONE));
        }
        let signer = grant.signer(self.device())?;
        if !grant.fits(signer.as_ref())? {
            return Err(NotIssued::Dead(KEY_CHANGED));
        }
        if let Some(token) = grant.good(work, signer.clone()) {
            return Ok(token);
        }
        self.renew(grant, signer, work).await
    }

    /// Renews a grant. The new one is durable before its token is answered.
    async fn renew(
        &self,
        mut grant: Grant,
        signer: Option<Arc<dyn Signer>>,
        work: Work<'_>,
    ) -> Result<Token, NotIssued> {
        let Some(refresh) = grant.refresh() else {
            // One refusal of an API is no reason to throw away what a person granted.
            if let Some(token) = grant.token(signer).filter(|_| !grant.has_ended(work.now)) {
                return Ok(token);
            }
            return self.buried(grant, "the token has ended and cannot be renewed", work);
        };
        let at = self.metadata(&self.wire(work, None)).await?;
        if !grant.is_from(&at) {
            return Err(NotIssued::Dead("it was granted by another server"));
        }
        // A grant that is bound to a key is never weakened, and never risked without its proof.
        let proves = match self.proves(&at, signer.as_ref())? {
            Proves::No if grant.is_bound() => return Err(NotIssued::Dead(KEY_CHANGED)),
            Proves::May if grant.is_bound() => Proves::Must,
            other => other,
        };
        let key = signer.as_ref().filter(|_| proves != Proves::No);
        let wire = self.wire(work, key).to(&at);
        let reply = match self.client.refresh(&at, &wire, refresh).await {
            Ok(reply) => reply,
            // RFC 6749 section 5.2: used up, revoked or expired. Asking again with it would look like theft.
            Err(NotIssued::Dead(GRANT_GONE)) => return self.buried(grant, GRANT_GONE, work),
            Err(other) => return Err(other),
        };
        let next = reply.refresh();
        match Fresh::of(reply, proves) {
            Ok(fresh) => grant.renew(fresh, work.now),
            // The token is not used; what renews the grant is not lost for that.
            Err(why) => {
                if let Some(next) = next {
                    grant.rotate(&next);
                    self.keep_or_hold(grant, work)?;
                }
                return Err(why);
            }
        }
        let token = grant.token(signer);
        self.keep_or_hold(grant, work)?;
        token.ok_or(NotIssued::Dead(GRANT_GONE))
    }

    /// Marks a grant as of no use, so that nobody asks with it again.
    fn buried(
        &self,
        mut grant: Grant,
        why: &'static str,
        work: Work<'_>,
    ) -> Result<Token, NotIssued> {
        grant.bury(why);
        self.keep_or_hold(grant, work)?;
        Err(NotIssued::Dead(why))
    }

    /// Keeps a grant, unless somebody agreed anew or took it back meanwhile.
    fn keep_or_hold(&self, grant: Grant, work: Work<'_>) -> Result<(), NotIssued> {
        match self.client.grant(work.keep)? {
            Some(kept) if kept.is(&grant) => {}
            Some(_) => return Err(NotIssued::Unavailable("it was granted anew just now")),
            None => return Err(NotIssued::Absent),
        }
        let kept = self.client.keep(&grant, work.keep);
        if kept.is_err() {
            *locked(&self.unkept) = Some(grant);
        }
        kept
    }

    /// Keeps what could not be kept before, first of all.
    fn catch_up(&self, work: Work<'_>) -> Result<(), NotIssued> {
        let held = locked(&self.unkept).take();
        held.map_or(Ok(()), |grant| match self.keep_or_hold(grant, work) {
            Err(NotIssued::Absent) | Ok(()) => Ok(()),
            Err(other) => Err(other),
        })
    }
}

impl Client {
    /// RFC 6749 section 6.
    async fn refresh(
        &self,
        at: &Metadata,
        wire: &Wire<'_>,
        token: String,
    ) -> Result<TokenReply, NotIssued> {
        let engine = self.engine(at)?;
        let token = RefreshToken::new(token);
        let mut request = engine.exchange_refresh_token(&token).map_err(lacking)?;
        for (name, value) in self.spec.targets() {
            request = request.add_extra_param(name, value);
        }
        let reply = request.request_async(wire).await;
        reply.map_err(|error| refusal(&error))
    }
}

impl Issuer for OauthIssuer {
    fn issue<'a>(
        &'a self,
        _want: &'a Want,
        work: Work<'a>,
    ) -> Waiting<'a, Result<Token, NotIssued>> {
        self.obtain(&self.client.spec.flow, work)
    }

    fn finish(&self, token: &Arc<Token>) -> Option<Arc<dyn Finish>> {
        let signer = token.bound.as_ref()?;
        let nonces = Arc::clone(&self.nonces);
        let dpop = Dpop::new(Arc::clone(signer), Arc::clone(token), nonces);
        Some(Arc::new(dpop))
    }

    fn revoke<'a>(&'a self, work: Work<'a>) -> Waiting<'a, Result<(), NotIssued>> {
        Box::pin(async move {
            if self.client.spec.flow.personal().is_none() {
                return Ok(());
            }
            self.catch_up(work)?;
            let grant = self.client.grant(work.keep)?;
            let grant = grant.filter(|grant| !grant.is_taken_back());
            let grant = grant.ok_or(NotIssued::Absent)?;
            let at = self.metadata(&self.wire(work, None)).await?;
            let wire = self.wire(work, None).to(&at);
            // The refresh token first: with it the server forgets the whole grant (RFC 7009 section 2.1).
            let tokens = [
                grant.refresh().map(Held::Refresh),
                grant.access().map(Held::Access),
            ];
            for token in tokens.into_iter().flatten() {
                self.client.give_back(&at, &wire, token).await?;
            }
            self.client
                .forget(work.keep)
                .map_err(|_cause| NotIssued::Unavailable("what is kept could not be forgotten"))
        })
    }

    fn connects(&self) -> Option<&dyn Connect> {
        self.client
            .spec
            .flow
            .personal()
            .map(|_| self as &dyn Connect)
    }
}

/// A key that tokens will be bound to, PKCS#8.
pub(super) fn new_key() -> Result<Secret, NotIssued> {
    SoftwareSigner::new_key(Algorithm::Es256).map_err(NotIssued::Signer)
}

/// The signer of such a key.
pub(super) fn signer_of(key: &Secret) -> Result<SoftwareSigner, NotIssued> {
    SoftwareSigner::from_key(key).map_err(NotIssued::Signer)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
