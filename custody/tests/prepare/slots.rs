//! Slots that a tool declares.

use exeat_custody::{Custody, Kind, Refused, Slot};
use http::HeaderName;

use crate::world::{GITHUB, agent, call, custody, foreign, id, own, secret, spec};

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
    let loaded = vec![(
        spec("git", basic, &[GITHUB]),
        secret("CANARY-line-1\nCANARY-line-2"),
        1,
    )];
    let custody = Custody::build(loaded, &[agent("claude")], &secret("CANARY-key")).unwrap();
    let slot = Slot::Header(HeaderName::from_static("x-token"));
    let refused = call(GITHUB, Some("git"))
        .slot(slot)
        .header("x-token", own(&custody, "git"))
        .prepare(&custody);
    assert_eq!(refused.err().unwrap(), Refused::Unfit(id("git")));
}
