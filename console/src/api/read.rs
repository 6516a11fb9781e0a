//! Reads requests strictly: what is unknown, twice there or of another type is a problem of the client's.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
};
use http::{StatusCode, header, request::Parts};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::problem::{Problem, Told};

/// The one variable part of a path.
pub(super) struct At<T>(pub(super) T);

impl<S, T> FromRequestParts<S> for At<T>
where
    S: Send + Sync,
    T: std::str::FromStr,
{
    type Rejection = Told;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Told> {
        let unknown = |_cause| Told(Problem::not_found("there is nothing of that name"));
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_cause| Told(Problem::bad("the path cannot be read")))?;
        text.parse().map(Self).map_err(unknown)
    }
}

/// The query.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Told;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Told> {
        let read = Query::<T>::from_request_parts(parts, state).await;
        let Query(asked) = read.map_err(|problem| Told(Problem::bad(problem.body_text())))?;
        Ok(Self(asked))
    }
}

/// No query: what somebody believes to ask for is not passed over.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// A body of JSON: an object, as described.
pub(super) struct Sent<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Sent<T> {
    type Rejection = Told;

    async fn from_request(request: Request, state: &S) -> Result<Self, Told> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(Told(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "expected `application/json`",
            )));
        }
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|problem| Told(Problem::new(problem.status(), "the body cannot be read")))?;
        let Object(sent) = serde_json::from_slice(&body).map_err(|problem| {
            Told(Problem::bad(format!(
                "the body is not as described: {problem}"
            )))
        })?;
        Ok(Self(sent))
    }
}

/// Something that is an object in JSON, and not a list of its members.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = Map::<String, Value>::deserialize(deserializer)?;
        serde_json::from_value(Value::Object(members))
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

/// A value of a query that is written in exactly one way.
pub(super) fn plain<T>(text: Option<&str>, name: &str) -> Result<Option<T>, Told>
where
    T: std::str::FromStr + std::fmt::Display,
{
    let Some(text) = text else {
        return Ok(None);
    };
    let value = text.parse::<T>().ok();
    let value = value.filter(|value| value.to_string() == text);
    match value {
        Some(value) => Ok(Some(value)),
        None => Err(Told(Problem::bad(format!("`{name}` is not as described")))),
    }
}

/// The most that a page holds.
pub(super) const PAGE_MAX: usize = 100;
/// What it holds unless the client says something else.
const PAGE: usize = 50;

/// How much a page holds.
pub(super) fn limit(text: Option<&str>) -> Result<usize, Told> {
    let limit = plain::<usize>(text, "limit")?.unwrap_or(PAGE);
    if (1..=PAGE_MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err(Told(Problem::bad("`limit` is from 1 to 100")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        a: String,
    }

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let read = serde_json::from_str::<Object<Inner>>(text).ok();
        assert_eq!(read.map(|it| it.0.a).as_deref(), expected, "{text}");
    }

    #[test]
    fn an_object_is_an_object_with_exactly_its_members() {
        check(r#"{"a":"x"}"#, Some("x"));
        check(r#"["x"]"#, None);
        check(r#"{"a":"x","b":1}"#, None);
        check(r#"{"a":1}"#, None);
        check(r#"{}"#, None);
        check("null", None);
    }

    #[test]
    fn a_limit_is_written_in_one_way() {
        for (text, expected) in [
            (Some("1"), Some(1)),
            (Some("100"), Some(100)),
            (None, Some(50)),
        ] {
            assert_eq!(limit(text).ok(), expected);
        }
        for text in ["0", "101", "+5", "05", "", "5 ", "1.0", "-1", "x"] {
            assert!(limit(Some(text)).is_err(), "{text}");
        }
    }
}
