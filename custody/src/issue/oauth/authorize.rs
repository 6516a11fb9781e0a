//! A person agrees in a browser: the request, with PKCE and pushed where the server wants that, and what the browser brings
//! back (RFC 6749 section 4.1, RFC 7636, RFC 9126, RFC 9207, RFC 8252).

use std::{borrow::Cow, sync::Arc};

use exeat_types::Secret;
use http::StatusCode;
use oauth2::{
    AuthorizationCode, CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope,
    url::Url as Link,
};
use serde_json::Value;

use super::{
    assertion::fresh,
    client::{Client, lacking},
    config::ClientAuth,
    metadata::Metadata,
    reply::{TokenReply, refusal, refused},
    wire::{Wire, error_code},
};
use crate::{
    NotIssued, Reply,
    issue::connect::{Pending, Stage},
};

/// An authorization request of our own.
pub(super) struct Visit {
    /// What to open.
    pub(super) url: String,
    /// What waits for the browser.
    pub(super) stage: Stage,
}

impl Client {
    /// Asks for an authorization that comes back to `landing`.
    pub(super) async fn visit(
        &self,
        at: &Arc<Metadata>,
        wire: &Wire<'_>,
        (landing, scopes, key): (&str, &[String], Option<&str>),
    ) -> Result<Visit, NotIssued> {
        let engine = self.engine(at)?;
        let (state, verifier) = (fresh()?, fresh()?);
        let challenge =
            PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(verifier.clone()));
        let back = RedirectUrl::new(landing.to_owned())
            .map_err(|_cause| NotIssued::Dead("the place to come back to is no URL"))?;
        let request = engine.authorize_url(|| CsrfToken::new(state.clone()));
        let mut request = request
            .map_err(lacking)?
            .set_redirect_uri(Cow::Owned(back))
            .set_pkce_challenge(challenge)
            .add_scopes(scopes.iter().cloned().map(Scope::new));
        for (name, value) in self.spec.targets() {
            request = request.add_extra_param(name, value);
        }
        // RFC 9449 section 10: the code too is bound to the key.
        if let Some(thumbprint) = key {
            request = request.add_extra_param("dpop_jkt", thumbprint.to_owned());
        }
        for (name, value) in &self.spec.parameters {
            request = request.add_extra_param(name.clone(), value.clone());
        }
        let (mut url, _state) = request.url();
        if at.pushes_only || self.spec.pushed {
            url = self.push(at, wire, &url).await?;
        }
        Ok(Visit {
            url: url.to_string(),
            stage: Stage::Landing {
                state: Secret::new(state.into_bytes()),
                verifier: Secret::new(verifier.into_bytes()),
                landing: landing.to_owned(),
                at: Arc::clone(at),
            },
        })
    }

    /// RFC 9126: the request goes to the server first, and the browser only brings its name.
    async fn push(
        &self,
        at: &Metadata,
        wire: &Wire<'_>,
        request: &Link,
    ) -> Result<Link, NotIssued> {
        let endpoint = at.pushed.as_ref();
        let endpoint = endpoint.ok_or(NotIssued::Dead("it takes no pushed requests"))?;
        let pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = request
            .query_pairs()
            .filter(|(name, _)| name != "client_id" || self.spec.auth == ClientAuth::Basic)
            .collect();
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (&**n, &**v)).collect();
        let form = self.form(endpoint, &pairs)?;
        let reply = wire.exchange(form).await?;
        if let Some(code) = error_code(&reply) {
            return Err(refused(&code));
        }
        let name = request_uri(&reply);
        let name = name.ok_or(NotIssued::Unavailable("its answer cannot be read"))?;
        let mut url = request.clone();
        url.query_pairs_mut()
            .clear()
            .append_pair("client_id", &self.spec.client_id)
            .append_pair("request_uri", &name);
        Ok(url)
    }

    /// Exchanges what the browser brought back.
    #[expect(clippy::disallowed_methods, reason = "the verifier is sent")]
    pub(super) async fn landed(
        &self,
        pending: &Pending,
        query: &str,
        wire: &Wire<'_>,
    ) -> Result<TokenReply, NotIssued> {
        let Stage::Landing {
            verifier,
            landing,
            at,
            ..
        } = &pending.stage
        else {
            return Err(NotIssued::Dead("no browser was expected"));
        };
        if !pending.fits(query) {
            return Err(NotIssued::Dead("the browser brought another state"));
        }
        let code = brought(query, at)?;
        let engine = self.engine(at)?;
        let verifier = String::from_utf8_lossy(verifier.open()).into_owned();
        let back = RedirectUrl::new(landing.clone())
            .map_err(|_cause| NotIssued::Dead("the place to come back to is no URL"))?;
        let request = engine.exchange_code(AuthorizationCode::new(code));
        let mut request = request
            .map_err(lacking)?
            .set_redirect_uri(Cow::Owned(back))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier));
        for (name, value) in self.spec.targets() {
            request = request.add_extra_param(name, value);
        }
        let reply = request.request_async(wire).await;
        reply.map_err(|error| refusal(&error))
    }
}

/// The code out of an authorization response that comes from the right server.
fn brought(query: &str, at: &Metadata) -> Result<String, NotIssued> {
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let one = |name: &str| {
        let mut found = pairs.iter().filter(|(known, _)| known == name);
        match (found.next(), found.next()) {
            (found, None) => Ok(found.map(|(_, value)| &**value)),
            (_, Some(_)) => Err(NotIssued::Dead("the browser brought one thing twice")),
        }
    };
    // Before anything else is believed, errors included.
    is_from(at, one("iss")?)?;
    if let Some(code) = one("error")? {
        return Err(refused(code));
    }
    let code = one("code")?.filter(|code| !code.is_empty());
    Ok(code
        .ok_or(NotIssued::Dead("the browser brought no code"))?
        .to_owned())
}

/// RFC 9207 section 2.4: a server that says it names itself must, and a name that is there must be its own, character by
/// character.
fn is_from(at: &Metadata, named: Option<&str>) -> Result<(), NotIssued> {
    let mixed_up = NotIssued::Dead("the browser came back from another server");
    match named {
        Some(named) if at.issuer.as_deref() == Some(named) => Ok(()),
        Some(_) => Err(mixed_up),
        None if at.names_itself => Err(mixed_up),
        None => Ok(()),
    }
}

#[expect(clippy::disallowed_methods, reason = "the answer is read")]
fn request_uri(reply: &Reply) -> Option<String> {
    if reply.status != StatusCode::CREATED && reply.status != StatusCode::OK {
        return None;
    }
    let body: Value = serde_json::from_slice(reply.body.open()).ok()?;
    Some(body.get("request_uri")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use exeat_types::Origin;

    use super::*;

    const ISSUER: &str = "https://as.example";

    /// A server that names itself in every answer, or says nothing of it.
    #[derive(Clone, Copy, PartialEq)]
    enum Says {
        Always,
        Nothing,
    }

    fn metadata(says: Says) -> Metadata {
        let document = serde_json::json!({
            "issuer": ISSUER,
            "token_endpoint": "https://as.example/token",
            "authorization_response_iss_parameter_supported": says == Says::Always,
        });
        let allowed = [Origin::parse(ISSUER).unwrap()];
        Metadata::read(document.to_string().as_bytes(), ISSUER, &allowed).unwrap()
    }

    #[track_caller]
    fn check(says: Says, query: &str, expect: Result<&str, &'static str>) {
        let read = brought(query, &metadata(says));
        let expect = expect.map(str::to_owned).map_err(NotIssued::Dead);
        assert_eq!(read, expect, "{query}");
    }

    #[test]
    fn a_response_comes_from_the_server_that_was_asked() {
        // proves RFC 9207 section 2.4, the four rows
        let other = Err("the browser came back from another server");
        check(Says::Always, "code=c&iss=https%3A%2F%2Fas.example", Ok("c"));
        check(Says::Always, "code=c", other);
        check(
            Says::Nothing,
            "code=c&iss=https%3A%2F%2Fas.example",
            Ok("c"),
        );
        check(Says::Nothing, "code=c", Ok("c"));
        for iss in [
            "https://as.example/",
            "https://AS.example",
            "https://evil.example",
            "",
        ] {
            check(Says::Always, &format!("code=c&iss={iss}"), other);
            check(Says::Nothing, &format!("code=c&iss={iss}"), other);
            // An error of another server is not believed either.
            check(
                Says::Nothing,
                &format!("error=access_denied&iss={iss}"),
                other,
            );
        }
    }

    #[test]
    fn errors_and_doubled_parameters_yield_no_code() {
        check(
            Says::Nothing,
            "error=access_denied",
            Err("the person did not agree"),
        );
        let own = NotIssued::Unavailable("it gave a reason of its own");
        let read = brought("error=%3Cscript%3E&code=c", &metadata(Says::Nothing));
        assert_eq!(read, Err(own));
        check(
            Says::Nothing,
            "code=a&code=b",
            Err("the browser brought one thing twice"),
        );
        check(Says::Nothing, "code=", Err("the browser brought no code"));
        check(Says::Nothing, "", Err("the browser brought no code"));
    }
}
