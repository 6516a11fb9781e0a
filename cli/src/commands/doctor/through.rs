//! Ways out through the gate itself, tried from inside: what it must refuse whatever the policy is.
//!
//! Names end in `.test` (RFC 6761) and addresses are those for documentation, so that a gate that let them through would
//! still reach nobody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use exeat_sandbox::doctor::Check;

use super::ask::{PROXY, Verdict, ask, connect, get, request};

/// Names and notations of the services that hand credentials to machines in a cloud.
const METADATA: [&str; 22] = [
    "169.254.169.254",
    "169.254.169.254.",
    "2852039166",
    "0xa9fea9fe",
    "0xA9.0xFE.0xA9.0xFE",
    "0251.0376.0251.0376",
    "025177524776",
    "169.254.43518",
    "169.16689662",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[::169.254.169.254]",
    "[fd00:ec2::254]",
    "[fd20:ce::254]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]",
    "169.254.170.2",
    "100.100.100.200",
    "metadata.google.internal",
    "metadata.google.internal.",
    "metadata",
    "instance-data.ec2.internal",
];
/// Ports that are never HTTP.
const PORTS: [u16; 8] = [22, 23, 25, 53, 465, 587, 3306, 6379];
/// Hosts for those ports: one that no tool names, and two addresses.
const HOSTS: [&str; 3] = ["nobody.test", "192.0.2.1", "[2001:db8::1]"];
/// How this machine is called by itself.
const SELVES: [&str; 8] = [
    "127.0.0.1",
    "localhost",
    "localhost.",
    "[::1]",
    "0.0.0.0",
    "[::]",
    "[::ffff:127.0.0.1]",
    "2130706433",
];
const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
const DOH: &str = "dns.test";

/// Tries all of them. `ports` are the gate's own and those of listeners made for this, on loopback outside.
pub(super) fn probe(ports: &[u16]) -> Vec<Check> {
    vec![
        raw_addresses(),
        check(
            "connect-ports",
            HOSTS
                .iter()
                .flat_map(|host| PORTS.map(|port| tunnel(host, port))),
        ),
        gate_ports(ports),
        check("metadata", METADATA.iter().flat_map(metadata)),
        check("dns-over-https", dns_over_https()),
        check("odd-proxying", odd_proxying()),
    ]
}

/// What was asked, and what came of it.
type Tried = (String, Verdict);

fn check(id: &str, tried: impl IntoIterator<Item = Tried>) -> Check {
    let (mut found, mut count, mut reasons) = (Vec::new(), 0_usize, Vec::new());
    for (what, verdict) in tried {
        count += 1;
        match verdict {
            Ok(reason) if reasons.contains(&reason) => {}
            Ok(reason) => reasons.push(reason),
            Err(instead) => found.push(format!("{what}: {instead}")),
        }
    }
    Check::of(id, &found, format!("{count} tried: {}", reasons.join(", ")))
}

fn tunnel(host: &str, port: u16) -> Tried {
    let authority = format!("{host}:{port}");
    let verdict = connect(&authority);
    (format!("CONNECT {authority}"), verdict)
}

fn page(host: &str, port: u16, path: &str) -> Tried {
    let url = format!("http://{host}:{port}{path}");
    let verdict = get(&url, &format!("{host}:{port}"));
    (format!("GET {url}"), verdict)
}

/// Addresses without a name lead to the gate, which wants one.
fn raw_addresses() -> Check {
    let ask = |host: IpAddr, name: &str, port: u16| {
        let to = SocketAddr::new(host, port);
        (format!("{to} as `{name}`"), ask(to, &request("/", name)))
    };
    check(
        "raw-addresses",
        [
            ask(V4, "192.0.2.1", 80),
            ask(V4, "nobody.test", 80),
            ask(V6, "[2001:db8::1]", 80),
            ask(V4, "192.0.2.1", 443),
            ask(V6, "nobody.test", 443),
        ],
    )
}

/// The gate never leads to its own doors, nor to anything else on the loopback outside.
fn gate_ports(ports: &[u16]) -> Check {
    let id = "gate-ports";
    if ports.is_empty() {
        return Check::open(id, "could not be tried: no port to try it on");
    }
    let every = |host: &'static str| {
        ports
            .iter()
            .flat_map(move |port| [tunnel(host, *port), page(host, *port, "/metrics")])
    };
    check(id, SELVES.into_iter().flat_map(every))
}

fn metadata(host: &&str) -> [Tried; 3] {
    let direct = SocketAddr::new(Ipv4Addr::new(169, 254, 169, 254).into(), 80);
    [
        tunnel(host, 80),
        page(host, 80, "/latest/meta-data/"),
        (
            format!("{direct} as `{host}`"),
            ask(direct, &request("/latest/meta-data/", host)),
        ),
    ]
}

fn dns_over_https() -> [Tried; 4] {
    let query = "/dns-query?dns=RVgBAAABAAAAAAAABGxlYWsEdGVzdAAAAQAB";
    let direct = SocketAddr::new(V4, 443);
    [
        tunnel(DOH, 443),
        tunnel("192.0.2.53", 443),
        page(DOH, 80, query),
        (format!("{direct}"), ask(direct, &request(query, DOH))),
    ]
}

/// Other ways of asking a proxy: SOCKS, the PROXY protocol, CONNECT at a door that is not for it, other schemes.
fn odd_proxying() -> Vec<Tried> {
    let told = |what: &str, to: SocketAddr, bytes: &str| (what.to_owned(), ask(to, bytes));
    let redirected = SocketAddr::new(V4, 80);
    let connect = "CONNECT 192.0.2.1:22 HTTP/1.1\r\nHost: 192.0.2.1:22\r\n\r\n";
    vec![
        told("SOCKS 5", PROXY, "\x05\x01\0"),
        told("SOCKS 4", PROXY, "\x04\x01\0\x16\x40\0\x02\x01x\0"),
        told(
            "the PROXY protocol",
            PROXY,
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 22\r\nGET http://192.0.2.1/ HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n",
        ),
        told("CONNECT at port 80", redirected, connect),
        told(
            "an ftp URL",
            PROXY,
            "GET ftp://nobody.test/ HTTP/1.1\r\nHost: nobody.test\r\n\r\n",
        ),
        told(
            "a CONNECT with two hosts",
            PROXY,
            "CONNECT nobody.test:443 HTTP/1.1\r\nHost: nobody.test:443\r\nHost: localhost\r\n\r\n",
        ),
        told(
            "a CONNECT without a port",
            PROXY,
            "CONNECT nobody.test HTTP/1.1\r\nHost: nobody.test\r\n\r\n",
        ),
        told(
            "a request for `/`",
            PROXY,
            "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        ),
        told(
            "TRACE",
            PROXY,
            "TRACE http://nobody.test/ HTTP/1.1\r\nHost: nobody.test\r\nConnection: close\r\n\r\n",
        ),
    ]
}
