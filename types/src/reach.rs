//! Where something may go: one origin, or every host below a name.

use std::{fmt, str::FromStr};

use crate::{Host, Malformed, Origin};

/// An origin such as `https://api.example.com`, or the hosts below a name, such as `https://*.example.com`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reach {
    origin: Origin,
    below: bool,
}

impl Reach {
    /// Whether an origin is meant. A name is not below itself.
    pub fn covers(&self, origin: &Origin) -> bool {
        if !self.below {
            return self.origin == *origin;
        }
        let names = origin.host.name().zip(self.origin.host.name());
        let within = names.is_some_and(|(name, domain)| {
            name.strip_suffix(domain)
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        });
        within && (origin.scheme, origin.port) == (self.origin.scheme, self.origin.port)
    }
}

impl From<Origin> for Reach {
    fn from(origin: Origin) -> Self {
        Self {
            origin,
            below: false,
        }
    }
}

impl FromStr for Reach {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let Some((scheme, rest)) = text.split_once("://*.") else {
            return Origin::parse(text).map(Self::from);
        };
        let origin = Origin::parse(&format!("{scheme}://{rest}"))?;
        // SECURITY: below a name of one label is half the world.
        let narrow = |name: &str| name.contains('.');
        match &origin.host {
            Host::Name(name) if narrow(name) => Ok(Self {
                origin,
                below: true,
            }),
            Host::Name(_) | Host::Ip(_) => Err(Malformed::new(
                "origin",
                "expected a name of two or more labels behind `*.`",
            )),
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.below {
            return fmt::Display::fmt(&self.origin, f);
        }
        let (scheme, host) = (self.origin.scheme.name(), self.origin.authority());
        write!(f, "{scheme}://*.{host}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn covered(reach: &str, origins: &[&str]) -> usize {
        let reach: Reach = reach.parse().unwrap();
        let covers = |text: &&&str| reach.covers(&Origin::parse(text).unwrap());
        origins.iter().filter(covers).count()
    }

    #[test]
    fn one_origin_or_the_hosts_below_a_name() {
        assert_eq!(
            covered("https://a.test", &["https://a.test", "https://b.a.test"]),
            1
        );
        let below = ["https://b.a.test", "https://c.b.a.test"];
        assert_eq!(covered("https://*.a.test", &below), 2);
        assert_eq!(
            covered("https://*.a.test:8443", &["https://b.a.test:8443"]),
            1
        );
        let others = [
            "https://a.test",
            "https://evila.test",
            "http://b.a.test",
            "https://b.a.test:8443",
            "https://192.0.2.1",
            "https://b.a.test.evil.example",
        ];
        assert_eq!(covered("https://*.a.test", &others), 0);
    }

    #[test]
    fn what_is_too_wide_or_no_origin_is_refused() {
        for wrong in [
            "https://*.com",
            "https://*",
            "https://*.192.0.2.1",
            "https://a.*.test",
            "*.a.test",
            "https://*.a.test/x",
        ] {
            assert!(wrong.parse::<Reach>().is_err(), "{wrong}");
        }
        for text in ["https://a.test", "https://*.a.test:8443"] {
            assert_eq!(text.parse::<Reach>().unwrap().to_string(), text);
        }
    }
}
