//! Where a browser comes back to: a listener on loopback that takes one request and no other.
//!
//! A browser that brings another state, or that comes by another name, changes nothing and is told so. What is shown is
//! plain text of our own, escaped.

use std::{io, net::Ipv4Addr, time::Duration};

use exeat_custody::{Landing, Pending};
use exeat_types::limits;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

/// Connections that may be open at a time: a browser opens some ahead.
const BROWSERS_MAX: usize = 16;
/// The longest head of a request that is read.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long to wait when the operating system has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener that waits for one browser.
pub(super) struct Place {
    listener: TcpListener,
    authority: String,
    path: String,
}

/// A browser that came back as expected and waits for an answer.
pub(super) struct Browser {
    stream: TcpStream,
    /// What it brought.
    pub(super) query: String,
}

impl Place {
    /// Binds it on loopback, on a free port unless the issuer insists on one.
    ///
    /// # Errors
    /// When the port is taken.
    pub(super) async fn bind(landing: &Landing) -> io::Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, landing.port.unwrap_or(0));
        let listener = TcpListener::bind(address).await?;
        let port = listener.local_addr()?.port();
        Ok(Self {
            listener,
            authority: format!("{}:{port}", landing.host),
            path: landing.path.clone(),
        })
    }

    /// The whole URL, as the issuer is told.
    pub(super) fn url(&self) -> String {
        format!("http://{}{}", self.authority, self.path)
    }

    /// Waits for the browser that belongs to this grant.
    pub(super) async fn browser(&self, pending: &Pending) -> Browser {
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if open.len() < BROWSERS_MAX => match accepted {
                    Ok((stream, _)) => {
                        open.spawn(timeout(limits::HEAD_TIMEOUT, asked(stream)));
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
                Some(read) = open.join_next() => {
                    let Ok(Ok(Some((stream, head)))) = read else { continue };
                    match self.judge(&head, pending) {
                        Ok(query) => return Browser { stream, query },
                        Err(status) => {
                            open.spawn(async move {
                                let text = "This page belongs to nothing that was asked for.";
                                let _told = timeout(limits::HEAD_TIMEOUT, answer(stream, status, text)).await;
                                Ok(None)
                            });
                        }
                    }
                }
            }
        }
    }

    /// The query of a request that is expected, else the status to refuse it with.
    fn judge(&self, head: &str, pending: &Pending) -> Result<String, &'static str> {
        let mut lines = head.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (method, target) = (words.next(), words.next().unwrap_or_default());
        let mut hosts = lines.filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("host").then(|| value.trim())
        });
        // SECURITY: a page of another name that resolves to loopback comes by that name.
        if (hosts.next(), hosts.next()) != (Some(self.authority.as_str()), None) {
            return Err("421 Misdirected Request");
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if path != self.path {
            return Err("404 Not Found");
        }
        if method != Some("GET") {
            return Err("405 Method Not Allowed");
        }
        if !pending.fits(query) {
            return Err("400 Bad Request");
        }
        Ok(query.to_owned())
    }
}

impl Browser {
    /// Tells the person how it ended; one that has gone has seen enough.
    pub(super) async fn tell(self, ended: Result<(), &str>) {
        let (status, text) = match ended {
            Ok(()) => ("200 OK", "Connected. You can close this page.".to_owned()),
            Err(why) => ("400 Bad Request", format!("Not connected: {why}.")),
        };
        let told = timeout(limits::HEAD_TIMEOUT, answer(self.stream, status, &text)).await;
        if !matches!(told, Ok(Ok(()))) {
            tracing::debug!("the browser went away");
        }
    }
}

/// Reads the head of a request.
async fn asked(mut stream: TcpStream) -> Option<(TcpStream, String)> {
    let mut head = Vec::new();
    let mut piece = [0_u8; 1024];
    loop {
        let read = stream.read(&mut piece).await.ok()?;
        head.extend_from_slice(piece.get(..read)?);
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            head.truncate(end);
            return Some((stream, String::from_utf8(head).ok()?));
        }
        if read == 0 || head.len() > HEAD_BYTES_MAX {
            return None;
        }
    }
}

async fn answer(mut stream: TcpStream, status: &str, text: &str) -> io::Result<()> {
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Exeat</title><p>{}</p></html>\n",
        escaped(text)
    );
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\n\
         content-security-policy: default-src 'none'; frame-ancestors 'none'\r\nreferrer-policy: no-referrer\r\n\
         cache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n",
        page.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(page.as_bytes()).await?;
    stream.shutdown().await
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}
