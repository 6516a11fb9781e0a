//! Stage 12, the connection: the one place that makes a Pingora peer. Its connections are made by the pipeline's route,
//! which holds judged addresses and nothing else.

use std::{io, net, sync::Arc, time::Duration};

use async_trait::async_trait;
use exeat_pipeline::{Outgoing, Route, Upstream};
use exeat_types::{Host, Origin, Reason, Scheme, limits};
use pingora::{
    Error, ErrorType, Result,
    connectors::L4Connect,
    protocols::l4::{socket::SocketAddr, stream::Stream},
    upstreams::peer::HttpPeer,
};

use crate::{trust::Trust, upgrade};

/// Streams that one HTTP/2 connection carries; Pingora's default is one.
const H2_STREAMS_MAX: usize = 100;

/// The versions of HTTP that a request may travel in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Versions {
    Any,
    Http1,
}

/// Connects over a route, whatever address Pingora believes in.
#[derive(Debug)]
struct Connector {
    route: Route,
    versions: Versions,
}

#[async_trait]
impl L4Connect for Connector {
    async fn connect(&self, _: &SocketAddr) -> Result<Stream> {
        let tcp = self.route.connect().await.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
                io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
                _ => ErrorType::ConnectError,
            };
            Error::because(kind, "connecting", error)
        })?;
        Ok(match self.versions {
            Versions::Any => tcp.into(),
            Versions::Http1 => upgrade::unhurried(tcp),
        })
    }
}

/// The peer for an admitted request.
///
/// # Errors
/// When there is no address, or no root that it could be verified by.
pub(crate) fn peer(outgoing: &Outgoing, trust: &Trust) -> Result<HttpPeer, Reason> {
    // An upgrade exists only in HTTP/1.1; over HTTP/2 it would be lost without a word.
    let versions = if outgoing.upgrade {
        Versions::Http1
    } else {
        Versions::Any
    };
    let Upstream {
        origin,
        route,
        group,
        roots,
        identity,
    } = &outgoing.upstream;
    // Pingora compares a pooled connection with this address before it is used again.
    let address = route.likely().ok_or(Reason::UpstreamUnreachable)?;
    let mut peer = reach(origin, address, *group, versions);
    peer.options.ca = trust.of(roots)?;
    if let Some(identity) = identity {
        peer.client_cert_key = Some(trust.certificate(identity)?);
    }
    peer.options.custom_l4 = Some(Arc::new(Connector {
        route: route.clone(),
        versions,
    }));
    Ok(peer)
}

fn reach(origin: &Origin, address: net::SocketAddr, group: u64, versions: Versions) -> HttpPeer {
    let tls = origin.scheme == Scheme::Https;
    // SECURITY: an empty server name would switch certificate verification off.
    let sni = match &origin.host {
        Host::Name(name) => name.to_string(),
        Host::Ip(ip) => ip.to_string(),
    };
    let mut peer = HttpPeer::new(address, tls, sni);
    // SECURITY: Pingora's pool key knows neither trust roots, nor ALPN, nor who is asking.
    peer.group_key = group ^ u64::from(versions == Versions::Http1);
    let options = &mut peer.options;
    options.connection_timeout = Some(limits::CONNECT_TIMEOUT);
    options.total_connection_timeout = Some(limits::CONNECT_TIMEOUT);
    options.read_timeout = Some(limits::UPSTREAM_READ_TIMEOUT);
    options.write_timeout = Some(limits::BODY_TIMEOUT);
    options.idle_timeout = Some(limits::UPSTREAM_IDLE_TIMEOUT);
    options.max_h2_streams = H2_STREAMS_MAX;
    let newest = if tls && versions == Versions::Any {
        2
    } else {
        1
    };
    options.set_http_version(newest, 1);
    if versions == Versions::Http1 {
        // Its connections have no descriptor that the pool could tell apart.
        options.idle_timeout = Some(Duration::ZERO);
    }
    peer
}

#[cfg(test)]
mod tests {
    use pingora::upstreams::peer::Peer as _;

    use super::*;

    fn to(origin: &str, group: u64, versions: Versions) -> HttpPeer {
        let address = "127.0.0.1:8443".parse().unwrap();
        reach(&Origin::parse(origin).unwrap(), address, group, versions)
    }

    #[test]
    fn p1_connections_are_shared_only_within_a_group_and_never_with_upgrades() {
        let keys = [
            to("https://api.test", 7, Versions::Any).reuse_hash(),
            to("https://api.test", 1, Versions::Any).reuse_hash(),
            to("https://api.test", 7, Versions::Http1).reuse_hash(),
            to("https://open.test", 7, Versions::Any).reuse_hash(),
            to("http://api.test", 7, Versions::Any).reuse_hash(),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert_eq!(
                keys.iter().position(|other| other == key),
                Some(index),
                "{keys:?}"
            );
        }
        assert_eq!(
            keys[0],
            to("https://api.test", 7, Versions::Any).reuse_hash()
        );
    }

    #[test]
    fn p2_a_tls_peer_always_has_a_name_to_verify() {
        for (origin, name) in [
            ("https://api.test", "api.test"),
            ("https://192.0.2.1", "192.0.2.1"),
            ("https://[2001:db8::1]:8443", "2001:db8::1"),
        ] {
            let peer = to(origin, 7, Versions::Any);
            assert!(
                peer.tls() && peer.verify_cert() && peer.verify_hostname(),
                "{origin}"
            );
            assert_eq!(peer.sni(), name);
        }
    }

    #[test]
    fn p7_p8_versions_streams_and_timeouts_are_set() {
        let any = to("https://api.test", 7, Versions::Any);
        assert_eq!(
            (
                any.options.alpn.get_max_http_version(),
                any.options.alpn.get_min_http_version()
            ),
            (2, 1)
        );
        assert_eq!(any.options.max_h2_streams, H2_STREAMS_MAX);
        for one in [
            to("https://api.test", 7, Versions::Http1),
            to("http://api.test", 7, Versions::Any),
        ] {
            assert_eq!(one.options.alpn.get_max_http_version(), 1);
        }
        let options = &any.options;
        let bounds = [
            options.connection_timeout,
            options.read_timeout,
            options.write_timeout,
            options.idle_timeout,
        ];
        assert!(bounds.iter().all(Option::is_some), "{bounds:?}");
    }
}
