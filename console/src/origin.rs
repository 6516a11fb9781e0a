//! The one URL under which the console is reached. Its host is what passkeys are bound to.

use exeat_types::{Host, Malformed, Origin, Scheme};

/// Scheme, host and port of the console, with a host that passkeys can be bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicOrigin {
    scheme: Scheme,
    host: String,
    port: u16,
    text: String,
    authority: String,
}

impl PublicOrigin {
    /// Takes an origin that browsers allow passkeys on: a name, over https, or over http on this machine only.
    ///
    /// # Errors
    /// When its host is an address, or it is http to a name that is not this machine's.
    ///
    /// # Spec
    /// `WebAuthn` Level 3 section 5.1.3 wants a domain, Secure Contexts section 3.1 says which http is as good as https.
    pub fn new(origin: &Origin) -> Result<Self, Malformed> {
        let Host::Name(host) = &origin.host else {
            return Err(Malformed::new(
                "origin",
                "passkeys belong to a name; expected one such as `http://localhost:8089`, not an address",
            ));
        };
        let is_here = &**host == "localhost" || host.ends_with(".localhost");
        if origin.scheme == Scheme::Http && !is_here {
            return Err(Malformed::new(
                "origin",
                "browsers allow passkeys over `http` on `localhost` only; expected `https`",
            ));
        }
        let (name, usual) = match origin.scheme {
            Scheme::Http => ("http", 80),
            Scheme::Https => ("https", 443),
        };
        let authority = if origin.port == usual {
            host.to_string()
        } else {
            format!("{host}:{}", origin.port)
        };
        Ok(Self {
            scheme: origin.scheme,
            host: host.to_string(),
            port: origin.port,
            text: format!("{name}://{authority}"),
            authority,
        })
    }

    /// The console of this machine, on this port.
    pub fn local(port: u16) -> Self {
        Self {
            scheme: Scheme::Http,
            host: "localhost".to_owned(),
            port,
            text: format!("http://localhost:{port}"),
            authority: format!("localhost:{port}"),
        }
    }

    /// As browsers write it: `http://localhost:8089`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A page of it.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.text)
    }

    /// What passkeys are bound to: the host.
    pub fn rp_id(&self) -> &str {
        &self.host
    }

    /// What browsers send as `Host`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The port in it.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is https, which a second device needs.
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::Https
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(origin: &str, expected: Result<(&str, &str), &str>) {
        let taken = PublicOrigin::new(&origin.parse().unwrap());
        let taken = taken.map(|it| (it.text().to_owned(), it.authority().to_owned()));
        match expected {
            Ok((text, authority)) => {
                assert_eq!(taken.unwrap(), (text.to_owned(), authority.to_owned()));
            }
            Err(part) => assert!(taken.unwrap_err().problem.contains(part), "{origin}"),
        }
    }

    #[test]
    fn an_origin_is_a_name_that_passkeys_can_be_bound_to() {
        check(
            "http://localhost:8089",
            Ok(("http://localhost:8089", "localhost:8089")),
        );
        check(
            "https://exeat.example.com",
            Ok(("https://exeat.example.com", "exeat.example.com")),
        );
        check("http://localhost", Ok(("http://localhost", "localhost")));
        check("http://127.0.0.1:8089", Err("not an address"));
        check("https://[::1]:8089", Err("not an address"));
        check("http://exeat.example.com", Err("expected `https`"));
        check("http://notlocalhost:1", Err("expected `https`"));
        assert_eq!(PublicOrigin::local(1).authority(), "localhost:1");
    }
}
