//! The way to an upstream: its judged addresses, tried one beside the other, or a proxy that is asked for it. A [`Route`]
//! is made only by `egress.rs`, and nothing else in this process opens a connection to an upstream.

use std::{
    fmt,
    hash::{Hash, Hasher},
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use exeat_types::limits;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::HeaderValue;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

/// Addresses that were judged together, and which of them answered last.
pub(crate) struct Judged {
    addresses: Vec<SocketAddr>,
    good: AtomicUsize,
}

impl Judged {
    /// Puts the families in turn, the first one first, and begins with the address that answered before, if it is still there.
    pub(crate) fn new(found: &[SocketAddr], answered: Option<SocketAddr>) -> Self {
        let first_is_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
        let (mut one, mut other): (Vec<SocketAddr>, Vec<SocketAddr>) = found
            .iter()
            .partition(|address| address.is_ipv6() == first_is_v6);
        one.reverse();
        other.reverse();
        let mut addresses = Vec::with_capacity(found.len());
        while !(one.is_empty() && other.is_empty()) {
            addresses.extend(one.pop());
            addresses.extend(other.pop());
        }
        let good = answered.and_then(|known| addresses.iter().position(|it| *it == known));
        Self {
            addresses,
            good: AtomicUsize::new(good.unwrap_or(0)),
        }
    }

    /// Every address.
    pub(crate) fn all(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The address that answered last, or the first.
    pub(crate) fn first(&self) -> Option<SocketAddr> {
        self.addresses
            .get(self.good.load(Ordering::Relaxed))
            .copied()
    }

    fn answered(&self, address: SocketAddr) {
        if let Some(at) = self.addresses.iter().position(|it| *it == address) {
            self.good.store(at, Ordering::Relaxed);
        }
    }

    /// The addresses to try, the one that answered last before all others.
    fn in_order(&self) -> impl Iterator<Item = SocketAddr> {
        let first = self.first();
        let others = self.addresses.iter().copied();
        first
            .into_iter()
            .chain(others.filter(move |it| Some(*it) != first))
            .take(limits::ADDRESSES_MAX)
    }
}

/// A proxy on the way, and what it is asked for.
#[derive(Debug)]
pub(crate) struct Through {
    /// The upstream as `host:port`.
    pub(crate) authority: String,
    /// What it wants to see in `Proxy-Authorization`; marked sensitive.
    pub(crate) authorization: Option<HeaderValue>,
}

/// How an upstream is reached: only over addresses that were judged.
#[derive(Clone)]
pub struct Route {
    judged: Arc<Judged>,
    through: Option<Arc<Through>>,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("addresses", &self.judged.all())
            .field("through", &self.through)
            .finish()
    }
}

impl Hash for Route {
    /// What makes two ways different: the proxy, and what it is told. Addresses of the same name do not.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Some(through) = &self.through else {
            return false.hash(state);
        };
        through.authority.hash(state);
        let authorization = through.authorization.as_ref();
        authorization.map(HeaderValue::as_bytes).hash(state);
    }
}

impl Route {
    pub(crate) fn new(judged: Arc<Judged>, through: Option<Through>) -> Self {
        let through = through.map(Arc::new);
        Self { judged, through }
    }

    /// No way at all, for calls that go nowhere.
    pub(crate) fn none() -> Self {
        Self::new(Arc::new(Judged::new(&[], None)), None)
    }

    /// The address that a new connection most likely has, to tell pooled connections apart.
    pub fn likely(&self) -> Option<SocketAddr> {
        self.judged.first()
    }

    /// Connects: the addresses are tried in turn, each a moment after the one before it, and the first connection wins.
    ///
    /// # Errors
    /// Why the last address did not answer, or what the proxy on the way said instead of yes.
    ///
    /// # Cancel safety
    /// Dropping the future closes every attempt.
    ///
    /// # Spec
    /// RFC 8305 section 5.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        let late = |_cause| io::Error::from(io::ErrorKind::TimedOut);
        let whole = async {
            let (mut tcp, address) = self.race().await?;
            self.judged.answered(address);
            if let Some(through) = &self.through {
                through.open(&mut tcp).await?;
            }
            Ok(tcp)
        };
        timeout(limits::CONNECT_TIMEOUT, whole)
            .await
            .map_err(late)?
    }

    async fn race(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let attempt = |address: SocketAddr| async move {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            Ok::<_, io::Error>((tcp, address))
        };
        let mut addresses = self.judged.in_order().peekable();
        let mut attempts = FuturesUnordered::new();
        let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
        loop {
            attempts.extend(addresses.next().map(attempt));
            let ended = tokio::select! {
                ended = attempts.next() => ended,
                () = sleep(limits::NEXT_ADDRESS_DELAY), if addresses.peek().is_some() => continue,
            };
            match ended {
                Some(Ok(connected)) => return Ok(connected),
                Some(Err(error)) => failed = error,
                None if addresses.peek().is_none() => return Err(failed),
                None => {}
            }
        }
    }
}

impl Through {
    /// Asks the proxy for the upstream. Not a byte behind its answer is read.
    ///
    /// # Spec
    /// RFC 9110 section 9.3.6.
    async fn open(&self, tcp: &mut TcpStream) -> io::Result<()> {
        let mut head =
            format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n", self.authority).into_bytes();
        if let Some(value) = &self.authorization {
            head.extend_from_slice(b"Proxy-Authorization: ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        tcp.write_all(&head).await?;
        let answer = read_head(tcp).await?;
        match status(&answer) {
            Some(200..=299) => Ok(()),
            Some(status) => {
                // Its body is the proxy's business: an agent never sees it.
                tracing::warn!(
                    upstream = self.authority,
                    status,
                    "the upstream proxy refused"
                );
                Err(io::Error::other(format!(
                    "the upstream proxy answered {status}"
                )))
            }
            None => Err(io::Error::other("the upstream proxy does not speak HTTP")),
        }
    }
}

/// The bytes of an HTTP/1 response head, read without taking what follows it.
async fn read_head(tcp: &mut TcpStream) -> io::Result<Vec<u8>> {
    const END: &[u8] = b"\r\n\r\n";
    let mut head = Vec::new();
    let mut seen = [0; 1024];
    loop {
        let count = tcp.peek(&mut seen).await?;
        let fresh = seen.get(..count).unwrap_or_default();
        if fresh.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let known = head.len();
        head.extend_from_slice(fresh);
        // The end may begin in what was read before.
        let from = known.saturating_sub(END.len());
        let tail = head.get(from..).unwrap_or_default();
        let end = tail.windows(END.len()).position(|window| window == END);
        let whole = end.map(|at| from.saturating_add(at).saturating_add(END.len()));
        head.truncate(whole.unwrap_or(head.len()));
        let taken = head.len().saturating_sub(known);
        tcp.read_exact(seen.get_mut(..taken).unwrap_or_default())
            .await?;
        if whole.is_some() {
            return Ok(head);
        }
        if head.len() > limits::PROXY_ANSWER_BYTES_MAX {
            return Err(io::Error::other("the upstream proxy's answer is too long"));
        }
    }
}

/// The status of `HTTP/1.1 200 ...`.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|&byte| byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let rest = line
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| line.strip_prefix("HTTP/1.0 "))?;
    let digits = rest.split(' ').next()?;
    let status = digits.parse().ok()?;
    (digits.len() == 3).then_some(status)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn to(addresses: &[SocketAddr], through: Option<Through>) -> Route {
        Route::new(Arc::new(Judged::new(addresses, None)), through)
    }

    /// A port that refuses: it was free a moment ago and nobody listens.
    async fn dead() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    }

    #[test]
    fn families_take_turns_and_the_address_that_answered_goes_first() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let found = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"].map(parse);
        let expect = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"].map(parse);
        let judged = Judged::new(&found, None);
        assert_eq!(judged.in_order().collect::<Vec<_>>(), expect);
        judged.answered(parse("[::2]:1"));
        let order: Vec<_> = judged.in_order().collect();
        assert_eq!(order[0], parse("[::2]:1"));
        assert_eq!(order.len(), 4);
        let again = Judged::new(&found, judged.first());
        assert_eq!(again.first(), Some(parse("[::2]:1")));
        assert_eq!(
            Judged::new(&found, Some(parse("9.9.9.9:1"))).first(),
            Some(found[0])
        );
        let many: Vec<SocketAddr> = (1..100).map(|n| parse(&format!("10.0.0.{n}:1"))).collect();
        assert_eq!(
            Judged::new(&many, None).in_order().count(),
            limits::ADDRESSES_MAX
        );
    }

    #[tokio::test]
    async fn a_dead_address_is_passed_over_and_the_good_one_is_remembered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = listener.local_addr().unwrap();
        let route = to(&[dead().await, dead().await, alive], None);
        assert_ne!(route.likely(), Some(alive));
        assert_eq!(route.connect().await.unwrap().peer_addr().unwrap(), alive);
        assert_eq!(route.likely(), Some(alive));
        let nowhere = to(&[dead().await, dead().await], None);
        let error = nowhere.connect().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(to(&[], None).connect().await.is_err());
    }

    #[tokio::test]
    async fn a_silent_address_holds_nobody_up() {
        // The queue of this listener is full, so that a further connection is never answered.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = socket.listen(1).unwrap();
        let silent = full.local_addr().unwrap();
        let mut waiting = Vec::new();
        let patience = std::time::Duration::from_millis(100);
        while let Ok(Ok(tcp)) = timeout(patience, TcpStream::connect(silent)).await {
            waiting.push(tcp);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = listener.local_addr().unwrap();
        let route = to(&[silent, alive], None);
        let began = tokio::time::Instant::now();
        assert_eq!(route.connect().await.unwrap().peer_addr().unwrap(), alive);
        assert!(began.elapsed() < limits::CONNECT_TIMEOUT / 4);
    }

    /// Plays a proxy that gives one answer, and returns what it was asked.
    async fn ask(
        answer: &'static [u8],
        authorization: Option<&'static str>,
    ) -> (io::Result<Vec<u8>>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let through = Through {
            authority: "api.test:443".to_owned(),
            authorization: authorization.map(HeaderValue::from_static),
        };
        let route = to(&[address], Some(through));
        let proxy = async {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(tcp.read_u8().await.unwrap());
            }
            for piece in answer.chunks(7) {
                // A client that has read enough breaks off.
                if tcp.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            String::from_utf8(asked).unwrap()
        };
        let client = async {
            let mut tcp = route.connect().await?;
            let mut rest = Vec::new();
            tcp.read_to_end(&mut rest).await?;
            Ok(rest)
        };
        let (asked, got) = tokio::join!(proxy, client);
        (got, asked)
    }

    #[tokio::test]
    async fn a_proxy_is_asked_for_the_name_and_nothing_behind_its_answer_is_lost() {
        let (got, asked) = ask(b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\nfirst bytes", None).await;
        assert_eq!(got.unwrap(), b"first bytes");
        assert_eq!(
            asked,
            "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n"
        );
        let (got, asked) = ask(b"HTTP/1.0 200 \r\n\r\n", Some("Basic CANARY-proxy")).await;
        assert!(got.unwrap().is_empty());
        assert!(
            asked.contains("\r\nProxy-Authorization: Basic CANARY-proxy\r\n"),
            "{asked}"
        );
    }

    #[tokio::test]
    async fn what_is_no_yes_of_a_proxy_is_an_error() {
        for answer in [
            &b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\nbody"[..],
            b"HTTP/1.1 502 Bad\r\n\r\n",
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"HTTP/2 200 OK\r\n\r\n",
            b"SSH-2.0-x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"",
        ] {
            let (got, _) = ask(answer, None).await;
            assert!(got.is_err(), "{}", String::from_utf8_lossy(answer));
        }
        let long: &'static [u8] = vec![b'x'; limits::PROXY_ANSWER_BYTES_MAX + 2048].leak();
        assert!(ask(long, None).await.0.is_err());
    }
}
