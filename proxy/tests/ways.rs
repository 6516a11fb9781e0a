//! Ways out: the addresses of an upstream, a proxy on the way, roots that change, and paths that hold encoded slashes.
#![cfg(test)]

mod support;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use exeat_custody::{CredentialSpec, Custody, Kind, Loaded, SecretRef, Shape};
use exeat_pipeline::{Roots, UpstreamProxy};
use exeat_types::{CredentialId, Host, Origin, Secret};
use http::{Request, StatusCode};
use support::{
    API, CANARY, PLAIN, Rig, agent,
    client::Answer,
    hop::{Hop, Manner},
    raw::ask,
    upstream::Upstream,
    world,
};

const CORPORATE: &str = "CANARY-corporate-password";

fn target(host: &str, port: u16) -> (Host, u16) {
    (Host::parse(host).unwrap(), port)
}

fn origin(address: SocketAddr) -> Origin {
    Origin::parse(&format!("http://{address}")).unwrap()
}

fn told(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.reason())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_with_a_dead_address_is_reached_at_its_other_one() {
    let rig = Rig::start().await;
    // `localhost` has two addresses, and upstream listens on one of them.
    let port = rig.plain_upstream.address.port();
    let authority = format!("localhost:{port}");
    let tools = world::PLAIN_TOOLS.replace("plain.test", &authority);
    rig.change(|rules| {
        rules.policy = Arc::new(world::policy(
            &[world::TOOLS, world::OPEN_TOOLS, &tools],
            world::RULES,
        ));
        rules
            .network
            .allow_private
            .insert(target("localhost", port));
    });
    let request = format!("GET http://{authority}/echo HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    for _ in 0..4 {
        assert_eq!(
            ask(rig.address, request.as_bytes()).await.unwrap().status,
            200
        );
    }
    let connections = rig.plain_upstream.connections();
    assert!(
        connections <= 2,
        "{connections}: the good address is remembered, so the pool serves"
    );
}

/// Puts a proxy between the gate and everything that `world` knows.
fn behind(rig: &Rig, hop: &Hop) {
    let origin = origin(hop.address);
    rig.change(|rules| {
        rules.network.connect_to.clear();
        rules.network.allow_private = [target("127.0.0.1", hop.address.port())].into();
        rules.network.upstream_proxy = Some(UpstreamProxy {
            origin,
            credential: None,
            bypass: std::iter::empty().collect(),
        });
    });
}

fn names(rig: &Rig) -> [(&'static str, SocketAddr); 2] {
    [
        ("api.test:443", rig.upstream.address),
        ("plain.test:80", rig.plain_upstream.address),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corporate_proxy_carries_everything_and_tls_stays_end_to_end() {
    let rig = Rig::start().await;
    let hop = Hop::start(Manner::Leads, &names(&rig)).await;
    behind(&rig, &hop);
    for _ in 0..2 {
        let answer = rig.client.get(API, "/echo").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
    let http2 = rig
        .client
        .send_h2(API, Request::get("https://api.test/echo"), Bytes::new())
        .await;
    assert_eq!(http2.status, StatusCode::OK);
    assert_eq!(hop.heads().len(), 1, "connections through it are pooled");
    let plain = b"GET http://plain.test/echo HTTP/1.1\r\nHost: plain.test\r\nProxy-Authorization: x\r\n\r\n";
    let refused = ask(rig.address, plain).await.unwrap();
    assert_eq!(
        refused.reason(),
        "agent-unknown",
        "that field is for the gate"
    );
    let plain = b"GET http://plain.test/echo HTTP/1.1\r\nHost: plain.test\r\n\r\n";
    assert_eq!(ask(rig.address, plain).await.unwrap().status, 200);
    assert_eq!(
        hop.heads(),
        [API, PLAIN].map(|host| {
            let port = if host == API { 443 } else { 80 };
            format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n")
        })
    );
    // What the proxy saw of the call with the credential is TLS.
    assert_eq!(
        rig.upstream.seen()[0].headers["authorization"],
        format!("Bearer {CANARY}")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_goes_through_the_proxy_too() {
    let rig = Rig::start().await;
    let hop = Hop::start(Manner::Leads, &names(&rig)).await;
    behind(&rig, &hop);
    let request = b"GET /ws HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let answer = rig.client.raw(API, request).await.unwrap();
    assert_eq!(answer.status, 101, "{}", answer.head);
    assert_eq!(hop.heads().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_asks_is_given_its_own_credential_and_no_agent_sees_either_side() {
    let rig = Rig::start().await;
    // `gate:CANARY-corporate-password`
    let wanted = "Basic Z2F0ZTpDQU5BUlktY29ycG9yYXRlLXBhc3N3b3Jk";
    let hop = Hop::start(Manner::Asks(wanted), &names(&rig)).await;
    behind(&rig, &hop);
    let answer = rig.client.get(API, "/echo").await;
    assert_eq!(told(&answer), (502, "upstream-unreachable".to_owned()));
    assert!(!answer.text().contains("407") && !answer.headers.contains_key("proxy-authenticate"));
    let corporate = CredentialSpec {
        id: CredentialId::new("corporate").unwrap(),
        kind: Kind::Basic {
            username: "gate".to_owned(),
        },
        origins: vec![origin(hop.address)],
        secret: Some(SecretRef::Env("NONE".to_owned())),
        shape: Shape::Auto,
    };
    let api = CredentialSpec {
        id: CredentialId::new("api").unwrap(),
        kind: Kind::Bearer,
        origins: vec![Origin::parse("https://api.test").unwrap()],
        ..corporate.clone()
    };
    let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
    let loaded = vec![
        Loaded::new(corporate, secret(CORPORATE), 1),
        Loaded::new(api, secret(CANARY), 1),
    ];
    let agents = [agent("tester"), agent("other")];
    let custody = Custody::build(
        loaded,
        &agents,
        &Secret::new(vec![3; 32]),
        rig.gate.rules().custody.live(),
    )
    .unwrap();
    rig.change(|rules| {
        rules.custody = Arc::new(custody);
        let proxy = rules.network.upstream_proxy.as_mut().unwrap();
        proxy.credential = Some(CredentialId::new("corporate").unwrap());
    });
    let answer = rig.client.get(API, "/echo").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert!(hop.heads()[1].contains(&format!("Proxy-Authorization: {wanted}\r\n")));
    for seen in rig.upstream.seen() {
        assert!(!seen.headers.contains_key("proxy-authorization"));
    }
    // An upstream that knows it could still not tell the agent.
    let echoed = rig
        .client
        .send(API, Request::get("/echo").header("x-tell", "x"))
        .await;
    assert!(!echoed.text().contains(CORPORATE) && !echoed.text().contains(wanted));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_or_hangs_ends_in_an_answer() {
    let rig = Rig::start().await;
    let hop = Hop::start(Manner::Leads, &[]).await;
    behind(&rig, &hop);
    let answer = rig.client.get(API, "/echo").await;
    assert_eq!(told(&answer), (502, "upstream-unreachable".to_owned()));
    let hop = Hop::start(Manner::Hangs, &names(&rig)).await;
    behind(&rig, &hop);
    let answer = rig.client.get(API, "/echo").await;
    assert_eq!(told(&answer), (504, "upstream-timeout".to_owned()));
    let gone = hop.address;
    drop(hop);
    assert_eq!((rig.upstream.connections(), gone.port() > 0), (0, true));
    for receipt in rig.receipts(2).await {
        assert!(receipt.outcome.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn roots_that_changed_hold_for_the_next_call() {
    let rig = Rig::start().await;
    let other = support::authority("another root");
    let tls = other.server_config(&Host::parse(API).unwrap()).unwrap();
    let upstream = Upstream::start(Some(tls)).await;
    let roots = |id: u64, authority: &exeat_ca::Authority| Roots {
        id,
        certificates: [authority.root().certificate_der().to_vec()].into(),
    };
    assert_eq!(rig.client.get(API, "/echo").await.status, StatusCode::OK);
    rig.route(API, 443, upstream.address);
    let unknown = rig.client.get(API, "/echo").await;
    assert_eq!(told(&unknown), (502, "upstream-unreachable".to_owned()));
    rig.change(|rules| rules.network.roots = roots(1, &other));
    for _ in 0..2 {
        assert_eq!(rig.client.get(API, "/echo").await.status, StatusCode::OK);
    }
    // Back to the roots of before: the pooled connection of that upstream is not used, and a new one does not verify.
    let connections = upstream.connections();
    rig.change(|rules| rules.network.roots = roots(2, &rig.upstream_authority));
    let unknown = rig.client.get(API, "/echo").await;
    assert_eq!(told(&unknown), (502, "upstream-unreachable".to_owned()));
    assert!(upstream.connections() > connections);
    rig.route(API, 443, rig.upstream.address);
    assert_eq!(rig.client.get(API, "/echo").await.status, StatusCode::OK);
    // A set without one usable root trusts nobody.
    rig.change(|rules| {
        rules.network.roots = Roots {
            id: 3,
            ..Roots::default()
        }
    });
    let nobody = rig.client.get(API, "/echo").await;
    assert_eq!(told(&nobody), (502, "upstream-unreachable".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoded_slash_goes_upstream_as_it_came_where_the_tool_takes_it() {
    let rig = Rig::start().await;
    let tools = format!(
        "{}\n[[tool]]\nname = \"file\"\nrequest = \"GET /files/{{name}}\"\ncategory = \"read\"\n\
         encoded-slash = [\"name\"]\n",
        world::TOOLS
    );
    let rules = format!(
        "{}\n[[rule]]\nname = \"files in docs\"\nagents = [\"tester\"]\ntools = [\"api.file\"]\n\
         when = 'context.args.name like \"docs/*\"'\neffect = \"allow\"\n",
        world::RULES
    );
    rig.change(|now| {
        now.policy = Arc::new(world::policy(
            &[&tools, world::OPEN_TOOLS, world::PLAIN_TOOLS],
            &rules,
        ))
    });
    for (path, status, reason) in [
        ("/files/docs%2FREADME.md", 200, "none"),
        ("/files/docs%2fa%2Fb", 200, "none"),
        ("/files/src%2Fmain.rs", 403, "policy-forbids"),
        ("/files/docs%2F..%2Fsrc", 400, "malformed-request"),
        ("/files/docs%2F%2e%2e%2Fsrc", 400, "malformed-request"),
        ("/files/docs%252F..", 422, "arguments-invalid"),
        ("/files/docs%2F%252e%252e", 400, "malformed-request"),
        ("/files/docs%5C..", 400, "malformed-request"),
        ("/a%2Fb", 422, "arguments-invalid"),
        ("/files%2Fdocs", 422, "arguments-invalid"),
    ] {
        let h1 = rig.client.get(API, path).await;
        assert_eq!(
            told(&h1),
            (status, reason.to_owned()),
            "{path}: {}",
            h1.text()
        );
        let url = format!("https://{API}{path}");
        let h2 = rig
            .client
            .send_h2(API, Request::get(&url), Bytes::new())
            .await;
        assert_eq!(
            told(&h2),
            (status, reason.to_owned()),
            "{path}: {}",
            h2.text()
        );
    }
    let seen: Vec<String> = rig
        .upstream
        .seen()
        .into_iter()
        .map(|seen| seen.target)
        .collect();
    let expect = ["/files/docs%2FREADME.md", "/files/docs%2Fa%2Fb"];
    assert_eq!(seen, expect.map(|path| [path, path]).concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_another_host_carries_nothing() {
    let rig = Rig::start().await;
    let redirect = rig.client.get(API, "/redirect").await;
    assert!(redirect.status.is_redirection());
    assert!(!format!("{:?}", redirect.headers).contains(CANARY));
    let rules = rig.gate.rules();
    let placeholder = rules
        .custody
        .placeholder(&agent("tester"), &CredentialId::new("api").unwrap());
    let bearer = format!("Bearer {}", placeholder.unwrap());
    // The agent follows with what it holds: to another host, and in clear.
    let followed = rig
        .client
        .send(
            support::OPEN,
            Request::get("/echo").header("authorization", &bearer),
        )
        .await;
    assert_eq!(told(&followed), (403, "placeholder-misused".to_owned()));
    let request = format!(
        "GET http://plain.test/echo HTTP/1.1\r\nHost: plain.test\r\nAuthorization: {bearer}\r\n\r\n"
    );
    let followed = ask(rig.address, request.as_bytes()).await.unwrap();
    assert_eq!(followed.reason(), "placeholder-misused");
    let downgraded = ask(
        rig.address,
        b"GET http://api.test/echo HTTP/1.1\r\nHost: api.test\r\n\r\n",
    )
    .await;
    assert_eq!(downgraded.unwrap().reason(), "tool-unknown");
    assert_eq!(
        (rig.upstream.seen().len(), rig.plain_upstream.connections()),
        (1, 0)
    );
    // Back where it belongs it works again.
    let back = rig
        .client
        .send(API, Request::get("/echo").header("authorization", &bearer))
        .await;
    assert_eq!(back.status, StatusCode::OK);
    tokio::time::timeout(Duration::from_secs(20), rig.receipts(5))
        .await
        .unwrap();
}
