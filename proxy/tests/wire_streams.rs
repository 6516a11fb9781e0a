//! The order of things on one connection, over the real socket: what stands behind a head, a body or an answer is never
//! taken for something else, on either side of the gate.
#![cfg(test)]

mod support;

use bytes::Bytes;
use exeat_ledger::Ending;
use exeat_proxy::Mode;
use http::Request;
use support::{
    API, OPEN, Rig,
    client::{Answer, whole},
    raw::{ask, read_answer, read_head, rest},
    script::Script,
    until,
    upstream::Upstream,
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

const BAD: &str = "malformed-request";

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_is_held_to_its_authority_by_the_server_name() {
    let rig = Rig::start().await;
    for (name, reason) in [
        (OPEN, "target-mismatch"),
        ("elsewhere.test", "target-mismatch"),
    ] {
        let before = rig.turned_away().len();
        let (_, tcp) = rig.client.connect("api.test:443").await;
        assert!(
            rig.client.handshake(tcp, name, b"http/1.1").await.is_err(),
            "{name}"
        );
        until("it is counted", || rig.turned_away().len() > before).await;
        assert_eq!(rig.turned_away().last().unwrap(), reason);
    }
    // Redirected traffic has nothing but the server name.
    let door = rig.open(Mode::Transparent, Some("tester"), None).await;
    let tcp = TcpStream::connect(door).await.unwrap();
    assert!(
        rig.client
            .handshake(tcp, "192.0.2.1", b"http/1.1")
            .await
            .is_err()
    );
    until("it is counted", || {
        rig.turned_away().contains(&BAD.to_owned())
    })
    .await;
    // TLS that is not TLS: no way to answer, but it is counted.
    let (_, mut tcp) = rig.client.connect("api.test:443").await;
    tcp.write_all(b"\x16\x03\x01\x00\x05garbage that goes on")
        .await
        .unwrap();
    rest(&mut tcp).await;
    until("it is counted", || rig.turned_away().len() == 4).await;
    assert_eq!(rig.upstream.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_behind_connect_belong_to_the_tunnel() {
    let rig = Rig::start().await;
    // A request in clear, sent together with CONNECT, is a request to port 443 in clear: no tool.
    let both = b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n\
                 GET /echo HTTP/1.1\r\nHost: api.test:443\r\n\r\n";
    let mut tcp = TcpStream::connect(rig.address).await.unwrap();
    tcp.write_all(both).await.unwrap();
    assert_eq!(read_head(&mut tcp).await.unwrap().status, 200);
    let answer = read_answer(&mut tcp).await.unwrap();
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (403, "tool-unknown"),
        "{}",
        answer.text()
    );
    assert_eq!(rig.upstream.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_speaks_of_the_connection_ends_at_the_gate() {
    let rig = Rig::start().await;
    let fields = "Connection: keep-alive, te\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
                  TE: trailers\r\nTrailer: x\r\n\r\n";
    let request = format!("GET /echo HTTP/1.1\r\nHost: api.test\r\n{fields}");
    assert_eq!(
        rig.client
            .raw(API, request.as_bytes())
            .await
            .unwrap()
            .status,
        200
    );
    let request = format!("GET http://plain.test/echo HTTP/1.1\r\nHost: plain.test\r\n{fields}");
    assert_eq!(
        ask(rig.address, request.as_bytes()).await.unwrap().status,
        200
    );
    for seen in [rig.upstream.seen(), rig.plain_upstream.seen()].concat() {
        for name in ["connection", "keep-alive", "proxy-connection", "trailer"] {
            assert!(!seen.headers.contains_key(name), "{name}: {seen:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_judged_one_by_one_in_order() {
    let rig = Rig::start().await;
    let mut stream = rig.client.tls(API, 443, b"http/1.1").await.unwrap();
    let pipeline = "GET /one HTTP/1.1\r\nHost: api.test\r\n\r\n\
                    DELETE /two HTTP/1.1\r\nHost: api.test\r\n\r\n\
                    GET /three HTTP/1.1\r\nHost: open.test\r\n\r\n\
                    POST /upload HTTP/1.1\r\nHost: api.test\r\nContent-Length: 4\r\n\r\nGET \
                    GET /four HTTP/1.1\r\nHost: api.test\r\n\r\n\
                    GET /five HTTP/1.1\r\nHost: api.test\r\nContent-Length: x\r\n\r\n\
                    GET /six HTTP/1.1\r\nHost: api.test\r\n\r\n";
    stream.write_all(pipeline.as_bytes()).await.unwrap();
    for status in [200, 403, 421, 200, 200, 400] {
        assert_eq!(read_answer(&mut stream).await.unwrap().status, status);
    }
    assert!(
        read_answer(&mut stream).await.is_none(),
        "nothing is read behind what was malformed"
    );
    let targets: Vec<_> = rig
        .upstream
        .seen()
        .into_iter()
        .map(|seen| seen.target)
        .collect();
    assert_eq!(targets, ["/one", "/upload", "/four"]);
    assert_eq!(rig.upstream.seen()[1].body, "GET ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_is_read_to_its_end_and_no_further() {
    let rig = Rig::start().await;
    let mut stream = rig.client.tls(API, 443, b"http/1.1").await.unwrap();
    let head = "POST /upload HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let good = format!("{head}5;ext=1\r\nhello\r\n1\r\n!\r\n0\r\nX-Trailer: y\r\n\r\n");
    stream.write_all(good.as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut stream).await.unwrap().status, 200);
    assert_eq!(rig.upstream.seen()[0].body, "hello!");
    let wrong = [
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff1\r\n",
    ];
    for body in wrong {
        let answer = rig
            .client
            .raw(API, format!("{head}{body}").as_bytes())
            .await;
        assert!(answer.is_none_or(|answer| answer.status >= 400), "{body:?}");
    }
    let receipts = rig.receipts(1 + wrong.len()).await;
    let endings: Vec<Ending> = receipts
        .iter()
        .map(|r| r.outcome.as_ref().unwrap().result)
        .collect();
    assert_eq!(
        endings,
        [
            Ending::Cut,
            Ending::Cut,
            Ending::Cut,
            Ending::Cut,
            Ending::Completed
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_leaves_no_half_request_on_a_shared_connection() {
    let rig = Rig::start().await;
    let upstream = Upstream::start(Some(rig.http1_upstream_tls())).await;
    rig.route(API, 443, upstream.address);
    rig.client.get(API, "/one").await;
    let broken =
        "POST /upload HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nGETX";
    rig.client.raw(API, broken.as_bytes()).await;
    assert_eq!(rig.client.get(API, "/two").await.status, 200);
    let seen: Vec<_> = upstream
        .seen()
        .into_iter()
        .map(|seen| (seen.method, seen.target))
        .collect();
    assert!(
        seen.contains(&("GET".to_owned(), "/two".to_owned())),
        "{seen:?}"
    );
    assert_eq!(
        upstream.connections(),
        2,
        "the broken connection is not used again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_asked_for_is_given_to_nobody() {
    const TWO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\
                       HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n\
                           HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";
    const NONE: &str = "HTTP/1.1 204 No Content\r\n\r\n\
                        HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";
    for first in [TWO, CHUNKED, NONE] {
        let rig = Rig::start().await;
        let script = Script::start(rig.http1_upstream_tls(), vec![vec![first, OK], vec![OK]]).await;
        rig.route(API, 443, script.address);
        let mut stream = rig.client.tls(API, 443, b"http/1.1").await.unwrap();
        for expect in ["", "good"] {
            stream
                .write_all(b"GET /page HTTP/1.1\r\nHost: api.test\r\n\r\n")
                .await
                .unwrap();
            let answer = read_answer(&mut stream).await.unwrap();
            assert!(
                !answer.text().contains("smuggled") && answer.text().contains(expect),
                "{first:?}: {answer:?}"
            );
        }
        assert_eq!(
            script.seen().last().unwrap().0,
            1,
            "the connection with bytes left over is closed"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_behind_an_upgrade_are_frames_only_when_upstream_upgrades() {
    let rig = Rig::start().await;
    let mut stream = rig.client.tls(API, 443, b"http/1.1").await.unwrap();
    let both = "GET /echo HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\
                DELETE /thing HTTP/1.1\r\nHost: api.test\r\n\r\n";
    stream.write_all(both.as_bytes()).await.unwrap();
    for status in [200, 403] {
        assert_eq!(read_answer(&mut stream).await.unwrap().status, status);
    }
    assert_eq!(
        rig.upstream.seen().len(),
        1,
        "the second request was judged, not passed on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_requests_are_held_to_the_same_rules() {
    let rig = Rig::start().await;
    let mut sender = rig.client.h2(API).await;
    let url = |path: &str| format!("https://{API}{path}");
    let cases = [
        (Request::get(url("//echo")), 400, BAD),
        (Request::get(url("/a%2fb")), 422, "arguments-invalid"),
        (Request::get(url("/a%2f..%2fb")), 400, BAD),
        (Request::get(url("/a/../echo")), 400, BAD),
        (Request::get(url("/echo;x")), 400, BAD),
        (
            Request::get(url("/echo")).header("x-http-method-override", "DELETE"),
            400,
            BAD,
        ),
        (
            Request::get(url("/echo")).header("x-original-url", "/admin"),
            400,
            BAD,
        ),
        (
            Request::get(url("/echo"))
                .header("content-type", "a/b")
                .header("content-type", "c/d"),
            400,
            BAD,
        ),
        (
            Request::get(format!("http://{API}/echo")),
            421,
            "target-mismatch",
        ),
        (
            Request::get(format!("https://{OPEN}/echo")),
            421,
            "target-mismatch",
        ),
        (Request::delete(url("/echo")), 403, "policy-forbids"),
        (Request::get(url("/a/b/c")), 403, "tool-unknown"),
    ];
    let count = cases.len();
    for (request, status, reason) in cases {
        let what = format!("{request:?}");
        let request = request.body(whole(Bytes::new())).unwrap();
        let answer = Answer::read(sender.send_request(request).await.unwrap())
            .await
            .unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.reason().as_str()),
            (status, reason),
            "{what}: {}",
            answer.text()
        );
    }
    assert_eq!(rig.turned_away().len() + rig.receipts(2).await.len(), count);
    // Two hosts in one head: the library itself refuses, before there is anything to count.
    let two = Request::get(url("/echo"))
        .header("host", OPEN)
        .body(whole(""))
        .unwrap();
    assert_eq!(sender.send_request(two).await.unwrap().status(), 400);
    assert_eq!(rig.upstream.connections(), 0);
}
