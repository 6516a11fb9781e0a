//! How requests to an authorization server leave and come back: to declared hosts only, without redirects, with a proof of
//! possession where tokens are bound to a key.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use exeat_types::{Origin, Secret, Signer, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use serde_json::Value;

use super::{
    client::{ASSERTION_TYPE, Client, audience},
    metadata::Metadata,
};
use crate::{
    NoReply, NotIssued, OwnRequest, Reply, Url, Work,
    finish::dpop::{self, Nonces, Proof, Role},
};

/// Fields that name the shape of a request, which whoever sends it writes anew.
const FRAMING: [HeaderName; 3] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
];

/// There is no answer that could be read.
#[derive(Debug, thiserror::Error)]
#[error("no answer that can be read")]
pub(super) struct NoAnswer(pub(super) NotIssued);

/// Sends requests of one exchange.
pub(super) struct Wire<'a> {
    pub(super) client: &'a Client,
    work: Work<'a>,
    /// The key that is proven, at a token endpoint.
    proves: Option<&'a Arc<dyn Signer>>,
    nonces: &'a Nonces,
    /// Whom assertions are for, once that is known.
    audience: Option<String>,
    /// For how long it has waited, in milliseconds: a proof says when it was made.
    waited: AtomicU64,
}

impl<'c> AsyncHttpClient<'c> for Wire<'_> {
    type Error = NoAnswer;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, NoAnswer>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let exchange = Exchange {
                method: head.method,
                url: head.uri.to_string(),
                headers: head.headers,
                body: Secret::new(body),
            };
            let reply = self.exchange(exchange).await.map_err(NoAnswer)?;
            Ok(response(reply))
        })
    }
}

/// One request, which may have to be sent twice.
pub(super) struct Exchange {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Secret,
}

impl<'a> Wire<'a> {
    pub(super) const fn new(
        client: &'a Client,
        work: Work<'a>,
        proves: Option<&'a Arc<dyn Signer>>,
        nonces: &'a Nonces,
    ) -> Self {
        Self {
            client,
            work,
            proves,
            nonces,
            audience: None,
            waited: AtomicU64::new(0),
        }
    }

    /// To this server: forms carry the assertion of the client, if it proves itself by one.
    pub(super) fn to(mut self, at: &Metadata) -> Self {
        self.audience = Some(audience(at));
        self
    }

    /// The time.
    pub(super) fn now(&self) -> Timestamp {
        let waited = self.waited.load(Ordering::Relaxed);
        self.work.now.after(Duration::from_millis(waited))
    }

    /// Waits.
    pub(super) async fn pause(&self, time: Duration) {
        self.work.outside.pause(time).await;
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.waited.fetch_add(millis, Ordering::Relaxed);
    }

    /// Sends it; once more if the server wants its nonce in the proof.
    pub(super) async fn exchange(&self, exchange: Exchange) -> Result<Reply, NotIssued> {
        self.exchange_at(exchange, &self.client.allowed).await
    }

    /// The same, with these hosts alone.
    pub(super) async fn exchange_at(
        &self,
        exchange: Exchange,
        hosts: &[Origin],
    ) -> Result<Reply, NotIssued> {
        let url = exchange.url.parse::<Url>().ok();
        let url = url.filter(|url| hosts.contains(&url.origin));
        let url = url.ok_or(NotIssued::Unavailable(
            "its endpoint is not on a declared host",
        ))?;
        let used = self.nonces.of(&url.origin, Role::Issuer);
        let first = self.attempt(&exchange, &url, used.as_deref()).await?;
        self.nonces.learn(&url.origin, Role::Issuer, &first.headers);
        let next = self.nonces.of(&url.origin, Role::Issuer);
        // RFC 9449 section 8: the request is repeated once, with a proof that has the nonce.
        if self.proves.is_none() || next.is_none() || next == used || !wants_nonce(&first) {
            return Ok(first);
        }
        let second = self.attempt(&exchange, &url, next.as_deref()).await?;
        self.nonces
            .learn(&url.origin, Role::Issuer, &second.headers);
        Ok(second)
    }

    async fn attempt(
        &self,
        exchange: &Exchange,
        url: &Url,
        nonce: Option<&str>,
    ) -> Result<Reply, NotIssued> {
        let mut headers = exchange.headers.clone();
        for name in FRAMING {
            headers.remove(name);
        }
        if let Some(shown) = headers.get_mut(header::AUTHORIZATION) {
            shown.set_sensitive(true);
        }
        if let Some(signer) = self.proves {
            let proof = dpop::proof(&Proof {
                signer,
                method: &exchange.method,
                origin: &url.origin,
                target: &url.target,
                nonce,
                token: None,
                now: self.now(),
            })?;
            let value = HeaderValue::try_from(proof)
                .map_err(|_cause| NotIssued::Signer("a proof cannot be written"))?;
            headers.insert(dpop::PROOF, value);
        }
        let request = OwnRequest {
            method: exchange.method.clone(),
            origin: url.origin.clone(),
            target: url.target.clone(),
            headers,
            body: self.body(exchange)?,
            identity: self.client.identity.clone(),
        };
        let reply = self.work.outside.send(request).await.map_err(silent)?;
        usable(reply)
    }

    /// The form with a fresh assertion, as one is good for once.
    #[expect(clippy::disallowed_methods, reason = "the form is sent")]
    fn body(&self, exchange: &Exchange) -> Result<Secret, NotIssued> {
        let audience = self.audience.as_deref();
        let audience = audience.filter(|_| exchange.method == Method::POST);
        let assertion = audience.map(|audience| self.client.assertion(audience, self.now()));
        let Some(assertion) = assertion.transpose()?.flatten() else {
            return Ok(exchange.body.duplicate());
        };
        let mut more = form_urlencoded::Serializer::new(String::new());
        more.append_pair("client_assertion_type", ASSERTION_TYPE);
        more.append_pair("client_assertion", &assertion);
        let body = [exchange.body.open(), b"&", more.finish().as_bytes()].concat();
        Ok(Secret::new(body))
    }
}

/// An answer that speaks for the server itself.
fn usable(reply: Reply) -> Result<Reply, NotIssued> {
    let status = reply.status;
    if status.is_redirection() {
        // A secret was just sent to an endpoint that was looked up; it does not travel on.
        return Err(NotIssued::Unavailable("it sends us elsewhere"));
    }
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(NotIssued::Unavailable("it is in trouble"));
    }
    Ok(reply)
}

pub(super) const fn silent(reason: NoReply) -> NotIssued {
    NotIssued::Unavailable(match reason {
        NoReply::Forbidden => "its address may not be reached",
        NoReply::Unreachable => "it could not be reached",
        NoReply::Late => "it did not answer in time",
        NoReply::Broken => "its answer broke off",
        NoReply::TooLarge => "its answer is too large",
    })
}

fn wants_nonce(reply: &Reply) -> bool {
    let asked = reply.status == StatusCode::BAD_REQUEST || reply.status == StatusCode::UNAUTHORIZED;
    asked && error_code(reply).as_deref() == Some("use_dpop_nonce")
}

/// The error code of an answer in JSON, if it has one.
#[expect(clippy::disallowed_methods, reason = "the answer is read")]
pub(super) fn error_code(reply: &Reply) -> Option<String> {
    let body: Value = serde_json::from_slice(reply.body.open()).ok()?;
    Some(body.get("error")?.as_str()?.to_owned())
}

/// The answer as the `oauth2` crate reads it.
#[expect(clippy::disallowed_methods, reason = "the answer is read")]
fn response(reply: Reply) -> HttpResponse {
    // Some servers answer errors with 200, some success with 201.
    let status = match error_code(&reply) {
        Some(_) if reply.status.is_success() => StatusCode::BAD_REQUEST,
        None if reply.status.is_success() => StatusCode::OK,
        Some(_) | None => reply.status,
    };
    let mut response = HttpResponse::new(reply.body.open().to_vec());
    *response.status_mut() = status;
    *response.headers_mut() = reply.headers;
    response
}
