//! Every trap of the proxy library that is known, second half: shutting down, refusals, limits, logs, the lock file.
#![cfg(test)]

mod support;

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use exeat_ledger::Ending;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use support::{
    API, CANARY, OPEN, PATIENCE, Rig,
    client::{Answer, whole},
    raw::{ask, read_answer},
    script::Script,
    until,
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
};

#[tokio::test(flavor = "multi_thread")]
async fn p9_shutdown_lets_calls_finish_and_takes_no_new_ones() {
    let rig = Rig::start().await;
    // A kept-alive connection of either version that does nothing must not hold the gate up.
    let mut idle_h1 = rig.client.h1(API).await;
    let request = Request::get("/echo")
        .header("host", API)
        .body(whole(""))
        .unwrap();
    Answer::read(idle_h1.send_request(request).await.unwrap())
        .await
        .unwrap();
    let _idle_h2 = rig.client.h2(API).await;
    let mut waiting = tokio::task::JoinSet::new();
    for http2 in [false, true] {
        let client = rig.client.clone();
        waiting.spawn(async move {
            if http2 {
                let request = Request::get(format!("https://{API}/gate"));
                client.send_h2(API, request, Bytes::new()).await
            } else {
                client.get(API, "/gate").await
            }
        });
    }
    until("both calls are at upstream", || {
        rig.upstream.seen().len() == 3
    })
    .await;
    let proxy = Arc::clone(&rig.proxy);
    let stopping = support::spawn(async move { proxy.shutdown_within(PATIENCE).await });
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while TcpStream::connect(rig.address).await.is_ok() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the listener stays open"
        );
        tokio::task::yield_now().await;
    }
    assert!(!stopping.is_finished(), "open calls are waited for");
    rig.upstream.steps.add_permits(2);
    for answer in waiting.join_all().await {
        assert_eq!(answer.text(), "through");
    }
    tokio::time::timeout(PATIENCE / 2, stopping)
        .await
        .expect("idle connections end")
        .unwrap();
    let receipts = rig.receipts(3).await;
    assert!(
        receipts
            .iter()
            .all(|r| r.outcome.as_ref().unwrap().result == Ending::Completed)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_what_does_not_end_is_cut_at_the_end_of_the_drain_time() {
    let rig = Rig::start().await;
    let mut bodies = Vec::new();
    let mut h1 = rig.client.h1(API).await;
    let request = Request::get("/stepped")
        .header("host", API)
        .body(whole(""))
        .unwrap();
    bodies.push(h1.send_request(request).await.unwrap().into_body());
    let mut h2 = rig.client.h2(API).await;
    let request = Request::get(format!("https://{API}/stepped"))
        .body(whole(""))
        .unwrap();
    bodies.push(h2.send_request(request).await.unwrap().into_body());
    rig.upstream.steps.add_permits(2);
    for body in &mut bodies {
        assert!(body.frame().await.unwrap().unwrap().is_data());
    }
    let drain = Duration::from_millis(200);
    tokio::time::timeout(PATIENCE, rig.proxy.shutdown_within(drain))
        .await
        .expect("it ends");
    for body in bodies {
        assert!(
            body.collect().await.is_err(),
            "a stream that was cut does not look complete"
        );
    }
    for receipt in rig.receipts(2).await {
        assert_eq!(receipt.outcome.unwrap().result, Ending::Cut);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_unknown_hosts_never_reach_the_connector() {
    let rig = Rig::start().await;
    let port = rig.upstream.address.port();
    for authority in [
        &format!("localhost:{port}"),
        "elsewhere.test:443",
        "api.test:8443",
    ] {
        let (head, _) = rig.client.connect(authority).await;
        assert!(head.starts_with("HTTP/1.1 403"), "{authority}: {head}");
    }
    let plain = rig.plain_upstream.address.port();
    let request =
        format!("GET http://localhost:{plain}/echo HTTP/1.1\r\nHost: localhost:{plain}\r\n\r\n");
    let answer = ask(rig.address, request.as_bytes()).await.unwrap();
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (403, "tool-unknown")
    );
    assert_eq!(
        (rig.upstream.connections(), rig.plain_upstream.connections()),
        (0, 0)
    );
    assert_eq!(rig.turned_away(), ["tool-unknown"; 3]);
    assert_eq!(rig.receipts(1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_failures_of_upstream_have_the_shape_of_every_refusal() {
    let rig = Rig::start().await;
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let garbage = vec![vec!["SPEAKS SOMETHING ELSE\r\n\r\n"]];
    let garbage = Script::start(rig.http1_upstream_tls(), garbage).await;
    let silent = Script::start(rig.http1_upstream_tls(), vec![vec![]]).await;
    let cases = [
        (rig.upstream.address, "/die", "upstream-broken"),
        (closed, "/echo", "upstream-unreachable"),
        (garbage.address, "/echo", "upstream-broken"),
        (silent.address, "/echo", "upstream-broken"),
        (rig.plain_upstream.address, "/echo", "upstream-unreachable"),
    ];
    let count = cases.len();
    for (address, page, reason) in cases {
        rig.route(API, 443, address);
        // Every case on connections of its own.
        rig.change(|rules| rules.network.roots.id += 1);
        let answer = rig.client.get(API, page).await;
        let text = answer.text();
        assert_eq!(
            (answer.status.as_u16(), answer.reason().as_str()),
            (502, reason),
            "{text}"
        );
        assert_eq!(
            answer.headers["content-type"],
            "application/problem+json; charset=utf-8"
        );
        assert_eq!(answer.headers["cache-control"], "no-store");
        let receipt = answer.headers["exeat-receipt"].to_str().unwrap().to_owned();
        assert!(text.contains(&receipt), "{text}");
        assert!(
            !text.contains("127.0.0.1") && !text.contains("SOMETHING"),
            "{text}"
        );
    }
    for receipt in rig.receipts(count).await {
        assert_eq!(receipt.outcome.unwrap().result, Ending::UpstreamFailed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_a_response_that_breaks_off_does_not_look_complete() {
    let rig = Rig::start().await;
    let mut h1 = rig.client.h1(API).await;
    let request = Request::get("/broken")
        .header("host", API)
        .body(whole(""))
        .unwrap();
    let response = h1.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(Answer::read(response).await.is_err());
    let mut h2 = rig.client.h2(API).await;
    let request = Request::get(format!("https://{API}/broken"))
        .body(whole(""))
        .unwrap();
    let response = h2.send_request(request).await.unwrap();
    assert!(Answer::read(response).await.is_err());
    for receipt in rig.receipts(2).await {
        let outcome = receipt.outcome.unwrap();
        assert_eq!(outcome.result, Ending::UpstreamFailed);
        assert_eq!(outcome.reason.unwrap().code(), "upstream-broken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_heads_are_bounded_in_http1() {
    let rig = Rig::start().await;
    let fields: String = (0..130)
        .map(|number| format!("X-{number}: y\r\n"))
        .collect();
    let long = "x".repeat(70_000);
    for head in [
        format!("GET /echo HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n"),
        format!("GET /echo HTTP/1.1\r\nHost: api.test\r\nX-Long: {long}\r\n\r\n"),
        format!(
            "GET /{} HTTP/1.1\r\nHost: api.test\r\n\r\n",
            "x".repeat(17_000)
        ),
    ] {
        let answer = rig.client.raw(API, head.as_bytes()).await.unwrap();
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (400, "malformed-request")
        );
    }
    let connect = format!("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\nX-Long: {long}");
    let answer = ask(rig.address, connect.as_bytes()).await.unwrap();
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (400, "malformed-request")
    );
    assert_eq!(rig.turned_away(), ["malformed-request"; 4]);
    assert_eq!(rig.upstream.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_heads_are_bounded_in_http2() {
    let rig = Rig::start().await;
    let url = format!("https://{API}/echo");
    let mut many = Request::get(&url);
    for number in 0..130 {
        many = many.header(format!("x-{number}"), "y");
    }
    let long_target = Request::get(format!("https://{API}/{}", "x".repeat(17_000)));
    for request in [many, long_target] {
        let answer = rig.client.send_h2(API, request, Bytes::new()).await;
        assert_eq!(
            (answer.status.as_u16(), answer.reason().as_str()),
            (400, "malformed-request")
        );
    }
    let mut sender = rig.client.h2(API).await;
    let long = Request::get(&url)
        .header("x-long", "x".repeat(70_000))
        .body(whole(""))
        .unwrap();
    let refused = sender.send_request(long).await;
    assert!(refused.is_err() || refused.is_ok_and(|response| response.status() == 431));
    assert_eq!(rig.upstream.connections(), 0);
}

/// What a log has been told.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p14_p15_no_log_line_shows_a_path_a_query_or_a_secret() {
    let captured = Captured::default();
    let writer = captured.clone();
    // This also bridges the log records of the proxy library; the product must not.
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let rig = Rig::start().await;
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let script = Script::start(rig.http1_upstream_tls(), vec![vec![OK], vec![]]).await;
    rig.route(API, 443, script.address);
    assert_eq!(rig.client.get(API, "/needle1").await.status, StatusCode::OK);
    let answer = rig.client.get(API, "/needle2").await;
    assert_eq!(
        answer.status,
        StatusCode::BAD_GATEWAY,
        "retried, and failed again"
    );
    assert_eq!(script.seen().len(), 3);
    rig.client.get(API, "/echo?needle3=needle").await;
    rig.client.get(OPEN, "/needle4").await;
    rig.client.send(API, Request::delete("/needle5")).await;
    rig.client
        .raw(API, b"GET /needle6 HTTP/1.1\r\nHost: needle7.test\r\n\r\n")
        .await;
    rig.client
        .raw(API, b"GET /needle8 HTTP/1.1\nHost: api.test\n\n")
        .await;
    rig.receipts(5).await;
    let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    assert!(
        text.contains("call ended") && text.contains("upstream-broken"),
        "{text}"
    );
    for word in ["needle", "Fail to proxy", CANARY] {
        assert!(!text.contains(word), "{word}: {text}");
    }
}

#[test]
fn p16_there_is_one_tls_stack() {
    let lock = include_str!("../../Cargo.lock");
    for stack in [
        "aws-lc-rs",
        "aws-lc-sys",
        "boring-sys",
        "native-tls",
        "tokio-openssl",
    ] {
        assert!(
            !lock.contains(&format!("name = \"{stack}\"")),
            "{stack} came in"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_tunnel_says_nothing_until_it_is_asked() {
    let rig = Rig::start().await;
    let (head, mut tcp) = rig.client.connect("api.test:443").await;
    assert!(head.starts_with("HTTP/1.1 200"));
    tcp.shutdown().await.unwrap();
    assert!(read_answer(&mut tcp).await.is_none());
    assert!(rig.turned_away().is_empty(), "to leave is no offence");
}
