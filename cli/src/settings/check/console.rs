//! Checks `[console]`: a name that passkeys can be bound to, and nothing in the clear that crosses a network.

use std::net::{Ipv4Addr, SocketAddr};

use exeat_console::PublicOrigin;

use super::{
    super::{Console, raw::Placed, raw_console::RawConsole},
    Check,
};

/// Where the console is when nothing else is said.
const USUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8089);

impl Check<'_> {
    pub(super) fn console(&mut self, raw: RawConsole) -> Console {
        let address = raw.address.as_ref().map_or(USUAL, |address| address.value);
        if let Some(place) = &raw.address
            && !address.ip().is_loopback()
            && raw.tls.is_none()
        {
            self.at(place, "the console would cross a network in the clear")
                .help("bind a loopback address, such as `127.0.0.1:8089`, or add `tls`");
        }
        if let Some(tls) = raw.tls.as_ref().filter(|tls| tls.client_ca.is_some()) {
            let message =
                "the console knows people by their passkeys; `client-ca` does not belong here";
            self.report.at(self.source, tls.span.clone(), message);
        }
        let origin = raw.origin.as_ref().and_then(|origin| self.public(origin));
        if let Some(tls) = &raw.tls
            && !origin.as_ref().is_some_and(PublicOrigin::is_https)
        {
            let message = "a console with `tls` needs the name in its certificate";
            self.report
                .at(self.source, tls.span.clone(), message)
                .help("add `origin = \"https://...\"`");
        }
        let tls = raw.tls.and_then(|tls| self.tls(tls));
        Console {
            address,
            origin,
            tls,
        }
    }

    fn public(&mut self, origin: &Placed<exeat_types::Origin>) -> Option<PublicOrigin> {
        match PublicOrigin::new(&origin.value) {
            Ok(public) => Some(public),
            Err(problem) => {
                self.at(origin, "the console cannot be there")
                    .help(problem.problem);
                None
            }
        }
    }
}
