//! Stage 12, the connection: the one place that makes a Pingora peer. Every address in it was judged by the pipeline.

use std::{sync::Arc, time::Duration};

use exeat_pipeline::{Outgoing, Upstream};
use exeat_types::{Host, Scheme, limits};
use pingora::upstreams::peer::HttpPeer;

use crate::upgrade::Unhurried;

/// Streams that one HTTP/2 connection carries; Pingora's default is one.
const H2_STREAMS_MAX: usize = 100;

/// The versions of HTTP that a request may travel in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Versions {
    Any,
    Http1,
}

/// The peer for an admitted request.
pub(crate) fn peer(outgoing: &Outgoing) -> HttpPeer {
    // An upgrade exists only in HTTP/1.1; over HTTP/2 it would be lost without a word.
    let versions = if outgoing.upgrade {
        Versions::Http1
    } else {
        Versions::Any
    };
    reach(&outgoing.upstream, versions)
}

fn reach(upstream: &Upstream, versions: Versions) -> HttpPeer {
    let Upstream {
        origin,
        address,
        group,
    } = upstream;
    let tls = origin.scheme == Scheme::Https;
    // SECURITY: an empty server name would switch certificate verification off.
    let sni = match &origin.host {
        Host::Name(name) => name.to_string(),
        Host::Ip(ip) => ip.to_string(),
    };
    let mut peer = HttpPeer::new(*address, tls, sni);
    // SECURITY: Pingora's pool key knows neither trust roots, nor ALPN, nor who is asking.
    peer.group_key = *group ^ u64::from(versions == Versions::Http1);
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
        options.custom_l4 = Some(Arc::new(Unhurried));
        // Its connections have no descriptor that the pool could tell apart.
        options.idle_timeout = Some(Duration::ZERO);
    }
    peer
}

#[cfg(test)]
mod tests {
    use exeat_types::Origin;
    use pingora::upstreams::peer::Peer as _;

    use super::*;

    fn upstream(origin: &str) -> Upstream {
        let address = "127.0.0.1:8443".parse().unwrap();
        Upstream {
            origin: Origin::parse(origin).unwrap(),
            address,
            group: 0xfeed,
        }
    }

    #[test]
    fn p1_connections_are_shared_only_within_a_group_and_never_with_upgrades() {
        let one = upstream("https://api.test");
        let other = Upstream {
            group: 1,
            ..one.clone()
        };
        let keys = [
            reach(&one, Versions::Any).reuse_hash(),
            reach(&other, Versions::Any).reuse_hash(),
            reach(&one, Versions::Http1).reuse_hash(),
            reach(&upstream("https://open.test"), Versions::Any).reuse_hash(),
            reach(&upstream("http://api.test"), Versions::Any).reuse_hash(),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert_eq!(
                keys.iter().position(|other| other == key),
                Some(index),
                "{keys:?}"
            );
        }
        assert_eq!(keys[0], reach(&one, Versions::Any).reuse_hash());
    }

    #[test]
    fn p2_a_tls_peer_always_has_a_name_to_verify() {
        for (origin, name) in [
            ("https://api.test", "api.test"),
            ("https://192.0.2.1", "192.0.2.1"),
            ("https://[2001:db8::1]:8443", "2001:db8::1"),
        ] {
            let peer = reach(&upstream(origin), Versions::Any);
            assert!(
                peer.tls() && peer.verify_cert() && peer.verify_hostname(),
                "{origin}"
            );
            assert_eq!(peer.sni(), name);
        }
    }

    #[test]
    fn p7_p8_versions_streams_and_timeouts_are_set() {
        let any = reach(&upstream("https://api.test"), Versions::Any);
        assert_eq!(
            (
                any.options.alpn.get_max_http_version(),
                any.options.alpn.get_min_http_version()
            ),
            (2, 1)
        );
        assert_eq!(any.options.max_h2_streams, H2_STREAMS_MAX);
        for one in [
            reach(&upstream("https://api.test"), Versions::Http1),
            reach(&upstream("http://api.test"), Versions::Any),
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
