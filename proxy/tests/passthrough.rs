//! Connections that pass unread: only for the hosts, ports and agents that the operator named, only with the name they
//! were opened for, always with a receipt, and no longer than the rules let them.
#![cfg(test)]

mod support;

use std::{net::SocketAddr, sync::Arc};

use exeat_ledger::{Ending, Receipt};
use exeat_pipeline::UpstreamProxy;
use exeat_proxy::Mode;
use exeat_types::{Host, Origin, Regime};
use support::{
    API, CANARY, Rig, agent,
    client::Client,
    hello::{self, records},
    hop::{Hop, Manner},
    raw::{ask, exactly, read_answer, read_head, rest},
    until,
    upstream::Upstream,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const PINNED: &str = "pinned.test";
const AUTHORITY: &str = "pinned.test:443";

fn target(host: &str, port: u16) -> (Host, u16) {
    (Host::parse(host).unwrap(), port)
}

/// A gate that lets one host pass unread, for one agent, and the server behind that name.
async fn start() -> (Rig, Upstream) {
    let rig = Rig::start().await;
    let tls = rig
        .upstream_authority
        .server_config(&Host::parse(PINNED).unwrap())
        .unwrap();
    let pinned = Upstream::start(Some(tls)).await;
    rig.route(PINNED, 443, pinned.address);
    allow(&rig, Some("tester"));
    (rig, pinned)
}

fn allow(rig: &Rig, named: Option<&str>) {
    let agents = named.map(|name| [agent(name)].into());
    rig.change(|rules| {
        rules.network.passthrough = [(target(PINNED, 443), agents)].into();
    });
}

/// A client that trusts the pinned server's root and no other: not the gate's.
fn pinning(rig: &Rig, at: SocketAddr) -> Client {
    Client {
        proxy: at,
        root: rig.upstream_authority.root().certificate_der().clone(),
        proxy_authorization: None,
    }
}

/// A server that keeps what it was sent, and answers with one byte.
async fn recorder(rig: &Rig) -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    rig.route(PINNED, 443, listener.local_addr().unwrap());
    listener
}

async fn last(rig: &Rig, count: usize) -> Receipt {
    rig.receipts(count).await.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_client_sees_its_own_server_and_the_receipt_says_so() {
    let (rig, pinned) = start().await;
    let client = pinning(&rig, rig.address);
    for _ in 0..2 {
        let answer = client.get(PINNED, "/echo").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(!answer.headers.contains_key("exeat-receipt"));
    }
    assert_eq!(pinned.connections(), 2, "each connection is its own");
    for seen in pinned.seen() {
        assert!(!format!("{:?}", seen.headers).contains(CANARY));
    }
    let receipt = last(&rig, 2).await;
    let (intent, outcome) = (receipt.intent.unwrap(), receipt.outcome.unwrap());
    assert_eq!(
        (
            intent.tool.as_str(),
            intent.category.as_str(),
            intent.method.as_str()
        ),
        ("passthrough", "passthrough", "CONNECT")
    );
    assert_eq!(
        (intent.path.as_str(), intent.origin.to_string().as_str()),
        (AUTHORITY, "https://pinned.test")
    );
    assert_eq!(intent.rules, ["[network] passthrough"]);
    assert!(intent.credential.is_none() && intent.capture.is_none());
    assert_eq!((outcome.result, outcome.status), (Ending::Completed, None));
    assert!(
        outcome.request_bytes > 200 && outcome.response_bytes > 500,
        "{outcome:?}"
    );
    let counted = rig.registry.gather();
    let mut metrics = counted.iter();
    let metric = metrics.find(|one| one.name() == "exeat_passthrough_total");
    let count = metric.unwrap().get_metric()[0].get_counter().get_value();
    assert!(count > 1.5 && count < 2.5, "{count}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_and_nothing_else_passes() {
    let (rig, pinned) = start().await;
    let other = rig.open(Mode::Explicit, Some("other"), None).await;
    let strict = rig
        .open_held(Mode::Explicit, "tester", Regime::Strict)
        .await;
    let strict_redirected = rig
        .open_held(Mode::Transparent, "tester", Regime::Strict)
        .await;
    for (door, authority) in [
        (rig.address, "pinned.test:22"),
        (rig.address, "pinned.test:25"),
        (rig.address, "pinned.test:80"),
        (rig.address, "sub.pinned.test:443"),
        (rig.address, "127.0.0.1:443"),
        (strict, AUTHORITY),
    ] {
        let head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        let answer = ask(door, head.as_bytes()).await.unwrap();
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (403, "tool-unknown"),
            "{authority}"
        );
    }
    // The host is known, but not to this agent: its TLS is opened to be read, and there is no tool inside.
    let (_, tcp) = pinning(&rig, other).connect(AUTHORITY).await;
    assert!(
        pinning(&rig, other)
            .handshake(tcp, PINNED, b"http/1.1")
            .await
            .is_err()
    );
    let read = rig.client_at(other).get(PINNED, "/echo").await;
    assert_eq!(
        (read.status.as_u16(), read.reason().as_str()),
        (403, "tool-unknown")
    );
    let tcp = TcpStream::connect(strict_redirected).await.unwrap();
    assert!(
        pinning(&rig, strict_redirected)
            .handshake(tcp, PINNED, b"http/1.1")
            .await
            .is_err()
    );
    // What is on the list for everybody is still nobody's without an identity.
    allow(&rig, None);
    let anonymous = rig.open(Mode::Explicit, None, None).await;
    let head = format!("CONNECT {AUTHORITY} HTTP/1.1\r\nHost: {AUTHORITY}\r\n\r\n");
    let answer = ask(anonymous, head.as_bytes()).await.unwrap();
    assert_eq!(answer.reason(), "agent-unknown");
    assert_eq!(pinned.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_guard_and_a_dead_upstream_are_answered_before_the_tunnel_stands() {
    let (rig, pinned) = start().await;
    rig.change(|rules| assert!(rules.network.allow_private.remove(&target(PINNED, 443))));
    let head = format!("CONNECT {AUTHORITY} HTTP/1.1\r\nHost: {AUTHORITY}\r\n\r\n");
    let answer = ask(rig.address, head.as_bytes()).await.unwrap();
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (403, "target-forbidden")
    );
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    rig.route(PINNED, 443, free);
    let answer = ask(rig.address, head.as_bytes()).await.unwrap();
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (502, "upstream-unreachable")
    );
    for receipt in rig.receipts(2).await {
        assert_eq!(receipt.outcome.unwrap().result, Ending::RefusedLate);
    }
    assert_eq!(pinned.connections(), 0);
    assert!(rig.turned_away().is_empty(), "a receipt is enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_inside_has_to_be_the_one_the_tunnel_was_opened_for() {
    let (rig, _pinned) = start().await;
    let server = recorder(&rig).await;
    let cases: [(&str, Vec<u8>, &str); 6] = [
        (
            "another name",
            records(&hello::message(Some(API), &[]), 512),
            "target-mismatch",
        ),
        (
            "a name below",
            records(&hello::message(Some("a.pinned.test"), &[]), 512),
            "target-mismatch",
        ),
        (
            "no name",
            records(&hello::message(None, &[]), 512),
            "malformed-request",
        ),
        (
            "an encrypted hello under a public name",
            records(
                &hello::message(Some("public.test"), &[hello::encrypted()]),
                512,
            ),
            "target-mismatch",
        ),
        (
            "no TLS",
            b"GET / HTTP/1.1\r\nHost: pinned.test\r\n\r\n".to_vec(),
            "malformed-request",
        ),
        (
            "a tunnel in the tunnel",
            b"CONNECT api.test:443 HTTP/1.1\r\n\r\n".to_vec(),
            "malformed-request",
        ),
    ];
    for (index, (what, bytes, reason)) in cases.into_iter().enumerate() {
        let (head, mut tcp) = rig.client.connect(AUTHORITY).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let (mut upstream, _) = server.accept().await.unwrap();
        tcp.write_all(&bytes).await.unwrap();
        assert!(rest(&mut tcp).await.is_empty(), "{what}");
        assert!(
            rest(&mut upstream).await.is_empty(),
            "{what}: not a byte went on"
        );
        let outcome = last(&rig, index + 1).await.outcome.unwrap();
        assert_eq!(outcome.result, Ending::RefusedLate, "{what}");
        assert_eq!(outcome.reason.unwrap().code(), reason, "{what}");
        assert_eq!(
            (outcome.request_bytes, outcome.response_bytes),
            (0, 0),
            "{what}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_in_pieces_goes_on_untouched_however_large_it_is() {
    let (rig, _pinned) = start().await;
    let server = recorder(&rig).await;
    // A key share as large as those of today's hybrid groups, before the name is even read.
    let large = (0xfa01_u16, vec![3; 3000]);
    let message = hello::message(Some(PINNED), &[large, hello::encrypted()]);
    for (index, (most, step)) in [(16_000, 1), (16_000, 700), (200, 333)]
        .into_iter()
        .enumerate()
    {
        let bytes = records(&message, most);
        let (_, mut tcp) = rig.client.connect(AUTHORITY).await;
        let (mut upstream, _) = server.accept().await.unwrap();
        for piece in bytes.chunks(step) {
            tcp.write_all(piece).await.unwrap();
            tcp.flush().await.unwrap();
        }
        tcp.write_all(b"and more").await.unwrap();
        assert_eq!(exactly(&mut upstream, bytes.len()).await, bytes);
        assert_eq!(exactly(&mut upstream, 8).await, b"and more");
        upstream.write_all(b"!").await.unwrap();
        assert_eq!(exactly(&mut tcp, 1).await, b"!");
        // One side may be done while the other goes on.
        tcp.shutdown().await.unwrap();
        assert!(rest(&mut upstream).await.is_empty());
        upstream.write_all(b"late").await.unwrap();
        drop(upstream);
        assert_eq!(rest(&mut tcp).await, b"late");
        let outcome = last(&rig, index + 1).await.outcome.unwrap();
        let sent = u64::try_from(bytes.len()).unwrap() + 8;
        assert_eq!((outcome.request_bytes, outcome.response_bytes), (sent, 5));
        assert_eq!(outcome.result, Ending::Completed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn interception_reads_the_same_hellos() {
    let (rig, _pinned) = start().await;
    // In pieces, in several records, with a large extension: the handshake begins, so the name was found.
    let large = (0xfa01_u16, vec![3; 3000]);
    let message = hello::message(Some(API), &[large, hello::encrypted()]);
    let redirected = rig.open(Mode::Transparent, Some("tester"), None).await;
    for explicit in [true, false] {
        let mut tcp = match explicit {
            true => rig.client.connect("api.test:443").await.1,
            false => TcpStream::connect(redirected).await.unwrap(),
        };
        for piece in records(&message, 500).chunks(400) {
            tcp.write_all(piece).await.unwrap();
        }
        // The hello offers no key share, so the server asks for one (or answers in TLS 1.2): a handshake record.
        assert_eq!(exactly(&mut tcp, 1).await, [22]);
    }
    // The outer name is what counts.
    let (_, mut tcp) = rig.client.connect("api.test:443").await;
    let outer = hello::message(Some("public.test"), &[hello::encrypted()]);
    tcp.write_all(&records(&outer, 512)).await.unwrap();
    rest(&mut tcp).await;
    let mismatch = "target-mismatch".to_owned();
    until("it is counted", || rig.turned_away().contains(&mismatch)).await;
    assert_eq!(rig.upstream.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirected_traffic_passes_by_its_name_alone() {
    let (rig, pinned) = start().await;
    let door = rig.open(Mode::Transparent, Some("tester"), None).await;
    let client = pinning(&rig, door);
    let tcp = TcpStream::connect(door).await.unwrap();
    let mut stream = client.handshake(tcp, PINNED, b"http/1.1").await.unwrap();
    stream
        .write_all(b"GET /echo HTTP/1.1\r\nHost: pinned.test\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(read_answer(&mut stream).await.unwrap().status, 200);
    assert_eq!(pinned.connections(), 1);
    // Another name is read as ever, with a leaf of the gate's.
    let tcp = TcpStream::connect(door).await.unwrap();
    let mut stream = rig.client.handshake(tcp, API, b"http/1.1").await.unwrap();
    stream
        .write_all(b"GET /echo HTTP/1.1\r\nHost: api.test\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(read_answer(&mut stream).await.unwrap().status, 200);
    // Without a name nothing is known.
    let mut tcp = TcpStream::connect(door).await.unwrap();
    tcp.write_all(&records(&hello::message(None, &[]), 512))
        .await
        .unwrap();
    rest(&mut tcp).await;
    until("it is counted", || {
        rig.turned_away() == ["malformed-request"]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_ends_when_the_rules_change_their_mind() {
    let (rig, _pinned) = start().await;
    let server = recorder(&rig).await;
    let bytes = records(&hello::message(Some(PINNED), &[]), 512);
    let (_, mut tcp) = rig.client.connect(AUTHORITY).await;
    let (mut upstream, _) = server.accept().await.unwrap();
    tcp.write_all(&bytes).await.unwrap();
    exactly(&mut upstream, bytes.len()).await;
    // A change that is not about it leaves it alone.
    rig.change(|rules| rules.network.roots.id += 1);
    let mut silence = [0; 1];
    let wait = std::time::Duration::from_millis(1500);
    let quiet = tokio::time::timeout(wait, tcp.read(&mut silence)).await;
    assert!(quiet.is_err(), "it is still open");
    allow(&rig, Some("other"));
    assert!(rest(&mut tcp).await.is_empty());
    assert!(rest(&mut upstream).await.is_empty());
    let outcome = last(&rig, 1).await.outcome.unwrap();
    assert_eq!(
        (outcome.result, outcome.reason.unwrap().code()),
        (Ending::Cut, "policy-forbids")
    );
    assert_eq!(outcome.request_bytes, u64::try_from(bytes.len()).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_go_through_a_corporate_proxy_as_well() {
    let (rig, pinned) = start().await;
    let hop = Hop::start(Manner::Leads, &[(AUTHORITY, pinned.address)]).await;
    rig.change(|rules| {
        rules.network.connect_to.clear();
        rules.network.allow_private = [target("127.0.0.1", hop.address.port())].into();
        rules.network.upstream_proxy = Some(UpstreamProxy {
            origin: Origin::parse(&format!("http://{}", hop.address)).unwrap(),
            credential: None,
            bypass: std::iter::empty().collect(),
        });
    });
    let answer = pinning(&rig, rig.address).get(PINNED, "/echo").await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        hop.heads(),
        [format!(
            "CONNECT {AUTHORITY} HTTP/1.1\r\nHost: {AUTHORITY}\r\n\r\n"
        )]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_stops_closes_the_receipts_of_its_tunnels() {
    let (rig, _pinned) = start().await;
    let server = recorder(&rig).await;
    let bytes = records(&hello::message(Some(PINNED), &[]), 512);
    let mut tcp = TcpStream::connect(rig.address).await.unwrap();
    let head = format!("CONNECT {AUTHORITY} HTTP/1.1\r\nHost: {AUTHORITY}\r\n\r\n");
    // Sent together: what stands behind the CONNECT belongs to the tunnel.
    tcp.write_all(&[head.as_bytes(), &bytes].concat())
        .await
        .unwrap();
    assert_eq!(read_head(&mut tcp).await.unwrap().status, 200);
    let (mut upstream, _) = server.accept().await.unwrap();
    assert_eq!(exactly(&mut upstream, bytes.len()).await, bytes);
    Arc::clone(&rig.proxy)
        .shutdown_within(std::time::Duration::from_millis(50))
        .await;
    let outcome = last(&rig, 1).await.outcome.unwrap();
    assert_eq!(outcome.result, Ending::Cut);
    assert_eq!(outcome.request_bytes, u64::try_from(bytes.len()).unwrap());
}
