//! The sockets of listeners. An IPv6 address means IPv6 alone, so that a client has one address and one listener.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    settings::{Capture, Listener, Mode},
    upgrade::Kept,
};

const BACKLOG: i32 = 1024;

/// What one listener of the settings listens on. All are non-blocking.
pub(super) struct Sockets {
    /// Connections: of clients, or for names.
    pub(super) tcp: TcpListener,
    /// Datagrams, where names are asked for.
    pub(super) udp: Option<UdpSocket>,
}

/// Binds what a listener needs and no gate before this one has handed over.
pub(super) fn bind(listener: &Listener, kept: &mut Kept) -> io::Result<Sockets> {
    let address = listener.address;
    let reach = match (listener.mode, listener.capture) {
        (Mode::Transparent, Capture::Tproxy) => Reach::Foreign,
        _ => Reach::Own,
    };
    let name = match reach {
        Reach::Own => format!("tcp {address}"),
        Reach::Foreign => format!("tproxy {address}"),
    };
    let tcp = kept.socket(&name, || connections(address, reach))?;
    let udp = match listener.mode {
        Mode::Dns => {
            let address = tcp.local_addr()?;
            Some(kept.socket(&format!("udp {address}"), || datagrams(address))?)
        }
        Mode::Explicit | Mode::Transparent => None,
    };
    Ok(Sockets { tcp, udp })
}

/// Whose connections a socket accepts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Own,
    Foreign,
}

fn connections(address: SocketAddr, reach: Reach) -> io::Result<TcpListener> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    if reach == Reach::Foreign {
        // TPROXY delivers what was meant for others, and answers in their name.
        if address.is_ipv4() {
            socket.set_ip_transparent_v4(true)?;
        } else {
            socket.set_ip_transparent_v6(true)?;
        }
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from(socket))
}

fn datagrams(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}
