//! The way to services on this machine, in the clear.

use std::{
    io::{BufRead, BufReader, Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use exeat_custody::{NoReply, Outside, OwnRequest, Reply, Waiting};
use exeat_types::{Host, Secret};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// Speaks HTTP/1.1 to loopback, one connection for each request, unless it is cut off.
#[derive(Default)]
pub(crate) struct Loopback {
    /// Whether nothing can be reached.
    pub(crate) cut: AtomicBool,
}

impl Outside for Loopback {
    fn send(&self, request: OwnRequest) -> Waiting<'_, Result<Reply, NoReply>> {
        Box::pin(async move { self.send_and_wait(request) })
    }

    fn send_and_wait(&self, request: OwnRequest) -> Result<Reply, NoReply> {
        if self.cut.load(Ordering::SeqCst) {
            return Err(NoReply::Unreachable);
        }
        exchange(&request)
    }

    fn pause(&self, _: Duration) -> Waiting<'_, ()> {
        Box::pin(async {})
    }
}

#[expect(clippy::disallowed_methods, reason = "the body goes to the service")]
fn exchange(request: &OwnRequest) -> Result<Reply, NoReply> {
    let host = &request.origin.host;
    assert!(matches!(host, Host::Ip(ip) if ip.is_loopback()));
    let stream = TcpStream::connect(("127.0.0.1", request.origin.port));
    let mut stream = stream.map_err(|_cause| NoReply::Unreachable)?;
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
    head += &format!(
        "host: {}\r\nconnection: close\r\n",
        request.origin.authority()
    );
    head += &format!("content-length: {}\r\n", request.body.len());
    for (name, value) in &request.headers {
        head += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    head += "\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(request.body.open()).unwrap();
    let mut stream = BufReader::new(stream);
    let status = line(&mut stream);
    let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or(NoReply::Broken)?;
    let headers = fields(&mut stream);
    let mut body = Vec::new();
    match headers.get("content-length") {
        Some(length) => {
            body.resize(length.to_str().unwrap().parse().unwrap(), 0);
            stream.read_exact(&mut body)
        }
        None => stream.read_to_end(&mut body).map(drop),
    }
    .map_err(|_cause| NoReply::Broken)?;
    Ok(Reply {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: Secret::new(body),
    })
}

fn line(stream: &mut impl BufRead) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn fields(stream: &mut impl BufRead) -> HeaderMap {
    let mut headers = HeaderMap::new();
    loop {
        let line = line(stream);
        let Some((name, value)) = line.split_once(':') else {
            return headers;
        };
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
    }
}
