//! Slots that a tool declares.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use exeat_custody::{Custody, InSlots, Kind, Live, Loaded, Refused, SigV4, Slot};
use exeat_types::BasicPart;
use http::HeaderName;

use crate::world::{Call, GITHUB, agent, call, custody, foreign, id, own, secret, spec};

#[test]
fn in_declared_slots_a_placeholder_resolves_and_everything_else_stays() {
    let custody = custody();
    let ours = own(&custody, "maps");
    let call = call("https://maps.example", Some("maps"))
        .slot(Slot::Header(HeaderName::from_static("x-token")))
        .slot(Slot::Header(HeaderName::from_static("authorization")))
        .slot(Slot::Query("sig".to_owned()))
        .slot(Slot::Body("/auth/0/token".to_owned()));
    let body = format!(
        "{{ \"n\": 1.50,\n \"auth\": [ {{\"token\":\"pre-{ours}-post\"}} ], \"x\": \"\\u00e9\" }}"
    );
    let sent = call
        .clone()
        .header("x-token", format!("Token {ours}"))
        .header("authorization", format!("Custom {ours}"))
        .query(format!("sig={ours}&q=a+b"))
        .body(body.clone())
        .sent(&custody);
    let plain = "CANARY/prepare&maps=\"1\"";
    let percent = "CANARY%2Fprepare%26maps%3D%221%22";
    assert_eq!(sent.values("x-token"), [format!("Token {plain}")]);
    assert_eq!(sent.values("authorization"), [format!("Custom {plain}")]);
    assert_eq!(
        sent.query.unwrap(),
        format!("sig={percent}&q=a+b&key={percent}")
    );
    assert_eq!(
        sent.body.unwrap(),
        body.replace(&ours, "CANARY/prepare&maps=\\\"1\\\"")
    );

    let untouched = call
        .clone()
        .header("x-token", "none")
        .query("sig=1")
        .body("{\"auth\":[{\"token\":\"none\"}]}");
    let prepared = untouched.prepare(&custody).unwrap();
    assert!(prepared.headers.is_empty() && prepared.body.is_none());
    let stripped = call
        .clone()
        .header("authorization", "Bearer own-key")
        .prepare(&custody)
        .unwrap();
    assert_eq!(stripped.headers, [(http::header::AUTHORIZATION, None)]);

    let wrong = format!(r#"{{"auth":[{{"token":"{ours}"}}],"copy":"{ours}"}}"#);
    call.clone().body(wrong).misused(&custody, "body");
    let twice = format!(r#"{{"auth":[{{"token":"{ours}"}}],"auth":[{{"token":"{ours}"}}]}}"#);
    call.clone().body(twice).misused(&custody, "body");
    let key = format!(r#"{{"auth":[{{"token":"x"}}],"{ours}":1}}"#);
    call.clone().body(key).misused(&custody, "body");
    call.clone()
        .header("x-token", "a")
        .header("x-token", ours.clone())
        .misused(&custody, "header.x-token");
    call.query(format!("sig={}", ours.replace('e', "%65")))
        .misused(&custody, "query.sig");
}

#[test]
fn a_form_field_is_a_body_slot() {
    let custody = custody();
    let ours = own(&custody, "maps");
    let call = call("https://maps.example", Some("maps"))
        .slot(Slot::Body("/client_secret".to_owned()))
        .header(
            "content-type",
            "application/x-www-form-urlencoded; charset=utf-8",
        );
    let sent = call
        .clone()
        .body(format!("grant_type=x+y&client_secret={ours}"))
        .sent(&custody);
    assert_eq!(
        sent.body.unwrap(),
        "grant_type=x+y&client_secret=CANARY%2Fprepare%26maps%3D%221%22"
    );
    call.clone()
        .body(format!("state={ours}"))
        .misused(&custody, "body.state");
    call.body(format!("client_secret={}", foreign(&custody, "maps")))
        .misused(&custody, "body.client_secret");
}

#[test]
fn a_secret_that_does_not_fit_a_declared_slot_is_not_sent_in_pieces() {
    let basic = Kind::Basic {
        username: "user".to_owned(),
    };
    let loaded = vec![Loaded::new(
        spec("git", basic, &[GITHUB]),
        secret("CANARY-line-1\nCANARY-line-2"),
        1,
    )];
    let custody = Custody::build(
        loaded,
        &[agent("claude")],
        &secret("CANARY-key"),
        &Live::new().unwrap(),
    )
    .unwrap();
    let slot = Slot::Header(HeaderName::from_static("x-token"));
    let refused = call(GITHUB, Some("git"))
        .slot(slot)
        .header("x-token", own(&custody, "git"))
        .prepare(&custody);
    assert_eq!(refused.err().unwrap(), Refused::Unfit(id("git")));
}

/// A gate whose one credential goes nowhere but into slots.
fn only_slots(text: &str) -> Custody {
    let kind = Kind::Made(Arc::new(InSlots));
    let loaded = vec![Loaded::new(spec("bot", kind, &[GITHUB]), secret(text), 1)];
    let agents = [agent("claude"), agent("codex")];
    Custody::build(
        loaded,
        &agents,
        &secret("CANARY-key"),
        &Live::new().unwrap(),
    )
    .unwrap()
}

#[test]
fn a_part_of_the_path_is_filled_with_the_secret_whatever_stands_there() {
    let custody = only_slots("123456:CANARY/slots-path");
    let at = |inside: &str| {
        let path = format!("/bot{inside}/sendMessage");
        call(GITHUB, Some("bot"))
            .path(path)
            .slot(Slot::Path(4..4 + inside.len()))
    };
    let ours = own(&custody, "bot");
    for inside in [ours.as_str(), "an-own-token", ""] {
        let sent = at(inside).sent(&custody);
        assert_eq!(sent.path, "/bot123456:CANARY%2Fslots-path/sendMessage");
        assert!(sent.headers.is_empty() && sent.query.is_none());
    }
    at(&foreign(&custody, "bot")).misused(&custody, "path");
    at(&ours).by("codex").misused(&custody, "path");
    let beside = at(&ours).path(format!("/bot{ours}/{ours}"));
    beside.misused(&custody, "path");
    let outside = Call {
        slots: vec![Slot::Path(400..500)],
        ..at(&ours)
    };
    outside.misused(&custody, "path");
}

#[test]
fn a_part_of_a_basic_pair_is_filled() {
    let custody = only_slots("CANARY-slots-basic");
    let ours = own(&custody, "bot");
    let pair = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
    let with = |part| call(GITHUB, Some("bot")).slot(Slot::Basic(part));
    for (part, given, expect) in [
        (BasicPart::User, format!("{ours}:"), "CANARY-slots-basic:"),
        (BasicPart::User, "own:x".to_owned(), "CANARY-slots-basic:x"),
        (
            BasicPart::Password,
            format!("me:{ours}"),
            "me:CANARY-slots-basic",
        ),
        (
            BasicPart::Password,
            "me:a:b".to_owned(),
            "me:CANARY-slots-basic",
        ),
    ] {
        let sent = with(part)
            .header("authorization", pair(&given))
            .sent(&custody);
        assert_eq!(sent.values("authorization"), [pair(expect)], "{given}");
    }
    let place = "header.authorization";
    for given in [
        format!("{ours}:{ours}"),
        format!("me:{}", foreign(&custody, "bot")),
    ] {
        let call = with(BasicPart::Password).header("authorization", pair(&given));
        call.misused(&custody, place);
    }
}

#[test]
fn a_protocol_of_a_websocket_carries_the_secret() {
    const NAME: &str = "sec-websocket-protocol";
    const PREFIX: &str = "openai-insecure-api-key.";
    let custody = only_slots("CANARY-slots-protocol");
    let ours = own(&custody, "bot");
    let with = |list: String| {
        call(GITHUB, Some("bot"))
            .slot(Slot::Protocol(PREFIX.to_owned()))
            .header(NAME, list)
    };
    let expect = format!("realtime, {PREFIX}CANARY-slots-protocol, beta.v1");
    for inside in [ours.as_str(), "sk-own-key"] {
        let sent = with(format!("realtime,{PREFIX}{inside}, beta.v1")).sent(&custody);
        assert_eq!(sent.values(NAME), [expect.as_str()]);
    }
    let plain = with("realtime".to_owned()).prepare(&custody).unwrap();
    assert!(plain.headers.is_empty());
    let place = format!("header.{NAME}");
    with(ours.clone()).misused(&custody, &place);
    with(format!("{PREFIX}{}", foreign(&custody, "bot"))).misused(&custody, &place);
    // Without the slot the key of the agent is taken off, as from a header.
    let bare = call(GITHUB, None).header(NAME, format!("realtime, {PREFIX}{ours}"));
    assert_eq!(bare.sent(&custody).values(NAME), ["realtime"]);
    let bare = call(GITHUB, None).header(NAME, format!("{PREFIX}sk-own-key"));
    assert!(bare.sent(&custody).values(NAME).is_empty());
    let odd = only_slots("CANARY slots,protocol");
    let refused = with(format!("{PREFIX}{}", own(&odd, "bot"))).prepare(&odd);
    assert_eq!(refused.err().unwrap(), Refused::Unfit(id("bot")));
}

#[test]
fn a_key_that_signs_is_never_put_into_a_slot() {
    let kind = Kind::Made(Arc::new(SigV4 {
        access_key_id: Some("AKIACANARY0000000001".to_owned()),
        services: vec!["s3".to_owned()],
        regions: vec!["eu-west-1".to_owned()],
    }));
    let loaded = vec![Loaded::new(
        spec("aws", kind, &[GITHUB]),
        secret("CANARY-slots-signing-key"),
        1,
    )];
    let live = Live::new().unwrap();
    let custody = Custody::build(loaded, &[agent("claude")], &secret("CANARY-key"), &live).unwrap();
    let ours = own(&custody, "aws");
    let x_token = Slot::Header(HeaderName::from_static("x-token"));
    for call in [
        call(GITHUB, Some("aws"))
            .slot(x_token)
            .header("x-token", ours.clone()),
        call(GITHUB, Some("aws"))
            .slot(Slot::Query("k".to_owned()))
            .query(format!("k={ours}")),
        call(GITHUB, Some("aws")).slot(Slot::Path(0..1)).path("x/y"),
    ] {
        let refused = call.prepare(&custody);
        assert_eq!(refused.err().unwrap(), Refused::Unfit(id("aws")));
    }
}
