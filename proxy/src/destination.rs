//! Where a redirected connection was going before it was redirected. It is for logs: a client chooses its address as freely
//! as its name, so nothing is ever decided by it.

use std::net::SocketAddr;

use tokio::net::TcpStream;

/// The address that the client dialled: what connection tracking remembers after a REDIRECT, else the local address, which
/// TPROXY and a sandbox leave as it was.
pub(crate) fn of(tcp: &TcpStream) -> Option<SocketAddr> {
    let local = tcp.local_addr().ok()?;
    Some(before_redirect(tcp, local).unwrap_or(local))
}

#[cfg(target_os = "linux")]
fn before_redirect(tcp: &TcpStream, local: SocketAddr) -> Option<SocketAddr> {
    use rustix::net::sockopt::{ip_original_dst, ipv6_original_dst};

    if local.is_ipv4() {
        ip_original_dst(tcp).ok().map(SocketAddr::V4)
    } else {
        ipv6_original_dst(tcp).ok().map(SocketAddr::V6)
    }
}

#[cfg(not(target_os = "linux"))]
fn before_redirect(_tcp: &TcpStream, _local: SocketAddr) -> Option<SocketAddr> {
    None
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_nobody_redirected_was_going_where_it_arrived() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).await.unwrap();
            let address = listener.local_addr().unwrap();
            let _client = TcpStream::connect(address).await.unwrap();
            let (accepted, _) = listener.accept().await.unwrap();
            assert_eq!(of(&accepted), Some(address));
        }
    }
}
