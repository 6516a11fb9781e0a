//! Serves [`answer`] on the sockets that were made inside the sandbox. The caller runs the futures.

use std::{
    io,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use exeat_types::Host;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    time::timeout,
};

use crate::{Error, Synthetic, answer, dns::QUERY_BYTES_MAX, error::system};

/// How long a TCP client may take for its next query.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
/// Queries that one TCP connection may ask.
const QUERIES_MAX: usize = 128;
/// How long to wait before accepting again, when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers the names of one sandbox.
pub struct Resolver {
    allowed: Box<dyn Fn(&Host) -> bool + Send + Sync>,
    addresses: Mutex<Synthetic>,
}

impl Resolver {
    /// Starts with no names; `allowed` says which may be reached.
    pub fn new(allowed: impl Fn(&Host) -> bool + Send + Sync + 'static) -> Self {
        Self {
            allowed: Box::new(allowed),
            addresses: Mutex::default(),
        }
    }

    /// The name that a synthetic address stands for, to give redirected connections their name.
    pub fn name(&self, address: IpAddr) -> Option<Host> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .name(address)
            .cloned()
    }

    /// Answers datagrams until the socket fails.
    ///
    /// # Errors
    /// When the socket cannot be used.
    ///
    /// # Cancel safety
    /// Dropping it loses at most one answer.
    pub async fn serve_udp(&self, socket: std::net::UdpSocket) -> Result<(), Error> {
        let socket = UdpSocket::from_std(socket).map_err(system("serve names"))?;
        let mut query = vec![0u8; QUERY_BYTES_MAX + 1];
        loop {
            let (length, peer) = match socket.recv_from(&mut query).await {
                // An earlier reply found its port closed; that is the asker's business.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                other => other.map_err(system("serve names"))?,
            };
            let Some(reply) = query.get(..length).and_then(|query| self.reply(query)) else {
                continue;
            };
            if let Err(error) = socket.send_to(&reply, peer).await {
                tracing::debug!(%error, "an answer could not be sent");
            }
        }
    }

    /// Answers TCP connections, one after the other, as only odd clients ask that way.
    ///
    /// # Errors
    /// When the listener cannot be used.
    ///
    /// # Cancel safety
    /// Dropping it closes the connection being answered.
    ///
    /// # Spec
    /// RFC 7766: queries and replies behind a length of two bytes.
    pub async fn serve_tcp(&self, listener: std::net::TcpListener) -> Result<(), Error> {
        let listener = TcpListener::from_std(listener).map_err(system("serve names"))?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if let Err(error) = self.converse(stream).await {
                        tracing::debug!(%error, "a TCP query ended early");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "no connection for names could be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        for _ in 0..QUERIES_MAX {
            let length = timeout(QUERY_TIMEOUT, stream.read_u16()).await??;
            let mut query = vec![0u8; usize::from(length)];
            timeout(QUERY_TIMEOUT, stream.read_exact(&mut query)).await??;
            let Some(reply) = self.reply(&query) else {
                return Ok(());
            };
            let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
            let framed = [&length.to_be_bytes()[..], &reply].concat();
            timeout(QUERY_TIMEOUT, stream.write_all(&framed)).await??;
        }
        Ok(())
    }

    fn reply(&self, query: &[u8]) -> Option<Vec<u8>> {
        let mut addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        answer(query, &self.allowed, &mut addresses)
    }
}
