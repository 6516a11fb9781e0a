//! Reads what servers publish about themselves: metadata of an authorization server and of a protected resource.
//!
//! A document speaks for the identifier it was looked up by and for no other, and may lead only to hosts that the operator
//! declared.

use exeat_types::{Origin, unique_json};
use serde_json::Value;

use super::config::Oauth;
use crate::Url;

/// An authorization server, as far as it concerns a client (RFC 8414, `OpenID` Connect Discovery).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Its identifier; none when endpoints were declared without one.
    pub(super) issuer: Option<String>,
    pub(super) authorization: Option<Url>,
    pub(super) token: Url,
    pub(super) device: Option<Url>,
    pub(super) pushed: Option<Url>,
    pub(super) revocation: Option<Url>,
    pub(super) introspection: Option<Url>,
    /// Whether authorization requests have to be pushed (RFC 9126 section 5).
    pub(super) pushes_only: bool,
    /// Whether every authorization response names the issuer (RFC 9207 section 3).
    pub(super) names_itself: bool,
    /// The algorithms of proofs that it takes, if it says so (RFC 9449 section 5.1).
    pub(super) proofs: Option<Vec<String>>,
}

impl Metadata {
    /// Reads the document of the server with this identifier.
    ///
    /// # Errors
    /// When it is no metadata, speaks of another server, or leads to a host that is not among `allowed`.
    pub fn read(document: &[u8], issuer: &str, allowed: &[Origin]) -> Result<Self, &'static str> {
        let document = object(document)?;
        // RFC 8414 section 3.3: the identifier is identical, character by character.
        if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err("its metadata speaks of another issuer");
        }
        let methods = texts(&document, "code_challenge_methods_supported");
        if methods.is_some_and(|methods| !methods.iter().any(|method| method == "S256")) {
            return Err("it does not know the code challenge S256");
        }
        let endpoint = |name| endpoint(&document, name, allowed);
        let mut read = Self {
            issuer: Some(issuer.to_owned()),
            authorization: endpoint("authorization_endpoint")?,
            token: endpoint("token_endpoint")?.ok_or("its metadata has no token endpoint")?,
            device: endpoint("device_authorization_endpoint")?,
            pushed: endpoint("pushed_authorization_request_endpoint")?,
            revocation: endpoint("revocation_endpoint")?,
            introspection: endpoint("introspection_endpoint")?,
            pushes_only: flag(&document, "require_pushed_authorization_requests"),
            names_itself: flag(&document, "authorization_response_iss_parameter_supported"),
            proofs: texts(&document, "dpop_signing_alg_values_supported"),
        };
        if read.pushes_only && read.pushed.is_none() {
            // RFC 9126 section 5: where one is demanded there is an endpoint for it.
            read.authorization = None;
        }
        Ok(read)
    }

    /// The endpoints for a client that shows a certificate (RFC 8705 section 5).
    ///
    /// # Errors
    /// When one of them lies on a host that is not among `allowed`.
    pub(super) fn for_certificates(
        mut self,
        document: &[u8],
        allowed: &[Origin],
    ) -> Result<Self, &'static str> {
        let document = object(document)?;
        let Some(aliases) = document.get("mtls_endpoint_aliases") else {
            return Ok(self);
        };
        let alias = |name| endpoint(aliases, name, allowed);
        if let Some(token) = alias("token_endpoint")? {
            self.token = token;
        }
        for (own, name) in [
            (&mut self.device, "device_authorization_endpoint"),
            (&mut self.pushed, "pushed_authorization_request_endpoint"),
            (&mut self.revocation, "revocation_endpoint"),
            (&mut self.introspection, "introspection_endpoint"),
        ] {
            if let Some(url) = alias(name)? {
                *own = Some(url);
            }
        }
        Ok(self)
    }

    /// What was declared instead of being looked up; `None` when the token endpoint was not.
    pub(super) fn declared(oauth: &Oauth) -> Option<Self> {
        let endpoints = &oauth.endpoints;
        Some(Self {
            issuer: oauth.issuer.clone(),
            authorization: endpoints.authorization.clone(),
            token: endpoints.token.clone()?,
            device: endpoints.device.clone(),
            pushed: endpoints.pushed.clone(),
            revocation: endpoints.revocation.clone(),
            introspection: endpoints.introspection.clone(),
            pushes_only: false,
            names_itself: false,
            proofs: None,
        })
    }
}

/// A protected resource, as far as it concerns a client (RFC 9728).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectedResource {
    /// The authorization server to use: the first on a declared host.
    pub issuer: String,
}

impl ProtectedResource {
    /// Reads the document of this resource.
    ///
    /// # Errors
    /// When it is no metadata, speaks of another resource, or names no server on a declared host.
    pub fn read(document: &[u8], resource: &str, allowed: &[Origin]) -> Result<Self, &'static str> {
        let document = object(document)?;
        // RFC 9728 section 3.3: the identifier is identical to the one that was looked up.
        if document.get("resource").and_then(Value::as_str) != Some(resource) {
            return Err("its metadata speaks of another resource");
        }
        let servers = texts(&document, "authorization_servers").unwrap_or_default();
        let declared = |server: &String| {
            let url = server.parse::<Url>();
            url.is_ok_and(|url| allowed.contains(&url.origin))
        };
        let issuer = servers.into_iter().find(declared);
        let issuer = issuer.ok_or("its metadata names no issuer on a declared host")?;
        Ok(Self { issuer })
    }
}

fn object(document: &[u8]) -> Result<Value, &'static str> {
    match unique_json(document) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) | Err(_) => Err("its metadata is no JSON object"),
    }
}

fn endpoint(document: &Value, name: &str, allowed: &[Origin]) -> Result<Option<Url>, &'static str> {
    let Some(value) = document.get(name) else {
        return Ok(None);
    };
    let url = value.as_str().and_then(|text| text.parse::<Url>().ok());
    let url = url.ok_or("its metadata has an endpoint that is no URL over TLS")?;
    if !allowed.contains(&url.origin) {
        return Err("its metadata leads to a host that is not declared");
    }
    Ok(Some(url))
}

fn texts(document: &Value, name: &str) -> Option<Vec<String>> {
    let values = document.get(name)?.as_array()?;
    Some(
        values
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
    )
}

fn flag(document: &Value, name: &str) -> bool {
    document.get(name).and_then(Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://as.example/tenant";

    #[track_caller]
    fn check(change: &Value, expect: Result<(), &'static str>) {
        let mut document = json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://as.example/authorize",
            "token_endpoint": "https://tokens.example/token",
            "code_challenge_methods_supported": ["plain", "S256"],
        });
        for (name, value) in change.as_object().unwrap() {
            document[name] = value.clone();
        }
        let allowed = ["https://as.example", "https://tokens.example"];
        let allowed = allowed.map(|text| Origin::parse(text).unwrap());
        let read = Metadata::read(document.to_string().as_bytes(), ISSUER, &allowed);
        assert_eq!(read.map(|_| ()), expect, "{change}");
    }

    #[test]
    fn metadata_speaks_for_its_own_issuer_and_leads_to_declared_hosts() {
        check(&json!({}), Ok(()));
        // proves RFC 8414 section 3.3
        let other = Err("its metadata speaks of another issuer");
        check(&json!({ "issuer": "https://as.example/tenant/" }), other);
        check(&json!({ "issuer": "https://AS.example/tenant" }), other);
        check(&json!({ "issuer": null }), other);
        check(
            &json!({ "token_endpoint": "https://evil.example/token" }),
            Err("its metadata leads to a host that is not declared"),
        );
        check(
            &json!({ "revocation_endpoint": "https://as.example:444/" }),
            Err("its metadata leads to a host that is not declared"),
        );
        check(
            &json!({ "token_endpoint": "http://tokens.example/token" }),
            Err("its metadata has an endpoint that is no URL over TLS"),
        );
        check(
            &json!({ "token_endpoint": 7 }),
            Err("its metadata has an endpoint that is no URL over TLS"),
        );
        check(
            &json!({ "code_challenge_methods_supported": ["plain"] }),
            Err("it does not know the code challenge S256"),
        );
    }

    #[test]
    fn a_document_with_a_name_twice_is_none() {
        let twice = format!(r#"{{"issuer":"{ISSUER}","issuer":"{ISSUER}"}}"#);
        let read = Metadata::read(twice.as_bytes(), ISSUER, &[]);
        assert_eq!(read, Err("its metadata is no JSON object"));
        assert!(Metadata::read(b"[]", ISSUER, &[]).is_err());
    }

    #[test]
    fn a_resource_names_an_issuer_on_a_declared_host() {
        let allowed = [Origin::parse("https://as.example").unwrap()];
        let read = |document: Value| {
            ProtectedResource::read(
                document.to_string().as_bytes(),
                "https://api.example/mcp",
                &allowed,
            )
            .map(|read| read.issuer)
        };
        let servers = json!(["https://evil.example", ISSUER]);
        let document =
            json!({ "resource": "https://api.example/mcp", "authorization_servers": servers });
        assert_eq!(read(document), Ok(ISSUER.to_owned()));
        // proves RFC 9728 section 3.3
        let other = json!({ "resource": "https://api.example", "authorization_servers": [ISSUER] });
        assert_eq!(read(other), Err("its metadata speaks of another resource"));
        let none = json!({ "resource": "https://api.example/mcp", "authorization_servers": ["https://evil.example"] });
        assert_eq!(
            read(none),
            Err("its metadata names no issuer on a declared host")
        );
    }
}
