//! `github-app`: installation tokens of a GitHub App, each narrowed to one repository and to what the tool does.
//!
//! The App's key signs a JWT of a few minutes; GitHub gives an hour's token for it. A call never gets a token that reaches
//! further than the call: `scope.rs` says which repository and which permissions it needs.

mod scope;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use exeat_types::{Algorithm, Origin, Secret, Signer, Timestamp};
use http::{
    HeaderValue, Method, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Asked, Issuer, NotIssued, Presented, Token, Url, Want, Work,
    exchange::{self, Hidden},
};
use crate::{Made, Make, Material, OwnRequest, Reply, SoftwareSigner, Waiting, inject, jose};

use scope::Scope;
pub use scope::{Permissions, Repository};

/// The clock of GitHub may be behind ours by this much.
const SKEW_SECS: u64 = 60;
/// GitHub takes no JWT that lives longer than ten minutes.
const JWT_SECS: u64 = 8 * 60;
/// The user name that goes with an installation token over Git's transport.
const GIT_USER: &str = "x-access-token";

/// An installation of a GitHub App.
#[derive(Debug, Clone)]
pub struct GithubApp {
    /// The client id or the number of the App.
    pub app: String,
    /// The number of the installation.
    pub installation: u64,
    /// Where its API is, without a slash at the end: `https://api.github.com`, or `https://HOST/api/v3`.
    pub api: Url,
    /// What a token may be narrowed to.
    pub repositories: Vec<Repository>,
    /// What each category of tools needs; with none, all that the App was granted.
    pub permissions: BTreeMap<String, Permissions>,
}

impl Make for GithubApp {
    fn name(&self) -> &'static str {
        "github-app"
    }

    fn make(&self, material: Material<'_>) -> Result<Made, &'static str> {
        let signer: Arc<dyn Signer> = match (material.secret, material.signer) {
            (Some(secret), None) => Arc::new(SoftwareSigner::from_key(secret)?),
            (None, Some(signer)) => Arc::clone(signer),
            (Some(_), Some(_)) => return Err("has a secret and a signer, and needs one of them"),
            (None, None) => return Err("needs `secret`, the App's private key, or a signer"),
        };
        if signer.algorithm() != Algorithm::Rs256 {
            return Err("has a key that is not RSA, and GitHub takes no other");
        }
        let app = App {
            declared: self.clone(),
            signer,
        };
        let parts = material.secret.map(exchange::telling_lines);
        Ok(Made {
            issuer: Some(Arc::new(app)),
            parts: parts.into_iter().collect(),
            ..Made::default()
        })
    }

    fn origins(&self) -> Vec<Origin> {
        vec![self.api.origin.clone()]
    }
}

/// An App, ready to sign.
struct App {
    declared: GithubApp,
    signer: Arc<dyn Signer>,
}

#[derive(Deserialize)]
struct Answer {
    token: Hidden,
    expires_at: String,
    #[serde(default)]
    permissions: BTreeMap<String, String>,
    #[serde(default)]
    repositories: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    full_name: String,
}

impl App {
    /// Who we are, for a few minutes.
    fn jwt(&self, now: Timestamp) -> Result<HeaderValue, NotIssued> {
        let now = exchange::seconds(now);
        let claims = json!({
            "iss": self.declared.app,
            "iat": now.saturating_sub(SKEW_SECS),
            "exp": now.saturating_add(JWT_SECS),
        });
        let header = jose::members(json!({ "typ": "JWT" }));
        let jwt = jose::jwt(&self.signer, header, &jose::members(claims))?;
        let bearer = Secret::new(format!("Bearer {jwt}").into_bytes());
        inject::sensitive(&bearer).ok_or(NotIssued::Unavailable("a token cannot be written"))
    }

    fn request(&self, scope: &Scope, now: Timestamp) -> Result<OwnRequest, NotIssued> {
        let mut body = jose::Members::new();
        if !scope.repositories.is_empty() {
            let names = scope.repositories.iter().map(Repository::name);
            body.insert("repositories".into(), names.collect::<Value>());
        }
        if !scope.permissions.is_empty() {
            body.insert("permissions".into(), json!(scope.permissions));
        }
        let base = self.declared.api.target.trim_end_matches('/');
        let number = self.declared.installation;
        let mut request = exchange::get(&self.declared.api);
        request.method = Method::POST;
        request.target = format!("{base}/app/installations/{number}/access_tokens");
        request.body = Secret::new(Value::Object(body).to_string().into_bytes());
        let fields = [
            (ACCEPT, "application/vnd.github+json"),
            (CONTENT_TYPE, "application/json"),
            (USER_AGENT, "exeat"),
        ];
        for (name, value) in fields {
            request
                .headers
                .insert(name, HeaderValue::from_static(value));
        }
        let version = HeaderValue::from_static("2022-11-28");
        request.headers.insert("x-github-api-version", version);
        request.headers.insert(AUTHORIZATION, self.jwt(now)?);
        Ok(request)
    }

    async fn obtain(&self, want: &Want, work: Work<'_>) -> Result<Token, NotIssued> {
        let scope = Scope::read(&want.narrowed).map_err(NotIssued::Scope)?;
        let request = self.request(&scope, work.now)?;
        let reply = exchange::ask(work.outside, request).await?;
        if reply.status != StatusCode::CREATED {
            return Err(refused(&reply, &scope));
        }
        let answer: Answer = exchange::read(&reply)?;
        let names: Vec<&str> = answer
            .repositories
            .iter()
            .map(|one| one.full_name.as_str())
            .collect();
        // SECURITY: GitHub is told names without their owner; a token for another owner's repository is not what was asked.
        if !scope.covers(&names, &answer.permissions) {
            return Err(NotIssued::Scope(scope.words()));
        }
        let expires = answer.expires_at.parse();
        let presented = if scope.git {
            Presented::Basic(GIT_USER.to_owned())
        } else {
            Presented::Bearer
        };
        Ok(Token {
            secret: answer.token.0,
            presented,
            expires: Some(expires.unwrap_or_else(|_cause| exchange::ends(work.now, JWT_SECS))),
            obtained: work.now,
            scopes: scope.words(),
            bound: None,
        })
    }
}

/// What another status than `201` means.
fn refused(reply: &Reply, scope: &Scope) -> NotIssued {
    let spent = reply.headers.contains_key("retry-after")
        || reply
            .headers
            .get("x-ratelimit-remaining")
            .is_some_and(|left| left == "0");
    match reply.status {
        StatusCode::FORBIDDEN if spent => NotIssued::Unavailable("it was asked too often"),
        // Its owner suspends an installation, and may take that back.
        StatusCode::FORBIDDEN => NotIssued::Suspended,
        StatusCode::UNAUTHORIZED => NotIssued::Dead("it does not take the key of the App"),
        StatusCode::NOT_FOUND => NotIssued::Dead("it knows no such installation of the App"),
        // Repositories or permissions that the installation does not have.
        StatusCode::UNPROCESSABLE_ENTITY => NotIssued::Scope(scope.words()),
        status => exchange::refused(status, "it refused the App"),
    }
}

impl Issuer for App {
    fn issue<'a>(
        &'a self,
        want: &'a Want,
        work: Work<'a>,
    ) -> Waiting<'a, Result<Token, NotIssued>> {
        Box::pin(self.obtain(want, work))
    }

    fn narrow(&self, request: &Asked<'_>) -> Vec<String> {
        Scope::of(&self.declared, request).words()
    }

    /// An installation lasts until its owner removes it at GitHub; nothing of it is kept here.
    fn revoke<'a>(&'a self, _work: Work<'a>) -> Waiting<'a, Result<(), NotIssued>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn alone(&self) -> bool {
        false
    }
}
