//! Hosts, authorities and origins, parsed once and strictly.
//!
//! What looks like a number is an IP address or an error: `0x7f.1`, `2130706433` and `127.1` are refused, as resolvers
//! disagree on them. Trailing dots and user information are refused for the same reason.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Malformed;

/// A host name in lower-case ASCII, or an IP address.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A DNS name without trailing dot; internationalised names in their `xn--` form.
    Name(Arc<str>),
    /// An address in its one canonical form.
    Ip(IpAddr),
}

impl Host {
    /// Parses a host as it stands in an authority: a name, an IPv4 address, or an IPv6 address in brackets.
    ///
    /// # Errors
    /// When it is empty, too long, has a character DNS does not use, or is a number in an odd notation.
    ///
    /// # Spec
    /// RFC 3986 section 3.2.2; RFC 1123 section 2.1.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner
                .strip_suffix(']')
                .ok_or_else(|| Malformed::new("host", "`[` without `]`"))?;
            let address: Ipv6Addr = inner.parse().map_err(|_cause| {
                Malformed::new("host", "expected an IPv6 address in the brackets")
            })?;
            return Ok(Self::Ip(IpAddr::V6(address)));
        }
        if text.is_empty() || text.len() > 253 {
            return Err(Malformed::new("host", "expected 1 to 253 characters"));
        }
        if text.ends_with('.') {
            return Err(Malformed::new("host", "a trailing dot is not accepted"));
        }
        if looks_numeric(text) {
            let address: Ipv4Addr = text.parse().map_err(|_cause| {
                Malformed::new(
                    "host",
                    "a numeric host must be four decimal numbers, such as 192.0.2.1",
                )
            })?;
            return Ok(Self::Ip(IpAddr::V4(address)));
        }
        if !text.split('.').all(label_ok) {
            let rule = "expected dot-separated labels of letters, digits, `-` and `_`";
            return Err(Malformed::new("host", rule));
        }
        Ok(Self::Name(text.to_ascii_lowercase().into()))
    }

    /// The name, unless this is an address.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Ip(_) => None,
        }
    }
}

/// The last label decides, as in the WHATWG URL standard: digits, or `0x` and hex digits, make it a number.
fn looks_numeric(text: &str) -> bool {
    let last = text.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let is_hex = hex.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    is_hex || (!last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()))
}

fn label_ok(label: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let edge = |b: Option<&u8>| b.is_some_and(|&b| b != b'-');
    let bytes = label.as_bytes();
    bytes.len() <= 63
        && bytes.iter().all(|&b| plain(b))
        && edge(bytes.first())
        && edge(bytes.last())
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A host and, when it was written, a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port as written.
    pub port: Option<u16>,
}

impl Authority {
    /// Parses `host`, `host:port` or `[v6]:port`; user information is refused.
    ///
    /// # Errors
    /// When the host or the port is malformed, or there is an `@`.
    ///
    /// # Spec
    /// RFC 9110 section 4.2.4 forbids user information here.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.contains('@') {
            return Err(Malformed::new(
                "authority",
                "user information is not accepted",
            ));
        }
        let colon = text
            .rfind(':')
            .filter(|&at| text.rfind(']').is_none_or(|end| at > end));
        let Some(at) = colon else {
            return Ok(Self {
                host: Host::parse(text)?,
                port: None,
            });
        };
        let (host, port) = text.split_at(at);
        let port = port.strip_prefix(':').unwrap_or(port);
        let wrong = || Malformed::new("authority", "expected a port between 1 and 65535");
        if port.is_empty() || port.starts_with('0') || !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        let port: u16 = port.parse().map_err(|_cause| wrong())?;
        Ok(Self {
            host: Host::parse(host)?,
            port: Some(port),
        })
    }
}

/// The two schemes Exeat speaks upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// The scheme as written in a URL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port when none is written.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Scheme, host and port: what a credential is bound to (RFC 6454).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The scheme.
    pub scheme: Scheme,
    /// The host.
    pub host: Host,
    /// The port, always known.
    pub port: u16,
}

impl Origin {
    /// Joins a scheme and an authority, with the scheme's default port where none was written.
    pub fn new(scheme: Scheme, authority: Authority) -> Self {
        let port = authority.port.unwrap_or(scheme.default_port());
        Self {
            scheme,
            host: authority.host,
            port,
        }
    }

    /// Parses `https://host[:port]`, with nothing behind it.
    ///
    /// # Errors
    /// When the scheme is neither `http` nor `https`, something follows the authority, or that is malformed.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let (scheme, rest) = if let Some(rest) = text.strip_prefix("https://") {
            (Scheme::Https, rest)
        } else if let Some(rest) = text.strip_prefix("http://") {
            (Scheme::Http, rest)
        } else {
            return Err(Malformed::new(
                "origin",
                "expected `https://` or `http://` and a host",
            ));
        };
        if rest.contains(['/', '?', '#']) {
            return Err(Malformed::new(
                "origin",
                "expected nothing after host and port",
            ));
        }
        Ok(Self::new(scheme, Authority::parse(rest)?))
    }

    /// The authority as it belongs in a Host header: without the scheme's default port.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// `host:port` with the port always written.
    pub fn host_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.authority())
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Origin {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        Self::parse(text)
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Option<&str>) {
        let got = Authority::parse(text)
            .ok()
            .map(|a| Origin::new(Scheme::Https, a).host_port());
        assert_eq!(got.as_deref(), expect, "{text}");
    }

    #[test]
    fn authorities_parse_to_one_form_or_not_at_all() {
        check("API.GitHub.com", Some("api.github.com:443"));
        check("api.github.com:8443", Some("api.github.com:8443"));
        check("192.0.2.1:80", Some("192.0.2.1:80"));
        check("[2001:DB8::1]", Some("[2001:db8::1]:443"));
        check(
            "[::ffff:169.254.169.254]:80",
            Some("[::ffff:169.254.169.254]:80"),
        );
        for wrong in [
            "",
            ":443",
            "a:",
            "a:0",
            "a:065",
            "a:65536",
            "a:+1",
            "user@a",
            "a.",
            "a..b",
            "-a",
            "a-.b",
            "0x7f.1",
            "2130706433",
            "127.1",
            "0177.0.0.1",
            "127.0.0.01",
            "a b",
            "a/b",
            "[::1",
            "::1",
            "[::1]x",
            "a\u{e9}.com",
            "[fe80::1%25lo]",
            "0x7f000001",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn origins_print_without_the_default_port() {
        assert_eq!(
            Origin::parse("https://A.example:443").unwrap().to_string(),
            "https://a.example"
        );
        assert_eq!(
            Origin::parse("http://a.example:8080").unwrap().authority(),
            "a.example:8080"
        );
        assert!(Origin::parse("https://a.example/").is_err());
        assert!(Origin::parse("ftp://a.example").is_err());
    }
}
