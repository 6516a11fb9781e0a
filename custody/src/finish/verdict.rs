//! What an answer says of the token that its request carried.

use http::StatusCode;

use super::{Answer, Verdict};
use crate::issue::oauth::challenges;

/// Schemes whose challenges speak of tokens.
const SCHEMES: [&str; 2] = ["bearer", "dpop"];

/// Judges a token by an answer: refused ones are renewed, lacking scopes are named.
///
/// # Spec
/// RFC 6750 section 3.1, RFC 9449 section 7.1, RFC 9470 section 3.
pub fn judge(answer: &Answer<'_>) -> Verdict {
    let told = challenges(answer.headers);
    let mut told = told
        .iter()
        .filter(|it| SCHEMES.contains(&it.scheme.as_str()));
    let error = |name: &str| {
        let mut told = told.clone();
        told.find(|it| it.param("error") == Some(name)).cloned()
    };
    match answer.status {
        // What is wrong with the request itself is not mended by another token.
        StatusCode::UNAUTHORIZED
            if error("invalid_request").is_some() || error("invalid_dpop_proof").is_some() =>
        {
            Verdict::Deliver
        }
        StatusCode::UNAUTHORIZED => match error("insufficient_user_authentication") {
            // Somebody has to authenticate again; no scope is named.
            Some(challenge) => Verdict::StepUp(challenge.scopes()),
            None => Verdict::Renew,
        },
        StatusCode::FORBIDDEN => told
            .find(|it| it.param("error") == Some("insufficient_scope"))
            .map_or(Verdict::Deliver, |it| Verdict::StepUp(it.scopes())),
        _ => Verdict::Deliver,
    }
}

#[cfg(test)]
mod tests {
    use exeat_types::{Origin, Timestamp};
    use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};

    use super::*;

    #[track_caller]
    fn check(status: u16, challenge: &'static str, expect: &Verdict) {
        let origin = Origin::parse("https://api.test").unwrap();
        let headers =
            HeaderMap::from_iter([(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))]);
        let verdict = judge(&Answer {
            origin: &origin,
            status: StatusCode::from_u16(status).unwrap(),
            headers: &headers,
            now: Timestamp::from_millis(0),
        });
        assert_eq!(verdict, *expect, "{status} {challenge}");
    }

    #[test]
    fn a_refused_token_is_renewed_and_a_lacking_scope_is_named() {
        let scopes =
            |names: &[&str]| Verdict::StepUp(names.iter().map(|it| (*it).to_owned()).collect());
        check(401, "Bearer error=\"invalid_token\"", &Verdict::Renew);
        check(401, "Bearer realm=\"api\"", &Verdict::Renew);
        check(401, "", &Verdict::Renew);
        check(401, "DPoP error=\"invalid_token\"", &Verdict::Renew);
        check(401, "DPoP error=\"invalid_dpop_proof\"", &Verdict::Deliver);
        check(401, "Bearer error=\"invalid_request\"", &Verdict::Deliver);
        check(
            401,
            "Bearer error=\"insufficient_user_authentication\", acr_values=\"x\"",
            &scopes(&[]),
        );
        let lacking = "Bearer error=\"insufficient_scope\", scope=\"a b\"";
        check(403, lacking, &scopes(&["a", "b"]));
        check(403, "Bearer error=\"invalid_token\"", &Verdict::Deliver);
        check(
            403,
            "Digest error=\"insufficient_scope\"",
            &Verdict::Deliver,
        );
        check(200, lacking, &Verdict::Deliver);
        check(500, "Bearer error=\"invalid_token\"", &Verdict::Deliver);
    }
}
