//! Where an API lives: the origin of a server and the path in front of every path.

use exeat_types::Origin;
use serde_json::Value;

use super::note::Findings;

const WHY_SERVERS: &str = "an API has one origin; the first server was taken";
const WHY_VARIABLE: &str = "the address has a variable; its default was taken";

/// An origin and the path in front of every path of the description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) origin: Origin,
    pub(super) prefix: String,
}

/// Reads a list of servers; `origin` is what the user said, which wins over the description.
pub(super) fn read(
    servers: Option<&Value>,
    at: &str,
    origin: Option<&str>,
    findings: &mut Findings,
) -> Option<Server> {
    let list = servers.and_then(Value::as_array);
    let first = list.and_then(|list| list.first());
    let published = first
        .map(|server| address(server, findings))
        .unwrap_or_default();
    if origin.is_none() {
        for other in list.into_iter().flatten().skip(1) {
            let url = other.get("url").and_then(Value::as_str).unwrap_or_default();
            findings.note(format!("server `{url}`"), WHY_SERVERS);
        }
    }
    let chosen = origin.unwrap_or(&published);
    let Some((host, said_prefix)) = split(chosen) else {
        let message = "the description names no host; say it with `--origin https://HOST`";
        findings.problem(at, message);
        return None;
    };
    let prefix = match (origin, said_prefix.is_empty()) {
        // Only the host was said: the path in front stays as published.
        (Some(_), true) => split(&published).map_or(published.as_str(), |(_, prefix)| prefix),
        _ => said_prefix,
    };
    match Origin::parse(host) {
        Ok(origin) => Some(Server {
            origin,
            prefix: prefix.trim_end_matches('/').to_owned(),
        }),
        Err(problem) => {
            findings.problem(at, problem.to_string());
            None
        }
    }
}

/// Splits an absolute URL into origin and path.
fn split(url: &str) -> Option<(&str, &str)> {
    let authority = url.find("://")?.checked_add(3)?;
    let path = url
        .get(authority..)?
        .find('/')
        .map_or(url.len(), |slash| slash.saturating_add(authority));
    url.split_at_checked(path)
}

/// The URL of a server, with the defaults of its variables.
fn address(server: &Value, findings: &mut Findings) -> String {
    let mut url = server
        .get("url")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let variables = server.get("variables").and_then(Value::as_object);
    for (name, variable) in variables.into_iter().flatten() {
        let default = variable
            .get("default")
            .and_then(Value::as_str)
            .unwrap_or_default();
        findings.note(format!("server variable `{name}`"), WHY_VARIABLE);
        url = url.replace(&format!("{{{name}}}"), default);
    }
    url
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(servers: &Value, origin: Option<&str>, expect: Option<&str>) {
        let mut findings = Findings::new();
        let server = read(Some(servers), "/servers", origin, &mut findings);
        let shown = server.map(|server| format!("{}{}", server.origin, server.prefix));
        assert_eq!(shown.as_deref(), expect);
    }

    #[test]
    fn the_first_server_or_what_the_user_said_is_where_an_api_lives() {
        check(
            &json!([{"url": "https://api.github.com"}]),
            None,
            Some("https://api.github.com"),
        );
        check(
            &json!([{"url": "https://a.example/v1/"}]),
            None,
            Some("https://a.example/v1"),
        );
        check(&json!([{"url": "/v1"}]), None, None);
        check(
            &json!([{"url": "/v1"}]),
            Some("https://b.example"),
            Some("https://b.example/v1"),
        );
        check(
            &json!([{"url": "https://a.example/v1"}]),
            Some("https://b.example:8443/x"),
            Some("https://b.example:8443/x"),
        );
        check(&json!([{"url": "wss://a.example"}]), None, None);
        let variables =
            json!([{"url": "https://{r}.a.example", "variables": {"r": {"default": "eu"}}}]);
        check(&variables, None, Some("https://eu.a.example"));
    }
}
