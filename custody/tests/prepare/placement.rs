//! Placeholders: what they look like, and every place where one must not be.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use exeat_custody::{Refused, Slot};
use exeat_types::Reason;
use http::HeaderName;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::world::{GITHUB, agent, call, custody, custody_at, foreign, github, id, own};

#[test]
fn a_placeholder_outside_its_slot_is_refused_with_the_place_and_without_the_value() {
    let custody = custody();
    let ours = own(&custody, "github");
    let gist = format!(r#"{{"files":{{"a.txt":{{"content":"{ours}"}}}}}}"#);
    github().body(gist).misused(&custody, "body");
    github()
        .body(format!(r#"{{"title":"my key is {ours}, really"}}"#))
        .misused(&custody, "body");
    github()
        .path(format!("/repos/acme/site/contents/{ours}.txt"))
        .misused(&custody, "path");
    github()
        .query(format!("q={ours}"))
        .misused(&custody, "query.q");
    github()
        .query(format!("page=2&{ours}=1"))
        .misused(&custody, "query");
    github()
        .header("user-agent", format!("agent/{ours}"))
        .misused(&custody, "header.user-agent");
    github()
        .header("cookie", format!("a=b; c={ours}"))
        .misused(&custody, "header.cookie");
    github()
        .header("x-a", "fine")
        .header("x-a", ours.clone())
        .misused(&custody, "header.x-a");
    call("https://example.com", None)
        .header("authorization", ours.clone())
        .misused(&custody, "header.authorization");
    call("https://maps.example", Some("maps"))
        .header("authorization", ours)
        .misused(&custody, "header.authorization");
}

#[test]
fn a_placeholder_is_recognised_in_every_usual_encoding() {
    let custody = custody();
    let ours = own(&custody, "github");
    let percent_all: String = ours.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let json: String = ours
        .bytes()
        .map(|byte| format!("\\u00{byte:02X}"))
        .collect();
    let hex: String = ours.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut encoded = vec![
        utf8_percent_encode(&percent_all, NON_ALPHANUMERIC).to_string(),
        json.replace('\\', "\\\\"),
        hex.to_uppercase(),
        percent_all,
        json,
        hex,
    ];
    encoded
        .extend((0..3).map(|shift| BASE64_STANDARD.encode(format!("{}{ours}", "x".repeat(shift)))));
    for text in encoded {
        github()
            .body(format!("{{\"title\":\"{text}\"}}"))
            .misused(&custody, "body");
        github()
            .header("x-note", format!("note {text}"))
            .misused(&custody, "header.x-note");
        github()
            .query(format!("q={text}"))
            .misused(&custody, "query.q");
    }
}

#[test]
fn another_agents_or_credentials_placeholder_is_refused_even_in_the_right_slot() {
    let custody = custody();
    for wrong in [
        foreign(&custody, "github"),
        own(&custody, "admin"),
        own(&custody, "maps"),
    ] {
        let place = "header.authorization";
        github()
            .header("authorization", format!("Bearer {wrong}"))
            .misused(&custody, place);
        let pair = BASE64_STANDARD.encode(format!("user:{wrong}"));
        github()
            .header("authorization", format!("Basic {pair}"))
            .misused(&custody, place);
        let with_own = format!("Bearer {} {wrong}", own(&custody, "github"));
        github()
            .header("authorization", with_own)
            .misused(&custody, place);
        let body = Slot::Body("/token".to_owned());
        github()
            .slot(body)
            .body(format!(r#"{{"token":"{wrong}"}}"#))
            .misused(&custody, "body");
    }
    let theirs = foreign(&custody, "maps");
    call("https://maps.example", Some("maps"))
        .query(format!("key={theirs}"))
        .misused(&custody, "query.key");
    call(GITHUB, None)
        .header("x-api-key", foreign(&custody, "github"))
        .misused(&custody, "header.x-api-key");
}

#[test]
fn a_credential_goes_nowhere_but_to_its_origins() {
    let custody = custody();
    for origin in [
        "https://example.com",
        "http://api.github.com",
        "https://api.github.com:8443",
    ] {
        let refused = call(origin, Some("github"))
            .prepare(&custody)
            .err()
            .unwrap();
        assert_eq!(refused, Refused::WrongOrigin(id("github")), "{origin}");
        assert_eq!(refused.reason(), Reason::CredentialDead);
    }
    let refused = call(GITHUB, Some("gitlab"))
        .prepare(&custody)
        .err()
        .unwrap();
    assert_eq!(
        (refused.reason(), refused),
        (Reason::CredentialMissing, Refused::Missing(id("gitlab")))
    );
}

#[test]
fn after_a_change_of_the_secret_the_old_placeholder_resolves_nowhere() {
    let (old, new) = (custody_at(1), custody_at(2));
    let stale = own(&old, "github");
    assert_ne!(stale, own(&new, "github"));
    let bearer = format!("Bearer {stale}");
    // In the slot of its kind, and in one that the tool declares, it is only old.
    github().header("authorization", bearer.clone()).stale(&new);
    let pair = BASE64_STANDARD.encode(format!("x-access-token:{stale}"));
    github()
        .header("authorization", format!("Basic {pair}"))
        .stale(&new);
    call(GITHUB, None)
        .header("authorization", bearer.clone())
        .stale(&new);
    let slot = Slot::Header(HeaderName::from_static("x-token"));
    let declared = github().slot(slot);
    declared
        .clone()
        .header("x-token", stale.clone())
        .stale(&new);
    // Anywhere else it is somewhere else.
    declared
        .by("codex")
        .header("x-token", stale.clone())
        .misused(&new, "header.x-token");
    github()
        .by("codex")
        .header("authorization", bearer)
        .misused(&new, "header.authorization");
    github()
        .header("x-api-key", stale.clone())
        .misused(&new, "header.x-api-key");
    github()
        .header("x-note", stale.clone())
        .misused(&new, "header.x-note");
    github()
        .query(format!("q={stale}"))
        .misused(&new, "query.q");
    github().path(format!("/a/{stale}")).misused(&new, "path");
    github().body(stale).misused(&new, "body");
    let stale = own(&old, "maps");
    call("https://maps.example", Some("maps"))
        .query(format!("key={stale}"))
        .stale(&new);
}

#[test]
fn placeholders_have_their_providers_shape_and_differ_by_agent_credential_and_version() {
    let (custody, later) = (custody(), custody_at(2));
    let mut seen = Vec::new();
    for credential in ["github", "admin", "git", "anthropic", "maps"] {
        seen.extend([
            own(&custody, credential),
            foreign(&custody, credential),
            own(&later, credential),
        ]);
    }
    let (count, all) = (seen.len(), seen.clone());
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count);
    let ours = &all[0];
    assert!(ours.starts_with("ghp_") && ours.len() == 40, "{ours}");
    let anthropic = own(&custody, "anthropic");
    assert!(
        anthropic.starts_with("sk-ant-api03-") && anthropic.len() == 108,
        "{anthropic}"
    );
    assert!(own(&custody, "maps").starts_with("exeat_ph_"));
    assert_eq!(
        own(&super::world::custody(), "github"),
        own(&custody, "github"),
        "nothing needs to be stored"
    );
    assert_eq!(custody.placeholder(&agent("nobody"), &id("github")), None);
    assert_eq!(custody.placeholder(&agent("claude"), &id("nothing")), None);
}

#[test]
fn what_custody_shows_of_itself_holds_no_secret_and_no_placeholder() {
    let custody = custody();
    let credential = custody.credentials().next().unwrap();
    insta::assert_snapshot!(format!("{custody:?}\n{:?} {}", credential.0, credential.1), @r#"
    Custody { credentials: {"admin": "bearer (1)", "anthropic": "api-key-header (1)", "git": "basic (1)", "github": "bearer (1)", "maps": "api-key-query (1)"}, agents: ["claude", "codex"], .. }
    CredentialSpec { id: "admin", kind: Bearer, origins: [https://api.github.com], secret: Some(Sealed("admin")), shape: Auto } 1
    "#);
    let prepared = github().prepare(&custody).unwrap();
    let shown = format!("{:?} {:?}", prepared.headers, prepared.used);
    assert!(!shown.contains("CANARY"), "{shown}");
}
