//! Bodies that stream: nothing is held back, nothing is held whole, nothing is lost, in either version of HTTP.
#![cfg(test)]

mod support;

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use exeat_ledger::Ending;
use exeat_types::Digest;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use support::{
    API, CANARY, Rig,
    client::{Answer, Client, Outbound, whole},
    raw::{read_answer, read_head},
    until,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
};

const MIB: usize = 1024 * 1024;
/// What the buffers of all sockets on the way may hold together, and far less than is offered.
const IN_FLIGHT_MAX: u64 = 64 * 1024 * 1024;
const VERSIONS: [Version; 2] = [Version::Http1, Version::Http2];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http1,
    Http2,
}

/// Starts a request on a connection of its own.
async fn start(
    client: &Client,
    version: Version,
    request: http::request::Builder,
    body: Outbound,
) -> Response<Incoming> {
    match version {
        Version::Http1 => {
            let request = request.header("host", API).body(body).unwrap();
            client.h1(API).await.send_request(request).await.unwrap()
        }
        Version::Http2 => {
            let request = request.body(body).unwrap();
            let (mut parts, body) = request.into_parts();
            parts.uri = format!("https://{API}{}", parts.uri).parse().unwrap();
            let request = Request::from_parts(parts, body);
            client.h2(API).await.send_request(request).await.unwrap()
        }
    }
}

/// A body that the test feeds, piece by piece, of unknown length.
fn fed() -> (mpsc::Sender<Bytes>, Outbound) {
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(piece)), receiver))
    });
    let stream: std::pin::Pin<Box<dyn futures_util::Stream<Item = _> + Send + Sync>> =
        Box::pin(stream);
    (
        sender,
        StreamBody::new(stream)
            .map_err(|never| match never {})
            .boxed(),
    )
}

fn pattern(bytes: usize) -> Bytes {
    (0..bytes)
        .map(|at| u8::try_from(at % 251).unwrap())
        .collect()
}

/// Waits until a count no longer moves, and gives it.
async fn settled(mut count: impl FnMut() -> u64) -> u64 {
    let (mut last, mut still) = (0, 0);
    until("the count settles", || {
        let now = count();
        still = if now == last && now > 0 { still + 1 } else { 0 };
        last = now;
        still > 40
    })
    .await;
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_one_by_one_whole_and_redacted() {
    for version in VERSIONS {
        let rig = Rig::start().await;
        let response = start(&rig.client, version, Request::get("/stepped"), whole("")).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut body = response.into_body();
        for number in 0..4 {
            rig.upstream.step();
            let mut event = String::new();
            // Upstream sends nothing more until the next step: this would hang if a byte were held back.
            while !event.ends_with("\n\n") {
                let frame = tokio::time::timeout(support::PATIENCE, body.frame()).await;
                let frame = frame.expect("the whole event").unwrap().unwrap();
                let data = frame.into_data().unwrap();
                event.push_str(std::str::from_utf8(&data).unwrap());
            }
            assert!(
                event.starts_with(&format!("id: {number}\ndata: ")),
                "{event}"
            );
            assert!(
                event.contains("[redacted") && !event.contains(CANARY),
                "{event}"
            );
        }
        rig.upstream.steps.close();
        assert!(
            body.collect().await.unwrap().to_bytes().is_empty(),
            "{version:?}"
        );
        let outcome = rig.receipts(1).await[0].outcome.clone().unwrap();
        assert_eq!(
            (outcome.result, outcome.redactions.values().sum()),
            (Ending::Completed, 4u64)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_download_arrives_as_it_is() {
    let rig = Rig::start().await;
    let expect: Vec<u8> = (0..160u8).flat_map(|number| vec![number; 65_536]).collect();
    for version in VERSIONS {
        let response = start(&rig.client, version, Request::get("/large"), whole("")).await;
        let answer = Answer::read(response).await.unwrap();
        assert!(
            answer.body == expect,
            "{version:?}: {} bytes",
            answer.body.len()
        );
    }
    for receipt in rig.receipts(2).await {
        let outcome = receipt.outcome.unwrap();
        assert_eq!(outcome.response_bytes, 160 * 65_536);
        assert_eq!(outcome.response_digest, Some(Digest::of(&expect)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_nobody_takes_holds_upstream_back() {
    for version in VERSIONS {
        let rig = Rig::start().await;
        let response = start(&rig.client, version, Request::get("/flood"), whole("")).await;
        assert_eq!(response.status(), StatusCode::OK);
        let held = settled(|| rig.upstream.sent()).await;
        assert!(
            held < IN_FLIGHT_MAX,
            "{version:?}: {held} bytes are on the way"
        );
        drop(response);
        assert_eq!(
            rig.receipts(1).await[0].outcome.as_ref().unwrap().result,
            Ending::Cut
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_upload_arrives_as_it_is_and_as_it_comes() {
    let rig = Rig::start().await;
    let all = pattern(10 * MIB);
    let mut calls = 0;
    for version in VERSIONS {
        let response = start(
            &rig.client,
            version,
            Request::post("/upload"),
            whole(all.clone()),
        )
        .await;
        assert_eq!(response.status(), StatusCode::OK);
        let (sender, body) = fed();
        let feed = async {
            let before = rig.upstream.received();
            sender.send(all.slice(..MIB)).await.unwrap();
            until(
                "the first piece is at upstream before the second is sent",
                || rig.upstream.received() - before == u64::try_from(MIB).unwrap(),
            )
            .await;
            sender.send(all.slice(MIB..)).await.unwrap();
            drop(sender);
        };
        let asked = start(&rig.client, version, Request::post("/upload"), body);
        let (response, ()) = tokio::join!(asked, feed);
        assert_eq!(response.status(), StatusCode::OK);
        calls += 2;
    }
    let seen = rig.upstream.seen();
    assert_eq!(seen.len(), calls);
    for seen in seen {
        assert!(seen.body == all, "{} bytes", seen.body.len());
        assert_eq!(seen.headers["authorization"], format!("Bearer {CANARY}"));
    }
    for receipt in rig.receipts(calls).await {
        let outcome = receipt.outcome.unwrap();
        assert_eq!(outcome.request_bytes, u64::try_from(all.len()).unwrap());
        assert_eq!(outcome.request_digest, Some(Digest::of(&all)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_upstream_does_not_take_holds_the_client_back() {
    for version in VERSIONS {
        let rig = Rig::start().await;
        let client = rig.client.clone();
        let (sender, body) = fed();
        let asking =
            support::spawn(
                async move { start(&client, version, Request::post("/stuck"), body).await },
            );
        let (count, counted) = (
            std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0)),
            65_536,
        );
        let taken = std::sync::Arc::clone(&count);
        let feeding = support::spawn(async move {
            let piece = pattern(usize::try_from(counted).unwrap());
            for _ in 0..4096 {
                if sender.send(piece.clone()).await.is_err() {
                    return;
                }
                taken.fetch_add(counted, std::sync::atomic::Ordering::SeqCst);
            }
        });
        let held = settled(|| count.load(std::sync::atomic::Ordering::SeqCst)).await;
        assert!(
            held < IN_FLIGHT_MAX,
            "{version:?}: {held} bytes are on the way"
        );
        asking.abort();
        feeding.abort();
        rig.upstream.step();
        assert!(rig.receipts(1).await[0].outcome.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_expects_to_be_told_to_go_on_is_told_once() {
    let rig = Rig::start().await;
    for (page, kind, body) in [
        ("/upload", "application/octet-stream", "plain bytes"),
        ("/echo", "application/json", r#"{"title":"t"}"#),
    ] {
        let mut stream = rig.client.tls(API, 443, b"http/1.1").await.unwrap();
        let head = format!(
            "POST {page} HTTP/1.1\r\nHost: api.test\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Expect: 100-continue\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(read_head(&mut stream).await.unwrap().status, 100, "{page}");
        stream.write_all(body.as_bytes()).await.unwrap();
        let answer = read_answer(&mut stream).await.unwrap();
        assert_eq!(answer.status, 200, "{page}: {}", answer.text());
        assert_eq!(rig.upstream.seen().last().unwrap().body, body);
    }
    // Who is refused is not told to send the body first.
    let head = "POST /a/b/c HTTP/1.1\r\nHost: api.test\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(
        rig.client.raw(API, head.as_bytes()).await.unwrap().status,
        403
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_are_kept_and_redacted_in_http2() {
    let rig = Rig::start().await;
    let response = start(
        &rig.client,
        Version::Http2,
        Request::get("/trailers"),
        whole(""),
    )
    .await;
    let answer = Answer::read(response).await.unwrap();
    assert_eq!(answer.text(), "message");
    let trailers = answer.trailers.unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    let message = trailers["grpc-message"].to_str().unwrap();
    assert!(
        message.starts_with("used ") && !message.contains(CANARY),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_a_body_keep_what_speaks_of_one() {
    let rig = Rig::start().await;
    for version in VERSIONS {
        let response = start(&rig.client, version, Request::head("/page"), whole("")).await;
        assert_eq!(response.headers()["content-length"], "5", "{version:?}");
        assert!(Answer::read(response).await.unwrap().body.is_empty());
        for (page, status) in [("/none", 204), ("/unchanged", 304)] {
            let response = start(&rig.client, version, Request::get(page), whole("")).await;
            assert_eq!(
                (response.status().as_u16(), &response.headers()["etag"]),
                (status, &"\"1\"".parse().unwrap())
            );
            assert!(Answer::read(response).await.unwrap().body.is_empty());
        }
        let response = start(&rig.client, version, Request::head("/a/b"), whole("")).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert!(
            Answer::read(response).await.unwrap().body.is_empty(),
            "a refusal of HEAD has no body"
        );
    }
    assert_eq!(rig.receipts(8).await.len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_goes_on_after_answers_without_a_body() {
    let rig = Rig::start().await;
    let mut stream = rig.client.tls(API, 443, b"http/1.1").await.unwrap();
    for (line, status) in [
        ("HEAD /page", 200),
        ("GET /none", 204),
        ("GET /unchanged", 304),
        ("GET /page", 200),
    ] {
        stream
            .write_all(format!("{line} HTTP/1.1\r\nHost: api.test\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let answer = match line.starts_with("HEAD") {
            true => read_head(&mut stream).await.unwrap(),
            false => read_answer(&mut stream).await.unwrap(),
        };
        assert_eq!(answer.status, status, "{line}: {}", answer.head);
    }
    assert_eq!(rig.upstream.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_answer_to_an_upload_reaches_the_client() {
    let rig = Rig::start().await;
    for version in VERSIONS {
        let (sender, body) = fed();
        sender.send(pattern(65_536)).await.unwrap();
        // The rest of the body is never sent: the answer must not wait for it.
        let asked = start(&rig.client, version, Request::post("/early"), body);
        let response = tokio::time::timeout(Duration::from_secs(10), asked)
            .await
            .expect("an answer");
        assert_eq!(
            response.status(),
            StatusCode::PAYLOAD_TOO_LARGE,
            "{version:?}"
        );
        let mut body = response.into_body();
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            "too much"
        );
        drop((sender, body));
    }
    for receipt in rig.receipts(2).await {
        assert_eq!(receipt.outcome.unwrap().status, Some(413));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_breaks_off_its_upload_breaks_it_off_upstream() {
    let rig = Rig::start().await;
    let mut stream = rig.client.tls(API, 443, b"http/1.1").await.unwrap();
    let head = "POST /upload HTTP/1.1\r\nHost: api.test\r\nContent-Length: 100000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&pattern(5000)).await.unwrap();
    until("upstream has the beginning", || {
        rig.upstream.received() == 5000
    })
    .await;
    stream.shutdown().await.unwrap();
    drop(stream.read_to_end(&mut Vec::new()).await);
    let receipts = rig.receipts(1).await;
    assert_eq!(receipts[0].outcome.as_ref().unwrap().result, Ending::Cut);
    until("upstream sees an end", || !rig.upstream.seen().is_empty()).await;
    assert_eq!(
        rig.upstream.seen()[0].body.len(),
        5000,
        "and nothing that the client did not send"
    );
}
