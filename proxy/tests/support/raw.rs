//! HTTP/1.1 answers read from the bytes themselves, for tests that write bytes themselves.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::PATIENCE;

/// One answer.
#[derive(Debug)]
pub(crate) struct RawAnswer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl RawAnswer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of a header field.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The reason code of a problem document.
    pub(crate) fn reason(&self) -> String {
        let document: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let urn = document["type"].as_str().unwrap_or_default();
        urn.strip_prefix("urn:exeat:reason:")
            .unwrap_or("none")
            .to_owned()
    }
}

/// Reads a head, byte by byte, so that nothing behind it is taken; `None` at the end of the stream.
pub(crate) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<RawAnswer> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0u8; 1];
        let read = timeout(PATIENCE, stream.read(&mut byte))
            .await
            .expect("an answer in time");
        if read.unwrap_or_default() == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    // A request has no status.
    let status = head.split(' ').nth(1).unwrap().parse().unwrap_or_default();
    Some(RawAnswer {
        status,
        head,
        body: Vec::new(),
    })
}

/// Reads a whole answer; `None` when the stream ends before its head does.
pub(crate) async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> Option<RawAnswer> {
    let head = read_head(stream).await?;
    Some(read_body(stream, head).await)
}

async fn read_body(stream: &mut (impl AsyncRead + Unpin), mut answer: RawAnswer) -> RawAnswer {
    let length = answer
        .header("content-length")
        .map(|text| text.parse::<usize>().unwrap());
    if answer.status < 200 || answer.status == 204 || answer.status == 304 {
        return answer;
    }
    if let Some(length) = length {
        answer.body = exactly(stream, length).await;
    } else if answer.header("transfer-encoding") == Some("chunked") {
        loop {
            let size = read_line(stream).await;
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            answer.body.extend(exactly(stream, size).await);
            read_line(stream).await;
            if size == 0 {
                break;
            }
        }
    } else {
        answer.body = rest(stream).await;
    }
    answer
}

/// Reads to the end of the stream; a reset counts as an end.
pub(crate) async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    drop(read.expect("an end in time"));
    bytes
}

/// Reads this many bytes.
pub(crate) async fn exactly(stream: &mut (impl AsyncRead + Unpin), count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let read = timeout(PATIENCE, stream.read_exact(&mut bytes)).await;
    read.expect("bytes in time").unwrap();
    bytes
}

async fn read_line(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.extend(exactly(stream, 1).await);
    }
    String::from_utf8(line).unwrap()
}

/// Writes bytes to the listener itself, and reads one answer; that to a CONNECT which succeeded has no body.
pub(crate) async fn ask(proxy: SocketAddr, bytes: &[u8]) -> Option<RawAnswer> {
    let mut tcp = TcpStream::connect(proxy).await.unwrap();
    tcp.write_all(bytes).await.unwrap();
    let head = read_head(&mut tcp).await?;
    if bytes.starts_with(b"CONNECT") && head.status == 200 {
        return Some(head);
    }
    Some(read_body(&mut tcp, head).await)
}
