//! Many at once, slow, half gone or dying: nobody else suffers, memory stays bounded, and no receipt is lost.
#![cfg(test)]

mod support;

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use exeat_ledger::{Ending, Filter};
use exeat_proxy::Mode;
use exeat_types::limits;
use http::Request;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{
    API, PATIENCE, PLAIN, Rig,
    client::{Answer, whole},
    raw::{read_answer, rest},
    until,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// Tests in this file measure one process, so they take turns.
static TURN: Mutex<()> = Mutex::new(());

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn in_turn(test: impl Future<Output = ()>) {
    let turn = TURN
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    runtime().block_on(test);
    drop(turn);
}

/// Resident memory of this process in KiB.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// As many descriptors as the system lets this process have.
fn widen(needed: u64) {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    assert!(
        most >= needed,
        "this test needs {needed} open files, the limit is {most}"
    );
    let wider = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, wider).unwrap();
}

const CONNECTIONS: usize = 5000;
/// The gate and its client together: two TLS ends, their buffers and their tasks.
const CONNECTION_KIB_MAX: usize = 400;

#[test]
fn five_thousand_connections_are_held_at_once_and_let_go() {
    widen(12_000);
    in_turn(async {
        let rig = Rig::start().await;
        rig.client.get(API, "/echo").await;
        let (files_before, before) = (descriptors(), resident());
        let mut waves = Vec::new();
        for _ in 0..2 {
            let width = Arc::new(Semaphore::new(64));
            let mut opening = JoinSet::new();
            for _ in 0..CONNECTIONS {
                let (client, width) = (rig.client.clone(), Arc::clone(&width));
                opening.spawn(async move {
                    let _turn = width.acquire().await.unwrap();
                    let mut sender = client.h1(API).await;
                    let request = Request::get("/hello").header("host", API).body(whole(""));
                    let answer = sender.send_request(request.unwrap()).await.unwrap();
                    (Answer::read(answer).await.unwrap().status, sender)
                });
            }
            let held = opening.join_all().await;
            assert!(held.iter().all(|(status, _)| *status == 200));
            // A few that were open before may have been closed since.
            assert!(descriptors() + 64 >= files_before + 2 * CONNECTIONS);
            waves.push(resident());
            assert_eq!(
                rig.client.get(API, "/echo").await.status,
                200,
                "one more is served"
            );
            drop(held);
            until("every connection is let go", || {
                descriptors() < files_before + 64
            })
            .await;
        }
        let [first, second] = waves[..] else {
            panic!("two waves")
        };
        let each = first.saturating_sub(before) / CONNECTIONS;
        println!(
            "{CONNECTIONS} intercepted connections: {each} KiB each, client and gate together; \
             {before} KiB before, {first} at the first peak, {second} at the second, {} after",
            resident()
        );
        assert!(each < CONNECTION_KIB_MAX, "{each} KiB a connection");
        assert!(
            second < first + first / 4,
            "memory grows: {first}, then {second} KiB"
        );
        let receipts = rig.receipts(2 * CONNECTIONS + 3).await;
        assert_eq!(receipts.len(), 2 * CONNECTIONS + 3);
        assert!(receipts.iter().all(|receipt| receipt.closed.is_some()));
    });
}

#[test]
fn clients_that_never_finish_a_head_are_ended_and_hold_nobody_up() {
    in_turn(async {
        let rig = Rig::start().await;
        let mut slow = JoinSet::new();
        for number in 0..300 {
            let (client, address) = (rig.client.clone(), rig.address);
            slow.spawn(async move {
                let began = tokio::time::Instant::now();
                match number % 3 {
                    0 => {
                        let mut tcp = TcpStream::connect(address).await.unwrap();
                        tcp.write_all(b"CONNECT api.test:443 HTTP/1.1\r\nHo")
                            .await
                            .unwrap();
                        rest(&mut tcp).await;
                    }
                    1 => {
                        let mut tcp = TcpStream::connect(address).await.unwrap();
                        tcp.write_all(&[22, 3, 1]).await.unwrap();
                        rest(&mut tcp).await;
                    }
                    _ => {
                        let mut tls = client.tls(API, 443, b"http/1.1").await.unwrap();
                        tls.write_all(b"GET /echo HTTP/1.1\r\nHost: ")
                            .await
                            .unwrap();
                        rest(&mut tls).await;
                    }
                }
                began.elapsed()
            });
        }
        for _ in 0..50 {
            assert_eq!(rig.client.get(API, "/echo").await.status, 200);
        }
        for lasted in slow.join_all().await {
            assert!(lasted < limits::HEAD_TIMEOUT + PATIENCE / 2, "{lasted:?}");
        }
    });
}

#[test]
fn a_client_that_closes_its_side_leaves_one_closed_receipt_and_no_connection() {
    in_turn(async {
        let rig = Rig::start().await;
        let files = descriptors();
        for _ in 0..20 {
            let mut tcp = TcpStream::connect(rig.address).await.unwrap();
            let request = format!("GET http://{PLAIN}/hello HTTP/1.1\r\nHost: {PLAIN}\r\n\r\n");
            tcp.write_all(request.as_bytes()).await.unwrap();
            tcp.shutdown().await.unwrap();
            // Whether it still wants the answer nobody can know; it must not wait for ever.
            rest(&mut tcp).await;
        }
        assert!(
            rig.receipts(20)
                .await
                .iter()
                .all(|receipt| receipt.closed.is_some())
        );
        until("the connections are gone", || descriptors() <= files + 4).await;
    });
}

/// Where an upstream dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    BeforeTls,
    AfterTls,
    AfterRequest,
    MidHead,
    AfterHead,
    MidBody,
    MidChunk,
    BeforeLastChunk,
    Reset,
}

impl Death {
    const ALL: [Self; 9] = [
        Self::BeforeTls,
        Self::AfterTls,
        Self::AfterRequest,
        Self::MidHead,
        Self::AfterHead,
        Self::MidBody,
        Self::MidChunk,
        Self::BeforeLastChunk,
        Self::Reset,
    ];

    /// What it still says.
    const fn words(self) -> &'static [u8] {
        match self {
            Self::BeforeTls | Self::AfterTls | Self::AfterRequest | Self::Reset => b"",
            Self::MidHead => b"HTTP/1.1 200 OK\r\nContent-Le",
            Self::AfterHead => b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",
            Self::MidBody => b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
            Self::MidChunk => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhalf",
            Self::BeforeLastChunk => {
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
            }
        }
    }

    async fn die(self, tcp: TcpStream, tls: Arc<rustls::ServerConfig>) {
        if self == Self::BeforeTls {
            return;
        }
        let Ok(mut stream) = TlsAcceptor::from(tls).accept(tcp).await else {
            return;
        };
        if self == Self::AfterTls {
            return;
        }
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => request.push(byte),
                Err(_) => return,
            }
        }
        stream.write_all(self.words()).await.unwrap();
        stream.flush().await.unwrap();
        if self == Self::Reset {
            rustix::net::sockopt::set_socket_linger(stream.get_ref().0, Some(Duration::ZERO))
                .unwrap();
        }
    }
}

#[test]
fn an_upstream_that_dies_at_any_stage_is_told_as_a_failure_and_the_next_call_works() {
    in_turn(async {
        let rig = Rig::start().await;
        for death in Death::ALL {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            rig.route(API, 443, listener.local_addr().unwrap());
            rig.change(|rules| rules.network.roots.id += 1);
            let tls = rig.http1_upstream_tls();
            let dying = support::spawn(async move {
                loop {
                    let (tcp, _) = listener.accept().await.unwrap();
                    death.die(tcp, Arc::clone(&tls)).await;
                }
            });
            let mut sender = rig.client.h1(API).await;
            let request = Request::get("/echo").header("host", API).body(whole(""));
            let asked = sender.send_request(request.unwrap());
            let answer = tokio::time::timeout(PATIENCE, asked)
                .await
                .expect("an answer");
            match answer.unwrap() {
                refused if refused.status() == 502 => {
                    let answer = Answer::read(refused).await.unwrap();
                    assert!(answer.reason().starts_with("upstream-"), "{death:?}");
                }
                begun => {
                    let body = tokio::time::timeout(PATIENCE, Answer::read(begun)).await;
                    assert!(body.expect("an end").is_err(), "{death:?} looks complete");
                }
            }
            dying.abort();
            rig.route(API, 443, rig.upstream.address);
            rig.change(|rules| rules.network.roots.id += 1);
            assert_eq!(
                rig.client.get(API, "/hello").await.status,
                200,
                "after {death:?}"
            );
        }
        let receipts = rig.receipts(2 * Death::ALL.len()).await;
        let failed = receipts.iter().filter(|receipt| {
            receipt.outcome.as_ref().map(|outcome| outcome.result) == Some(Ending::UpstreamFailed)
        });
        assert_eq!(failed.count(), Death::ALL.len());
        assert_eq!(receipts.len(), 2 * Death::ALL.len());
    });
}

const NAMES: usize = 10_000;
/// What as many names may cost that were each seen once.
const NAMES_KIB_MAX: usize = 64 * 1024;

#[test]
fn ten_thousand_server_names_cost_no_more_than_the_cache_of_leaves() {
    in_turn(async {
        let rig = Rig::start().await;
        let door = rig.open(Mode::Transparent, Some("tester"), None).await;
        let roots = rustls::RootCertStore::empty();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let config = Arc::new(config);
        let (before, width) = (resident(), Arc::new(Semaphore::new(64)));
        let mut asking = JoinSet::new();
        for number in 0..NAMES {
            let (config, width) = (Arc::clone(&config), Arc::clone(&width));
            asking.spawn(async move {
                let _turn = width.acquire().await.unwrap();
                let name = format!("n{number}.test").try_into().unwrap();
                let mut hello = Vec::new();
                let mut tls = rustls::ClientConnection::new(config, name).unwrap();
                tls.write_tls(&mut hello).unwrap();
                let mut tcp = TcpStream::connect(door).await.unwrap();
                tcp.write_all(&hello).await.unwrap();
                // The gate answers, so that it can say no in HTTP; this client goes away.
                tcp.read_u8().await.unwrap()
            });
        }
        for said in asking.join_all().await {
            assert_eq!(said, 22, "a handshake");
        }
        let grown = resident().saturating_sub(before);
        println!("{NAMES} server names: {grown} KiB");
        assert!(grown < NAMES_KIB_MAX, "{grown} KiB");
        until("each is counted", || rig.turned_away().len() == NAMES).await;
        assert!(rig.records("connection").len() < 100, "counted, not listed");
        assert_eq!(rig.client.get(API, "/echo").await.status, 200);
        assert_eq!(rig.ledger.list(&Filter::default()).unwrap().len(), 1);
    });
}

#[test]
fn bytes_of_a_head_that_come_one_by_one_make_one_request() {
    in_turn(async {
        let rig = Rig::start().await;
        let mut tls = rig.client.tls(API, 443, b"http/1.1").await.unwrap();
        for byte in b"GET /hello HTTP/1.1\r\nHost: api.test\r\n\r\n" {
            tls.write_all(&[*byte]).await.unwrap();
            tls.flush().await.unwrap();
        }
        assert_eq!(read_answer(&mut tls).await.unwrap().status, 200);
    });
}
