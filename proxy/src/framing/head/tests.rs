//! One row for each rule of a head, with the code that names it.

use proptest::prelude::{
    ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};

use super::{Framing, Head, parse};
use crate::framing::{Limits, Target, Violation};

fn read(text: &[u8]) -> Result<Option<Head>, Violation> {
    parse(text, &Limits::STANDARD)
}

#[track_caller]
pub(in crate::framing) fn good(text: &str) -> Head {
    let head = read(text.as_bytes()).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    let head = head.unwrap_or_else(|| panic!("{text:?} is not complete"));
    assert!(
        text.get(..head.bytes).unwrap().ends_with("\r\n\r\n"),
        "{text:?}"
    );
    head
}

/// The head is refused with this code, and also when anything follows it or it comes byte by byte.
#[track_caller]
pub(in crate::framing) fn bad(code: &str, text: &str) {
    let violation = read(text.as_bytes()).expect_err(text);
    assert_eq!(violation.code, code, "{text:?}: {violation}");
    let longer = format!("{text}GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(
        read(longer.as_bytes()),
        Err(violation.clone()),
        "{longer:?}"
    );
    let first = (0..=text.len()).find_map(|end| read(text.as_bytes().get(..end).unwrap()).err());
    assert_eq!(first, Some(violation), "{text:?}");
}

/// A GET to host `a` with these header lines.
#[track_caller]
fn bad_header(code: &str, lines: &str) {
    bad(
        code,
        &format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n"),
    );
}

#[track_caller]
fn good_header(lines: &str) -> Head {
    good(&format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n"))
}

#[test]
fn an_ordinary_head_is_read_once() {
    let head = good(
        "POST /a?b=c HTTP/1.1\r\nHost: API.example:8443\r\nContent-Length: 12\r\nExpect: 100-Continue\r\n\r\nbody",
    );
    assert_eq!(head.method, "POST");
    assert_eq!(head.target, Target::Origin("/a?b=c".into()));
    assert_eq!(head.host.host.to_string(), "api.example");
    assert_eq!(head.host.port, Some(8443));
    assert_eq!(head.framing, Framing::Length(12));
    assert!(head.expect && !head.upgrade && head.proxy_authorization.is_none());
}

#[test]
fn heads_wait_for_their_last_byte() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nX: \u{e9}\t y\r\n\r\n";
    for end in 0..text.len() {
        assert_eq!(read(text.as_bytes().get(..end).unwrap()), Ok(None), "{end}");
    }
    assert_eq!(good(text).framing, Framing::None);
}

#[test]
fn the_place_of_proxy_authorization_is_known_and_its_value_is_not_copied() {
    let text = "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nProxy-Authorization:  Bearer CANARY-token \r\n\r\n";
    let head = good(text);
    assert_eq!(
        text.get(head.proxy_authorization.clone().unwrap()),
        Some("Bearer CANARY-token")
    );
    assert!(!format!("{head:?}").contains("CANARY"));
}

#[test]
fn request_lines_have_one_form() {
    bad("request-line", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n");
    bad("version", "GET / \r\n\r\n");
    bad("request-line", "GET /\r\n\r\n");
    bad("request-line", "GET / x HTTP/1.1\r\nHost: a\r\n\r\n");
    bad("request-line", " GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    bad("request-line", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n");
    bad("method", "GET\t/ HTTP/1.1 x\r\nHost: a\r\n\r\n");
    bad("method", "get / HTTP/1.1\r\nHost: a\r\n\r\n");
    bad("method", "Get / HTTP/1.1\r\nHost: a\r\n\r\n");
    bad("method", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n");
    bad("method", "_GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    bad(
        "method",
        &format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "A".repeat(33)),
    );
    bad("version", "PRI * HTTP/2.0\r\n\r\n");
    bad("version", "GET / HTTP/0.9\r\nHost: a\r\n\r\n");
    bad("version", "GET / HTTP/1.2\r\nHost: a\r\n\r\n");
    bad("version", "GET / http/1.1\r\nHost: a\r\n\r\n");
    bad("version", "GET / HTTP/1.10\r\nHost: a\r\n\r\n");
    bad("control-character", "\x16\x03\x01\x02");
    good("PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n");
    good("M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn lines_end_in_crlf_and_nothing_else() {
    bad(
        "leading-empty-line",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    bad("bare-lf", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    bad("bare-lf", "GET / HTTP/1.1\nHost: a\n\n");
    bad("bare-lf", "GET / HTTP/1.1\r\nHost: a\n\r\n");
    bad("bare-lf", "GET / HTTP/1.1\r\nHost: a\r\nX: b\n\n");
    bad("bare-cr", "GET / HTTP/1.1\rHost: a\r\n\r\n");
    bad(
        "bare-cr",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\rContent-Length: 5\r\n\r\n",
    );
    bad("bare-cr", "GET / HTTP/1.1\r\nHost: a\r\n\rX: b\r\n\r\n");
    bad("bare-cr", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n");
    bad(
        "obs-fold",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n",
    );
    bad(
        "obs-fold",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n",
    );
    bad("obs-fold", "GET / HTTP/1.1\r\n Host: a\r\n\r\n");
    bad_header("control-character", "X: a\0b");
    bad_header("control-character", "X: a\x0bb");
    bad_header("control-character", "X: a\x7fb");
    bad_header("control-character", "X\0: b");
}

#[test]
fn header_names_are_tokens_next_to_their_colon() {
    bad_header("header-name", "Content-Length : 5");
    bad_header("header-name", "Content-Length\t: 5");
    bad_header("header-name", "Transfer Encoding: chunked");
    bad_header("header-name", ": x");
    bad_header("header-name", "\u{e9}: x");
    bad_header("header-name", "X(: x");
    bad_header("header-line", "Content-Length 5");
    bad_header("header-lookalike", "Content_Length: 5");
    bad_header("header-lookalike", "Transfer_Encoding: chunked");
    bad_header("header-lookalike", "proxy_authorization: x");
    good_header("X_Y: z");
    good_header("Empty:");
}

#[test]
fn content_length_is_one_decimal_number() {
    for wrong in [
        "5, 5",
        "5,6",
        "+5",
        "-5",
        "0x5",
        "5 5",
        "05",
        "",
        "5;",
        "five",
        "18446744073709551616",
        "1e3",
        "5.0",
    ] {
        bad_header("content-length", &format!("Content-Length: {wrong}"));
    }
    bad_header("duplicate-header", "Content-Length: 5\r\nContent-Length: 5");
    bad_header("duplicate-header", "Content-Length: 5\r\ncontent-length: 6");
    assert_eq!(good_header("Content-Length: 0").framing, Framing::Length(0));
    assert_eq!(
        good_header("Content-Length: 18446744073709551615").framing,
        Framing::Length(u64::MAX)
    );
}

#[test]
fn transfer_encoding_is_chunked_or_absent() {
    for wrong in [
        "identity",
        "chunked, identity",
        "gzip, chunked",
        "chunked, chunked",
        ", chunked",
        "chunked,",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
        "",
        "chunked identity",
        "\u{b}chunked",
    ] {
        let code = if wrong.starts_with('\u{b}') {
            "control-character"
        } else {
            "transfer-encoding"
        };
        bad_header(code, &format!("Transfer-Encoding: {wrong}"));
    }
    bad_header(
        "duplicate-header",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    );
    bad_header(
        "duplicate-header",
        "Transfer-Encoding: chunked\r\nTransfer-encoding: chunked",
    );
    bad_header(
        "length-and-encoding",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
    );
    bad_header(
        "length-and-encoding",
        "Transfer-Encoding: x\r\nContent-Length: 5",
    );
    bad(
        "transfer-encoding",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    assert_eq!(
        good_header("Transfer-Encoding: Chunked").framing,
        Framing::Chunked
    );
    assert_eq!(
        good_header("Transfer-Encoding:\tchunked ").framing,
        Framing::Chunked
    );
}

#[test]
fn hop_by_hop_headers_cannot_change_the_request() {
    for wrong in [
        "Host",
        "close, Authorization",
        "Content-Length",
        "Transfer-Encoding",
        "X-Api-Key",
        "close;x",
        "\"close\"",
    ] {
        bad_header("connection", &format!("Connection: {wrong}"));
    }
    good_header("Connection: keep-alive, TE");
    good_header("Connection: close,\r\nConnection: Keep-Alive");
    for name in [
        "X-HTTP-Method-Override",
        "x-http-method",
        "X-Method-Override",
        "X_HTTP_Method_Override",
        "X-Original-URL",
    ] {
        bad_header("override", &format!("{name}: DELETE"));
    }
    bad_header("expect", "Expect: 200-ok");
    bad_header(
        "duplicate-header",
        "Expect: 100-continue\r\nExpect: 100-continue",
    );
    bad_header("duplicate-header", "Authorization: a\r\nAuthorization: b");
}

#[test]
fn only_websocket_may_upgrade() {
    assert!(good_header("Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade").upgrade);
    bad_header("upgrade", "Upgrade: websocket");
    bad_header("upgrade", "Upgrade: websocket\r\nConnection: close");
    bad_header("upgrade", "Upgrade: h2c\r\nConnection: upgrade");
    bad_header("upgrade", "Upgrade: websocket, h2c\r\nConnection: upgrade");
    bad_header("upgrade", "Upgrade: \r\nConnection: upgrade");
    bad_header("upgrade", "HTTP2-Settings: AAMAAABk");
    bad_header(
        "upgrade",
        "Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 5",
    );
    bad_header(
        "duplicate-header",
        "Upgrade: websocket\r\nUpgrade: h2c\r\nConnection: upgrade",
    );
    bad(
        "upgrade",
        "POST / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    );
    bad(
        "upgrade",
        "GET / HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    );
}

#[test]
fn heads_are_bounded() {
    bad_header("too-many-fields", "A: b\r\n".repeat(128).trim_end());
    good_header("A: b\r\n".repeat(127).trim_end());
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(64 * 1024));
    assert_eq!(read(long.as_bytes()).unwrap_err().code, "head-too-large");
    let fits = 64 * 1024 - "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
    good_header(&format!("X: {}", "a".repeat(fits)));
    let over = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "a".repeat(fits + 1)
    );
    assert_eq!(read(over.as_bytes()).unwrap_err().code, "head-too-large");
}

#[test]
fn violations_name_the_header_and_never_its_value() {
    for lines in [
        "Authorization: CANARY-a\0",
        "Content-Length: CANARY-b",
        "CANARY-c",
        "Transfer-Encoding: CANARY-d",
    ] {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n");
        let violation = read(text.as_bytes()).unwrap_err();
        assert!(!violation.to_string().contains("CANARY"), "{violation}");
    }
    let violation = read(b"GET / HTTP/1.1\r\nHost: a\r\nX-Key: \x01").unwrap_err();
    assert_eq!(
        violation.to_string(),
        "header `x-key` has a control character"
    );
}

/// Pieces of heads, good and bad, so that random heads are near the grammar.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "GET / HTTP/1.1\r\n",
        "POST http://a/x HTTP/1.1\r\n",
        "Host: a\r\n",
        "Host: b\r\n",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "X: y\r\n",
        "\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        ":",
        "Connection: close\r\n",
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\n",
        "Expect: 100-continue\r\n",
        "CONNECT a:1 HTTP/1.1\r\n",
    ];
    prop_oneof![
        8 => prop::sample::select(known.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_panic_and_what_is_accepted_reads_the_same_in_httparse(pieces in prop::collection::vec(piece(), 0..12)) {
        let bytes = pieces.concat();
        if let Ok(Some(head)) = read(&bytes) {
            let mut fields = [httparse::EMPTY_HEADER; 256];
            let mut other = httparse::Request::new(&mut fields);
            prop_assert_eq!(other.parse(&bytes), Ok(httparse::Status::Complete(head.bytes)));
            prop_assert_eq!(other.method, Some(head.method.as_str()));
            let hosts = other.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("host")).count();
            prop_assert!(hosts <= 1);
            let framing = |name: &str| other.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
            let expect = match head.framing {
                Framing::None => (0, 0),
                Framing::Length(_) => (1, 0),
                Framing::Chunked => (0, 1),
            };
            prop_assert_eq!((framing("content-length"), framing("transfer-encoding")), expect);
        }
    }

    #[test]
    fn one_changed_byte_never_panics(at in 0_usize..120, byte in any::<u8>()) {
        let mut bytes = b"POST /x?y HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nConnection: close\r\nX-Long: abc\r\n\r\nabc".to_vec();
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        if let Ok(Some(head)) = read(&bytes) {
            prop_assert!(head.bytes <= bytes.len());
        }
    }
}
