//! Serves [`answer`] on the sockets that were made inside the sandbox, or where a gateway leads its clients. The caller runs
//! the futures.

use std::{
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use exeat_types::{Host, Prefix};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinSet,
    time::timeout,
};

use crate::{Error, Synthetic, answer, dns::QUERY_BYTES_MAX, error::system};

/// How long a TCP client may take for its next query.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
/// Queries that one TCP connection may ask.
const QUERIES_MAX: usize = 128;
/// How long to wait before accepting again, when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// TCP connections that are answered at a time; who comes after them waits.
const CONVERSATIONS_MAX: usize = 64;

/// Answers the names of one sandbox or network.
pub struct Resolver {
    names: Arc<Names>,
    clients: Vec<Prefix>,
}

struct Names {
    allowed: Box<dyn Fn(&Host) -> bool + Send + Sync>,
    addresses: Mutex<Synthetic>,
}

impl Resolver {
    /// Starts with no names; `allowed` says which may be reached.
    pub fn new(allowed: impl Fn(&Host) -> bool + Send + Sync + 'static) -> Self {
        Self::of_network(allowed, &[], Vec::new())
    }

    /// The same for a network: `always` are the addresses to give for every name, at most one of each family, instead of
    /// one for each name; only `clients` get answers, or everybody when there are none.
    pub fn of_network(
        allowed: impl Fn(&Host) -> bool + Send + Sync + 'static,
        always: &[IpAddr],
        clients: Vec<Prefix>,
    ) -> Self {
        let names = Names {
            allowed: Box::new(allowed),
            addresses: Mutex::new(Synthetic::always(always)),
        };
        Self {
            names: Arc::new(names),
            clients,
        }
    }

    /// The name that a synthetic address stands for, to give redirected connections their name.
    pub fn name(&self, address: IpAddr) -> Option<Host> {
        self.names.addresses().name(address).cloned()
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
            let query = query.get(..length).filter(|_| self.knows(peer.ip()));
            let Some(reply) = query.and_then(|query| self.names.reply(query)) else {
                continue;
            };
            if let Err(error) = socket.send_to(&reply, peer).await {
                tracing::debug!(%error, "an answer could not be sent");
            }
        }
    }

    /// Answers TCP connections, a bounded number at a time.
    ///
    /// # Errors
    /// When the listener cannot be used.
    ///
    /// # Cancel safety
    /// Dropping it closes the connections being answered.
    ///
    /// # Spec
    /// RFC 7766: queries and replies behind a length of two bytes.
    pub async fn serve_tcp(&self, listener: std::net::TcpListener) -> Result<(), Error> {
        let listener = TcpListener::from_std(listener).map_err(system("serve names"))?;
        let mut conversations = JoinSet::new();
        loop {
            while conversations.try_join_next().is_some() {}
            if conversations.len() >= CONVERSATIONS_MAX {
                conversations.join_next().await;
            }
            match listener.accept().await {
                Ok((_, peer)) if !self.knows(peer.ip()) => {}
                Ok((stream, _)) => {
                    let names = Arc::clone(&self.names);
                    conversations.spawn(async move {
                        if let Err(error) = names.converse(stream).await {
                            tracing::debug!(%error, "a TCP query ended early");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "no connection for names could be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn knows(&self, client: IpAddr) -> bool {
        self.clients.is_empty() || self.clients.iter().any(|prefix| prefix.contains(client))
    }
}

impl Names {
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
        answer(query, &self.allowed, &mut self.addresses())
    }

    fn addresses(&self) -> MutexGuard<'_, Synthetic> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener as StdListener, UdpSocket as StdSocket};

    use super::*;

    /// A question for the address of `a.example`.
    const QUERY: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x01\0\x01";

    fn resolver(clients: &str) -> Resolver {
        let allowed = |host: &Host| host.name() == Some("a.example");
        Resolver::of_network(allowed, &[], vec![clients.parse().unwrap()])
    }

    async fn asked_by_datagram(resolver: &Resolver) -> Option<Vec<u8>> {
        let server = StdSocket::bind("127.0.0.1:0").unwrap();
        server.set_nonblocking(true).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(server.local_addr().unwrap()).await.unwrap();
        client.send(QUERY).await.unwrap();
        let mut reply = vec![0; 512];
        tokio::select! {
            ended = resolver.serve_udp(server) => panic!("{ended:?}"),
            length = client.recv(&mut reply) => reply.truncate(length.unwrap()),
            () = tokio::time::sleep(Duration::from_millis(200)) => return None,
        }
        Some(reply)
    }

    /// Asks on the second of two connections; the first says nothing.
    async fn asked_by_stream(resolver: &Resolver) -> Option<Vec<u8>> {
        let server = StdListener::bind("127.0.0.1:0").unwrap();
        server.set_nonblocking(true).unwrap();
        let address = server.local_addr().unwrap();
        let ask = async {
            let _silent = TcpStream::connect(address).await?;
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(&[0, 27]).await?;
            stream.write_all(QUERY).await?;
            let mut reply = vec![0; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut reply).await?;
            io::Result::Ok(reply)
        };
        tokio::select! {
            ended = resolver.serve_tcp(server) => panic!("{ended:?}"),
            reply = ask => reply.ok(),
        }
    }

    #[tokio::test]
    async fn clients_get_answers_at_the_same_time_and_others_get_none() {
        assert_eq!(QUERY.len(), 27);
        let known = resolver("127.0.0.0/8");
        let (datagram, stream) = (
            asked_by_datagram(&known).await.unwrap(),
            asked_by_stream(&known).await.unwrap(),
        );
        assert_eq!(datagram, stream, "both know the same names");
        assert!(datagram.ends_with(&[198, 18, 0, 1]), "{datagram:?}");
        let others = resolver("10.77.0.0/24");
        assert_eq!(asked_by_datagram(&others).await, None);
        assert_eq!(asked_by_stream(&others).await, None);
    }
}
