//! The network inside: one loopback device to which every address belongs, and the listeners behind it.
//!
//! There is no other device and no way to make one reach outside, so a packet that no listener takes is refused at once.
//! A listener learns where a connection was meant to go from its local address.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, listen, netdevice, recv,
    send, socket_with,
    sockopt::{set_ipv6_v6only, set_socket_reuseaddr},
};

use crate::error::{Error, system};

/// The port of the explicit proxy inside, on `127.0.0.1`.
pub const EXPLICIT_PORT: u16 = 3128;
const BACKLOG: i32 = 1024;

/// The sockets that were made inside and are served outside. All are non-blocking.
#[derive(Debug)]
pub struct Listeners {
    /// `127.0.0.1:3128`, for clients that know the proxy.
    pub explicit: TcpListener,
    /// Port 80 of every address, IPv4 and IPv6.
    pub http: Vec<TcpListener>,
    /// Port 443 of every address, IPv4 and IPv6.
    pub https: Vec<TcpListener>,
    /// UDP port 53 of every IPv4 address.
    pub dns_udp: UdpSocket,
    /// TCP port 53 of every IPv4 address.
    pub dns_tcp: TcpListener,
}

impl Listeners {
    /// Brings loopback up in the network namespace of this process, gives it every address, and binds.
    pub(crate) fn make() -> Result<Self, Error> {
        every_address_is_local()?;
        let (v4, v6) = (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED);
        let tcp = |address: SocketAddr| bound(address, SocketType::STREAM).map(TcpListener::from);
        Ok(Self {
            explicit: tcp((Ipv4Addr::LOCALHOST, EXPLICIT_PORT).into())?,
            http: vec![tcp((v4, 80).into())?, tcp((v6, 80).into())?],
            https: vec![tcp((v4, 443).into())?, tcp((v6, 443).into())?],
            dns_udp: bound((v4, 53).into(), SocketType::DGRAM)?.into(),
            dns_tcp: tcp((v4, 53).into())?,
        })
    }

    /// The descriptors in the order that [`Listeners::from_descriptors`] expects.
    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let tcp = std::iter::once(&self.explicit)
            .chain(&self.http)
            .chain(&self.https);
        let tcp = tcp.chain(std::iter::once(&self.dns_tcp)).map(AsFd::as_fd);
        tcp.chain(std::iter::once(self.dns_udp.as_fd())).collect()
    }

    pub(crate) fn from_descriptors(descriptors: Vec<OwnedFd>) -> Result<Self, Error> {
        let descriptors: [OwnedFd; 7] = descriptors
            .try_into()
            .map_err(|_other_count| Error::Protocol)?;
        let [explicit, http, http_v6, https, https_v6, dns_tcp, dns_udp] = descriptors;
        Ok(Self {
            explicit: explicit.into(),
            http: vec![http.into(), http_v6.into()],
            https: vec![https.into(), https_v6.into()],
            dns_udp: dns_udp.into(),
            dns_tcp: dns_tcp.into(),
        })
    }
}

fn bound(address: SocketAddr, kind: SocketType) -> Result<OwnedFd, Error> {
    let make = || -> rustix::io::Result<OwnedFd> {
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, kind, flags, None)?;
        if address.is_ipv6() {
            set_ipv6_v6only(&socket, true)?;
        }
        if kind == SocketType::STREAM {
            set_socket_reuseaddr(&socket, true)?;
        }
        bind(&socket, &address)?;
        if kind == SocketType::STREAM {
            listen(&socket, BACKLOG)?;
        }
        Ok(socket)
    };
    make().map_err(system("listen inside the sandbox"))
}

// rtnetlink(7), numbers from linux/rtnetlink.h and linux/if_link.h.
const RTM_NEWLINK: u16 = 16;
const RTM_NEWROUTE: u16 = 24;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const IFF_UP: u32 = 1;
const RT_TABLE_LOCAL: u8 = 255;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_HOST: u8 = 254;
const RTN_LOCAL: u8 = 2;
const RTA_OIF: u16 = 4;

/// Loopback up, and a local route for all of IPv4 and IPv6, which is known as any-IP.
fn every_address_is_local() -> Result<(), Error> {
    let make = || -> io::Result<()> {
        let flags = SocketFlags::CLOEXEC;
        // Protocol 0 of netlink is NETLINK_ROUTE.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        let plain = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
        let loopback = netdevice::name_to_index(&plain, "lo")?;
        // ifinfomsg: family, padding, type, index, flags, mask of flags to change.
        let mut link = vec![0u8; 4];
        link.extend(loopback.to_ne_bytes());
        link.extend(IFF_UP.to_ne_bytes());
        link.extend(IFF_UP.to_ne_bytes());
        ask(&socket, RTM_NEWLINK, 0, &link)?;
        for family in [AddressFamily::INET, AddressFamily::INET6] {
            // rtmsg: family, lengths and service 0, table, protocol, scope, type, flags; then the device attribute.
            let family = u8::try_from(family.as_raw()).map_err(io::Error::other)?;
            let mut route = vec![
                family,
                0,
                0,
                0,
                RT_TABLE_LOCAL,
                RTPROT_STATIC,
                RT_SCOPE_HOST,
                RTN_LOCAL,
            ];
            route.extend([0u8; 4]);
            route.extend(8u16.to_ne_bytes());
            route.extend(RTA_OIF.to_ne_bytes());
            route.extend(loopback.to_ne_bytes());
            ask(&socket, RTM_NEWROUTE, NLM_F_CREATE, &route)?;
        }
        Ok(())
    };
    make().map_err(system("set up the network of the sandbox"))
}

/// Sends one request and waits for its acknowledgement.
fn ask(socket: &OwnedFd, kind: u16, flags: u16, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len() + 16).map_err(io::Error::other)?;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    message.extend([0u8; 8]);
    message.extend(payload);
    send(socket, &message, SendFlags::empty())?;
    let mut reply = [0u8; 4096];
    let (_, length) = recv(socket, &mut reply[..], RecvFlags::empty())?;
    let odd = || io::Error::other("odd reply from the kernel");
    let reply = reply.get(..length).ok_or_else(odd)?;
    let field = |at: usize| reply.get(at..).and_then(<[u8]>::first_chunk::<4>).copied();
    let (Some([low, high, ..]), Some(code)) = (field(4), field(16)) else {
        return Err(odd());
    };
    if u16::from_ne_bytes([low, high]) != NLMSG_ERROR {
        return Err(odd());
    }
    // A negative error number, or zero when it worked.
    match i32::from_ne_bytes(code) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
    }
}
