//! A closed-loop client: every connection sends the next request as soon as the answer is in.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::site::{NAME, Site};

/// How a client reaches the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// TLS to the system itself.
    Direct,
    /// CONNECT, then TLS inside.
    Connect,
}

/// What to send where.
pub(crate) struct Plan {
    pub(crate) target: SocketAddr,
    pub(crate) way: Way,
    pub(crate) connections: usize,
    pub(crate) time: Duration,
}

impl Plan {
    /// A short run before the one that counts.
    pub(crate) fn warm_up(&self) -> Self {
        Self {
            time: Duration::from_secs(1),
            ..*self
        }
    }
}

const REQUEST: &[u8] =
    b"GET /things/42 HTTP/1.1\r\nHost: up.test\r\nAccept: application/json\r\nUser-Agent: bench\r\n\r\n";

/// Drives the plan; gives the latency of every request.
pub(crate) async fn drive(site: &Site, plan: &Plan) -> anyhow::Result<Vec<Duration>> {
    let connector = connector(site)?;
    let until = Instant::now() + plan.time;
    let mut tasks = JoinSet::new();
    for _ in 0..plan.connections {
        let (connector, target, way) = (connector.clone(), plan.target, plan.way);
        tasks.spawn(async move {
            let mut stream = connect(&connector, target, way).await?;
            let mut latencies = Vec::with_capacity(32_768);
            let mut buffer = vec![0u8; 16 * 1024];
            while Instant::now() < until {
                let start = Instant::now();
                stream.write_all(REQUEST).await?;
                answer(&mut stream, &mut buffer).await?;
                latencies.push(start.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    let mut all = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        all.extend(joined??);
    }
    Ok(all)
}

fn connector(site: &Site) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for root in site.roots()? {
        roots.add(root)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn connect(
    connector: &TlsConnector,
    target: SocketAddr,
    way: Way,
) -> anyhow::Result<TlsStream<TcpStream>> {
    let mut tcp = TcpStream::connect(target).await?;
    tcp.set_nodelay(true)?;
    if way == Way::Connect {
        tcp.write_all(b"CONNECT up.test:443 HTTP/1.1\r\nHost: up.test:443\r\n\r\n")
            .await?;
        let mut head = [0u8; 256];
        let count = tcp.read(&mut head).await?;
        let text = String::from_utf8_lossy(head.get(..count).unwrap_or_default()).into_owned();
        if !text.starts_with("HTTP/1.1 200") {
            bail!("CONNECT was answered with `{text}`");
        }
    }
    Ok(connector.connect(ServerName::try_from(NAME)?, tcp).await?)
}

/// Reads one answer, by content length or chunks.
async fn answer(stream: &mut TlsStream<TcpStream>, buffer: &mut [u8]) -> anyhow::Result<()> {
    let mut filled = 0;
    loop {
        let room = buffer
            .get_mut(filled..)
            .context("an answer that is too large")?;
        let count = stream.read(room).await?;
        if count == 0 {
            bail!("the connection ended");
        }
        filled += count;
        let read = buffer.get(..filled).unwrap_or_default();
        let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let (head, body) = read.split_at(end + 4);
        if !head.starts_with(b"HTTP/1.1 200") {
            bail!("answered with `{}`", String::from_utf8_lossy(head));
        }
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        let length = head.lines().find_map(|line| {
            line.strip_prefix("content-length: ")?
                .trim()
                .parse::<usize>()
                .ok()
        });
        match length {
            Some(length) if body.len() >= length => return Ok(()),
            None if body.ends_with(b"0\r\n\r\n") => return Ok(()),
            Some(_) | None => {}
        }
    }
}
