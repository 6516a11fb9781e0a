//! The network: whether anything but the gate takes a packet.
//!
//! Inside a sandbox every address is this machine's own, so a port that the gate does not serve refuses at once. Any other
//! answer, silence too, means that the packet went somewhere.

use std::{
    fs,
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    os::linux::net::SocketAddrExt as _,
    os::unix::net::{SocketAddr as UnixAddress, UnixStream},
    time::Duration,
};

use super::{Check, Errand};

/// How long a probe waits where something is wrong.
pub(super) const WAIT: Duration = Duration::from_secs(2);
/// A host that cannot exist: RFC 5737.
pub(super) const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// A host that cannot exist: RFC 3849.
pub(super) const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
/// Ports of services that an agent could use to carry things out.
const PORTS: [u16; 18] = [
    21, 22, 23, 25, 110, 143, 389, 465, 587, 993, 1080, 3306, 3389, 5432, 6379, 8080, 8443, 9418,
];
const DNS_OVER_TLS: u16 = 853;
const HTTPS: u16 = 443;

/// Tries an address; fine when it is refused.
type By = fn(SocketAddr) -> Result<(), String>;
/// Makes the check of this name.
type Make = fn(&str) -> Check;

/// Tries all of them.
pub(super) fn probe(errand: &Errand) -> Vec<Check> {
    let mut checks = vec![devices()];
    checks.extend(outside(errand));
    let away: [(&str, Make); 6] = [
        ("tcp-ipv4", |id| refused(id, "TCP", V4, &[8081], tcp)),
        ("tcp-ipv6", |id| refused(id, "TCP", V6, &[8081], tcp)),
        ("tcp-ports", every_port),
        ("udp", |id| both(id, "UDP", 9999, udp)),
        ("quic", |id| both(id, "UDP", HTTPS, udp)),
        ("dns-over-tls", |id| both(id, "TCP", DNS_OVER_TLS, tcp)),
    ];
    for (id, probe) in away {
        checks.push(if sends_nothing_away() {
            probe(id)
        } else {
            Check::open(id, "not tried, as it could leave this machine")
        });
    }
    checks
}

/// Whether loopback is the only device, so that no packet can leave.
pub(super) fn sends_nothing_away() -> bool {
    others().is_ok_and(|others| others.is_empty())
}

fn devices() -> Check {
    let id = "network-devices";
    match others() {
        Ok(found) => Check::of(id, &found, "only loopback"),
        Err(error) => Check::open(id, format!("cannot be listed: {error}")),
    }
}

/// Devices beside loopback.
fn others() -> io::Result<Vec<String>> {
    let table = fs::read_to_string("/proc/self/net/dev")?;
    let name = |line: &str| Some(line.split_once(':')?.0.trim().to_owned());
    let names = table.lines().skip(2).filter_map(name);
    Ok(names.filter(|name| name != "lo").collect())
}

/// Listeners on the loopback outside: the gate's own, and some made for this.
fn outside(errand: &Errand) -> [Check; 3] {
    let reached = |list: &[SocketAddr], by: By| {
        let reached = |address: &SocketAddr| {
            let problem = by(*address).err()?;
            Some(format!("{address}: {problem}"))
        };
        list.iter().filter_map(reached).collect::<Vec<_>>()
    };
    let names = errand.abstract_sockets.iter();
    let found: Vec<String> = names.filter_map(|name| abstract_unix(name)).collect();
    [
        counted(
            "loopback-tcp",
            errand.tcp.len(),
            &reached(&errand.tcp, tcp),
            "listeners outside",
        ),
        counted(
            "loopback-udp",
            errand.udp.len(),
            &reached(&errand.udp, udp),
            "sockets outside",
        ),
        counted(
            "unix-abstract",
            errand.abstract_sockets.len(),
            &found,
            "sockets outside",
        ),
    ]
}

/// Open as well when there was nothing to try it on.
pub(super) fn counted(id: &str, tried: usize, found: &[String], what: &str) -> Check {
    if tried == 0 {
        return Check::open(id, format!("could not be tried: no {what}"));
    }
    Check::of(id, found, format!("{tried} {what}, to no avail"))
}

fn abstract_unix(name: &str) -> Option<String> {
    let connected = UnixAddress::from_abstract_name(name)
        .and_then(|address| UnixStream::connect_addr(&address));
    match connected {
        Err(error) if is_refusal(&error) => None,
        Err(error) => Some(format!("`@{name}`: {error}")),
        Ok(_) => Some(format!("`@{name}` answered")),
    }
}

fn every_port(id: &str) -> Check {
    let four = problems(V4, &PORTS, tcp);
    let six = problems(V6, &PORTS, tcp);
    let tried = format!("{} ports, IPv4 and IPv6, all refused", PORTS.len());
    Check::of(id, &[four, six].concat(), tried)
}

fn both(id: &str, what: &str, port: u16, by: By) -> Check {
    let found = [problems(V4, &[port], by), problems(V6, &[port], by)].concat();
    Check::of(id, &found, format!("{what} port {port} refuses at once"))
}

fn refused(id: &str, what: &str, host: IpAddr, ports: &[u16], by: By) -> Check {
    let closed = format!("{what} to {host} is refused at once");
    Check::of(id, &problems(host, ports, by), closed)
}

fn problems(host: IpAddr, ports: &[u16], by: By) -> Vec<String> {
    let problem = |port: &u16| {
        let address = SocketAddr::new(host, *port);
        Some(format!("{address}: {}", by(address).err()?))
    };
    ports.iter().filter_map(problem).collect()
}

/// Fine when the connection is refused.
fn tcp(address: SocketAddr) -> Result<(), String> {
    match TcpStream::connect_timeout(&address, WAIT) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(format!("not refused: {error}")),
        Ok(_) => Err("connected".to_owned()),
    }
}

/// Fine when a datagram is refused.
fn udp(address: SocketAddr) -> Result<(), String> {
    match exchange(address, b"exeat doctor", WAIT) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(format!("not refused: {error}")),
        Ok(_) => Err("answered".to_owned()),
    }
}

/// Sends a datagram and waits for the answer.
pub(super) fn exchange(address: SocketAddr, what: &[u8], wait: Duration) -> io::Result<Vec<u8>> {
    let any: IpAddr = if address.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(wait))?;
    socket.connect(address)?;
    socket.send(what)?;
    let mut answer = vec![0; 4096];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

/// Whether an error of a connection means that nobody is there; a read-only file is no socket.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
    )
}
