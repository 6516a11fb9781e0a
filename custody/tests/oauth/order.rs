//! What is kept before what is used, and what becomes of a grant that cannot be renewed.

use exeat_custody::{
    NotIssued,
    oauth::{Dpop, Flow},
};
use exeat_types::Timestamp;
use serde_json::json;

use super::world::{Notes, Says, Server, connect, declared, done, issue, made, token, work};

fn connected() -> (Server, Notes, std::sync::Arc<dyn exeat_custody::Issuer>) {
    let server = Server::new();
    server.says("/token", token("a"));
    let keep = Notes::default();
    let issuer = made(&declared(&server, Flow::AuthorizationCode));
    connect(&*issuer, work(&keep, 0)).unwrap();
    (server, keep, issuer)
}

#[test]
fn a_renewed_grant_is_kept_before_its_token_is_answered() {
    let (server, keep, issuer) = connected();
    assert!(
        issue(&*issuer, work(&keep, 60))
            .unwrap()
            .secret
            .matches(b"CANARY-oauth-at-a")
    );
    server.says("/token", token("b"));
    // In the last tenth of its life a token is renewed, and not before.
    assert!(
        issue(&*issuer, work(&keep, 3200))
            .unwrap()
            .secret
            .matches(b"CANARY-oauth-at-a")
    );
    let renewed = issue(&*issuer, work(&keep, 3300)).unwrap();
    assert!(renewed.secret.matches(b"CANARY-oauth-at-b"));
    let kept = keep.grant().unwrap();
    assert_eq!(
        (&kept["refresh"], &kept["access"]),
        (&json!("CANARY-oauth-rt-b"), &json!("CANARY-oauth-at-b"))
    );
    // Another process that reads the notes goes on from there, without asking.
    let again = made(&declared(&server, Flow::AuthorizationCode));
    server.says("/token", Says::Nothing);
    assert!(
        issue(&*again, work(&keep, 3400))
            .unwrap()
            .secret
            .matches(b"CANARY-oauth-at-b")
    );
    // The token that an API refused is not answered again.
    server.says("/token", token("c"));
    let mut spent = work(&keep, 3500);
    spent.spent = Some(renewed.obtained);
    assert!(
        issue(&*again, spent)
            .unwrap()
            .secret
            .matches(b"CANARY-oauth-at-c")
    );
    let bodies = server.asked("/token");
    assert!(
        bodies
            .last()
            .unwrap()
            .contains("refresh_token=CANARY-oauth-rt-b")
    );
}

#[test]
fn what_cannot_be_kept_is_not_used_and_is_kept_as_soon_as_that_goes() {
    let (server, keep, issuer) = connected();
    server.says("/token", token("b"));
    *keep.full.lock().unwrap() = true;
    let unkept = Some(NotIssued::Unavailable("what it granted could not be kept"));
    assert_eq!(issue(&*issuer, work(&keep, 4000)).err(), unkept);
    assert_eq!(issue(&*issuer, work(&keep, 4001)).err(), unkept);
    *keep.full.lock().unwrap() = false;
    assert!(
        issue(&*issuer, work(&keep, 4002))
            .unwrap()
            .secret
            .matches(b"CANARY-oauth-at-b")
    );
    let renewals = server.asked("/token").len() - 1;
    assert_eq!(
        renewals, 1,
        "the server has seen the old refresh token once"
    );
    assert_eq!(keep.grant().unwrap()["refresh"], "CANARY-oauth-rt-b");
}

#[test]
fn a_grant_that_is_refused_is_buried_and_nobody_asks_with_it_again() {
    let (server, keep, issuer) = connected();
    server.says(
        "/token",
        Says::Json(400, json!({ "error": "invalid_grant" })),
    );
    let dead = Some(NotIssued::Dead("the grant is not valid any more"));
    for secs in [4000, 4001, 9000] {
        assert_eq!(issue(&*issuer, work(&keep, secs)).err(), dead);
    }
    assert_eq!(server.asked("/token").len(), 2);
    assert_eq!(
        (
            &keep.grant().unwrap()["refresh"],
            &keep.grant().unwrap()["access"]
        ),
        (&json!(null), &json!(null))
    );
    // Somebody agrees again.
    server.says("/token", token("c"));
    connect(&*issuer, work(&keep, 9001)).unwrap();
    assert!(
        issue(&*issuer, work(&keep, 9002))
            .unwrap()
            .secret
            .matches(b"CANARY-oauth-at-c")
    );
}

#[test]
fn a_refresh_token_that_is_not_replaced_stays_good_and_a_token_without_one_just_ends() {
    let (server, keep, issuer) = connected();
    let alone =
        json!({ "access_token": "CANARY-oauth-at-b", "token_type": "Bearer", "expires_in": 3600 });
    server.says("/token", Says::Json(200, alone));
    issue(&*issuer, work(&keep, 4000)).unwrap();
    assert_eq!(keep.grant().unwrap()["refresh"], "CANARY-oauth-rt-a");

    let keep = Notes::default();
    connect(&*issuer, work(&keep, 0)).unwrap();
    issue(&*issuer, work(&keep, 100)).unwrap();
    let ended = Some(NotIssued::Dead("the token has ended and cannot be renewed"));
    assert_eq!(issue(&*issuer, work(&keep, 4000)).err(), ended);
}

#[test]
fn a_refusal_does_not_destroy_a_grant_that_cannot_be_renewed() {
    let server = Server::new();
    for lives in [json!(3600), json!(null)] {
        let alone = json!({ "access_token": "CANARY-oauth-at-a", "token_type": "Bearer", "expires_in": lives });
        server.says("/token", Says::Json(200, alone));
        let keep = Notes::default();
        let issuer = made(&declared(&server, Flow::AuthorizationCode));
        connect(&*issuer, work(&keep, 0)).unwrap();
        for secs in [100, 3500] {
            let mut refused = work(&keep, secs);
            refused.spent = Some(Timestamp::from_millis(0));
            let same = issue(&*issuer, refused).unwrap();
            assert!(same.secret.matches(b"CANARY-oauth-at-a"));
        }
        assert_eq!(keep.grant().unwrap()["dead"], json!(null));
    }
}

#[test]
fn a_token_that_is_not_used_takes_no_refresh_token_with_it() {
    let (server, keep, issuer) = connected();
    let odd = json!({
        "access_token": "CANARY-oauth-at-b", "token_type": "mac", "refresh_token": "CANARY-oauth-rt-b",
    });
    server.says("/token", Says::Json(200, odd));
    let unknown = Some(NotIssued::Dead("it issued a token of an unknown type"));
    assert_eq!(issue(&*issuer, work(&keep, 4000)).err(), unknown);
    let kept = keep.grant().unwrap();
    assert_eq!(kept["refresh"], "CANARY-oauth-rt-b");
    assert_eq!(kept["dead"], json!(null));
    server.says("/token", token("c"));
    issue(&*issuer, work(&keep, 4001)).unwrap();
    let bodies = server.asked("/token");
    assert!(bodies.last().unwrap().contains("CANARY-oauth-rt-b"));
}

#[test]
fn a_grant_that_is_bound_to_a_key_is_never_weakened() {
    let server = Server::new();
    let says = |kind: &str, name: &str| {
        let token = json!({
            "access_token": format!("CANARY-oauth-at-{name}"), "token_type": kind, "expires_in": 3600,
            "refresh_token": format!("CANARY-oauth-rt-{name}"),
        });
        server.says("/token", Says::Json(200, token));
    };
    let mut proven = declared(&server, Flow::AuthorizationCode);
    proven.dpop = Dpop::Asked;
    let keep = Notes::default();
    let issuer = made(&proven);
    says("DPoP", "a");
    connect(&*issuer, work(&keep, 0)).unwrap();
    says("Bearer", "b");
    let weak = NotIssued::Dead("it issued a token that is bound to no key");
    assert_eq!(issue(&*issuer, work(&keep, 4000)).err(), Some(weak));
    // Without proofs it is not even tried.
    let asked = server.asked("/token").len();
    let off = made(&declared(&server, Flow::AuthorizationCode));
    let refused = issue(&*off, work(&keep, 4001)).err();
    assert!(matches!(refused, Some(NotIssued::Dead(_))), "{refused:?}");
    assert_eq!(server.asked("/token").len(), asked);
    says("DPoP", "c");
    let renewed = issue(&*issuer, work(&keep, 4002)).unwrap();
    assert!(renewed.secret.matches(b"CANARY-oauth-at-c") && renewed.bound.is_some());
}

#[test]
fn what_was_granted_to_another_client_or_by_another_issuer_is_nothing() {
    let (server, keep, _) = connected();
    let mut other = declared(&server, Flow::AuthorizationCode);
    other.client_id = "somebody-else".to_owned();
    assert_eq!(
        issue(&*made(&other), work(&keep, 10)).err(),
        Some(NotIssued::Absent)
    );
    let elsewhere = Server::new();
    let other = declared(&elsewhere, Flow::AuthorizationCode);
    assert_eq!(
        issue(&*made(&other), work(&keep, 10)).err(),
        Some(NotIssued::Absent)
    );
}

#[test]
fn giving_it_back_tells_the_issuer_first() {
    let (server, keep, issuer) = connected();
    server.says("/revoke", Says::Json(503, json!({})));
    let refused = done(issuer.revoke(work(&keep, 10)));
    assert_eq!(refused, Err(NotIssued::Unavailable("it is in trouble")));
    assert!(
        keep.grant().is_some(),
        "what was not given back is not forgotten"
    );
    server.says("/revoke", Says::Json(200, json!({})));
    done(issuer.revoke(work(&keep, 10))).unwrap();
    assert_eq!(keep.grant().unwrap()["dead"], "it was taken back");
    let bodies = server.asked("/revoke");
    assert!(
        bodies[0].contains("CANARY-oauth-rt-a")
            && bodies[0].contains("token_type_hint=refresh_token")
    );
    assert!(bodies.last().unwrap().contains("CANARY-oauth-at-a"));
    let dead = issue(&*issuer, work(&keep, 11)).err();
    assert!(matches!(dead, Some(NotIssued::Dead(_))), "{dead:?}");
    // A server that takes back no tokens of this kind has nothing to be asked again for.
    connect(&*issuer, work(&keep, 12)).unwrap();
    let unsupported = json!({ "error": "unsupported_token_type" });
    server.says("/revoke", Says::Json(400, unsupported));
    done(issuer.revoke(work(&keep, 13))).unwrap();
    assert_eq!(keep.grant().unwrap()["refresh"], json!(null));
}

#[test]
fn a_server_that_slows_down_is_asked_five_seconds_later_each_time() {
    // proves RFC 8628 section 3.5
    use std::{sync::Mutex, time::Duration};

    use exeat_custody::{NoReply, Outside, OwnRequest, Reply, Waiting, Work};

    use super::world::Plain;

    struct Patient<'a> {
        pauses: Mutex<Vec<u64>>,
        server: &'a Server,
    }

    impl Outside for Patient<'_> {
        fn send(&self, request: OwnRequest) -> Waiting<'_, Result<Reply, NoReply>> {
            Plain.send(request)
        }
        fn send_and_wait(&self, request: OwnRequest) -> Result<Reply, NoReply> {
            Plain.send_and_wait(request)
        }
        fn pause(&self, time: Duration) -> Waiting<'_, ()> {
            let mut pauses = self.pauses.lock().unwrap();
            pauses.push(time.as_secs());
            let next = match pauses.len() {
                1 => Says::Json(400, json!({ "error": "slow_down" })),
                2 => Says::Json(400, json!({ "error": "authorization_pending" })),
                _ => token("typed"),
            };
            self.server.says("/token", next);
            Box::pin(async {})
        }
    }

    let server = Server::new();
    let page = format!("{}/type", server.issuer());
    let code = json!({
        "device_code": "CANARY-device-code", "user_code": "ABCD-EFGH", "verification_uri": page,
        "expires_in": 600, "interval": 2,
    });
    server.says("/device", Says::Json(200, code));
    server.says(
        "/token",
        Says::Json(400, json!({ "error": "authorization_pending" })),
    );
    let patient = Patient {
        pauses: Mutex::default(),
        server: &server,
    };
    let keep = Notes::default();
    let work = Work {
        outside: &patient,
        keep: &keep,
        now: Timestamp::from_millis(0),
        spent: None,
    };
    let issuer = made(&declared(&server, Flow::Device));
    let connects = issuer.connects().unwrap();
    let begun = done(connects.begin(None, &[], work)).unwrap();
    assert_eq!(
        (begun.code.as_deref(), begun.url),
        (Some("ABCD-EFGH"), page)
    );
    let connection = done(connects.wait(begun.pending, work)).unwrap();
    assert_eq!(*patient.pauses.lock().unwrap(), [2, 7, 7]);
    assert_eq!(connection.scopes, ["read"]);
}
