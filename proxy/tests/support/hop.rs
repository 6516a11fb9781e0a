//! A proxy between the gate and the Internet, as companies have them: it takes CONNECT and leads names where it likes.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
};

use super::raw::read_head;

/// What it does with a CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Leads it on.
    Leads,
    /// Leads it on only with this `Proxy-Authorization`.
    Asks(&'static str),
    /// Takes it and says nothing.
    Hangs,
}

/// A running proxy.
#[derive(Clone)]
pub(crate) struct Hop {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Hop {
    /// Starts one that knows these authorities.
    pub(crate) async fn start(manner: Manner, names: &[(&str, SocketAddr)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hop = Self {
            address: listener.local_addr().unwrap(),
            heads: Arc::default(),
        };
        let known: HashMap<String, SocketAddr> = names
            .iter()
            .map(|(name, address)| ((*name).to_owned(), *address))
            .collect();
        let (server, known) = (hop.clone(), Arc::new(known));
        super::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                super::spawn(server.clone().lead(tcp, manner, Arc::clone(&known)));
            }
        });
        hop
    }

    async fn lead(
        self,
        mut tcp: TcpStream,
        manner: Manner,
        known: Arc<HashMap<String, SocketAddr>>,
    ) {
        let Some(asked) = read_head(&mut tcp).await else {
            return;
        };
        self.heads.lock().unwrap().push(asked.head.clone());
        let answer = match manner {
            Manner::Asks(wanted) if asked.header("proxy-authorization") != Some(wanted) => {
                "407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"corp\""
            }
            Manner::Hangs => {
                super::raw::rest(&mut tcp).await;
                return;
            }
            Manner::Leads | Manner::Asks(_) => "200 Connection established",
        };
        let leads = answer.starts_with("200");
        let authority = asked.head.split(' ').nth(1).unwrap();
        let upstream = match known.get(authority).filter(|_| leads) {
            Some(address) => Some(TcpStream::connect(address).await.unwrap()),
            None => None,
        };
        let answer = match (leads, &upstream) {
            (true, None) => "502 Bad Gateway",
            _ => answer,
        };
        let answer = format!("HTTP/1.1 {answer}\r\nVia: 1.1 corp\r\n\r\n");
        tcp.write_all(answer.as_bytes()).await.unwrap();
        if let Some(mut upstream) = upstream {
            drop(tokio::io::copy_bidirectional(&mut tcp, &mut upstream).await);
        }
    }

    /// The heads of every request, oldest first.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}
