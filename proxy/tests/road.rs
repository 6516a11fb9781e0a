//! The road through the front door: what is allowed arrives with its credential, what is not gets a reason and a
//! receipt, and the secret comes back to nobody.
#![cfg(test)]

mod support;

use bytes::Bytes;
use exeat_pipeline::Ending;
use http::{Request, StatusCode};
use support::{API, CANARY, OPEN, Rig};

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_call_gets_the_credential_and_its_echo_is_redacted() {
    let rig = Rig::start().await;
    let answer = rig.client.get(API, "/echo").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let seen = rig.upstream.seen();
    assert_eq!(seen[0].headers["authorization"], format!("Bearer {CANARY}"));
    assert!(
        !answer.text().contains(CANARY)
            && !answer.headers["x-echo"].to_str().unwrap().contains(CANARY)
    );
    assert!(answer.text().contains("[redacted"), "{}", answer.text());
    let receipts = rig.receipts(1).await;
    assert_eq!(receipts.len(), 1);
    assert_eq!(
        receipts[0].call.to_string(),
        answer.headers["exeat-receipt"].to_str().unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_inside_travels_the_same_road() {
    let rig = Rig::start().await;
    let answer = rig
        .client
        .send_h2(
            API,
            Request::get(format!("https://{API}/echo")),
            Bytes::new(),
        )
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(!answer.text().contains(CANARY));
    assert_eq!(rig.upstream.seen()[0].version, http::Version::HTTP_2);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_why_and_are_receipted_once() {
    let rig = Rig::start().await;
    let cases: [(http::request::Builder, &str, u16, &str); 5] = [
        (Request::delete("/thing"), "", 403, "policy-forbids"),
        (Request::put("/asked"), "", 403, "approval-required"),
        (Request::get("/a/b/c"), "", 403, "tool-unknown"),
        (
            Request::post("/echo").header("content-type", "application/json"),
            r#"{"text":"x"}"#,
            422,
            "arguments-invalid",
        ),
        (
            Request::post("/echo").header("content-type", "application/json"),
            r#"{"title":"a","title":"b"}"#,
            422,
            "arguments-invalid",
        ),
    ];
    let count = cases.len();
    for (request, body, status, reason) in cases {
        let answer = rig.client.send_body(API, request, Bytes::from(body)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.reason().as_str()),
            (status, reason),
            "{}",
            answer.text()
        );
        assert_eq!(
            answer.headers["content-type"],
            "application/problem+json; charset=utf-8"
        );
    }
    assert!(rig.upstream.seen().is_empty(), "nothing may reach upstream");
    assert_eq!(rig.upstream.connections(), 0);
    assert_eq!(rig.receipts(count).await.len(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_no_tool_names_is_refused_at_connect() {
    let rig = Rig::start().await;
    let (head, _) = rig.client.connect("elsewhere.test:443").await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_canary_is_found_in_nothing_that_comes_back_or_stays() {
    let rig = Rig::start().await;
    let mut shown = String::new();
    for page in [
        "echo", "redirect", "error", "gzip", "deflate", "br", "zstd", "split", "trailers",
    ] {
        let answer = rig.client.get(API, &format!("/{page}")).await;
        shown.push_str(&format!("{answer:?}{}", answer.text()));
        let answer = rig
            .client
            .send_h2(
                API,
                Request::get(format!("https://{API}/{page}")),
                Bytes::new(),
            )
            .await;
        assert!(
            answer.text().contains("[redacted") || page == "redirect" || page == "trailers",
            "{page}: {}",
            answer.text()
        );
        shown.push_str(&format!("{answer:?}{}", answer.text()));
    }
    assert_eq!(
        rig.upstream
            .seen()
            .iter()
            .filter(|seen| seen.headers["authorization"]
                .to_str()
                .unwrap()
                .contains(CANARY))
            .count(),
        18
    );
    assert!(!shown.contains(CANARY), "the agent saw the secret");
    rig.receipts(18).await;
    let receipts =
        serde_json::to_string(&rig.ledger.list(&exeat_ledger::Filter::default()).unwrap()).unwrap();
    assert!(!receipts.contains(CANARY));
    for (path, bytes) in rig.everything_on_disk() {
        assert!(
            !bytes
                .windows(CANARY.len())
                .any(|window| window == CANARY.as_bytes()),
            "{}",
            path.display()
        );
    }
    let metrics = format!("{:?}", rig.registry.gather());
    assert!(!metrics.contains(CANARY) && metrics.contains("exeat_calls_total"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unsafe_bodies_are_withheld() {
    let rig = Rig::start().await;
    let answer = rig.client.get(API, "/coding").await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (502, "response-unsafe")
    );
    let stream = rig.client.tls(API, 443, b"http/1.1").await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream))
            .await
            .unwrap();
    support::spawn(connection);
    let request = Request::get("/bomb")
        .header("host", API)
        .body(http_body_util::Empty::<Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    // Cut off, or refused while the head had not been sent yet.
    let read = support::client::Answer::read(response).await;
    assert!(read.is_err() || read.is_ok_and(|answer| answer.reason() == "response-unsafe"));
    let receipts = rig.receipts(2).await;
    let reasons: Vec<_> = receipts
        .iter()
        .map(|receipt| serde_json::to_value(receipt).unwrap().to_string())
        .collect();
    assert!(
        reasons.iter().all(|text| text.contains("response-unsafe")),
        "{reasons:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uncredentialed_host_gets_no_credential_and_keeps_ranges() {
    let rig = Rig::start().await;
    let ranged = |host: &str| {
        Request::get("/echo")
            .header("range", "bytes=0-1")
            .header("host2", host)
    };
    rig.client.send(API, ranged(API)).await;
    let seen = rig.upstream.seen();
    assert!(
        !seen[0].headers.contains_key("range"),
        "Range is dropped on credentialed calls"
    );
    assert_eq!(seen[0].headers["accept-encoding"], "identity");
    // open.test leads to the same server, whose certificate is not for it: the call fails closed.
    let answer = rig.client.send(OPEN, ranged(OPEN)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (502, "upstream-unreachable")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_in_absolute_form_travels_the_same_road() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let rig = Rig::start().await;
    for (line, host, status) in [
        ("GET http://plain.test/echo HTTP/1.1", "plain.test", "200"),
        ("GET http://plain.test/a/b HTTP/1.1", "plain.test", "403"),
        ("GET http://plain.test/echo HTTP/1.1", "other.test", "400"),
        ("GET /echo HTTP/1.1", "plain.test", "400"),
        ("GET https://api.test/echo HTTP/1.1", "api.test", "400"),
    ] {
        let mut tcp = tokio::net::TcpStream::connect(rig.address).await.unwrap();
        let head = format!("{line}\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        tcp.write_all(head.as_bytes()).await.unwrap();
        let mut read = String::new();
        tcp.read_to_string(&mut read).await.unwrap();
        assert!(
            read.starts_with(&format!("HTTP/1.1 {status}")),
            "{line} {host}: {read}"
        );
    }
    assert_eq!(rig.plain_upstream.seen()[0].target, "/echo");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_removed_from_json_responses() {
    let rig = Rig::start().await;
    let answer = rig.client.send(API, Request::patch("/json")).await;
    assert_eq!(answer.text(), r#"{"user":{"name":"n"},"id":1}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_closes_its_receipt_as_cut() {
    let rig = Rig::start().await;
    let mut stream = rig.client.tls(API, 443, b"http/1.1").await.unwrap();
    tokio::io::AsyncWriteExt::write_all(
        &mut stream,
        b"GET /slow HTTP/1.1\r\nHost: api.test\r\n\r\n",
    )
    .await
    .unwrap();
    while rig.upstream.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    drop(stream);
    let receipts = rig.receipts(1).await;
    let text = serde_json::to_value(&receipts[0]).unwrap().to_string();
    assert!(
        text.contains(Ending::Cut.name()) || text.contains(Ending::Completed.name()),
        "{text}"
    );
}
