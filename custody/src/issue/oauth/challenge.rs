//! Reads `WWW-Authenticate`: what a server says is wrong with a token. Its words decide nothing but whether to try again.

use http::{HeaderMap, header::WWW_AUTHENTICATE};

/// Most challenges that are read.
const CHALLENGES_MAX: usize = 16;
/// Most parameters of one challenge that are read.
const PARAMS_MAX: usize = 32;

/// One challenge (RFC 9110 section 11.6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme, in lower case.
    pub scheme: String,
    /// Its parameters in their order, names in lower case.
    pub params: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter that stands there once; of two nobody knows which is meant.
    pub fn param(&self, name: &str) -> Option<&str> {
        let mut found = self.params.iter().filter(|(known, _)| known == name);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Some(value),
            (_, Some(_)) | (None, None) => None,
        }
    }

    /// The scopes that it names (RFC 6750 section 3).
    pub fn scopes(&self) -> Vec<String> {
        let scopes = self.param("scope").unwrap_or_default();
        scopes
            .split(' ')
            .filter(|scope| is_scope(scope))
            .map(str::to_owned)
            .collect()
    }
}

/// Whether this is one scope (RFC 6749 section 3.3).
pub(crate) fn is_scope(text: &str) -> bool {
    let plain =
        |byte: u8| byte == 0x21 || (0x23..=0x5b).contains(&byte) || (0x5d..=0x7e).contains(&byte);
    !text.is_empty() && text.len() <= 256 && text.bytes().all(plain)
}

/// Every challenge of an answer, as far as it is well-formed.
pub fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let mut all = Vec::new();
    for text in texts {
        read(text, &mut all);
    }
    all.truncate(CHALLENGES_MAX);
    all
}

/// Reads a comma-separated list in which schemes and parameters stand side by side; stops at what it cannot read.
fn read(text: &str, into: &mut Vec<Challenge>) {
    let mut rest = text;
    // A parameter belongs to the scheme before it, of the same field.
    let mut open = false;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() || into.len() > CHALLENGES_MAX {
            return;
        }
        let Some((word, after)) = token(rest) else {
            return;
        };
        let spaced = after.trim_start_matches([' ', '\t']);
        if let Some(after) = spaced.strip_prefix('=').filter(|_| open) {
            let Some((value, after)) = value(after.trim_start_matches([' ', '\t'])) else {
                return;
            };
            let Some(last) = into
                .last_mut()
                .filter(|last| last.params.len() < PARAMS_MAX)
            else {
                return;
            };
            last.params.push((word.to_ascii_lowercase(), value));
            rest = after;
            continue;
        }
        into.push(Challenge {
            scheme: word.to_ascii_lowercase(),
            params: Vec::new(),
        });
        open = true;
        rest = after_token68(spaced);
    }
}

/// Skips a token68, such as that of `Negotiate`, where one stands instead of parameters.
fn after_token68(text: &str) -> &str {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
    let end = text.find(|c| !plain(c)).unwrap_or(text.len());
    let Some((word, after)) = text.split_at_checked(end) else {
        return text;
    };
    let padded = after.trim_start_matches('=');
    let ends = padded.trim_start_matches([' ', '\t']);
    if word.is_empty() || !(ends.is_empty() || ends.starts_with(',')) {
        return text;
    }
    padded
}

/// RFC 9110 section 5.6.2.
fn token(text: &str) -> Option<(&str, &str)> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !plain(c)).unwrap_or(text.len());
    text.split_at_checked(end)
        .filter(|(word, _)| !word.is_empty())
}

/// A token or a quoted string (RFC 9110 section 5.6.4).
fn value(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let (word, after) = token(text)?;
        return Some((word.to_owned(), after));
    };
    let mut value = String::new();
    loop {
        let end = rest.find(['"', '\\'])?;
        let (plain, after) = rest.split_at_checked(end)?;
        value.push_str(plain);
        if let Some(after) = after.strip_prefix('"') {
            return Some((value, after));
        }
        let mut escaped = after.strip_prefix('\\')?.chars();
        value.push(escaped.next()?);
        rest = escaped.as_str();
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(text: &'static str, expect: &[(&str, &[(&str, &str)])]) {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(text));
        let read = challenges(&headers);
        let seen: Vec<(&str, Vec<(&str, &str)>)> = read
            .iter()
            .map(|one| {
                let params = one.params.iter().map(|(n, v)| (n.as_str(), v.as_str()));
                (one.scheme.as_str(), params.collect())
            })
            .collect();
        let expect: Vec<_> = expect.iter().map(|(s, p)| (*s, p.to_vec())).collect();
        assert_eq!(seen, expect, "{text}");
    }

    #[test]
    fn challenges_are_read_in_every_form_that_servers_write() {
        check("Bearer", &[("bearer", &[])]);
        check(
            r#"Bearer realm="a, b", error="insufficient_scope", scope="api:read api:write""#,
            &[(
                "bearer",
                &[
                    ("realm", "a, b"),
                    ("error", "insufficient_scope"),
                    ("scope", "api:read api:write"),
                ],
            )],
        );
        check(
            r#"DPoP error=use_dpop_nonce , algs = "ES256 EdDSA", Bearer realm="x\"y""#,
            &[
                (
                    "dpop",
                    &[("error", "use_dpop_nonce"), ("algs", "ES256 EdDSA")],
                ),
                ("bearer", &[("realm", "x\"y")]),
            ],
        );
        check(
            "Negotiate YWJj==, Basic realm=\"r\"",
            &[("negotiate", &[]), ("basic", &[("realm", "r")])],
        );
        check(",, Bearer", &[("bearer", &[])]);
        check("", &[]);
        check("Bearer realm=\"open", &[("bearer", &[])]);
    }

    #[test]
    fn a_parameter_that_stands_twice_says_nothing_and_scopes_are_only_scopes() {
        let mut headers = HeaderMap::new();
        let twice = "Bearer error=invalid_token, error=insufficient_scope, scope=\"a \t\" ";
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(twice));
        let [challenge] = challenges(&headers).try_into().unwrap();
        assert_eq!(challenge.param("error"), None);
        assert_eq!(challenge.scopes(), ["a"]);
    }
}
