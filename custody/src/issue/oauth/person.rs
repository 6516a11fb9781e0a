//! What a person goes through to grant a credential, from the first request to the grant that is kept.

use std::{sync::Arc, time::Duration};

use exeat_types::{Secret, Signer};

use super::{
    config::{Dpop, Flow},
    device,
    grant::Given,
    issuer::{OauthIssuer, new_key, signer_of},
    reply::{Fresh, Proves},
    revoke::Held,
};
use crate::{
    Begun, Connect, Connection, Error, Keep, NotIssued, Pending, Standing, Waiting, Way, Work,
    issue::connect::Stage, jose::Jwk,
};

/// How long a browser may take.
const VISIT: Duration = Duration::from_secs(10 * 60);

impl OauthIssuer {
    /// A key that tokens will be bound to, unless they are bound to that of the signer, or to none.
    fn own_key(&self) -> Result<Option<Secret>, NotIssued> {
        let needed = self.client.spec.dpop != Dpop::Off && self.device().is_none();
        needed.then(new_key).transpose()
    }

    /// The signer of that key, or of the device.
    fn signer(&self, own: Option<&Secret>) -> Result<Option<Arc<dyn Signer>>, NotIssued> {
        match own {
            Some(key) => Ok(Some(Arc::new(signer_of(key)?))),
            None => Ok(self.device().map(Arc::clone)),
        }
    }

    async fn began<'a>(
        &'a self,
        landing: Option<&'a str>,
        wanted: &'a [String],
        work: Work<'a>,
    ) -> Result<Begun, NotIssued> {
        let spec = &self.client.spec;
        let more = wanted.iter().filter(|scope| !spec.scopes.contains(scope));
        let scopes: Vec<String> = spec.scopes.iter().chain(more).cloned().collect();
        let at = self.metadata(&self.wire(work, None)).await?;
        let wire = self.wire(work, None).to(&at);
        let key = self.own_key()?;
        let signer = self.signer(key.as_ref())?;
        let proves = self.proves(&at, signer.as_ref())?;
        let Some(landing) = landing else {
            let given = self.client.code(&at, &wire, &scopes).await?;
            let whole = given.verification_uri_complete();
            return Ok(Begun {
                url: given.verification_uri().to_string(),
                code: Some(given.user_code().secret().clone()),
                whole_url: whole.map(|url| url.secret().clone()),
                within: device::within(&given),
                scopes: scopes.clone(),
                pending: Pending {
                    scopes,
                    key,
                    stage: Stage::Code(Box::new(given)),
                },
            });
        };
        let thumbprint = match signer.filter(|_| proves != Proves::No) {
            Some(signer) => Some(Jwk::of(&*signer)?.thumbprint()),
            None => None,
        };
        let what = (landing, scopes.as_slice(), thumbprint.as_deref());
        let visit = self.client.visit(&at, &wire, what).await?;
        Ok(Begun {
            url: visit.url,
            code: None,
            whole_url: None,
            within: VISIT,
            scopes: scopes.clone(),
            pending: Pending {
                scopes,
                key,
                stage: visit.stage,
            },
        })
    }

    /// Goes on, with a query that a browser brought or until a person has typed the code.
    async fn goes_on(
        &self,
        pending: Pending,
        query: Option<&str>,
        work: Work<'_>,
    ) -> Result<Connection, NotIssued> {
        let signer = self.signer(pending.key.as_ref())?;
        let at = match &pending.stage {
            Stage::Landing { at, .. } => Arc::clone(at),
            Stage::Code(_) => self.metadata(&self.wire(work, None)).await?,
        };
        let proves = self.proves(&at, signer.as_ref())?;
        let bound = signer.as_ref().filter(|_| proves != Proves::No);
        let wire = self.wire(work, bound).to(&at);
        let reply = match (&pending.stage, query) {
            (Stage::Code(given), None) => self.client.polled(&at, &wire, given).await?,
            (_, query) => {
                let query = query.unwrap_or_default();
                self.client.landed(&pending, query, &wire).await?
            }
        };
        let fresh = Fresh::of(reply, proves)?;
        let key = pending.key.as_ref();
        let given = Given {
            fresh,
            scopes: pending.scopes,
            signer: bound,
            key,
            at: &at,
        };
        let grant = self.client.given(given, wire.now())?;
        self.client.keep(&grant, work.keep)?;
        Ok(grant.shown())
    }
}

impl Connect for OauthIssuer {
    fn way(&self) -> Way {
        match self.client.spec.flow.personal() {
            Some(Flow::Device) => Way::Code,
            Some(_) | None => Way::Browser(self.client.spec.landing.clone()),
        }
    }

    fn begin<'a>(
        &'a self,
        landing: Option<&'a str>,
        wanted: &'a [String],
        work: Work<'a>,
    ) -> Waiting<'a, Result<Begun, NotIssued>> {
        Box::pin(self.began(landing, wanted, work))
    }

    fn land<'a>(
        &'a self,
        pending: Pending,
        query: &'a str,
        work: Work<'a>,
    ) -> Waiting<'a, Result<Connection, NotIssued>> {
        Box::pin(self.goes_on(pending, Some(query), work))
    }

    fn wait<'a>(
        &'a self,
        pending: Pending,
        work: Work<'a>,
    ) -> Waiting<'a, Result<Connection, NotIssued>> {
        Box::pin(self.goes_on(pending, None, work))
    }

    fn connection(&self, keep: &dyn Keep) -> Result<Option<Connection>, NotIssued> {
        let grant = self.client.grant(keep)?;
        let grant = grant.filter(|grant| !grant.is_taken_back());
        Ok(grant.map(|grant| grant.shown()))
    }

    fn ask<'a>(&'a self, work: Work<'a>) -> Waiting<'a, Result<Standing, NotIssued>> {
        Box::pin(async move {
            let grant = self.client.grant(work.keep)?;
            let grant = grant.filter(|grant| !grant.is_taken_back());
            let grant = grant.ok_or(NotIssued::Absent)?;
            // An access token that ended says nothing of the grant.
            let refresh = grant.refresh().map(Held::Refresh);
            let token = refresh.or_else(|| grant.access().map(Held::Access));
            let token = token.ok_or(NotIssued::Dead("it has no token"))?;
            let at = self.metadata(&self.wire(work, None)).await?;
            let wire = self.wire(work, None).to(&at);
            self.client.introspect(&at, &wire, token).await
        })
    }

    fn forget(&self, keep: &dyn Keep) -> Result<(), Error> {
        self.client.forget(keep)
    }
}
