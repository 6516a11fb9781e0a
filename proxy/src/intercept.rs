//! Stage 3, second half: TLS. The client's handshake is answered with a leaf for the very host it asked for, and the
//! stream inside goes to Pingora behind the framing guard.

use std::sync::Arc;

use bytes::BytesMut;
use exeat_pipeline::Refusal;
use exeat_types::{Authority, Host, Origin, Reason, Scheme, limits};
use rustls::{pki_types::CertificateDer, server::Acceptor};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use crate::{
    Door, Error, Proxy,
    framing::{Guard, Refuse},
    identify,
    stream::{Down, Inside, Prefixed, Wire},
    target::Connection,
};

/// Speaks TLS with the client itself where the listener says so; gives the client's certificate, if it showed one.
pub(crate) async fn outer_tls(
    tcp: TcpStream,
    door: &Door,
) -> Result<(Wire, Option<CertificateDer<'static>>), Error> {
    let Some(config) = &door.tls else {
        return Ok((Wire::Tcp(tcp), None));
    };
    let accept = TlsAcceptor::from(Arc::clone(config)).accept(tcp);
    let accepted = timeout(limits::HANDSHAKE_TIMEOUT, accept)
        .await
        .map_err(|_cause| Error::Slow)?;
    let stream = accepted.map_err(Error::Handshake)?;
    let certificate = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first())
        .cloned();
    Ok((Wire::Tls(Box::new(stream)), certificate))
}

/// Terminates the client's TLS and drives what is inside.
pub(crate) async fn tls(
    proxy: &Arc<Proxy>,
    (wire, prefix): (Wire, BytesMut),
    mut connection: Connection,
) -> Result<(), Error> {
    let opening = LazyConfigAcceptor::new(Acceptor::default(), Prefixed { wire, prefix });
    let started = timeout(limits::HANDSHAKE_TIMEOUT, opening)
        .await
        .map_err(|_cause| Error::Slow)?;
    let started = started.map_err(Error::Handshake)?;
    let name = started.client_hello().server_name().map(str::to_owned);
    let target = match named_target(connection.target.take(), name.as_deref()) {
        Ok(target) => target,
        Err(reason) => {
            // Without a certificate for the name there is no way to answer in HTTP.
            identify::record(
                &proxy.gate,
                &connection.door,
                connection.agent.as_ref().map(|agent| &agent.id),
                reason,
            );
            return Ok(());
        }
    };
    let config = connection
        .door
        .authority
        .server_config(&target.host)
        .map_err(Error::Certificate)?;
    connection.target = Some(target);
    let handshake = timeout(limits::HANDSHAKE_TIMEOUT, started.into_stream(config)).await;
    let stream = handshake
        .map_err(|_cause| Error::Slow)?
        .map_err(Error::Handshake)?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let inside = Inside::Tls(Box::new(stream));
    let connection = Arc::new(connection);
    let down = if http2 {
        Down::http2(inside, connection)
    } else {
        let refuse = refuse(proxy, &connection);
        Down::http1(Guard::new(inside, BytesMut::new(), refuse), connection)
    };
    proxy.drive(down.map_err(Error::Pingora)?).await;
    Ok(())
}

/// Drives plain HTTP/1.
pub(crate) async fn plain(
    proxy: &Arc<Proxy>,
    (wire, read): (Wire, BytesMut),
    connection: Connection,
) -> Result<(), Error> {
    let connection = Arc::new(connection);
    let refuse = refuse(proxy, &connection);
    let inside = Inside::Plain(Prefixed {
        wire,
        prefix: BytesMut::new(),
    });
    let down = Down::http1(Guard::new(inside, read, refuse), connection);
    proxy.drive(down.map_err(Error::Pingora)?).await;
    Ok(())
}

/// CONNECT authority and SNI must agree; without CONNECT the SNI is the name.
fn named_target(connected: Option<Origin>, name: Option<&str>) -> Result<Origin, Reason> {
    let named = match name {
        Some(name) => Some(Host::parse(name).map_err(|_cause| Reason::MalformedRequest)?),
        None => None,
    };
    match (connected, named) {
        (Some(target), Some(host)) if target.host != host => Err(Reason::TargetMismatch),
        (Some(target), _) => Ok(target),
        (None, Some(host)) => Ok(Origin::new(Scheme::Https, Authority { host, port: None })),
        (None, None) => Err(Reason::MalformedRequest),
    }
}

/// What the framing guard does with a violation: count it, and answer as every other refusal is answered.
fn refuse(proxy: &Arc<Proxy>, connection: &Arc<Connection>) -> Arc<Refuse> {
    let (proxy, connection) = (Arc::clone(proxy), Arc::clone(connection));
    Arc::new(move |violation| {
        let agent = connection.agent.as_ref().map(|agent| &agent.id);
        identify::record(
            &proxy.gate,
            &connection.door,
            agent,
            Reason::MalformedRequest,
        );
        Refusal::bare(Reason::MalformedRequest, violation.to_string()).document()
    })
}
