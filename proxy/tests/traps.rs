//! Every trap of the proxy library that is known, first half: pools, bodies, retries, names, forms, versions. A test here
//! fails when the trap snaps. P2 is held where peers are made, in `src/peer.rs`.
#![cfg(test)]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use exeat_ledger::Ending;
use exeat_proxy::Mode;
use http::{Request, StatusCode, Version};
use serde_json::json;
use support::{
    API, CANARY, OPEN, Rig,
    client::{Answer, whole},
    raw::{ask, exactly, read_answer, read_head},
    script::Script,
    until, world,
};
use tokio::io::AsyncWriteExt as _;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn json_post(target: &str) -> http::request::Builder {
    Request::post(target).header("content-type", "application/json")
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_pool_is_not_shared_across_trust() {
    let rig = Rig::start().await;
    let other = rig.client_at(rig.open(Mode::Explicit, Some("other"), None).await);
    let connections = || rig.upstream.connections();
    for _ in 0..3 {
        rig.client.get(API, "/echo").await;
    }
    assert_eq!(connections(), 1, "one agent reuses its connection");
    other.get(API, "/echo").await;
    assert_eq!(connections(), 2, "another agent has its own");
    rig.change(|rules| rules.network.roots.id += 1);
    rig.client.get(API, "/echo").await;
    assert_eq!(connections(), 3, "other roots mean other connections");
    rig.change(|rules| {
        let bare = world::TOOLS.replace("credential = \"api\"", "");
        rules.policy = Arc::new(world::policy(
            &[&bare, world::OPEN_TOOLS, world::PLAIN_TOOLS],
            world::RULES,
        ));
    });
    let answer = rig.client.get(API, "/echo").await;
    assert!(
        !answer.headers.contains_key("x-echo"),
        "no credential, and so no echo of it"
    );
    assert_eq!(connections(), 4, "no credential means another connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_pool_of_http1_connections_is_not_shared_either() {
    let rig = Rig::start().await;
    let other = rig.open(Mode::Explicit, Some("other"), None).await;
    let request = b"GET http://plain.test/echo HTTP/1.1\r\nHost: plain.test\r\n\r\n";
    for (address, connections) in [
        (rig.address, 1),
        (rig.address, 1),
        (other, 2),
        (rig.address, 2),
    ] {
        assert_eq!(ask(address, request).await.unwrap().status, 200);
        assert_eq!(rig.plain_upstream.connections(), connections);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_whole_bodies_arrive_whole_on_both_sides_of_the_replay_limit() {
    let rig = Rig::start().await;
    let mut calls = 0;
    for bytes in [10, 65_000, 70_000, 300_000] {
        let body = json!({ "title": "t", "text": "x".repeat(bytes) }).to_string();
        for http2 in [false, true] {
            let answer = if http2 {
                let target = format!("https://{API}/echo");
                rig.client
                    .send_h2(API, json_post(&target), Bytes::from(body.clone()))
                    .await
            } else {
                rig.client
                    .send_body(API, json_post("/echo"), Bytes::from(body.clone()))
                    .await
            };
            assert_eq!(
                answer.status,
                StatusCode::OK,
                "{bytes} {http2}: {}",
                answer.text()
            );
            assert!(!answer.text().contains(CANARY));
            calls += 1;
            let seen = rig.upstream.seen();
            let last = seen.last().unwrap();
            assert_eq!(seen.len(), calls, "sent once");
            assert!(
                last.body == body.as_bytes(),
                "{bytes} {http2}: {} bytes",
                last.body.len()
            );
            assert_eq!(last.headers["content-length"], body.len().to_string());
            assert!(!last.headers.contains_key("transfer-encoding"));
            assert_eq!(last.headers["authorization"], format!("Bearer {CANARY}"));
        }
    }
    for receipt in rig.receipts(calls).await {
        let outcome = receipt.outcome.unwrap();
        assert_eq!(
            (outcome.result, outcome.status),
            (Ending::Completed, Some(200))
        );
        assert!(
            outcome.request_bytes > 20 && outcome.response_bytes > 20,
            "{outcome:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_bodies_beyond_the_bound_of_their_tool_are_refused() {
    let rig = Rig::start().await;
    let body = json!({ "text": "x".repeat(2000) }).to_string();
    let large = json!({ "text": "x".repeat(300_000) }).to_string();
    let mut calls = 0;
    for body in [body, large] {
        let h1 = rig
            .client
            .send_body(API, json_post("/small"), Bytes::from(body.clone()))
            .await;
        let target = format!("https://{API}/small");
        let h2 = rig
            .client
            .send_h2(API, json_post(&target), Bytes::from(body.clone()))
            .await;
        for answer in [h1, h2] {
            assert_eq!(
                (answer.status.as_u16(), answer.reason().as_str()),
                (413, "body-too-large")
            );
        }
        let head = "POST /small HTTP/1.1\r\nHost: api.test\r\nContent-Type: application/json\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";
        let chunked = format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        let answer = rig.client.raw(API, chunked.as_bytes()).await.unwrap();
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (413, "body-too-large")
        );
        calls += 3;
    }
    assert_eq!(rig.receipts(calls).await.len(), calls);
    assert_eq!(rig.upstream.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_only_what_may_be_repeated_is_repeated_on_a_dead_connection() {
    let rig = Rig::start().await;
    let script = Script::start(rig.http1_upstream_tls(), vec![vec![OK], vec![OK]]).await;
    rig.route(API, 443, script.address);
    for _ in 0..2 {
        assert_eq!(rig.client.get(API, "/echo").await.text(), "ok");
    }
    let connections: Vec<usize> = script.seen().iter().map(|(number, _)| *number).collect();
    assert_eq!(
        connections,
        [0, 0, 1],
        "the second GET found its connection dead and took another"
    );
    assert_eq!(
        rig.receipts(2).await.len(),
        2,
        "a repetition is the same call"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_post_is_never_sent_twice() {
    for bytes in [10, 300_000] {
        let rig = Rig::start().await;
        let script = Script::start(rig.http1_upstream_tls(), vec![vec![OK], vec![OK]]).await;
        rig.route(API, 443, script.address);
        assert_eq!(rig.client.get(API, "/echo").await.text(), "ok");
        let body = json!({ "title": "t", "text": "x".repeat(bytes) }).to_string();
        let answer = rig
            .client
            .send_body(API, json_post("/echo"), Bytes::from(body))
            .await;
        assert_eq!(
            (answer.status.as_u16(), answer.reason().as_str()),
            (502, "upstream-broken")
        );
        let posts = script
            .seen()
            .iter()
            .filter(|(_, text)| text.starts_with("POST"))
            .count();
        assert_eq!(posts, 1, "{bytes}");
        let receipts = rig.receipts(2).await;
        let endings: Vec<_> = receipts
            .iter()
            .map(|r| r.outcome.as_ref().unwrap().result)
            .collect();
        assert_eq!(endings, [Ending::UpstreamFailed, Ending::Completed]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_names_are_resolved_without_blocking_and_before_the_peer_is_made() {
    let rig = Rig::start().await;
    let port = rig.plain_upstream.address.port();
    let tools = world::PLAIN_TOOLS.replace("plain.test", &format!("localhost:{port}"));
    rig.change(|rules| {
        rules.policy = Arc::new(world::policy(
            &[world::TOOLS, world::OPEN_TOOLS, &tools],
            world::RULES,
        ));
        let target = (exeat_types::Host::parse("localhost").unwrap(), port);
        rules.network.allow_private.insert(target);
    });
    let request =
        format!("GET http://localhost:{port}/echo HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
    let answer = ask(rig.address, request.as_bytes()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        rig.plain_upstream.seen()[0].headers["host"],
        format!("localhost:{port}")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_whole_url_becomes_a_path_before_it_leaves() {
    let rig = Rig::start().await;
    let script = Script::start(rig.http1_upstream_tls(), vec![vec![OK]]).await;
    rig.route(API, 443, script.address);
    let request = b"GET https://api.test/echo HTTP/1.1\r\nHost: api.test\r\n\r\n";
    assert_eq!(rig.client.raw(API, request).await.unwrap().status, 200);
    let (_, seen) = &script.seen()[0];
    assert!(seen.starts_with("GET /echo HTTP/1.1\r\n"), "{seen}");
    assert_eq!(
        seen.to_ascii_lowercase()
            .matches("\r\nhost: api.test\r\n")
            .count(),
        1,
        "{seen}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_a_websocket_upgrades_although_upstream_offers_http2() {
    let rig = Rig::start().await;
    assert_eq!(rig.client.get(API, "/echo").await.status, StatusCode::OK);
    assert_eq!(
        rig.upstream.seen()[0].version,
        Version::HTTP_2,
        "upstream does offer it"
    );
    let mut stream = rig.client.tls(API, 443, b"http/1.1").await.unwrap();
    let head = "GET /ws HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_head(&mut stream).await.unwrap();
    assert_eq!(answer.status, 101, "{}", answer.head);
    assert_eq!(
        answer.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    let hello = server_frame(&mut stream).await;
    assert!(
        hello.starts_with("you are ") && hello.contains("[redacted"),
        "{hello}"
    );
    for word in ["hallo", "dort"] {
        stream.write_all(&client_frame(word)).await.unwrap();
        assert_eq!(server_frame(&mut stream).await, word);
    }
    drop(stream);
    let seen = rig.upstream.seen();
    assert_eq!(seen[1].version, Version::HTTP_11);
    assert_eq!(
        seen[1].headers["sec-websocket-extensions"],
        "permessage-deflate"
    );
    let receipts = rig.receipts(2).await;
    let outcome = receipts[0].outcome.as_ref().unwrap();
    assert_eq!(outcome.status, Some(101));
    assert_eq!(outcome.redactions.values().sum::<u64>(), 1, "{outcome:?}");
}

async fn server_frame(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let head = exactly(stream, 2).await;
    assert_eq!(head[0], 0x81, "one whole text frame");
    String::from_utf8(exactly(stream, usize::from(head[1])).await).unwrap()
}

fn client_frame(text: &str) -> Vec<u8> {
    let mask = [7u8, 8, 9, 10];
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap()];
    frame.extend(mask);
    frame.extend(
        text.bytes()
            .enumerate()
            .map(|(at, byte)| byte ^ mask[at % 4]),
    );
    frame
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_a_refused_upgrade_leaves_an_ordinary_answer() {
    let rig = Rig::start().await;
    let mut stream = rig.client.tls(API, 443, b"http/1.1").await.unwrap();
    let upgrade = "GET /echo HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    let answer = read_answer(&mut stream).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(!answer.text().contains(CANARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_many_streams_share_few_connections() {
    let rig = Rig::start().await;
    rig.client.get(API, "/echo").await;
    let sender = rig.client.h2(API).await;
    let mut waiting = tokio::task::JoinSet::new();
    for number in 2..=40 {
        let mut sender = sender.clone();
        waiting.spawn(async move {
            let request = Request::get(format!("https://{API}/gate"))
                .body(whole(""))
                .unwrap();
            Answer::read(sender.send_request(request).await.unwrap())
                .await
                .unwrap()
        });
        until("the stream is open at upstream", || {
            rig.upstream.seen().len() == number
        })
        .await;
    }
    assert_eq!(rig.upstream.connections(), 1, "one carries them all");
    rig.upstream.steps.add_permits(39);
    for answer in waiting.join_all().await {
        assert_eq!(answer.text(), "through");
    }
    assert_eq!(rig.receipts(40).await.len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn p13_every_request_names_the_host_of_its_connection() {
    let rig = Rig::start().await;
    let mut stream = rig.client.tls(API, 443, b"http/1.1").await.unwrap();
    for (host, status) in [
        (API, 200),
        (OPEN, 421),
        (API, 200),
        ("api.test:8443", 421),
        (API, 200),
    ] {
        let request = format!("GET /echo HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_answer(&mut stream).await.unwrap();
        assert_eq!(answer.status, status, "{host}: {}", answer.text());
    }
    let mut sender = rig.client.h2(API).await;
    for (host, status) in [(API, 200), (OPEN, 421), ("api.test:8443", 421), (API, 200)] {
        let request = Request::get(format!("https://{host}/echo"))
            .body(whole(""))
            .unwrap();
        let answer = Answer::read(sender.send_request(request).await.unwrap())
            .await
            .unwrap();
        assert_eq!(answer.status.as_u16(), status, "{host}: {}", answer.text());
        assert!(status == 200 || answer.reason() == "target-mismatch");
    }
    assert_eq!(rig.upstream.seen().len(), 5);
    assert_eq!(rig.turned_away(), ["target-mismatch"; 4]);
}
