//! `registry`: the token flow of container registries (Distribution "token authentication"), done by the gate.
//!
//! The registry is asked who issues its tokens, the password goes to that token service and nowhere else, and each token
//! is for one repository and for what the tool does. The service is declared: a registry cannot send the password elsewhere.

use exeat_types::{Origin, Secret};
use http::{StatusCode, header::AUTHORIZATION};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use std::sync::Arc;

use super::{
    Asked, Issuer, NotIssued, Presented, Token, Url, Want, Work,
    exchange::{self, Hidden},
    oauth::challenges,
};
use crate::{Made, Make, Material, Waiting, inject};

/// A token without an end lives this long (Distribution specification).
const LIFETIME_SECS: u64 = 60;
/// What follows the name of a repository in a path.
const PARTS: [&str; 4] = ["/manifests/", "/blobs/", "/tags/", "/referrers/"];

/// A container registry with a token service.
#[derive(Debug, Clone)]
pub struct Registry {
    /// The account.
    pub username: String,
    /// The token service.
    pub realm: Url,
    /// How the token service calls the registry; asked of the registry if it is not known.
    pub service: Option<String>,
    /// The registry itself, which is asked for its service.
    pub hosts: Vec<Origin>,
}

impl Make for Registry {
    fn name(&self) -> &'static str {
        "registry"
    }

    fn make(&self, material: Material<'_>) -> Result<Made, &'static str> {
        let password = material.secret.ok_or("needs `secret`, the password")?;
        let pair = inject::basic::pair_text(&self.username, password);
        let basic = Secret::new([b"Basic ", pair.as_bytes()].concat());
        inject::sensitive(&basic).ok_or("has a secret that cannot stand in a header")?;
        let registry = Account {
            declared: self.clone(),
            basic,
        };
        Ok(Made {
            issuer: Some(Arc::new(registry)),
            ..Made::default()
        })
    }

    fn origins(&self) -> Vec<Origin> {
        let mut all = self.hosts.clone();
        all.push(self.realm.origin.clone());
        all
    }
}

/// An account at a registry.
struct Account {
    declared: Registry,
    /// The whole `Authorization` value for the token service.
    basic: Secret,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<Hidden>,
    access_token: Option<Hidden>,
    expires_in: Option<u64>,
}

impl Account {
    /// What the token service calls this registry; the registry has to name the service that was declared.
    async fn service(&self, want: &Want, work: Work<'_>) -> Result<String, NotIssued> {
        if let Some(service) = &self.declared.service {
            return Ok(service.clone());
        }
        let ping = Url {
            origin: want.origin.clone(),
            target: "/v2/".to_owned(),
        };
        let reply = exchange::ask(work.outside, exchange::get(&ping)).await?;
        if reply.status != StatusCode::UNAUTHORIZED {
            return Err(NotIssued::Unavailable("the registry asks for no token"));
        }
        let challenges = challenges(&reply.headers);
        let bearer = challenges
            .iter()
            .find(|one| one.scheme.eq_ignore_ascii_case("bearer"));
        let bearer = bearer.ok_or(NotIssued::Unavailable("the registry asks for no token"))?;
        let realm = bearer
            .param("realm")
            .and_then(|realm| realm.parse::<Url>().ok());
        if realm.as_ref() != Some(&self.declared.realm) {
            return Err(NotIssued::Dead(
                "the registry names another token service than `realm`",
            ));
        }
        Ok(bearer.param("service").unwrap_or_default().to_owned())
    }

    async fn obtain(&self, want: &Want, work: Work<'_>) -> Result<Token, NotIssued> {
        let service = self.service(want, work).await?;
        let mut from = self.declared.realm.clone();
        let scopes = want.narrowed.iter().map(|scope| ("scope", scope.as_str()));
        let account = ("account", self.declared.username.as_str());
        let fields = [("service", service.as_str()), account];
        for (name, value) in fields.into_iter().chain(scopes) {
            let between = if from.target.contains('?') { '&' } else { '?' };
            let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
            from.target = format!("{}{between}{name}={value}", from.target);
        }
        let mut request = exchange::get(&from);
        let basic = inject::sensitive(&self.basic);
        let basic = basic.ok_or(NotIssued::Dead("the password cannot stand in a header"))?;
        request.headers.insert(AUTHORIZATION, basic);
        let reply = exchange::ask(work.outside, request).await?;
        if !reply.status.is_success() {
            return Err(exchange::refused(reply.status, "it refused the account"));
        }
        let answer: Answer = exchange::read(&reply)?;
        let token = answer.token.or(answer.access_token);
        let Hidden(secret) = token.ok_or(NotIssued::Unavailable("its reply holds no token"))?;
        let seconds = answer.expires_in.unwrap_or(LIFETIME_SECS);
        Ok(Token {
            secret,
            presented: Presented::Bearer,
            expires: Some(exchange::ends(work.now, seconds)),
            obtained: work.now,
            scopes: want.narrowed.clone(),
            bound: None,
        })
    }
}

impl Issuer for Account {
    fn issue<'a>(
        &'a self,
        want: &'a Want,
        work: Work<'a>,
    ) -> Waiting<'a, Result<Token, NotIssued>> {
        Box::pin(self.obtain(want, work))
    }

    fn narrow(&self, request: &Asked<'_>) -> Vec<String> {
        scope(request.path, request.category).into_iter().collect()
    }

    /// Tokens of registries end within minutes, and cannot be given back.
    fn revoke<'a>(&'a self, _work: Work<'a>) -> Waiting<'a, Result<(), NotIssued>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn alone(&self) -> bool {
        false
    }
}

/// The scope that a request needs: of its repository, or of the catalogue.
fn scope(path: &str, category: &str) -> Option<String> {
    let rest = path.strip_prefix("/v2/")?;
    if rest == "_catalog" {
        return Some("registry:catalog:*".to_owned());
    }
    let ends = PARTS.iter().filter_map(|part| rest.rfind(part));
    let (name, _) = rest.split_at_checked(ends.max()?)?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
    let actions = match category {
        "write" => "pull,push",
        "delete" => "delete",
        _ => "pull",
    };
    let known = !name.is_empty() && name.chars().all(plain);
    known.then(|| format!("repository:{name}:{actions}"))
}

#[cfg(test)]
mod tests {
    use exeat_types::Timestamp;
    use http::HeaderValue;

    use super::*;
    use crate::issue::stand_in::{Nobody, issue, reply, want};

    #[track_caller]
    fn check(path: &str, category: &str, expect: Option<&str>) {
        assert_eq!(scope(path, category).as_deref(), expect, "{path}");
    }

    #[test]
    fn a_token_is_for_the_repository_of_the_path_and_what_the_tool_does() {
        check("/v2/", "read", None);
        check("/v2/_catalog", "read", Some("registry:catalog:*"));
        check(
            "/v2/app/manifests/latest",
            "read",
            Some("repository:app:pull"),
        );
        check(
            "/v2/a/b/c/blobs/uploads/",
            "write",
            Some("repository:a/b/c:pull,push"),
        );
        check("/v2/a/b/tags/list", "look", Some("repository:a/b:pull"));
        check(
            "/v2/a/manifests/sha256:0",
            "delete",
            Some("repository:a:delete"),
        );
        check(
            "/v2/blobs/manifests/blobs/x",
            "read",
            Some("repository:blobs/manifests:pull"),
        );
        check("/v2/a:push,pull/manifests/x", "read", None);
        check("/v1/a/manifests/x", "read", None);
    }

    fn registry() -> Arc<dyn Issuer> {
        let kind = Registry {
            username: "puller".to_owned(),
            realm: "https://auth.test/token".parse().unwrap(),
            service: None,
            hosts: Vec::new(),
        };
        let secret = Secret::new(b"CANARY-registry-password".to_vec());
        let id = "images".parse().unwrap();
        let material = Material {
            id: &id,
            secret: Some(&secret),
            signer: None,
        };
        kind.make(material).unwrap().issuer.unwrap()
    }

    fn challenge(realm: &str) -> crate::Reply {
        let mut asks = reply(401, "{}");
        let value = format!("Bearer realm=\"{realm}\",service=\"registry.test\"");
        let value = HeaderValue::from_str(&value).unwrap();
        asks.headers.insert("www-authenticate", value);
        asks
    }

    #[test]
    fn the_password_goes_to_the_declared_service_and_a_scoped_token_comes_back() {
        let outside = Nobody::answering(vec![
            challenge("https://auth.test/token"),
            reply(200, r#"{"token":"CANARY-registry-token","expires_in":300}"#),
        ]);
        let mut want = want("https://registry.test");
        want.narrowed = vec!["repository:a/b:pull".to_owned()];
        let token = issue(&*registry(), &want, &outside).unwrap();
        assert!(token.secret.matches(b"CANARY-registry-token"));
        assert_eq!(token.expires, Some(Timestamp::from_millis(1_300_000)));
        let asked = outside.asked();
        assert_eq!(asked[0], "GET https://registry.test/v2/ ");
        assert_eq!(
            asked[1],
            "GET https://auth.test/token?service=registry%2Etest&account=puller&scope=repository%3Aa%2Fb%3Apull Basic cHVsbGVyOkNBTkFSWS1yZWdpc3RyeS1wYXNzd29yZA=="
        );
    }

    #[test]
    fn a_registry_cannot_name_another_token_service() {
        for realm in [
            "https://evil.test/token",
            "https://auth.test/other",
            "http://auth.test/token",
        ] {
            let outside = Nobody::answering(vec![challenge(realm)]);
            let failed = issue(&*registry(), &want("https://registry.test"), &outside);
            assert!(matches!(failed.err(), Some(NotIssued::Dead(_))), "{realm}");
            assert_eq!(outside.asked().len(), 1, "{realm}");
        }
    }
}
