//! An absolute URL, as configuration and metadata name endpoints: split once into what is dialled and what is asked for.

use std::{fmt, net::IpAddr, str::FromStr};

use exeat_types::{Host, Malformed, Origin, Scheme};

/// Where a request of Exeat's own goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Url {
    /// Scheme, host and port.
    pub origin: Origin,
    /// Path and query; at least `/`.
    pub target: String,
}

impl FromStr for Url {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wrong = |problem| Malformed::new("URL", problem);
        let behind = text.find("://").map_or(0, |at| at.saturating_add(3));
        let (scheme, rest) = text.split_at_checked(behind).unwrap_or_default();
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(end).unwrap_or_default();
        if target.contains(['#', '\\']) || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("expected visible ASCII and no fragment"));
        }
        let target = match target.strip_prefix('?') {
            Some(query) => format!("/?{query}"),
            None if target.is_empty() => "/".to_owned(),
            None => target.to_owned(),
        };
        let origin = Origin::parse(&format!("{scheme}{authority}"))?;
        if origin.scheme == Scheme::Http && !is_loopback(&origin.host) {
            return Err(wrong(
                "expected `https`; only on loopback nobody reads along",
            ));
        }
        Ok(Self { origin, target })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.target)
    }
}

fn is_loopback(host: &Host) -> bool {
    match host {
        Host::Name(name) => &**name == "localhost",
        Host::Ip(IpAddr::V4(address)) => address.is_loopback(),
        Host::Ip(IpAddr::V6(address)) => address.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Option<&str>) {
        let url = text.parse::<Url>().ok();
        assert_eq!(url.map(|url| url.to_string()).as_deref(), expect, "{text}");
    }

    #[test]
    fn a_url_is_absolute_and_plain() {
        check("https://A.example", Some("https://a.example/"));
        check("https://a.example?x=1", Some("https://a.example/?x=1"));
        check(
            "http://127.0.0.1:8080/token?a=b",
            Some("http://127.0.0.1:8080/token?a=b"),
        );
        for wrong in [
            "",
            "a.example/token",
            "/token",
            "ftp://a.example/",
            "http://a.example/",
            "https://user@a.example/",
            "https://a.example/#fragment",
            "https://a.example/a b",
            "https://a.example/\\b",
            "https:///token",
        ] {
            check(wrong, None);
        }
    }
}
