//! Who is asking: the listener, or a token. Reaching the port is never enough, identities that disagree are refused, and
//! no token goes anywhere.
#![cfg(test)]

mod support;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use exeat_custody::token::TokenKey;
use exeat_ledger::Change;
use exeat_proxy::Mode;
use exeat_types::{Secret, Timestamp};
use support::{
    API, Rig, agent,
    raw::{ask, read_answer},
    tokens::{Terms, absolute, basic, bearer, connect, found, is_unknown, record},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

#[tokio::test(flavor = "multi_thread")]
async fn a_good_token_names_its_agent_in_every_form() {
    let rig = Rig::start().await;
    let door = rig.open(Mode::Explicit, None, None).await;
    let (token, _) = found(&rig, Terms::of("other")).await;
    let (here, _) = found(
        &rig,
        Terms {
            listener: Some(door),
            ..Terms::of("other")
        },
    )
    .await;
    let mut calls = 0;
    for authorization in [basic(&token), bearer(&token), basic(&here)] {
        let mut client = rig.client_at(door);
        client.proxy_authorization = Some(authorization.clone());
        assert_eq!(client.get(API, "/echo").await.status, 200);
        let answer = ask(door, absolute(&authorization).as_bytes())
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        calls += 2;
    }
    for receipt in rig.receipts(calls).await {
        assert_eq!(receipt.agent(), Some(&agent("other")));
    }
    let seen = [rig.upstream.seen(), rig.plain_upstream.seen()].concat();
    assert_eq!(seen.len(), calls);
    for seen in seen {
        assert!(
            !seen.headers.contains_key("proxy-authorization"),
            "{seen:?}"
        );
        assert!(!format!("{seen:?}").contains(&token));
    }
    // The token is in no record, no file and no metric.
    rig.ledger.flush();
    for part in [
        token.as_str(),
        &BASE64_STANDARD.encode(format!("agent:{token}")),
    ] {
        for (path, bytes) in rig.everything_on_disk() {
            let found = bytes
                .windows(part.len())
                .any(|window| window == part.as_bytes());
            assert!(!found, "{}", path.display());
        }
        assert!(!format!("{:?}", rig.registry.gather()).contains(part));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_cannot_say_who_they_are_is_unknown() {
    let rig = Rig::start().await;
    let door = rig.open(Mode::Explicit, None, None).await;
    let elsewhere = rig.open(Mode::Explicit, None, None).await;
    let (good, _) = found(&rig, Terms::of("other")).await;
    let (expired, _) = found(
        &rig,
        Terms {
            expires: Timestamp::from_millis(1),
            ..Terms::of("other")
        },
    )
    .await;
    let (away, _) = found(
        &rig,
        Terms {
            listener: Some(elsewhere),
            ..Terms::of("other")
        },
    )
    .await;
    let revoked = rig.tokens.found_family().unwrap();
    record(&rig, Change::Created, &revoked, &Terms::of("other")).await;
    record(&rig, Change::Revoked, &revoked, &Terms::of("other")).await;
    let old = rig.tokens.found_family().unwrap();
    record(&rig, Change::Created, &old, &Terms::of("other")).await;
    let fresh = rig.tokens.mint(&old.claim.family, 2).unwrap();
    record(&rig, Change::Rotated, &fresh, &Terms::of("other")).await;
    let unrecorded = rig.tokens.found_family().unwrap().reveal().to_string();
    let foreign = TokenKey::new(&Secret::new(b"CANARY-another-gate".to_vec()));
    let foreign = foreign.found_family().unwrap().reveal().to_string();
    let bad = [
        String::new(),
        basic(&expired),
        basic(&away),
        basic(&revoked.reveal()),
        basic(&old.reveal()),
        bearer(&unrecorded),
        bearer(&foreign),
        bearer(&good.to_uppercase()),
        bearer(&format!("{good}x")),
        bearer(good.strip_suffix(|_: char| true).unwrap()),
        format!("Digest {good}"),
        good.clone(),
        "Basic !!!".to_owned(),
        "Bearer".to_owned(),
        basic(""),
    ];
    for authorization in &bad {
        is_unknown(&ask(door, connect(authorization).as_bytes()).await.unwrap());
        is_unknown(&ask(door, absolute(authorization).as_bytes()).await.unwrap());
    }
    assert_eq!(
        ask(door, connect(&basic(&fresh.reveal())).as_bytes())
            .await
            .unwrap()
            .status,
        200
    );
    assert_eq!(
        ask(elsewhere, connect(&basic(&away)).as_bytes())
            .await
            .unwrap()
            .status,
        200
    );
    assert_eq!(rig.turned_away(), vec!["agent-unknown"; bad.len() * 2]);
    assert_eq!(
        (rig.upstream.connections(), rig.plain_upstream.connections()),
        (0, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_must_agree_with_its_listener_and_stand_once() {
    let rig = Rig::start().await;
    let (own, _) = found(&rig, Terms::of("tester")).await;
    let (other, _) = found(&rig, Terms::of("other")).await;
    for request in [connect, absolute] {
        let answer = ask(rig.address, request(&basic(&other)).as_bytes())
            .await
            .unwrap();
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (403, "agent-conflict")
        );
        // A token that is no good is no way in, although the listener alone would be.
        is_unknown(
            &ask(rig.address, request("Basic eDp5").as_bytes())
                .await
                .unwrap(),
        );
        assert_eq!(
            ask(rig.address, request(&bearer(&own)).as_bytes())
                .await
                .unwrap()
                .status,
            200
        );
        let twice =
            request(&bearer(&own)).replace("Host:", "Proxy-Authorization: Basic eDp5\r\nHost:");
        assert_eq!(
            ask(rig.address, twice.as_bytes()).await.unwrap().status,
            400
        );
    }
    // Also on requests inside a tunnel.
    for (token, status) in [(&own, 200), (&other, 403)] {
        let field = format!("Proxy-Authorization: {}", bearer(token));
        let request = format!("GET /echo HTTP/1.1\r\nHost: api.test\r\n{field}\r\n\r\n");
        assert_eq!(
            rig.client
                .raw(API, request.as_bytes())
                .await
                .unwrap()
                .status,
            status
        );
    }
    assert!(
        rig.upstream
            .seen()
            .iter()
            .all(|s| !s.headers.contains_key("proxy-authorization"))
    );
    let mut reasons = rig.turned_away();
    reasons.sort_unstable();
    let expect = ["agent-conflict"; 3]
        .into_iter()
        .chain(["agent-unknown"; 2]);
    assert_eq!(
        reasons,
        expect.chain(["malformed-request"; 2]).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn redirected_traffic_is_known_by_its_listener_and_its_server_name() {
    let rig = Rig::start().await;
    let door = rig.open(Mode::Transparent, Some("tester"), None).await;
    let tcp = TcpStream::connect(door).await.unwrap();
    let mut stream = rig.client.handshake(tcp, API, b"http/1.1").await.unwrap();
    stream
        .write_all(b"GET /echo HTTP/1.1\r\nHost: api.test\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(read_answer(&mut stream).await.unwrap().status, 200);
    let plain = ask(door, b"GET /echo HTTP/1.1\r\nHost: plain.test\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(plain.status, 200, "{}", plain.text());
    let nobody = rig.open(Mode::Transparent, None, None).await;
    is_unknown(
        &ask(nobody, b"GET /echo HTTP/1.1\r\nHost: plain.test\r\n\r\n")
            .await
            .unwrap(),
    );
    assert_eq!(
        ask(door, connect("").as_bytes()).await.unwrap().status,
        400,
        "there is no CONNECT here"
    );
    for receipt in rig.receipts(2).await {
        assert_eq!(receipt.agent(), Some(&agent("tester")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_from_elsewhere_is_dropped_before_a_byte_is_read() {
    let rig = Rig::start().await;
    let here = ["127.0.0.0/8", "fd77::/64"];
    let open = rig
        .open_to(Mode::Explicit, Some("tester"), None, &here)
        .await;
    assert_eq!(
        rig.client_at(open).get(API, "/echo").await.status,
        200,
        "a client from there"
    );
    for elsewhere in ["10.77.0.0/24", "::/0"] {
        let door = rig
            .open_to(Mode::Explicit, Some("tester"), None, &[elsewhere])
            .await;
        let mut wire = TcpStream::connect(door).await.unwrap();
        let mut read = Vec::new();
        let ended = tokio::io::AsyncReadExt::read_to_end(&mut wire, &mut read).await;
        assert!(read.is_empty(), "{ended:?}");
    }
    assert_eq!(rig.turned_away(), ["agent-unknown"; 2]);
    assert_eq!(rig.upstream.seen().len(), 1);
}
