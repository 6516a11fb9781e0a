//! The stream that Pingora gets: decrypted, guarded, and carrying what is known of the connection.
//!
//! Pingora's stream traits and tokio-rustls's stream type are both foreign, so this newtype joins them.

use std::{
    io::{self, IoSlice},
    os::fd::AsRawFd as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use bytes::{Buf as _, BytesMut};
use pingora::{
    http::ResponseHeader,
    protocols::{
        ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
        TimingDigest, UniqueID, raw_connect::ProxyDigest, tls::SslDigest,
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use crate::{framing::Guard, target::Connection};

/// The client's side of the wire: TCP, or TLS when the listener itself speaks TLS.
#[derive(Debug)]
pub(crate) enum Wire {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream with bytes that were read too early in front of it.
#[derive(Debug)]
pub(crate) struct Prefixed {
    pub(crate) wire: Wire,
    pub(crate) prefix: BytesMut,
}

/// The stream inside: plain HTTP, or HTTP in the TLS that was intercepted.
#[derive(Debug)]
pub(crate) enum Inside {
    Plain(Prefixed),
    Tls(Box<TlsStream<Prefixed>>),
}

#[derive(Debug)]
enum Spoken {
    Http1(Box<Guard<Inside>>),
    Http2(Inside),
}

/// What Pingora gets.
#[derive(Debug)]
pub(crate) struct Down {
    spoken: Spoken,
    id: i32,
    digest: Arc<ProxyDigest>,
    ssl: Option<Arc<SslDigest>>,
}

/// The version of HTTP that was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

impl Wire {
    fn id(&self) -> i32 {
        match self {
            Self::Tcp(tcp) => tcp.as_raw_fd(),
            Self::Tls(tls) => tls.get_ref().0.as_raw_fd(),
        }
    }
}

impl Inside {
    pub(crate) fn id(&self) -> i32 {
        match self {
            Self::Plain(prefixed) => prefixed.wire.id(),
            Self::Tls(tls) => tls.get_ref().0.wire.id(),
        }
    }
}

impl Down {
    /// A guarded HTTP/1 stream.
    pub(crate) fn http1(
        guard: Guard<Inside>,
        connection: Arc<Connection>,
    ) -> Result<Self, Box<pingora::Error>> {
        let id = guard.inner().id();
        Self::new(
            Spoken::Http1(Box::new(guard)),
            id,
            Version::Http1,
            connection,
        )
    }

    /// An HTTP/2 stream; its framing is checked by the h2 library.
    pub(crate) fn http2(
        inside: Inside,
        connection: Arc<Connection>,
    ) -> Result<Self, Box<pingora::Error>> {
        let id = inside.id();
        Self::new(Spoken::Http2(inside), id, Version::Http2, connection)
    }

    fn new(
        spoken: Spoken,
        id: i32,
        version: Version,
        connection: Arc<Connection>,
    ) -> Result<Self, Box<pingora::Error>> {
        let ssl = (version == Version::Http2)
            .then(|| Arc::new(SslDigest::new("", "", None, None, Vec::new())));
        let response = Box::new(ResponseHeader::build_no_case(200, None)?);
        let digest = Arc::new(ProxyDigest::new(response, Some(Box::new(connection))));
        Ok(Self {
            spoken,
            id,
            digest,
            ssl,
        })
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let count = self.prefix.len().min(buf.remaining());
            if let Some(ready) = self.prefix.get(..count) {
                buf.put_slice(ready);
            }
            self.prefix.advance(count);
            if self.prefix.is_empty() {
                self.prefix = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.wire).poll_read(cx, buf)
    }
}

macro_rules! forward_read {
    ($type:ty, $($variant:pat => $inner:ident),+) => {
        impl AsyncRead for $type {
            fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                match &mut *self { $( $variant => Pin::new($inner).poll_read(cx, buf), )+ }
            }
        }
    };
}

macro_rules! forward_write {
    ($type:ty, $($variant:pat => $inner:expr),+) => {
        impl AsyncWrite for $type {
            fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
                match &mut *self { $( $variant => Pin::new($inner).poll_write(cx, bytes), )+ }
            }

            fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match &mut *self { $( $variant => Pin::new($inner).poll_flush(cx), )+ }
            }

            fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match &mut *self { $( $variant => Pin::new($inner).poll_shutdown(cx), )+ }
            }

            fn poll_write_vectored(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match &mut *self { $( $variant => Pin::new($inner).poll_write_vectored(cx, bytes), )+ }
            }

            fn is_write_vectored(&self) -> bool {
                true
            }
        }
    };
}

forward_read!(Wire, Self::Tcp(inner) => inner, Self::Tls(inner) => inner);
forward_write!(Wire, Self::Tcp(inner) => inner, Self::Tls(inner) => inner);
forward_write!(Prefixed, Self { wire, .. } => wire);
forward_read!(Inside, Self::Plain(inner) => inner, Self::Tls(inner) => inner);
forward_write!(Inside, Self::Plain(inner) => inner, Self::Tls(inner) => inner);
forward_read!(Spoken, Self::Http1(inner) => inner, Self::Http2(inner) => inner);
forward_write!(Spoken, Self::Http1(inner) => inner, Self::Http2(inner) => inner);

impl AsyncRead for Down {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.spoken).poll_read(cx, buf)
    }
}

forward_write!(Down, Self { spoken, .. } => spoken);

#[async_trait]
impl Shutdown for Down {
    async fn shutdown(&mut self) {
        if let Err(error) = AsyncWriteExt::shutdown(self).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "closing the client's connection"
            );
        }
    }
}

impl UniqueID for Down {
    fn id(&self) -> i32 {
        self.id
    }
}

impl Ssl for Down {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.ssl.clone()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        match self.spoken {
            Spoken::Http1(_) => Some(ALPN::H1),
            Spoken::Http2(_) => Some(ALPN::H2),
        }
    }
}

impl Peek for Down {}

impl GetTimingDigest for Down {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Down {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(Arc::clone(&self.digest))
    }
}

impl GetSocketDigest for Down {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
