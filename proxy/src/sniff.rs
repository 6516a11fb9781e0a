//! What does the client speak? The first bytes tell: TLS, CONNECT, or plain HTTP. Nothing is answered before a whole
//! head has arrived, and nothing is waited for without a limit.

use std::{future::Future, io, sync::Arc};

use bytes::BytesMut;
use exeat_pipeline::Refusal;
use exeat_types::{Reason, Scheme, limits};
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};

use crate::{
    Door, Error, Mode, Proxy,
    connect::{self, Tunnel},
    identify, intercept,
    stream::Wire,
    target::Connection,
    tunnel,
};

/// The first byte of a TLS record that carries a handshake.
const TLS_HANDSHAKE: u8 = 0x16;
const CONNECT: &[u8] = b"CONNECT ";
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

enum Spoken {
    Tls,
    Connect { head_bytes: usize },
    Http,
    TooLong,
    Nothing,
}

/// Carries a connection from its first byte to Pingora.
pub(crate) async fn connection(
    proxy: &Arc<Proxy>,
    tcp: TcpStream,
    door: Arc<Door>,
) -> Result<(), Error> {
    let (mut wire, certificate) = intercept::outer_tls(tcp, &door).await?;
    let agent = identify::by_connection(&door, certificate.as_ref());
    let agent = match agent {
        Ok(agent) => agent,
        Err(refusal) => return connect::answer_refusal(proxy, &mut wire, &door, &refusal).await,
    };
    let mut read = BytesMut::new();
    match in_time(first(&mut wire, &mut read, &door)).await? {
        Spoken::Nothing => Ok(()),
        Spoken::TooLong => {
            let refusal =
                Refusal::bare(Reason::MalformedRequest, "the CONNECT request is too long");
            connect::answer_refusal(proxy, &mut wire, &door, &refusal).await
        }
        Spoken::Connect { head_bytes } => {
            let head = read.split_to(head_bytes);
            let tunnel = match connect::open(proxy, &door, agent, &head) {
                Ok(tunnel) => tunnel,
                Err(refusal) => {
                    return connect::answer_refusal(proxy, &mut wire, &door, &refusal).await;
                }
            };
            let target = tunnel.target(Scheme::Https);
            if let Some(unread) = tunnel::of(&proxy.gate, tunnel.agent.as_ref(), &target) {
                return tunnel::connected(proxy, (wire, read), unread, &door).await;
            }
            connect::answer_established(&mut wire).await?;
            inside_tunnel(proxy, wire, read, (tunnel, door)).await
        }
        spoken @ (Spoken::Tls | Spoken::Http) => {
            let connection = Connection {
                door,
                agent,
                target: None,
            };
            if !matches!(spoken, Spoken::Tls) {
                return intercept::plain(proxy, (wire, read), connection).await;
            }
            match tunnel::redirected(proxy, (wire, read), &connection).await? {
                Some(stream) => intercept::tls(proxy, stream, connection).await,
                None => Ok(()),
            }
        }
    }
}

async fn inside_tunnel(
    proxy: &Arc<Proxy>,
    mut wire: Wire,
    mut read: BytesMut,
    (tunnel, door): (Tunnel, Arc<Door>),
) -> Result<(), Error> {
    if read.is_empty() && in_time(more(&mut wire, &mut read)).await? == 0 {
        return Ok(());
    }
    let is_tls = read.first() == Some(&TLS_HANDSHAKE);
    let target = Some(tunnel.target(if is_tls { Scheme::Https } else { Scheme::Http }));
    let connection = Connection {
        door,
        agent: tunnel.agent,
        target,
    };
    if is_tls {
        intercept::tls(proxy, (wire, read), connection).await
    } else {
        intercept::plain(proxy, (wire, read), connection).await
    }
}

async fn first(wire: &mut Wire, read: &mut BytesMut, door: &Door) -> io::Result<Spoken> {
    loop {
        if let Some(&byte) = read.first() {
            if byte == TLS_HANDSHAKE && door.mode == Mode::Transparent {
                return Ok(Spoken::Tls);
            }
            let known = read.len().min(CONNECT.len());
            if read.get(..known) != CONNECT.get(..known) || door.mode == Mode::Transparent {
                return Ok(Spoken::Http);
            }
            let end = read
                .windows(END_OF_HEAD.len())
                .position(|window| window == END_OF_HEAD);
            if let Some(at) = end {
                return Ok(Spoken::Connect {
                    head_bytes: at.saturating_add(END_OF_HEAD.len()),
                });
            }
            if read.len() > limits::HEAD_BYTES_MAX {
                return Ok(Spoken::TooLong);
            }
        }
        if more(wire, read).await? == 0 {
            return Ok(Spoken::Nothing);
        }
    }
}

async fn more(wire: &mut Wire, read: &mut BytesMut) -> io::Result<usize> {
    read.reserve(4096);
    wire.read_buf(read).await
}

async fn in_time<T>(wait: impl Future<Output = io::Result<T>>) -> Result<T, Error> {
    let waited = timeout(limits::HEAD_TIMEOUT, wait)
        .await
        .map_err(|_cause| Error::Slow)?;
    waited.map_err(Error::Client)
}
