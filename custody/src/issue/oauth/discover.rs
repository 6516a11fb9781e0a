//! Looks up the endpoints of a server: from a protected resource to its issuer (RFC 9728), from the issuer to its metadata
//! (RFC 8414, then `OpenID` Connect Discovery).

use exeat_types::{Origin, Secret};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::{
    config::ClientAuth,
    metadata::{Metadata, ProtectedResource},
    wire::{Exchange, Wire},
};
use crate::{NotIssued, Url};

impl Wire<'_> {
    /// The endpoints of the client's server.
    pub(super) async fn metadata(&self) -> Result<Metadata, NotIssued> {
        let spec = &self.client.spec;
        if let Some(declared) = Metadata::declared(spec) {
            return Ok(declared);
        }
        let issuer = match (&spec.issuer, &spec.protected_resource) {
            (Some(issuer), _) => issuer.clone(),
            (None, Some(resource)) => self.issuer_of(resource).await?,
            (None, None) => return Err(NotIssued::Dead("it is not known where it is")),
        };
        let url = issuer
            .parse::<Url>()
            .ok()
            .ok_or(NotIssued::Dead("its identifier is no URL over TLS"))?;
        let origin = &url.origin;
        // The order of RFC 8414 section 5 and of MCP: the path goes behind the well-known one; OpenID Connect puts it before.
        let candidates = match path(&url) {
            "" => vec![
                format!("{origin}/.well-known/oauth-authorization-server"),
                format!("{origin}/.well-known/openid-configuration"),
            ],
            path => vec![
                format!("{origin}/.well-known/oauth-authorization-server{path}"),
                format!("{origin}/.well-known/openid-configuration{path}"),
                format!("{origin}{path}/.well-known/openid-configuration"),
            ],
        };
        let Some(document) = self.first(&candidates, &self.client.allowed).await? else {
            return Err(NotIssued::Unavailable("it publishes no metadata"));
        };
        let read = |document: &[u8]| {
            let allowed = &self.client.allowed;
            let metadata = Metadata::read(document, &issuer, allowed)?;
            if spec.auth == ClientAuth::Mtls {
                return metadata.for_certificates(document, allowed);
            }
            Ok(metadata)
        };
        opened(&document, read).map_err(NotIssued::Unavailable)
    }

    /// The issuer that a protected resource names.
    async fn issuer_of(&self, resource: &str) -> Result<String, NotIssued> {
        let url = resource
            .parse::<Url>()
            .ok()
            .ok_or(NotIssued::Dead("the resource is no URL over TLS"))?;
        let origin = &url.origin;
        let mut candidates = vec![format!("{origin}/.well-known/oauth-protected-resource")];
        if !path(&url).is_empty() {
            candidates.insert(0, format!("{}{}", candidates.concat(), path(&url)));
        }
        // SECURITY: the resource is asked for this document and for nothing else; it is no place for the client's proofs.
        let hosts = std::slice::from_ref(origin);
        let Some(document) = self.first(&candidates, hosts).await? else {
            return Err(NotIssued::Unavailable("the resource publishes no metadata"));
        };
        let read =
            |document: &[u8]| ProtectedResource::read(document, resource, &self.client.allowed);
        opened(&document, read)
            .map(|read| read.issuer)
            .map_err(NotIssued::Unavailable)
    }

    /// The first of these documents that exists. One that lies is not passed over for the next.
    async fn first(
        &self,
        candidates: &[String],
        hosts: &[Origin],
    ) -> Result<Option<Secret>, NotIssued> {
        for url in candidates {
            let accept = HeaderValue::from_static("application/json");
            let asks = Exchange {
                method: Method::GET,
                url: url.clone(),
                headers: HeaderMap::from_iter([(header::ACCEPT, accept)]),
                body: Secret::new(Vec::new()),
            };
            let reply = self.exchange_at(asks, hosts).await?;
            if reply.status == StatusCode::OK {
                return Ok(Some(reply.body));
            }
        }
        Ok(None)
    }
}

/// The path of an identifier, without a slash at the end.
fn path(url: &Url) -> &str {
    let path = url.target.split('?').next().unwrap_or_default();
    path.strip_suffix('/').unwrap_or(path)
}

#[expect(clippy::disallowed_methods, reason = "metadata is public")]
fn opened<T>(
    document: &Secret,
    read: impl FnOnce(&[u8]) -> Result<T, &'static str>,
) -> Result<T, &'static str> {
    read(document.open())
}
