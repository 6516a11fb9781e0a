//! Tokens that responses hand out: what the agent gets instead, where that resolves, and where it does not.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use exeat_custody::{
    Custody, MintRule, MintedAt, MintedPart, Minting, Slot,
    redact::{TextRules, Unsafe, Written},
};
use exeat_types::{MintForm, Origin, Reach, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::world::{Call, GITHUB, agent, call, custody, own};

const ISSUER: &str = "https://login.example";
const API: &str = "https://api.example";

fn rules(form: MintForm) -> Vec<MintRule> {
    let to: Reach = API.parse().unwrap();
    MintRule::known(form, &[to], &Origin::parse(ISSUER).unwrap())
}

fn minting(rules: &[MintRule]) -> Minting<'_> {
    static AGENT: std::sync::LazyLock<exeat_types::AgentId> =
        std::sync::LazyLock::new(|| agent("claude"));
    Minting {
        agent: &AGENT,
        rules,
        now: Timestamp::from_millis(0),
    }
}

fn try_mint(custody: &Custody, rules: &[MintRule], body: &str) -> Result<String, Unsafe> {
    let asked = (&TextRules::default(), Written::Json);
    let rewritten = custody.mint(&minting(rules), body.as_bytes(), asked)?;
    Ok(String::from_utf8(rewritten.body).unwrap())
}

#[track_caller]
fn mint(custody: &Custody, form: MintForm, body: &str) -> String {
    let out = try_mint(custody, &rules(form), body).unwrap();
    assert!(!out.contains("CANARY"), "{out}");
    out
}

/// The string at a pointer of a document.
fn at(document: &str, pointer: &str) -> String {
    let document: serde_json::Value = serde_json::from_str(document).unwrap();
    document
        .pointer(pointer)
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned()
}

fn bearer(placeholder: &str) -> Call {
    call(API, None).header("authorization", format!("Bearer {placeholder}"))
}

fn refresh(placeholder: &str) -> Call {
    call(ISSUER, None)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!(
            "grant_type=refresh_token&refresh_token={placeholder}"
        ))
}

const ANSWER: &str = r#"{ "access_token": "gho_CANARYminted0123456789012345678901",
 "expires_in": 60, "refresh_token":"CANARY-minted\/refresh+1", "scope": "a b" }"#;

#[test]
fn an_agent_that_does_oauth_by_itself_holds_placeholders_that_work() {
    let custody = custody();
    let got = mint(&custody, MintForm::Oauth, ANSWER);
    assert_eq!(at(&got, "/scope"), "a b");
    assert!(
        got.contains("\n \"expires_in\": 60"),
        "the rest is as it came: {got}"
    );
    let (access, again) = (at(&got, "/access_token"), at(&got, "/refresh_token"));
    assert!(access.starts_with("gho_") && access.len() == 40, "{access}");
    let sent = bearer(&access).at(59).sent(&custody);
    assert_eq!(
        sent.values("authorization"),
        ["Bearer gho_CANARYminted0123456789012345678901"]
    );
    assert_eq!(bearer(&access).prepare(&custody).unwrap().minted, 1);
    let pair = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
    let git = call(API, None).header("authorization", pair(&format!("x-access-token:{access}")));
    let expect = pair("x-access-token:gho_CANARYminted0123456789012345678901");
    assert_eq!(git.sent(&custody).values("authorization"), [expect]);
    // A refresh token lives on, and goes back to its issuer only.
    let sent = refresh(&again).at(1_000_000).sent(&custody);
    assert_eq!(
        sent.body.unwrap(),
        "grant_type=refresh_token&refresh_token=CANARY-minted%2Frefresh%2B1"
    );
    let json = call(ISSUER, None).body(format!(r#"{{"refresh_token": "{again}"}}"#));
    let sent = json.sent(&custody).body.unwrap();
    assert_eq!(sent, r#"{"refresh_token": "CANARY-minted/refresh+1"}"#);
    // What upstream echoes is cleaned.
    let echo = custody
        .live()
        .patterns()
        .scrub(b"you sent CANARY-minted/refresh+1")
        .unwrap();
    assert_eq!(echo, b"you sent [redacted:minted]");
}

#[test]
fn a_minted_placeholder_resolves_nowhere_else() {
    let custody = custody();
    let got = mint(&custody, MintForm::Oauth, ANSWER);
    let (access, again) = (at(&got, "/access_token"), at(&got, "/refresh_token"));
    let place = "header.authorization";
    bearer(&access).by("codex").misused(&custody, place);
    bearer(&again).misused(&custody, place);
    let with = |call: Call, value: &str| call.header("authorization", format!("Bearer {value}"));
    with(call("https://evil.example", None), &access).misused(&custody, place);
    with(call("http://api.example", None), &access).misused(&custody, place);
    with(call(GITHUB, None), &access).misused(&custody, place);
    // A tool with a credential carries that one and no other.
    with(call(GITHUB, Some("github")), &access).misused(&custody, place);
    bearer(&access)
        .header("authorization", "Bearer x")
        .misused(&custody, place);
    bearer(&format!("{access} {access}")).misused(&custody, place);
    call(API, None)
        .header("x-note", access.clone())
        .misused(&custody, "header.x-note");
    call(API, None)
        .query(format!("access_token={access}"))
        .misused(&custody, "query.access_token");
    call(API, None)
        .path(format!("/{access}"))
        .misused(&custody, "path");
    call(API, None)
        .body(format!(r#"{{"refresh_token":"{access}"}}"#))
        .misused(&custody, "body");
    refresh(&access).misused(&custody, "body.refresh_token");
    refresh(&again)
        .by("codex")
        .misused(&custody, "body.refresh_token");
    let state = refresh("x").body(format!("state={again}"));
    state.misused(&custody, "body.state");
    let json = format!(r#"{{"refresh_token":"{again}","copy":"{again}"}}"#);
    call(ISSUER, None).body(json).misused(&custody, "body");
}

#[test]
fn an_expired_or_forgotten_token_is_stale() {
    let (custody, restarted) = (custody(), custody());
    let got = mint(&custody, MintForm::Oauth, ANSWER);
    let (access, again) = (at(&got, "/access_token"), at(&got, "/refresh_token"));
    bearer(&access).at(60).stale(&custody);
    // A gate that was started anew knows what it was, and whose.
    bearer(&access).stale(&restarted);
    refresh(&again).stale(&restarted);
    bearer(&access)
        .by("codex")
        .misused(&restarted, "header.authorization");
    call(API, None)
        .header("x-note", access)
        .misused(&restarted, "header.x-note");
}

#[test]
fn the_oldest_token_of_an_agent_goes_when_there_are_too_many() {
    let custody = custody();
    let answer = |number: usize| format!(r#"{{"access_token":"CANARY-minted-many-{number:04}"}}"#);
    let first = at(
        &mint(&custody, MintForm::Oauth, &answer(0)),
        "/access_token",
    );
    let kept = at(
        &mint(&custody, MintForm::Oauth, &answer(1)),
        "/access_token",
    );
    for number in 2..65 {
        mint(&custody, MintForm::Oauth, &answer(number));
    }
    bearer(&first).stale(&custody);
    let sent = bearer(&kept).sent(&custody);
    assert_eq!(
        sent.values("authorization"),
        ["Bearer CANARY-minted-many-0001"]
    );
    let clean = custody.live().patterns().scrub(b"CANARY-minted-many-0001");
    assert_eq!(clean.unwrap(), b"[redacted:minted]");
}

#[test]
fn claims_stay_readable_and_are_no_token() {
    let custody = custody();
    let claims = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJqYW5lIn0";
    let body = format!(r#"{{"id_token":"{claims}.{}"}}"#, "CANARY".repeat(15));
    let token = at(&mint(&custody, MintForm::Oauth, &body), "/id_token");
    assert!(token.starts_with(&format!("{claims}.")) && token.split('.').count() == 3);
    bearer(&token).misused(&custody, "header.authorization");
    let body = r#"{"id_token":"CANARY-not-a-jwt"}"#;
    assert!(at(&mint(&custody, MintForm::Oauth, body), "/id_token").starts_with("exeat_ph_"));
}

#[test]
fn places_that_the_tool_names_are_rewritten_and_others_are_cleaned() {
    let custody = custody();
    let rule = |at, slot| MintRule {
        at,
        part: MintedPart::Token,
        to: vec![API.parse().unwrap()],
        slots: vec![slot],
    };
    let x_token = HeaderName::from_static("x-token");
    let rules = [
        rule(
            MintedAt::Pointer("/a/0".to_owned()),
            Slot::Header(x_token.clone()),
        ),
        rule(
            MintedAt::Pointer("/b".to_owned()),
            Slot::Query("sig".to_owned()),
        ),
        rule(
            MintedAt::Header(HeaderName::from_static("x-subject-token")),
            Slot::Header(x_token),
        ),
    ];
    let body = r#"{"a":["CANARY-minted-a-1"],"b":"CANARY-minted-b&1","c":"CANARY-prepare-github CANARY-minted-a-1"}"#;
    let got = try_mint(&custody, &rules, body).unwrap();
    assert_eq!(at(&got, "/c"), "[redacted:github] [redacted:minted]");
    let sent = call(API, None)
        .header("x-token", at(&got, "/a/0"))
        .sent(&custody);
    assert_eq!(sent.values("x-token"), ["CANARY-minted-a-1"]);
    let sent = call(API, None)
        .query(format!("sig={}", at(&got, "/b")))
        .sent(&custody);
    assert_eq!(sent.query.unwrap(), "sig=CANARY-minted-b%261");
    let mut headers = HeaderMap::new();
    headers.insert(
        "x-subject-token",
        HeaderValue::from_static("CANARY-minted-h-1"),
    );
    assert_eq!(custody.mint_fields(&minting(&rules), &mut headers), Ok(1));
    let placeholder = headers["x-subject-token"].to_str().unwrap();
    let sent = call(API, None)
        .header("x-token", placeholder)
        .sent(&custody);
    assert_eq!(sent.values("x-token"), ["CANARY-minted-h-1"]);
    headers.append(
        "x-subject-token",
        HeaderValue::from_static("CANARY-minted-h-2"),
    );
    assert!(custody.mint_fields(&minting(&rules), &mut headers).is_err());
}

#[test]
fn keys_of_a_session_sign_in_the_place_of_the_agent() {
    let custody = custody();
    let answer = "<AssumeRoleResponse><Credentials><AccessKeyId>ASIACANARY0000000001</AccessKeyId>\
        <SecretAccessKey>CANARY/minted/secret</SecretAccessKey><SessionToken>CANARY/session==</SessionToken>\
        <Expiration>1970-01-01T01:00:00Z</Expiration></Credentials></AssumeRoleResponse>";
    let got = mint(&custody, MintForm::Sts, answer);
    let element = |name: &str| {
        let (_, rest) = got.split_once(&format!("<{name}>")).unwrap();
        rest.split_once('<').unwrap().0.to_owned()
    };
    let (id, session) = (element("AccessKeyId"), element("SessionToken"));
    assert!(id.starts_with("ASIA"), "{id}");
    let signed = |id: &str| {
        let stated = format!(
            "AWS4-HMAC-SHA256 Credential={id}/19700101/eu-west-1/s3/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature={}",
            "0".repeat(64)
        );
        call(API, None)
            .header("authorization", stated)
            .header("x-amz-date", "19700101T000000Z")
            .header("x-amz-security-token", session.clone())
    };
    let prepared = signed(&id).prepare(&custody).unwrap();
    assert!(prepared.finish.is_some() && prepared.minted == 1);
    let taken: Vec<&str> = prepared
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(taken, ["authorization", "x-amz-security-token"]);
    assert!(prepared.headers.iter().all(|(_, value)| value.is_none()));
    signed(&id).at(3600).stale(&custody);
    signed(&id)
        .by("codex")
        .misused(&custody, "the id of an access key");
    signed(&session).misused(&custody, "the id of an access key");
    let ours = own(&custody, "github");
    signed(&id)
        .header("x-amz-security-token", ours)
        .misused(&custody, "header.x-amz-security-token");
    let elsewhere = Call {
        origin: "https://evil.example",
        ..signed(&id)
    };
    elsewhere.misused(&custody, "the id of an access key");
}

#[test]
fn a_response_that_cannot_be_read_is_not_delivered() {
    let custody = custody();
    for wrong in [
        r#"{"access_token":"CANARY"}"#,
        r#"{"access_token":{"deep":"CANARY-minted-1"}}"#,
        r#"{"access_token":"CANARY-minted-1""#,
        "CANARY-minted-1",
    ] {
        assert!(
            try_mint(&custody, &rules(MintForm::Oauth), wrong).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn a_token_that_was_found_and_not_kept_is_told_from_a_page_that_says_nothing() {
    let custody = custody();
    let member =
        |number: usize| format!(r#""k{number}":{{"access_token":"CANARY-many-{number}"}}"#);
    let many: Vec<String> = (0..65).map(member).collect();
    let (all, most) = (many.join(","), many[..64].join(","));
    for (body, found) in [
        (format!("{{{all}}}"), true),
        (r#"{"access_token":"CANARY"}"#.to_owned(), true),
        (r#"{"access_token":["CANARY-minted-1"]}"#.to_owned(), true),
        ("<html><access_token a=''>CANARY-minted-1".to_owned(), true),
        ("<!doctype html><p>502".to_owned(), false),
        ("Bad Gateway".to_owned(), false),
    ] {
        let wrong = try_mint(&custody, &rules(MintForm::Oauth), &body).unwrap_err();
        assert_eq!(matches!(wrong, Unsafe::Unkept(_)), found, "{body}: {wrong}");
    }
    mint(&custody, MintForm::Oauth, &format!("{{{most}}}"));
}

#[test]
fn a_token_whose_placeholder_had_to_go_is_still_looked_for() {
    let custody = custody();
    for number in 100..200 {
        let body = format!(r#"{{"access_token":"CANARY-long-{number}","expires_in":3600}}"#);
        mint(&custody, MintForm::Oauth, &body);
    }
    let clean = custody.live().patterns().scrub(b"CANARY-long-100");
    assert_eq!(clean.as_deref(), Some(&b"[redacted:minted]"[..]));
}
