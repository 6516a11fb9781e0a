//! The upstream connection of a request that asks to become a WebSocket.
//!
//! Pingora passes the end of such a request's empty body from one half of its exchange to the other, and takes an end that
//! is read after the `101` for the end of the WebSocket. An upstream that answers at once wins that race now and then. So
//! the first read after a write waits for one turn of the task, in which the end is taken. It changes no byte.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use pingora::protocols::l4::{
    stream::Stream,
    virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Makes such a connection. It has no descriptor by which Pingora's pool could tell it apart.
pub(crate) fn unhurried(tcp: TcpStream) -> Stream {
    let connection = Connection {
        tcp,
        has_written: false,
    };
    VirtualSocketStream::new(Box::new(connection)).into()
}

#[derive(Debug)]
struct Connection {
    tcp: TcpStream,
    has_written: bool,
}

impl VirtualSocket for Connection {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        if matches!(option, VirtualSockOpt::NoDelay) {
            self.tcp.set_nodelay(true)?;
        }
        Ok(())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.has_written) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.has_written = true;
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.has_written = true;
        Pin::new(&mut self.tcp).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
