//! Hosts and targets that have one reading, and those that have two.

use super::Target;
use crate::framing::head::tests::{bad, good};

#[test]
fn a_request_names_one_host() {
    bad("host", "GET / HTTP/1.1\r\n\r\n");
    bad("host", "GET / HTTP/1.0\r\n\r\n");
    bad(
        "duplicate-header",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    );
    bad(
        "duplicate-header",
        "GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n",
    );
    for wrong in [
        "", "a b", "a,b", "user@a", "a/b", "a:0", "a:", "127.1", "0x7f.1", "a.", "[::1", "\u{e9}",
    ] {
        bad("host", &format!("GET / HTTP/1.1\r\nHost: {wrong}\r\n\r\n"));
    }
    bad("host", "GET http://a/ HTTP/1.1\r\n\r\n");
    bad("host", "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n");
    bad("host", "GET http://a:8080/ HTTP/1.1\r\nHost: a\r\n\r\n");
    bad("host", "GET https://a/ HTTP/1.1\r\nHost: a:80\r\n\r\n");
    assert_eq!(
        good("GET http://A:80/x HTTP/1.1\r\nHost: a\r\n\r\n")
            .host
            .port,
        Some(80)
    );
    assert_eq!(
        good("GET http://a/x HTTP/1.0\r\n\r\n")
            .host
            .host
            .to_string(),
        "a"
    );
}

#[test]
fn targets_have_one_reading() {
    let absolute = good("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(matches!(absolute.target, Target::Absolute { path, .. } if path == "/"));
    assert_eq!(
        good("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").target,
        Target::Asterisk
    );
    for wrong in [
        "*",
        "a",
        "a:80",
        "//",
        "http:/a",
        "HTTP://a/",
        "ftp://a/",
        "http://",
        "http:///x",
        "http://a?x",
        "http://u@a/",
        "http://a%2eb/",
        "/a#b",
        "http://a/#b",
        "/\u{e9}",
        "http://a.:80/",
        "file:///etc/passwd",
        "?x",
    ] {
        let text = format!("GET {wrong} HTTP/1.1\r\nHost: a\r\n\r\n");
        if wrong == "//" {
            good(&text);
        } else {
            bad("target", &text);
        }
    }
    bad(
        "target-too-large",
        &format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(16 * 1024)),
    );
}

#[test]
fn connect_names_host_and_port_and_has_no_body() {
    let head = good("CONNECT API.example:443 HTTP/1.1\r\nHost: api.example\r\n\r\n");
    assert!(matches!(head.target, Target::Authority(_)));
    assert_eq!(good("CONNECT a:443 HTTP/1.0\r\n\r\n").host.port, Some(443));
    bad("host", "CONNECT a:443 HTTP/1.1\r\n\r\n");
    bad("host", "CONNECT a:443 HTTP/1.1\r\nHost: b:443\r\n\r\n");
    bad("host", "CONNECT a:443 HTTP/1.1\r\nHost: a:80\r\n\r\n");
    bad("connect", "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n");
    bad(
        "connect",
        "CONNECT http://a:443/ HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    bad("connect", "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n");
    bad(
        "connect",
        "CONNECT 2130706433:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    bad(
        "connect",
        "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Length: 5\r\n\r\n",
    );
    bad(
        "connect",
        "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
}
