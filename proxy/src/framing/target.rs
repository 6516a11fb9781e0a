//! Which host and path a request asks for, in the four forms of a request target.
//!
//! Must never choose between two hosts: where a request names two, it is refused.

use exeat_types::{Authority, Host, Scheme};
use http::{Method, Version};

use super::Violation;

/// The request target, by its form (RFC 9112 section 3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `/path?query`.
    Origin(String),
    /// `http://host/path?query`, as proxies are asked.
    Absolute {
        /// The scheme as written.
        scheme: Scheme,
        /// The authority as written.
        authority: Authority,
        /// Path and query; `/` where nothing was written.
        path: String,
    },
    /// `host:port`, in a CONNECT.
    Authority(Authority),
    /// `*`, in an OPTIONS.
    Asterisk,
}

/// Reads a target whose characters have been checked.
pub(super) fn parse_target(method: &Method, text: &str) -> Result<Target, Violation> {
    let wrong = |detail: &str| Violation::new("target", detail);
    if *method == Method::CONNECT {
        let authority =
            Authority::parse(text).map_err(|error| Violation::new("connect", error.to_string()))?;
        if authority.port.is_none() {
            return Err(Violation::new(
                "connect",
                "expected `host:port` as the target of CONNECT",
            ));
        }
        return Ok(Target::Authority(authority));
    }
    if text.starts_with('/') {
        return Ok(Target::Origin(text.to_owned()));
    }
    if text == "*" {
        let options = *method == Method::OPTIONS;
        return if options {
            Ok(Target::Asterisk)
        } else {
            Err(wrong("the target `*` belongs to OPTIONS"))
        };
    }
    let (scheme, rest) = if let Some(rest) = text.strip_prefix("http://") {
        (Scheme::Http, rest)
    } else if let Some(rest) = text.strip_prefix("https://") {
        (Scheme::Https, rest)
    } else {
        return Err(wrong(
            "expected a target that begins with `/`, `http://` or `https://`",
        ));
    };
    let (authority, path) = rest
        .split_at_checked(rest.find(['/', '?']).unwrap_or(rest.len()))
        .unwrap_or_default();
    let authority =
        Authority::parse(authority).map_err(|error| wrong(&format!("target {error}")))?;
    match path {
        "" => Ok(Target::Absolute {
            scheme,
            authority,
            path: "/".to_owned(),
        }),
        path if path.starts_with('/') => Ok(Target::Absolute {
            scheme,
            authority,
            path: path.to_owned(),
        }),
        _ => Err(wrong("expected a path between host and query")),
    }
}

/// RFC 9112 section 3.2: one Host, and where the target names a host too, the same one.
pub(super) fn agreed_host(
    target: &Target,
    host: Option<&[u8]>,
    version: Version,
) -> Result<Authority, Violation> {
    let parsed = host.map(|value| {
        let text = str::from_utf8(value).unwrap_or_default();
        Authority::parse(text)
            .map_err(|error| Violation::new("host", format!("header `host`: {error}")))
    });
    let named = match target {
        Target::Origin(_) | Target::Asterisk => None,
        Target::Absolute {
            authority, scheme, ..
        } => Some((authority, Some(scheme.default_port()))),
        Target::Authority(authority) => Some((authority, authority.port)),
    };
    match (named, parsed.transpose()?) {
        (None, Some(host)) => Ok(host),
        (Some((authority, _)), None) if version == Version::HTTP_10 => Ok(authority.clone()),
        (_, None) => Err(Violation::new("host", "header `host` is missing")),
        (Some((authority, default)), Some(host)) => {
            let full = |host: &Authority| -> (Host, Option<u16>) {
                (host.host.clone(), host.port.or(default))
            };
            if full(authority) == full(&host) {
                return Ok(authority.clone());
            }
            Err(Violation::new(
                "host",
                "header `host` and the target name different hosts",
            ))
        }
    }
}

#[cfg(test)]
mod tests;
