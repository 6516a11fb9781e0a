//! An upstream that answers by script, byte for byte, over TLS and HTTP/1.1: for what a well-behaved server never does.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// A running script.
pub(crate) struct Script {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<(usize, String)>>>,
}

impl Script {
    /// Starts a server whose n-th connection gives the n-th list of answers, one for each request, and which then reads
    /// one more request and breaks off without a word.
    pub(crate) async fn start(
        tls: Arc<rustls::ServerConfig>,
        lines: Vec<Vec<&'static str>>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let script = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
        };
        let seen = Arc::clone(&script.seen);
        super::spawn(async move {
            for (number, answers) in lines.into_iter().enumerate() {
                let (tcp, _) = listener.accept().await.unwrap();
                let (tls, seen) = (TlsAcceptor::from(Arc::clone(&tls)), Arc::clone(&seen));
                super::spawn(async move {
                    let Ok(mut stream) = tls.accept(tcp).await else {
                        return;
                    };
                    for answer in answers {
                        let Some(request) = read_request(&mut stream).await else {
                            return;
                        };
                        seen.lock().unwrap().push((number, request));
                        stream.write_all(answer.as_bytes()).await.unwrap();
                        stream.flush().await.unwrap();
                    }
                    if let Some(request) = read_request(&mut stream).await {
                        seen.lock().unwrap().push((number, request));
                    }
                    // Without a farewell the client could not tell the end from an attack.
                    drop(stream.shutdown().await);
                });
            }
        });
        script
    }

    /// Every request, with the number of its connection.
    pub(crate) fn seen(&self) -> Vec<(usize, String)> {
        self.seen.lock().unwrap().clone()
    }
}

/// Reads a head and a body of `content-length` bytes.
async fn read_request(stream: &mut TlsStream<TcpStream>) -> Option<String> {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        read.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&read).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    read.extend(body);
    Some(String::from_utf8_lossy(&read).into_owned())
}
