//! Smuggling and confusion over the real socket: whatever could be read in two ways is refused with a reason, nothing of
//! it reaches upstream, and it is counted in the ledger.
#![cfg(test)]

mod support;

use exeat_ledger::Ending;
use support::{API, Rig, raw::ask, world};

/// Where a request is sent.
#[derive(Debug, Clone, Copy)]
enum Place {
    Listener,
    Tunnel,
}

/// Sends each request on a connection of its own, inside a tunnel to the API host or to the listener itself.
async fn refuses(place: Place, cases: &[(&str, u16, &str)]) {
    let rig = Rig::start().await;
    for (request, status, reason) in cases {
        let answer = match place {
            Place::Tunnel => rig.client.raw(API, request.as_bytes()).await,
            Place::Listener => ask(rig.address, request.as_bytes()).await,
        };
        assert!(answer.is_some(), "{request:?} got no answer");
        let Some(answer) = answer else { return };
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (*status, *reason),
            "{request:?}: {}",
            answer.text()
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json; charset=utf-8"),
            "{request:?}"
        );
    }
    assert_eq!(
        (rig.upstream.connections(), rig.plain_upstream.connections()),
        (0, 0)
    );
    let counted = rig.turned_away();
    let receipts = rig.receipts(cases.len() - counted.len()).await;
    assert_eq!(
        counted.len() + receipts.len(),
        cases.len(),
        "{counted:?} {receipts:?}"
    );
}

const BAD: &str = "malformed-request";

/// Request lines, up to their version.
const LINES: [&str; 31] = [
    "get /echo ",
    "Get /echo ",
    "GE T /echo ",
    "GET  /echo ",
    "GET /echo  ",
    "GET\t/echo\t",
    "G@T /echo ",
    "GET //echo ",
    "GET /a//b ",
    "GET /a%2f..%2fb ",
    "GET /a%2F%2Fb ",
    "GET /a%2F ",
    "GET /a%2Fb%252Fc ",
    "GET /a%5cb ",
    "GET /a\\b ",
    "GET /../echo ",
    "GET /a/../echo ",
    "GET /a/%2e%2e/echo ",
    "GET /./echo ",
    "GET /echo;x=y ",
    "GET /echo%00 ",
    "GET /echo% ",
    "GET /echo%zz ",
    "GET /echo#part ",
    "GET echo ",
    "GET * ",
    "GET api.test:443 ",
    "GET ftp://api.test/echo ",
    "GET /e\u{e9} ",
    "GET /echo?a=%zz ",
    "GET https://user@api.test/echo ",
];

#[tokio::test(flavor = "multi_thread")]
async fn framing_that_two_parsers_read_differently_is_refused() {
    let cases: Vec<(String, u16, &str)> = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "Content-Length: +5\r\n\r\nhello",
        "Content-Length: 5, 5\r\n\r\nhello",
        "Content-Length: 0x5\r\n\r\nhello",
        "Content-Length: 05\r\n\r\nhello",
        "Content-Length: -1\r\n\r\n",
        "Content-Length:\r\n\r\n",
        "Content_Length: 5\r\n\r\nhello",
        "Content-Length : 5\r\n\r\nhello",
        "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: identity\r\n\r\n",
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "X: y\r\n folded\r\n\r\n",
        "X: y\n\r\n",
        "X: y\rZ: z\r\n\r\n",
        "X: a\0b\r\n\r\n",
        "no colon here\r\n\r\n",
        ": no name\r\n\r\n",
        "Host: api.test\r\n\r\n",
        "Host: open.test\r\n\r\n",
        "Expect: 200-ok\r\n\r\n",
        "Connection: Authorization\r\n\r\n",
        "Authorization: a\r\nAuthorization: b\r\n\r\n",
        "Content-Type: a/b\r\nContent-Type: c/d\r\n\r\n",
        "X-HTTP-Method-Override: DELETE\r\n\r\n",
        "X-Method-Override: DELETE\r\n\r\n",
        "X-Http_Method-Override: DELETE\r\n\r\n",
        "X-Original-URL: /admin\r\n\r\n",
        "X-Rewrite-URL: /admin\r\n\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
        "Upgrade: websocket\r\n\r\n",
    ]
    .into_iter()
    .map(|fields| (format!("POST /upload HTTP/1.1\r\nHost: api.test\r\n{fields}"), 400, BAD))
    .collect();
    let cases: Vec<_> = cases
        .iter()
        .map(|(text, status, reason)| (text.as_str(), *status, *reason))
        .collect();
    refuses(Place::Tunnel, &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_lines_that_mean_two_things_are_refused() {
    let long = format!(
        "GET /{} HTTP/1.1\r\nHost: api.test\r\n\r\n",
        "a".repeat(17 * 1024)
    );
    let host = "HTTP/1.1\r\nHost: api.test\r\n\r\n";
    let requests: Vec<String> = LINES.iter().map(|line| format!("{line}{host}")).collect();
    let mut cases: Vec<_> = requests
        .iter()
        .map(|request| (request.as_str(), 400, BAD))
        .collect();
    cases.extend([
        ("GET /echo HTTP/2.0\r\nHost: api.test\r\n\r\n", 400, BAD),
        ("GET /echo HTTP/1.0\r\nHost: api.test\r\n\r\n", 400, BAD),
        ("GET /echo HTTP/0.9\r\nHost: api.test\r\n\r\n", 400, BAD),
        ("GET /echo\r\n\r\n", 400, BAD),
        ("\r\nGET /echo HTTP/1.1\r\nHost: api.test\r\n\r\n", 400, BAD),
        ("GET /echo HTTP/1.1\nHost: api.test\n\n", 400, BAD),
        ("GET /echo HTTP/1.1\r\n\r\n", 400, BAD),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, BAD),
        (&long, 400, BAD),
        (
            "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n",
            400,
            BAD,
        ),
        (
            "CONNECT elsewhere.test:443 HTTP/1.1\r\nHost: elsewhere.test:443\r\n\r\n",
            400,
            BAD,
        ),
        // Well-formed, but no tool has this method.
        (
            "TRACE /echo HTTP/1.1\r\nHost: api.test\r\n\r\n",
            403,
            "tool-unknown",
        ),
        ("OPTIONS * HTTP/1.1\r\nHost: api.test\r\n\r\n", 400, BAD),
        (
            "PROPFIND /echo HTTP/1.1\r\nHost: api.test\r\n\r\n",
            403,
            "tool-unknown",
        ),
    ]);
    refuses(Place::Tunnel, &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_disagree_are_refused_inside_a_tunnel() {
    let cases = [
        (
            "GET /echo HTTP/1.1\r\nHost: open.test\r\n\r\n",
            421,
            "target-mismatch",
        ),
        (
            "GET /echo HTTP/1.1\r\nHost: api.test:80\r\n\r\n",
            421,
            "target-mismatch",
        ),
        (
            "GET http://api.test/echo HTTP/1.1\r\nHost: api.test\r\n\r\n",
            421,
            "target-mismatch",
        ),
        (
            "GET https://open.test/echo HTTP/1.1\r\nHost: open.test\r\n\r\n",
            421,
            "target-mismatch",
        ),
        (
            "GET https://open.test/echo HTTP/1.1\r\nHost: api.test\r\n\r\n",
            400,
            BAD,
        ),
        (
            "GET https://api.test/echo HTTP/1.1\r\nHost: open.test\r\n\r\n",
            400,
            BAD,
        ),
        ("GET /echo HTTP/1.1\r\nHost: api.test.\r\n\r\n", 400, BAD),
        (
            "GET /echo HTTP/1.1\r\nHost: api.test, open.test\r\n\r\n",
            400,
            BAD,
        ),
        (
            "GET /echo HTTP/1.1\r\nHost: api.test:443:80\r\n\r\n",
            400,
            BAD,
        ),
        ("GET /echo HTTP/1.1\r\nHost: a@api.test\r\n\r\n", 400, BAD),
        ("GET /echo HTTP/1.1\r\nHost:\r\n\r\n", 400, BAD),
        ("GET /echo HTTP/1.0\r\n\r\n", 400, BAD),
    ];
    refuses(Place::Tunnel, &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_is_read_strictly_and_leads_only_to_declared_names() {
    let unknown = "tool-unknown";
    let targets = [
        ("elsewhere.test:443", 403, unknown),
        ("api.test:22", 403, unknown),
        ("open.test:25", 403, unknown),
        ("127.0.0.1:443", 403, unknown),
        ("169.254.169.254:80", 403, unknown),
        ("[::1]:443", 403, unknown),
        ("[fd00:ec2::254]:80", 403, unknown),
        ("[::ffff:169.254.169.254]:80", 403, unknown),
        ("metadata.google.internal:80", 403, unknown),
        ("0.0.0.0:80", 403, unknown),
        ("2852039166:80", 400, BAD),
        ("0xa9fea9fe:80", 400, BAD),
        ("0251.0376.0251.0376:80", 400, BAD),
        ("127.1:443", 400, BAD),
        ("api.test.:443", 400, BAD),
        ("api.test", 400, BAD),
        ("api.test:", 400, BAD),
        ("api.test:0", 400, BAD),
        ("api.test:65536", 400, BAD),
        ("api.test:443/echo", 400, BAD),
        ("https://api.test:443", 400, BAD),
        ("user@api.test:443", 400, BAD),
        ("", 400, BAD),
        ("*", 400, BAD),
    ];
    let requests: Vec<String> = targets
        .iter()
        .map(|(target, ..)| format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"))
        .collect();
    let mut cases: Vec<_> = requests
        .iter()
        .zip(targets)
        .map(|(request, (_, status, reason))| (request.as_str(), status, reason))
        .collect();
    cases.extend([
        ("CONNECT api.test:443 HTTP/1.1\r\nHost: open.test:443\r\n\r\n", 400, BAD),
        ("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:444\r\n\r\n", 400, BAD),
        ("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\nHost: api.test:443\r\n\r\n", 400, BAD),
        ("CONNECT api.test:443 HTTP/1.1\r\n\r\n", 400, BAD),
        ("CONNECT api.test:443 HTTP/1.0\r\nHost: open.test:443\r\n\r\n", 400, BAD),
        ("CONNECT api.test HTTP/1.0\r\n\r\n", 400, BAD),
        ("CONNECT api.test:443 HTTP/1.1\nHost: api.test:443\r\n\r\n", 400, BAD),
        ("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n X: y\r\n\r\n", 400, BAD),
        ("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\nContent-Length: 4\r\n\r\nbody", 400, BAD),
        ("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\nTransfer-Encoding: chunked\r\n\r\n", 400, BAD),
        ("CONNECT  api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n", 400, BAD),
        ("connect api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n", 400, BAD),
        ("\x16\x03\x01\x02\x00garbage that looks like TLS\r\n\r\n", 400, BAD),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", 400, BAD),
    ]);
    refuses(Place::Listener, &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_url_over_plain_http_is_held_to_the_same_rules() {
    let cases = [
        ("GET /echo HTTP/1.1\r\nHost: plain.test\r\n\r\n", 400, BAD),
        (
            "GET http://plain.test/echo HTTP/1.1\r\nHost: api.test\r\n\r\n",
            400,
            BAD,
        ),
        (
            "GET http://plain.test:8080/echo HTTP/1.1\r\nHost: plain.test\r\n\r\n",
            400,
            BAD,
        ),
        (
            "GET https://api.test/echo HTTP/1.1\r\nHost: api.test\r\n\r\n",
            400,
            BAD,
        ),
        (
            "GET http://plain.test//echo HTTP/1.1\r\nHost: plain.test\r\n\r\n",
            400,
            BAD,
        ),
        (
            "GET http://plain.test/a%2fb HTTP/1.1\r\nHost: plain.test\r\n\r\n",
            422,
            "arguments-invalid",
        ),
        (
            "DELETE http://plain.test/echo HTTP/1.1\r\nHost: plain.test\r\n\r\n",
            403,
            "tool-unknown",
        ),
        (
            "GET http://api.test/echo HTTP/1.1\r\nHost: api.test\r\n\r\n",
            403,
            "tool-unknown",
        ),
        (
            "GET http://elsewhere.test/echo HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n",
            403,
            "tool-unknown",
        ),
        (
            "GET http://169.254.169.254/latest HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n",
            403,
            "tool-unknown",
        ),
        (
            "GET http://2852039166/latest HTTP/1.1\r\nHost: 2852039166\r\n\r\n",
            400,
            BAD,
        ),
        (
            "GET http://plain.test./echo HTTP/1.1\r\nHost: plain.test.\r\n\r\n",
            400,
            BAD,
        ),
    ];
    refuses(Place::Listener, &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_no_agent_may_reach_stays_out_of_reach_although_a_tool_names_it() {
    let rig = Rig::start().await;
    let port = rig.plain_upstream.address.port();
    for address in [
        format!("127.0.0.1:{port}"),
        "169.254.169.254".to_owned(),
        "[::ffff:10.0.0.1]".to_owned(),
    ] {
        let tools = world::PLAIN_TOOLS.replace("plain.test", &address);
        rig.change(|rules| {
            let tools = [world::TOOLS, world::OPEN_TOOLS, &tools];
            rules.policy = std::sync::Arc::new(world::policy(&tools, world::RULES));
        });
        let request = format!("GET http://{address}/echo HTTP/1.1\r\nHost: {address}\r\n\r\n");
        let answer = ask(rig.address, request.as_bytes()).await.unwrap();
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (403, "target-forbidden"),
            "{address}"
        );
    }
    assert_eq!(rig.plain_upstream.connections(), 0);
    for receipt in rig.receipts(3).await {
        assert_eq!(receipt.outcome.unwrap().result, Ending::RefusedLate);
    }
}
