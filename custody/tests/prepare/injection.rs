//! Each kind in its own slot, an agent's own keys taken off, and credentials that cannot work.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use exeat_custody::{Custody, Error, Kind, Live, Loaded};
use exeat_types::{Origin, Reason, Secret};
use http::HeaderName;

use crate::world::{Call, GITHUB, call, custody, custody_at, github, own, secret, spec};

#[test]
fn a_bearer_is_injected_whatever_the_agent_put_into_its_slot() {
    let custody = custody();
    let ours = own(&custody, "github");
    let pair = BASE64_STANDARD.encode(format!("x-access-token:{ours}"));
    let presented = [
        vec![],
        vec![format!("Bearer {ours}")],
        vec![format!("token {ours}")],
        vec![format!("Basic {pair}")],
        vec![format!("basic  {}", pair.trim_end_matches('='))],
        vec!["Bearer an-own-key-of-the-agent".to_owned()],
        vec![
            "Bearer one".to_owned(),
            format!("Bearer {ours}"),
            "Basic !!!".to_owned(),
        ],
    ];
    for values in presented {
        let call = values
            .iter()
            .fold(github(), |call, value| call.header("authorization", value));
        let sent = call.sent(&custody);
        assert_eq!(
            sent.values("authorization"),
            ["Bearer CANARY-prepare-github"],
            "{values:?}"
        );
    }
}

#[test]
fn the_receipt_learns_which_credential_was_used_and_nothing_of_its_secret() {
    let custody = custody();
    let used = github().prepare(&custody).unwrap().used.unwrap();
    assert_eq!(
        (used.id.as_str(), used.version, used.kind),
        ("github", 1, "bearer")
    );
    assert_eq!(used.thumbprint.len(), 16);
    let again = github().prepare(&custody_at(2)).unwrap().used.unwrap();
    assert_eq!(
        again.thumbprint, used.thumbprint,
        "the same secret has the same thumbprint"
    );
    let other = call(GITHUB, Some("admin"))
        .prepare(&custody)
        .unwrap()
        .used
        .unwrap();
    assert_ne!(other.thumbprint, used.thumbprint);
}

#[test]
fn an_agents_own_keys_are_taken_off_on_a_brokered_origin_and_left_alone_elsewhere() {
    let custody = custody();
    let keys = [
        "authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "x-auth-token",
        "private-token",
    ];
    for credential in [Some("github"), None] {
        let call = keys.iter().fold(call(GITHUB, credential), |call, name| {
            call.header(name, "own-key-1").header(name, "own-key-2")
        });
        let call = call
            .header("cookie", "session=1")
            .header("accept", "application/json");
        let sent = call.sent(&custody);
        for name in keys {
            let expected: &[&str] = if name == "authorization" && credential.is_some() {
                &["Bearer CANARY-prepare-github"]
            } else {
                &[]
            };
            assert_eq!(sent.values(name), expected, "{name} with {credential:?}");
        }
        assert_eq!(sent.values("cookie"), ["session=1"]);
        assert_eq!(sent.values("accept"), ["application/json"]);
    }
    let elsewhere = call("https://example.com", None)
        .header("authorization", "Bearer own-key-1")
        .query("key=1");
    let prepared = elsewhere.prepare(&custody).unwrap();
    assert!(prepared.headers.is_empty() && prepared.query.is_none() && prepared.body.is_none());
    assert_eq!(prepared.used, None);
    assert!(!custody.is_brokered(&Origin::parse("https://example.com").unwrap()));
    assert!(custody.is_brokered(&Origin::parse(GITHUB).unwrap()));
}

#[test]
fn a_tool_without_credential_sends_none_even_when_the_agent_presents_its_placeholder() {
    let custody = custody();
    let call = call(GITHUB, None).header(
        "authorization",
        format!("Bearer {}", own(&custody, "github")),
    );
    let prepared = call.prepare(&custody).unwrap();
    assert_eq!(prepared.headers, [(http::header::AUTHORIZATION, None)]);
    assert_eq!(prepared.used, None);
}

#[test]
fn an_api_key_is_injected_into_its_header() {
    let custody = custody();
    let call = call("https://api.anthropic.com", Some("anthropic"))
        .header("x-api-key", own(&custody, "anthropic"))
        .header("authorization", "Bearer own-key")
        .header("anthropic-version", "2023-06-01");
    let sent = call.sent(&custody);
    assert_eq!(sent.values("x-api-key"), ["CANARY-prepare-anthropic"]);
    assert!(sent.values("authorization").is_empty());
    assert_eq!(sent.values("anthropic-version"), ["2023-06-01"]);
}

#[test]
fn basic_sends_the_pair() {
    let custody = custody();
    let sent = call("https://github.com", Some("git"))
        .header("authorization", "Basic YTpi")
        .sent(&custody);
    let pair = BASE64_STANDARD.encode("x-access-token:CANARY-prepare-git");
    assert_eq!(sent.values("authorization"), [format!("Basic {pair}")]);
}

#[test]
fn a_query_key_replaces_every_parameter_of_its_name() {
    let custody = custody();
    let ours = own(&custody, "maps");
    let query_of = |query: Option<&str>, credential| {
        let call = Call {
            query: query.map(str::to_owned),
            ..call("https://maps.example", credential)
        };
        call.sent(&custody).query
    };
    let injected = "key=CANARY%2Fprepare%26maps%3D%221%22";
    assert_eq!(query_of(None, Some("maps")).unwrap(), injected);
    assert_eq!(query_of(Some(""), Some("maps")).unwrap(), injected);
    let mixed = format!("q=a%20b&key={ours}&k%65y=own&x&key=3");
    assert_eq!(
        query_of(Some(&mixed), Some("maps")).unwrap(),
        format!("q=a%20b&x&{injected}")
    );
    assert_eq!(query_of(Some("key=own"), None), None);
    assert_eq!(query_of(Some("key=own&q=1"), None).unwrap(), "q=1");
}

#[test]
fn credentials_that_cannot_work_are_all_reported_when_custody_is_built() {
    let x_key = || Kind::ApiKeyHeader(HeaderName::from_static("x-key"));
    let loaded = vec![
        Loaded::new(spec("short", Kind::Bearer, &[GITHUB]), secret("CANARY"), 1),
        Loaded::new(
            spec("lines", Kind::Bearer, &[GITHUB]),
            secret("CANARY-line-1\nCANARY-line-2"),
            1,
        ),
        Loaded::new(
            spec("nowhere", Kind::Bearer, &[]),
            secret("CANARY-nowhere"),
            1,
        ),
        Loaded::new(
            spec("padded", x_key(), &[GITHUB]),
            secret("CANARY-padded "),
            1,
        ),
        Loaded::new(
            spec("binary", x_key(), &[GITHUB]),
            Secret::new(b"CANARY-\xff\xfe".to_vec()),
            1,
        ),
        Loaded::new(
            spec(
                "colon",
                Kind::Basic {
                    username: "a:b".to_owned(),
                },
                &[GITHUB],
            ),
            secret("CANARY-colon"),
            1,
        ),
        Loaded::new(
            spec("unnamed", Kind::ApiKeyQuery(String::new()), &[GITHUB]),
            secret("CANARY-unnamed"),
            1,
        ),
        Loaded::new(spec("twice", x_key(), &[GITHUB]), secret("CANARY-twice"), 1),
        Loaded::new(spec("twice", x_key(), &[GITHUB]), secret("CANARY-twice"), 1),
    ];
    let problems: Vec<Error> =
        Custody::build(loaded, &[], &secret("CANARY-key"), &Live::new().unwrap())
            .err()
            .unwrap();
    let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(
        problems
            .iter()
            .all(|problem| problem.reason() == Reason::CredentialDead)
    );
    insta::assert_snapshot!(text.join("\n"), @r"
    secret `short` has 6 bytes, expected 8 to 65536
    credential `lines` has a secret that cannot stand in a header, such as one of several lines
    credential `nowhere` is bound to no origin
    credential `padded` has a secret that begins or ends with a space
    credential `binary` has a secret that is not text in UTF-8
    credential `colon` has a username with a colon or a control character
    credential `unnamed` has no name for its query parameter
    credential `twice` is defined twice
    ");
}

#[test]
fn whatever_was_injected_is_redacted_from_an_echo_and_placeholders_pass() {
    let custody = custody();
    let patterns = custody.live().patterns();
    let cases = [
        call(GITHUB, Some("github")),
        call("https://api.anthropic.com", Some("anthropic")),
        call("https://github.com", Some("git")),
        call("https://maps.example", Some("maps")),
    ];
    for case in cases {
        let sent = case.sent(&custody);
        let values = sent.headers.iter().map(|(_, value)| value.as_str());
        for value in values.chain(sent.query.as_deref()) {
            let echo = format!("{{\"you sent\":\"{value}\"}}");
            let clean = patterns.scrub(echo.as_bytes()).unwrap();
            let clean = String::from_utf8(clean).unwrap();
            let credential = case.credential.unwrap();
            assert!(
                clean.contains(&format!("[redacted:{credential}]")),
                "{clean}"
            );
            assert!(
                !clean.contains("CANARY") && !clean.contains("Q0FOQVJ"),
                "{clean}"
            );
        }
    }
    for credential in ["github", "anthropic", "git", "maps"] {
        let echo = format!("token {} works", own(&custody, credential));
        assert_eq!(patterns.scrub(echo.as_bytes()), None, "{echo}");
    }
}
