//! Reads what a token endpoint answers, and says in our own words why it refused.

use std::time::Duration;

use exeat_types::Secret;
use oauth2::{
    AccessToken, RefreshToken, RequestTokenError, Scope, TokenResponse, basic::BasicTokenType,
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{challenge::is_scope, wire::NoAnswer};
use crate::{NotIssued, Presented};

/// What a server says of a refresh token or code that is used up, revoked or expired.
const INVALID_GRANT: &str = "invalid_grant";
/// What we say of it.
pub(super) const GRANT_GONE: &str = "the grant is not valid any more";
/// The longest life of a token that is believed: a year.
const LIFE_SECS_MAX: u64 = 366 * 24 * 60 * 60;

/// The answer of a token endpoint (RFC 6749 section 5.1).
#[derive(Debug, Serialize, Deserialize)]
pub struct TokenReply {
    access_token: AccessToken,
    #[serde(default = "untyped", deserialize_with = "lower")]
    token_type: BasicTokenType,
    #[serde(default, deserialize_with = "seconds")]
    expires_in: Option<u64>,
    refresh_token: Option<RefreshToken>,
    #[serde(default, rename = "scope", deserialize_with = "scopes")]
    scopes: Option<Vec<Scope>>,
    issued_token_type: Option<String>,
}

impl TokenReply {
    /// Reads an answer as it came.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(body: &[u8]) -> Result<Self, &'static str> {
        serde_json::from_slice(body).map_err(|_cause| "its answer cannot be read")
    }

    /// The refresh token alone, which is kept whatever the rest is worth: the server has forgotten the one before it.
    pub(super) fn refresh(&self) -> Option<Secret> {
        let token = self.refresh_token.clone()?;
        text(token.into_secret())
    }
}

impl TokenResponse for TokenReply {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &self.token_type
    }

    fn expires_in(&self) -> Option<Duration> {
        self.expires_in.map(Duration::from_secs)
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        self.scopes.as_ref()
    }
}

/// What was granted, out of a reply.
pub(super) struct Fresh {
    pub(super) access: Secret,
    pub(super) refresh: Option<Secret>,
    pub(super) presented: Presented,
    pub(super) life: Option<Duration>,
    /// The scopes, where they differ from what was asked for.
    pub(super) scopes: Option<Vec<String>>,
}

impl Fresh {
    /// Takes a reply apart, which must be of a type that can be presented.
    pub(super) fn of(reply: TokenReply, proves: Proves) -> Result<Self, NotIssued> {
        // RFC 6749 section 7.1: a token of a type that is not understood is not used.
        let presented = match (&reply.token_type, proves) {
            (BasicTokenType::Bearer, Proves::Must) => {
                return Err(NotIssued::Dead("it issued a token that is bound to no key"));
            }
            (BasicTokenType::Bearer, Proves::No | Proves::May) => Presented::Bearer,
            (BasicTokenType::Extension(word), Proves::May | Proves::Must) if word == "dpop" => {
                Presented::Dpop
            }
            // RFC 8693 section 2.2.1: what is no access token has no way of being presented; it is one by its place here.
            (BasicTokenType::Extension(word), Proves::No | Proves::May) if word == "n_a" => {
                Presented::Bearer
            }
            (BasicTokenType::Mac | BasicTokenType::Extension(_), _) => {
                return Err(NotIssued::Dead("it issued a token of an unknown type"));
            }
        };
        let access = text(reply.access_token.into_secret()).ok_or(NotIssued::Unavailable(
            "it issued a token that cannot stand in a header",
        ))?;
        let scopes = reply.scopes.map(|scopes| {
            let plain = scopes.into_iter().map(|scope| scope.as_str().to_owned());
            plain.filter(|scope| is_scope(scope)).collect()
        });
        Ok(Self {
            access,
            refresh: reply
                .refresh_token
                .and_then(|token| text(token.into_secret())),
            presented,
            life: reply
                .expires_in
                .map(|secs| Duration::from_secs(secs.min(LIFE_SECS_MAX))),
            scopes,
        })
    }
}

/// Whether a token has to be bound to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proves {
    No,
    May,
    Must,
}

/// A token as it may stand in a header or a form.
fn text(token: String) -> Option<Secret> {
    let token = Secret::new(token.into_bytes());
    let plain = |byte: &u8| (0x21..=0x7e).contains(byte);
    visible(&token, plain).then_some(token)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the bytes of the token are checked"
)]
fn visible(token: &Secret, plain: impl Fn(&u8) -> bool) -> bool {
    !token.is_empty() && token.open().iter().all(plain)
}

/// Why there is no token, in our own words: those of the server may carry a secret, or instructions for a reader.
pub(super) fn refusal<T>(error: &RequestTokenError<NoAnswer, T>) -> NotIssued
where
    T: oauth2::ErrorResponse + Coded + 'static,
{
    match error {
        RequestTokenError::ServerResponse(response) => refused(&response.code()),
        RequestTokenError::Request(NoAnswer(reason)) => reason.clone(),
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            NotIssued::Unavailable("its answer cannot be read")
        }
    }
}

/// An answer that has an error code.
pub(super) trait Coded {
    /// The code.
    fn code(&self) -> String;
}

impl<T> Coded for oauth2::StandardErrorResponse<T>
where
    T: oauth2::ErrorResponseType + std::fmt::Display,
{
    fn code(&self) -> String {
        self.error().to_string()
    }
}

/// The meaning of an error code, wherever it came from.
pub(super) fn refused(code: &str) -> NotIssued {
    NotIssued::Dead(match code {
        INVALID_GRANT | "bad_verification_code" | "bad_refresh_token" => GRANT_GONE,
        "invalid_client" | "incorrect_client_credentials" => {
            "it does not accept the proof of the client"
        }
        "unauthorized_client" | "unsupported_grant_type" => "this client may not use this grant",
        "invalid_scope" => "a scope cannot be had",
        "invalid_target" => "it does not know the resource",
        "access_denied" => "the person did not agree",
        "expired_token" => "the code has expired",
        "interaction_required" | "login_required" | "consent_required" => {
            "a person has to agree again"
        }
        "invalid_request" | "unsupported_response_type" => "it does not accept the request",
        // A nonce that ended meanwhile, or a clock that is off: the grant is as good as before.
        "invalid_dpop_proof" | "use_dpop_nonce" => {
            return NotIssued::Unavailable("it does not accept the proof of the key");
        }
        "temporarily_unavailable" | "server_error" | "slow_down" => {
            return NotIssued::Unavailable("it asks for patience");
        }
        // What is not understood destroys nothing.
        _ => return NotIssued::Unavailable("it gave a reason of its own"),
    })
}

/// A reply without a type: it is read for what else it brings, and its token is not used.
const fn untyped() -> BasicTokenType {
    BasicTokenType::Extension(String::new())
}

/// RFC 6749 section 5.1: the type is compared without regard to case.
fn lower<'de, D: Deserializer<'de>>(from: D) -> Result<BasicTokenType, D::Error> {
    let word = String::deserialize(from)?.to_ascii_lowercase();
    Ok(match word.as_str() {
        "bearer" => BasicTokenType::Bearer,
        "mac" => BasicTokenType::Mac,
        _ => BasicTokenType::Extension(word),
    })
}

/// A number as servers write it: whole, with a point, in quotes. What is none is as if it were left out: a reply may bring
/// a refresh token that must not be lost for it.
fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let written = Value::deserialize(from)?;
    if let Some(whole) = written.as_u64() {
        return Ok(Some(whole));
    }
    let text = written.as_str().map(|text| text.trim().parse().ok());
    let number: Option<f64> = text.unwrap_or_else(|| written.as_f64());
    Ok(number.filter(|secs| !secs.is_nan()).map(|secs| {
        let life = Duration::try_from_secs_f64(secs.max(0.0));
        life.map_or(LIFE_SECS_MAX, |life| life.as_secs())
    }))
}

fn scopes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Scope>>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    // GitHub separates them by commas.
    let split = |text: String| {
        let scopes = text.split([' ', ',']).filter(|scope| !scope.is_empty());
        scopes.map(|scope| Scope::new(scope.to_owned())).collect()
    };
    Ok(text.map(split))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, proves: Proves, expect: &Result<Presented, NotIssued>) {
        let reply = TokenReply::read(body.as_bytes()).unwrap();
        let read = Fresh::of(reply, proves).map(|fresh| fresh.presented);
        assert_eq!(read, *expect, "{body}");
    }

    #[test]
    fn the_type_of_a_token_is_read_without_case_and_never_weakened() {
        let bearer = r#"{"access_token":"CANARY-at-1","token_type":"bEARER"}"#;
        check(bearer, Proves::No, &Ok(Presented::Bearer));
        check(bearer, Proves::May, &Ok(Presented::Bearer));
        let weak = NotIssued::Dead("it issued a token that is bound to no key");
        check(bearer, Proves::Must, &Err(weak));
        let dpop = r#"{"access_token":"CANARY-at-1","token_type":"dpop"}"#;
        check(dpop, Proves::Must, &Ok(Presented::Dpop));
        let unknown = NotIssued::Dead("it issued a token of an unknown type");
        check(dpop, Proves::No, &Err(unknown.clone()));
        check(
            r#"{"access_token":"CANARY-at-1","token_type":"mac"}"#,
            Proves::No,
            &Err(unknown),
        );
        let broken = NotIssued::Unavailable("it issued a token that cannot stand in a header");
        check(
            r#"{"access_token":"a\nb","token_type":"Bearer"}"#,
            Proves::No,
            &Err(broken.clone()),
        );
        check(
            r#"{"access_token":"","token_type":"Bearer"}"#,
            Proves::No,
            &Err(broken),
        );
    }

    #[test]
    fn lives_and_scopes_are_read_as_servers_write_them() {
        let read = |body: &str| {
            let fresh = Fresh::of(TokenReply::read(body.as_bytes()).unwrap(), Proves::No).unwrap();
            (fresh.life.map(|life| life.as_secs()), fresh.scopes)
        };
        let head = r#"{"access_token":"CANARY-at-1","token_type":"Bearer""#;
        assert_eq!(
            read(&format!(r#"{head},"expires_in":60}}"#)),
            (Some(60), None)
        );
        assert_eq!(
            read(&format!(r#"{head},"expires_in":"60"}}"#)),
            (Some(60), None)
        );
        for (written, expect) in [
            ("60.9", Some(60)),
            ("\"60.0\"", Some(60)),
            ("-5", Some(0)),
            ("\"-5\"", Some(0)),
            ("1e300", Some(LIFE_SECS_MAX)),
            ("\"soon\"", None),
            ("true", None),
            ("null", None),
        ] {
            let body = format!(r#"{head},"expires_in":{written}}}"#);
            assert_eq!(read(&body).0, expect, "{written}");
        }
        let scopes = Some(vec!["repo".to_owned(), "gist".to_owned()]);
        assert_eq!(
            read(&format!(r#"{head},"scope":"repo,gist"}}"#)),
            (None, scopes)
        );
        assert_eq!(
            read(&format!(r#"{head},"expires_in":18446744073709551615}}"#)).0,
            Some(LIFE_SECS_MAX)
        );
        for wrong in ["", "{}", "[]", r#"{"access_token":1,"token_type":"x"}"#] {
            assert!(TokenReply::read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
