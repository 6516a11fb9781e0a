//! The guard between two ends of a pipe.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Waker},
};

use bytes::BytesMut;
use exeat_types::limits;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex};

use super::{Guard, Refuse};

pub(super) type Seen = Arc<Mutex<Vec<&'static str>>>;

pub(super) fn refuse() -> (Arc<Refuse>, Seen) {
    let seen = Seen::default();
    let kept = Arc::clone(&seen);
    let refuse = move |violation: &crate::framing::Violation| {
        kept.lock().unwrap().push(violation.code);
        violation.to_string().into_bytes()
    };
    (Arc::new(refuse), seen)
}

fn pair() -> (DuplexStream, Guard<DuplexStream>, Seen) {
    let (client, server) = duplex(1 << 16);
    let (refuse, seen) = refuse();
    (client, Guard::new(server, BytesMut::new(), refuse), seen)
}

async fn read_some(guard: &mut Guard<DuplexStream>) -> String {
    let mut bytes = vec![0; 4096];
    let count = guard.read(&mut bytes).await.unwrap();
    String::from_utf8(bytes[..count].to_vec()).unwrap()
}

/// Whether a read has nothing to give yet.
fn is_quiet(guard: &mut Guard<DuplexStream>) -> bool {
    let mut byte = [0];
    let mut buf = ReadBuf::new(&mut byte);
    Pin::new(guard)
        .poll_read(&mut Context::from_waker(Waker::noop()), &mut buf)
        .is_pending()
}

pub(super) const GET: &str = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n";
pub(super) const POST: &str =
    "POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn pipelined_requests_come_out_one_response_at_a_time() {
    let (mut client, mut guard, _) = pair();
    client
        .write_all(format!("{GET}{POST}{GET}").as_bytes())
        .await
        .unwrap();
    assert_eq!(read_some(&mut guard).await, GET);
    assert!(is_quiet(&mut guard), "the response is not written yet");
    guard
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        .await
        .unwrap();
    assert!(is_quiet(&mut guard), "one byte of the response is owed");
    guard.write_all(b"k").await.unwrap();
    assert_eq!(read_some(&mut guard).await, POST);
    guard
        .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n")
        .await
        .unwrap();
    assert!(is_quiet(&mut guard));
    guard.write_all(b"\r\n").await.unwrap();
    assert_eq!(read_some(&mut guard).await, GET);
}

#[tokio::test]
async fn a_waiting_reader_is_woken_by_the_end_of_the_response() {
    let (mut client, guard, _) = pair();
    client
        .write_all(format!("{GET}{GET}").as_bytes())
        .await
        .unwrap();
    let (mut reader, mut writer) = tokio::io::split(guard);
    let mut bytes = vec![0; GET.len()];
    reader.read_exact(&mut bytes).await.unwrap();
    let second = async {
        reader.read_exact(&mut bytes).await.unwrap();
        bytes.clone()
    };
    let answer = async {
        tokio::task::yield_now().await;
        writer.write_all(OK.as_bytes()).await.unwrap();
    };
    let (second, ()) = tokio::join!(second, answer);
    assert_eq!(second, GET.as_bytes());
}

#[tokio::test]
async fn every_kind_of_response_frees_the_next_request() {
    let heads = [
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n",
        ),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"),
        (
            "GET",
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-T: y\r\n\r\n",
        ),
    ];
    for (method, response) in heads {
        for piece in [1, 7, response.len()] {
            let (mut client, mut guard, _) = pair();
            let request = GET.replace("GET", method);
            client
                .write_all(format!("{request}{GET}").as_bytes())
                .await
                .unwrap();
            assert_eq!(read_some(&mut guard).await, request);
            for part in response.as_bytes().chunks(piece) {
                assert!(is_quiet(&mut guard), "{response}");
                guard.write_all(part).await.unwrap();
            }
            assert_eq!(read_some(&mut guard).await, GET, "{response}");
        }
    }
}

#[tokio::test]
async fn a_bad_head_is_answered_and_nothing_of_it_passes() {
    let (mut client, mut guard, seen) = pair();
    client.write_all(GET.as_bytes()).await.unwrap();
    assert_eq!(read_some(&mut guard).await, GET);
    guard.write_all(OK.as_bytes()).await.unwrap();
    let bad = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\n";
    client.write_all(bad.as_bytes()).await.unwrap();
    let client = async {
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        drop(client);
        String::from_utf8(answer).unwrap()
    };
    let (answer, read) = tokio::join!(client, read_some(&mut guard));
    assert_eq!(read, "");
    assert!(
        answer.starts_with(&format!("{OK}HTTP/1.1 400 Bad Request\r\n")),
        "{answer}"
    );
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(
        answer.ends_with("headers `content-length` and `transfer-encoding` exclude each other"),
        "{answer}"
    );
    assert_eq!(*seen.lock().unwrap(), ["length-and-encoding"]);
    assert_eq!(
        guard.write(b"late").await.unwrap_err().kind(),
        io::ErrorKind::BrokenPipe
    );
    assert_eq!(read_some(&mut guard).await, "");
}

#[tokio::test]
async fn a_bad_head_behind_an_unfinished_response_waits_for_its_turn() {
    let (mut client, mut guard, seen) = pair();
    client
        .write_all(format!("{GET}GET / HTTP/1.1\nHost: a\n\n").as_bytes())
        .await
        .unwrap();
    assert_eq!(read_some(&mut guard).await, GET);
    assert!(is_quiet(&mut guard));
    assert!(seen.lock().unwrap().is_empty());
    guard.write_all(OK.as_bytes()).await.unwrap();
    drop(client.shutdown().await);
    assert_eq!(read_some(&mut guard).await, "");
    assert_eq!(*seen.lock().unwrap(), ["bare-lf"]);
}

#[tokio::test]
async fn a_bad_chunk_is_an_error_and_the_answer_can_still_be_written() {
    let (mut client, mut guard, seen) = pair();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client
        .write_all(format!("{head}3\r\nabcX0\r\n\r\n").as_bytes())
        .await
        .unwrap();
    assert_eq!(read_some(&mut guard).await, format!("{head}3\r\nabc"));
    let mut byte = [0];
    for _ in 0..2 {
        let error = guard.read(&mut byte).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(
            error.to_string(),
            "expected CRLF behind a chunk's size and content"
        );
    }
    guard.write_all(OK.as_bytes()).await.unwrap();
    assert!(
        seen.lock().unwrap().is_empty(),
        "the call itself records it"
    );
}

const UPGRADE: &str =
    "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

#[tokio::test]
async fn frames_pass_only_after_101() {
    let (mut client, mut guard, _) = pair();
    client.write_all(UPGRADE.as_bytes()).await.unwrap();
    client.write_all(b"\x81\x03early").await.unwrap();
    assert_eq!(read_some(&mut guard).await, UPGRADE);
    assert!(is_quiet(&mut guard));
    guard
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x02hi")
        .await
        .unwrap();
    let mut bytes = [0; 7];
    guard.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"\x81\x03early");
    client.write_all(b"\r\n\0 anything").await.unwrap();
    assert_eq!(read_some(&mut guard).await, "\r\n\0 anything");
}

#[tokio::test]
async fn a_refused_upgrade_leaves_the_next_bytes_to_be_judged() {
    let (mut client, mut guard, seen) = pair();
    client
        .write_all(format!("{UPGRADE}\u{1}frame").as_bytes())
        .await
        .unwrap();
    assert_eq!(read_some(&mut guard).await, UPGRADE);
    guard.write_all(OK.as_bytes()).await.unwrap();
    drop(client.shutdown().await);
    assert_eq!(read_some(&mut guard).await, "");
    assert_eq!(*seen.lock().unwrap(), ["control-character"]);
}

#[tokio::test]
async fn a_101_that_nobody_asked_for_ends_the_connection() {
    let (mut client, mut guard, _) = pair();
    client
        .write_all(format!("{GET}{GET}").as_bytes())
        .await
        .unwrap();
    assert_eq!(read_some(&mut guard).await, GET);
    guard
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(read_some(&mut guard).await, "");
}

#[tokio::test]
async fn a_body_waits_for_100_continue_without_losing_step() {
    let (mut client, mut guard, _) = pair();
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read_some(&mut guard).await, head);
    guard
        .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
        .await
        .unwrap();
    client
        .write_all(format!("abc{GET}").as_bytes())
        .await
        .unwrap();
    assert_eq!(read_some(&mut guard).await, "abc");
    assert!(is_quiet(&mut guard));
    guard.write_all(OK.as_bytes()).await.unwrap();
    assert_eq!(read_some(&mut guard).await, GET);
}

#[tokio::test]
async fn a_nested_connect_and_a_second_protocol_are_refused() {
    for (text, code) in [
        ("CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", "connect"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "version"),
    ] {
        let (mut client, mut guard, seen) = pair();
        client.write_all(text.as_bytes()).await.unwrap();
        drop(client.shutdown().await);
        assert_eq!(read_some(&mut guard).await, "");
        assert_eq!(*seen.lock().unwrap(), [code]);
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_seen_at_once() {
    let (mut client, mut guard, _) = pair();
    client.write_all(GET.as_bytes()).await.unwrap();
    assert_eq!(read_some(&mut guard).await, GET);
    assert!(is_quiet(&mut guard));
    drop(client);
    assert_eq!(read_some(&mut guard).await, "");
}

#[tokio::test]
async fn an_idle_guard_holds_no_buffer() {
    let (mut client, mut guard, _) = pair();
    for part in GET.as_bytes().chunks(5) {
        assert!(is_quiet(&mut guard));
        client.write_all(part).await.unwrap();
    }
    assert_eq!(read_some(&mut guard).await, GET);
    assert_eq!(guard.held.capacity(), 0);
    let (_client, server) = duplex(64);
    let mut guard = Guard::new(server, BytesMut::from(GET), refuse().0);
    assert_eq!(
        read_some(&mut guard).await,
        GET,
        "what was read before the guard came is judged too"
    );
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_is_refused_in_time_and_an_idle_connection_is_not() {
    let (mut client, mut guard, seen) = pair();
    assert!(is_quiet(&mut guard));
    tokio::time::advance(limits::HEAD_TIMEOUT * 2).await;
    client.write_all(GET.as_bytes()).await.unwrap();
    assert_eq!(read_some(&mut guard).await, GET);
    guard.write_all(OK.as_bytes()).await.unwrap();
    let slow = async {
        for byte in GET.as_bytes() {
            tokio::time::sleep(limits::HEAD_TIMEOUT / 10).await;
            if client.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let read = async move {
        let rest = read_some(&mut guard).await;
        drop(guard);
        rest
    };
    let (answer, rest) = tokio::join!(slow, read);
    assert_eq!(rest, "");
    assert!(answer.contains("400 Bad Request"), "{answer}");
    assert_eq!(seen.lock().unwrap().as_slice(), ["slow-head"]);
}
