//! Connections that pass unread: the client hello is read for its name and handed on untouched, then bytes are copied both
//! ways. Whether one may pass, and where it leads, is said by the pipeline; the receipt is closed here.

use std::{future::Future, io, sync::Arc};

use bytes::BytesMut;
use exeat_pipeline::{Agent, Ending, Gate, Tunnel, passes_unread};
use exeat_types::{Authority, Host, Origin, Reason, Scheme, limits};
use rustls::server::Acceptor;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{Door, Error, Proxy, connect, stream::Wire, target::Connection};

/// Bytes copied at once, each way.
const COPY_BYTES: usize = 16 * 1024;

/// Carries a CONNECT whose target passes unread, from its answer to its end.
pub(crate) async fn connected(
    proxy: &Arc<Proxy>,
    (mut wire, mut read): (Wire, BytesMut),
    (agent, target): (Agent, Origin),
    door: &Door,
) -> Result<(), Error> {
    let (tunnel, upstream) = match exeat_pipeline::tunnel(&proxy.gate, agent, target).await {
        Ok(opened) => opened,
        Err(refusal) => {
            return connect::answer_refusal(proxy, &mut wire, door, &refusal).await;
        }
    };
    connect::answer_established(&mut wire).await?;
    let named = match timeout(limits::HEAD_TIMEOUT, hello(&mut wire, &mut read)).await {
        Ok(Ok(name)) => name_fits(tunnel.target(), name.as_deref()),
        Ok(Err(_)) | Err(_) => Err(Reason::MalformedRequest),
    };
    match named {
        Ok(()) => carry((wire, read), upstream, tunnel).await,
        // Without a certificate for the name there is no way to say so in HTTP.
        Err(reason) => tunnel.refuse(reason),
    }
    Ok(())
}

/// Carries redirected TLS whose name passes unread. Everything else is given back, with what was read of it.
pub(crate) async fn redirected(
    proxy: &Arc<Proxy>,
    (mut wire, mut read): (Wire, BytesMut),
    connection: &Connection,
) -> Result<Option<(Wire, BytesMut)>, Error> {
    let Some(agent) = connection.agent.clone() else {
        return Ok(Some((wire, read)));
    };
    if proxy.gate.rules().network.passthrough.is_empty() {
        return Ok(Some((wire, read)));
    }
    let name = timeout(limits::HEAD_TIMEOUT, hello(&mut wire, &mut read)).await;
    let name = name
        .map_err(|_cause| Error::Slow)?
        .map_err(Error::Handshake)?;
    let target = match name.as_deref().map(Host::parse) {
        Some(Ok(host)) => Origin::new(Scheme::Https, Authority { host, port: None }),
        Some(Err(_)) | None => return Ok(Some((wire, read))),
    };
    if !passes_unread(&proxy.gate, &agent, &target) {
        return Ok(Some((wire, read)));
    }
    // A refusal has its receipt; to the client there is nothing that could be said.
    if let Ok((tunnel, upstream)) = exeat_pipeline::tunnel(&proxy.gate, agent, target).await {
        carry((wire, read), upstream, tunnel).await;
    }
    Ok(None)
}

/// The target of a CONNECT, when it passes unread for this agent.
pub(crate) fn of(gate: &Gate, agent: Option<&Agent>, target: &Origin) -> Option<(Agent, Origin)> {
    let agent = agent.filter(|agent| passes_unread(gate, agent, target))?;
    Some((agent.clone(), target.clone()))
}

/// The name in the client hello has to be the target's. A client that asks for an address gives none.
fn name_fits(target: &Origin, name: Option<&str>) -> Result<(), Reason> {
    let named = name.map(Host::parse).transpose();
    match (
        &target.host,
        named.map_err(|_cause| Reason::MalformedRequest)?,
    ) {
        (Host::Ip(_), None) => Ok(()),
        (wanted @ Host::Name(_), Some(host)) if host == *wanted => Ok(()),
        (Host::Ip(_) | Host::Name(_), Some(_)) => Err(Reason::TargetMismatch),
        (Host::Name(_), None) => Err(Reason::MalformedRequest),
    }
}

/// Reads until the client hello is whole, answers nothing, and leaves every byte in `read`. Gives the server name in it.
async fn hello(
    wire: &mut (impl AsyncRead + Unpin),
    read: &mut BytesMut,
) -> io::Result<Option<String>> {
    let mut acceptor = Acceptor::default();
    let mut given = 0;
    loop {
        while let Some(mut fresh) = read.get(given..).filter(|fresh| !fresh.is_empty()) {
            let taken = acceptor.read_tls(&mut fresh)?;
            given = given.saturating_add(taken);
            let accepted = acceptor
                .accept()
                .map_err(|(error, _alert)| io::Error::other(error))?;
            if let Some(accepted) = accepted {
                let name = accepted.client_hello().server_name().map(str::to_owned);
                return Ok(name);
            }
            if taken == 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        if read.len() > limits::CLIENT_HELLO_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        read.reserve(4096);
        if wire.read_buf(read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Copies both ways until both sides are done, one breaks off, nothing moves any more, or the rules change their mind.
async fn carry((wire, read): (Wire, BytesMut), upstream: TcpStream, tunnel: Tunnel) {
    let (mut from_client, mut to_client) = tokio::io::split(wire);
    let (mut from_upstream, mut to_upstream) = upstream.into_split();
    let there = async {
        tunnel.sent(read.len()).map_err(Some)?;
        to_upstream
            .write_all(&read)
            .await
            .map_err(|error| broke_off(&error))?;
        copy(&mut from_client, &mut to_upstream, |bytes| {
            tunnel.sent(bytes)
        })
        .await
    };
    let back = copy(&mut from_upstream, &mut to_client, |bytes| {
        tunnel.received(bytes)
    });
    let both = both(there, back);
    let ended = tokio::select! {
        ended = both => ended,
        reason = tunnel.falls() => Err(Some(reason)),
        () = silence(&tunnel) => Err(Some(Reason::UpstreamTimeout)),
    };
    match ended {
        Ok(()) => tunnel.close(Ending::Completed, None),
        Err(reason) => tunnel.close(Ending::Cut, reason),
    }
}

/// How carrying ended: an error is a reason of ours, or none if a side broke off.
type Carried = Result<(), Option<Reason>>;

fn broke_off(error: &io::Error) -> Option<Reason> {
    tracing::debug!(%error, "a connection that passes unread broke off");
    None
}

async fn both(
    there: impl Future<Output = Carried>,
    back: impl Future<Output = Carried>,
) -> Carried {
    tokio::try_join!(there, back).map(drop)
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    count: impl Fn(usize) -> Result<(), Reason>,
) -> Carried {
    let mut buffer = BytesMut::with_capacity(COPY_BYTES);
    while from
        .read_buf(&mut buffer)
        .await
        .map_err(|error| broke_off(&error))?
        > 0
    {
        count(buffer.len()).map_err(Some)?;
        to.write_all(&buffer)
            .await
            .map_err(|error| broke_off(&error))?;
        to.flush().await.map_err(|error| broke_off(&error))?;
        buffer.clear();
    }
    to.shutdown().await.map_err(|error| broke_off(&error))
}

/// Ends when nothing has moved for too long.
async fn silence(tunnel: &Tunnel) {
    let mut before = None;
    while before != Some(tunnel.bytes()) {
        before = Some(tunnel.bytes());
        sleep(limits::TUNNEL_IDLE_TIMEOUT).await;
    }
}
