//! A made-up issuer, its credentials and its lists, in memory.

use std::io::Write as _;

use exeat_types::Algorithm;
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use http::{HeaderMap, Method, header::AUTHORIZATION};
use serde_json::Value;

use super::*;
use crate::{
    Draft, DraftBody, SoftwareSigner,
    issue::stand_in::{Nobody, Notes, now, reply, want},
    jose::{self, jwt, members},
};

const ISSUER: &str = "https://issuer.test";
const LIST: &str = "https://issuer.test/lists/1";
/// The second at which everything here happens.
const NOW: u64 = 1000;

fn key(algorithm: Algorithm) -> Arc<dyn Signer> {
    let key = SoftwareSigner::new_key(algorithm).unwrap();
    Arc::new(SoftwareSigner::from_key(&key).unwrap())
}

/// Somebody who issues credentials.
struct World {
    issuer: Arc<dyn Signer>,
    declared: Entitlement,
    keep: Notes,
}

impl World {
    fn new(format: Format) -> Self {
        let issuer = key(Algorithm::Es256);
        let keys = vec![Jwk::of(&*issuer).unwrap()];
        let authority: Url = ISSUER.parse().unwrap();
        let declared = Entitlement {
            format,
            issuer: ISSUER.to_owned(),
            issuer_keys: keys.clone(),
            of_type: Some("licence".to_owned()),
            disclose: vec!["role".to_owned()],
            audience: None,
            presented: Presented::Bearer,
            status_keys: keys,
            lists: vec![authority.origin.clone()],
            unknown: UnknownStatus::Deny,
            authority,
            client_id: None,
        };
        Self {
            issuer,
            declared,
            keep: Notes::default(),
        }
    }

    fn signed(&self, typ: &str, claims: Value) -> String {
        let header = members(json!({ "typ": typ }));
        jwt(&self.issuer, header, &members(claims)).unwrap()
    }

    /// A credential with two claims that may be shown, and these besides.
    fn sd_jwt(&self, more: Value) -> String {
        let mut texts = Vec::new();
        let mut digests = Vec::new();
        for (name, value) in [("role", "buyer"), ("name", "CANARY-name")] {
            let text = URL_SAFE_NO_PAD.encode(json!(["salt", name, value]).to_string());
            digests.push(URL_SAFE_NO_PAD.encode(Digest::of(text.as_bytes()).as_bytes()));
            texts.push(text);
        }
        let mut claims = members(json!({ "iss": ISSUER, "vct": "licence", "_sd": digests }));
        claims.extend(members(more));
        let jwt = self.signed("dc+sd-jwt", Value::Object(claims));
        format!("{jwt}~{}~", texts.join("~"))
    }

    fn made(
        &self,
        secret: Option<&str>,
        holder: Option<&Arc<dyn Signer>>,
    ) -> Result<Arc<dyn Issuer>, &'static str> {
        let secret = secret.map(|text| Secret::new(text.as_bytes().to_vec()));
        let id = "licence".parse().unwrap();
        let material = Material {
            id: &id,
            secret: secret.as_ref(),
            signer: holder,
        };
        Ok(self.declared.make(material)?.issuer.unwrap())
    }

    fn issue_at(
        &self,
        issuer: &dyn Issuer,
        outside: &Nobody,
        second: u64,
    ) -> Result<Token, NotIssued> {
        let work = Work {
            outside,
            keep: &self.keep,
            now: Timestamp::from_millis(second * 1000),
            spent: None,
        };
        now(issuer.issue(&want("https://shop.test"), work))
    }

    /// What comes of a credential with this status, when the list is answered so.
    fn standing(&self, status: Value, replies: Vec<crate::Reply>) -> Result<Token, NotIssued> {
        let text = match self.declared.format {
            Format::SdJwt => self.sd_jwt(status),
            Format::Jwt => {
                let mut claims =
                    members(json!({ "iss": ISSUER, "type": ["VerifiableCredential", "licence"] }));
                claims.extend(members(status));
                self.signed("vc+jwt", Value::Object(claims))
            }
        };
        let issuer = self.made(Some(&text), None).unwrap();
        self.issue_at(&*issuer, &Nobody::answering(replies), NOW)
    }

    /// The list of the published example, with these claims changed.
    fn list(&self, changed: Value) -> crate::Reply {
        let mut claims = members(json!({
            "sub": LIST, "iat": 900, "ttl": 500,
            "status_list": { "bits": 2, "lst": "eNo76fITAAPfAgc" },
        }));
        claims.extend(members(changed));
        reply(200, &self.signed("statuslist+jwt", Value::Object(claims)))
    }
}

fn at(index: u64) -> Value {
    json!({ "status": { "status_list": { "uri": LIST, "idx": index } } })
}

#[expect(clippy::disallowed_methods, reason = "a test looks at what is shown")]
fn shown(token: &Token) -> String {
    String::from_utf8(token.secret.open().to_vec()).unwrap()
}

#[test]
fn only_the_claims_that_are_declared_are_shown() {
    let world = World::new(Format::SdJwt);
    let text = world.sd_jwt(json!({ "exp": 2000 }));
    let issuer = world.made(Some(&text), None).unwrap();
    let token = world
        .issue_at(&*issuer, &Nobody::answering(Vec::new()), NOW)
        .unwrap();
    let parts: Vec<&str> = text.split('~').collect();
    assert_eq!(shown(&token), format!("{}~{}~", parts[0], parts[1]));
    assert_eq!(token.expires.unwrap().millis(), 2_000_000);
    assert!(issuer.finish(&Arc::new(token)).is_none());
}

#[test]
fn what_was_never_given_is_absent_and_what_is_over_is_refused() {
    let world = World::new(Format::SdJwt);
    let nobody = Nobody::answering(Vec::new());
    let nothing = world.made(None, None).unwrap();
    assert_eq!(
        world.issue_at(&*nothing, &nobody, NOW).err(),
        Some(NotIssued::Absent)
    );
    let text = world.sd_jwt(json!({ "nbf": 500, "exp": 2000.5 }));
    let issuer = world.made(Some(&text), None).unwrap();
    let at = |second| world.issue_at(&*issuer, &nobody, second).err();
    assert!(matches!(at(499), Some(NotIssued::Unavailable(_))));
    assert_eq!(at(500), None);
    assert_eq!(at(1999), None);
    assert!(matches!(at(2000), Some(NotIssued::Dead(_))));
}

#[test]
fn a_credential_that_is_not_what_was_declared_is_not_loaded() {
    let world = World::new(Format::SdJwt);
    let check = |text: &str, expect: &str| {
        assert_eq!(world.made(Some(text), None).err(), Some(expect));
    };
    check(
        &world.sd_jwt(json!({ "iss": "https://evil.test" })),
        "is from another issuer",
    );
    check(
        &world.sd_jwt(json!({ "vct": "ticket" })),
        "is of another type",
    );
    check(
        &world.sd_jwt(json!({ "exp": "soon" })),
        "has a time that is none",
    );
    check(
        &world.sd_jwt(json!({ "cnf": { "jwk": {} } })),
        "is bound to a key: name its `signer`",
    );
    check(
        &World::new(Format::SdJwt).sd_jwt(json!({})),
        "has no signature of a known key",
    );
    let other = world.signed("statuslist+jwt", json!({ "iss": ISSUER, "vct": "licence" }));
    check(&format!("{other}~"), "is a token of another kind");
    let holder = key(Algorithm::EdDsa);
    let check = |more: Value, expect: &str| {
        let text = world.sd_jwt(more);
        assert_eq!(world.made(Some(&text), Some(&holder)).err(), Some(expect));
    };
    let foreign = Jwk::of(&*world.issuer).unwrap().members();
    check(json!({}), "is bound to no key: remove `signer`");
    check(
        json!({ "cnf": { "jwk": foreign } }),
        "is bound to another key than that of its `signer`",
    );
    check(
        json!({ "cnf": { "kid": "1" } }),
        "is bound to a key in an unknown form",
    );
}

#[test]
fn each_request_proves_that_the_key_is_held() {
    // proves RFC 9901 section 4.3
    let mut world = World::new(Format::SdJwt);
    world.declared.presented = Presented::Header("x-licence".parse().unwrap());
    let holder = key(Algorithm::Es256);
    let jwk = Jwk::of(&*holder).unwrap();
    let text = world.sd_jwt(json!({ "cnf": { "jwk": jwk.members() } }));
    let issuer = world.made(Some(&text), Some(&holder)).unwrap();
    let nobody = Nobody::answering(Vec::new());
    let token = Arc::new(world.issue_at(&*issuer, &nobody, NOW).unwrap());
    let finish = issuer.finish(&token).unwrap();
    let once = || {
        let (mut target, mut headers) = ("/buy".to_owned(), HeaderMap::new());
        headers.insert(AUTHORIZATION, "agent".parse().unwrap());
        let mut draft = Draft {
            method: &Method::GET,
            origin: &"https://shop.test".parse().unwrap(),
            target: &mut target,
            headers: &mut headers,
            body: DraftBody::Absent,
            now: Timestamp::from_millis(NOW * 1000),
        };
        finish.finish(&mut draft).unwrap();
        let value = &headers["x-licence"];
        assert!(value.is_sensitive());
        value.to_str().unwrap().to_owned()
    };
    let whole = once();
    let proof = whole.strip_prefix(&shown(&token)).unwrap();
    let verified = jose::verify(proof, &[jwk]).unwrap();
    assert_eq!(verified.header["typ"], "kb+jwt");
    let hash = URL_SAFE_NO_PAD.encode(Digest::of(shown(&token).as_bytes()).as_bytes());
    assert_eq!(verified.claims["sd_hash"], hash);
    assert_eq!(verified.claims["aud"], "https://shop.test");
    assert_eq!(verified.claims["iat"], NOW);
    assert_ne!(once(), whole);
}

#[test]
fn the_status_decides_whether_it_is_shown() {
    let world = World::new(Format::SdJwt);
    // The published example: 1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3.
    let check = |index| world.standing(at(index), vec![world.list(json!({}))]);
    assert_eq!(check(2).unwrap().expires.unwrap().millis(), 1_500_000);
    assert!(matches!(
        check(0).err(),
        Some(NotIssued::Dead("it was revoked"))
    ));
    assert_eq!(check(1).err(), Some(NotIssued::Suspended));
    assert_eq!(check(3).err(), Some(NotIssued::Unknown));
    assert_eq!(check(99).err(), Some(NotIssued::Unknown));
}

#[test]
fn a_list_that_is_not_beyond_doubt_leaves_the_status_unknown() {
    let mut world = World::new(Format::SdJwt);
    let unknown = |world: &World, reply: crate::Reply| {
        let failed = world.standing(at(2), vec![reply]).err();
        assert_eq!(failed, Some(NotIssued::Unknown));
    };
    for changed in [
        json!({ "sub": "https://issuer.test/lists/2" }),
        json!({ "iat": 2000 }),
        json!({ "iat": null }),
        json!({ "exp": 1000 }),
        json!({ "ttl": 0 }),
        json!({ "status_list": { "bits": 3, "lst": "eNo76fITAAPfAgc" } }),
        json!({ "status_list": { "bits": 2, "lst": "AAAA" } }),
    ] {
        unknown(&world, world.list(changed));
    }
    unknown(&world, reply(404, ""));
    unknown(&world, reply(200, "nonsense"));
    unknown(&world, World::new(Format::SdJwt).list(json!({})));
    let untyped = world.signed("JWT", json!({ "sub": LIST, "iat": 900 }));
    unknown(&world, reply(200, &untyped));
    let elsewhere =
        json!({ "status": { "status_list": { "uri": "https://evil.test/1", "idx": 2 } } });
    assert_eq!(
        world.standing(elsewhere, vec![world.list(json!({}))]).err(),
        Some(NotIssued::Unknown)
    );
    let foreign = json!({ "status": { "another": 1 } });
    assert_eq!(
        world.standing(foreign, Vec::new()).err(),
        Some(NotIssued::Unknown)
    );
    world.declared.unknown = UnknownStatus::Prompt;
    assert_eq!(
        world.standing(at(2), Vec::new()).err(),
        Some(NotIssued::Approval)
    );
    assert_eq!(
        NotIssued::Approval.reason(),
        exeat_types::Reason::ApprovalRequired
    );
}

#[test]
fn a_list_is_asked_for_again_when_it_is_over_and_not_before() {
    let world = World::new(Format::SdJwt);
    let issuer = world.made(Some(&world.sd_jwt(at(2))), None).unwrap();
    let revoked =
        json!({ "status_list": { "bits": 1, "lst": "eNrbuRgAAhcBXQ" }, "sub": LIST, "iat": 1400 });
    let mut later = world.list(revoked);
    later.headers.clear();
    let outside = Nobody::answering(vec![world.list(json!({})), later]);
    assert!(world.issue_at(&*issuer, &outside, NOW).is_ok());
    assert!(world.issue_at(&*issuer, &outside, 1499).is_ok());
    assert_eq!(outside.asked().len(), 1);
    // In the second list, of one bit, the third status is 0 as well.
    assert!(world.issue_at(&*issuer, &outside, 1500).is_ok());
    assert_eq!(outside.asked().len(), 2);
    // The third cannot be had: nothing is known any more.
    assert_eq!(
        world.issue_at(&*issuer, &outside, 2500).err(),
        Some(NotIssued::Unknown)
    );
}

fn bitstring(world: &World, purpose: &str, set: usize) -> crate::Reply {
    let mut bytes = vec![0_u8; 16 * 1024];
    bytes[set / 8] = 0x80 >> (set % 8);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&bytes).unwrap();
    let claims = json!({
        "id": LIST, "issuer": ISSUER, "validUntil": "1970-01-01T00:20:00Z",
        "credentialSubject": {
            "type": "BitstringStatusList", "statusPurpose": purpose,
            "encodedList": format!("u{}", URL_SAFE_NO_PAD.encode(packed.finish().unwrap())),
        },
    });
    reply(200, &world.signed("vc+jwt", claims))
}

#[test]
fn a_jwt_credential_stands_as_its_bitstring_says() {
    let world = World::new(Format::Jwt);
    let entry = |purpose: &str, index: usize| {
        json!({ "credentialStatus": {
            "type": "BitstringStatusListEntry", "statusPurpose": purpose,
            "statusListIndex": index.to_string(), "statusListCredential": LIST,
        }})
    };
    let check = |purpose: &str, index| {
        world.standing(entry(purpose, index), vec![bitstring(&world, purpose, 77)])
    };
    assert_eq!(
        check("revocation", 76).unwrap().expires.unwrap().millis(),
        1_200_000
    );
    assert!(matches!(
        check("revocation", 77).err(),
        Some(NotIssued::Dead(_))
    ));
    assert_eq!(check("suspension", 77).err(), Some(NotIssued::Suspended));
    assert_eq!(check("revocation", 131_072).err(), Some(NotIssued::Unknown));
    let other = world.standing(
        entry("revocation", 76),
        vec![bitstring(&world, "suspension", 77)],
    );
    assert_eq!(other.err(), Some(NotIssued::Unknown));
    assert!(check("message", 77).is_ok());
    let holder = key(Algorithm::Es256);
    let bound = json!({ "iss": ISSUER, "type": "licence", "cnf": { "jwk": Jwk::of(&*holder).unwrap().members() } });
    let text = world.signed("JWT", bound);
    assert!(
        world
            .made(Some(&text), Some(&holder))
            .err()
            .unwrap()
            .contains("only an SD-JWT")
    );
}

#[test]
fn a_list_that_grows_without_end_is_not_read() {
    let world = World::new(Format::SdJwt);
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&vec![0; 64 * 1024 * 1024]).unwrap();
    let lst = URL_SAFE_NO_PAD.encode(packed.finish().unwrap());
    let bomb = world.list(json!({ "status_list": { "bits": 1, "lst": lst } }));
    assert_eq!(
        world.standing(at(2), vec![bomb]).err(),
        Some(NotIssued::Unknown)
    );
}

fn offer(issuer: &str) -> String {
    let offer = json!({
        "credential_issuer": issuer,
        "credential_configuration_ids": ["licence"],
        "grants": { GRANT: { "pre-authorized_code": "CANARY-code" } },
    });
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("credential_offer", &offer.to_string())
        .finish();
    format!("openid-credential-offer://?{query}\n493536")
}

const GRANT: &str = "urn:ietf:params:oauth:grant-type:pre-authorized_code";

#[test]
fn an_offer_is_taken_once_and_what_came_of_it_is_kept() {
    let world = World::new(Format::SdJwt);
    let holder = key(Algorithm::Es256);
    let jwk = Jwk::of(&*holder).unwrap();
    let credential = world.sd_jwt(json!({ "cnf": { "jwk": jwk.members() } }));
    let issuer = world.made(Some(&offer(ISSUER)), Some(&holder)).unwrap();
    let about = json!({
        "credential_issuer": ISSUER, "credential_endpoint": format!("{ISSUER}/credential"),
        "nonce_endpoint": format!("{ISSUER}/nonce"),
    });
    let server = json!({ "issuer": ISSUER, "token_endpoint": format!("{ISSUER}/token") });
    let outside = Nobody::answering(vec![
        reply(200, &about.to_string()),
        reply(404, ""),
        reply(200, &server.to_string()),
        reply(
            200,
            r#"{"access_token":"CANARY-access","token_type":"Bearer"}"#,
        ),
        reply(200, r#"{"c_nonce":"nonce-1"}"#),
        reply(
            200,
            &json!({ "credentials": [{ "credential": credential }] }).to_string(),
        ),
    ]);
    let token = world.issue_at(&*issuer, &outside, NOW).unwrap();
    assert_eq!(shown(&token).matches('~').count(), 2);
    let disclosure = shown(&token).split('~').nth(1).unwrap().to_owned();
    let mut forms = token.forms().into_iter();
    assert!(forms.any(|form| form.matches(disclosure.as_bytes())));
    let asked = outside.asked();
    assert_eq!(
        asked,
        [
            "GET https://issuer.test/.well-known/openid-credential-issuer ",
            "GET https://issuer.test/.well-known/oauth-authorization-server ",
            "GET https://issuer.test/.well-known/openid-configuration ",
            "POST https://issuer.test/token ",
            "POST https://issuer.test/nonce ",
            "POST https://issuer.test/credential Bearer CANARY-access",
        ]
    );
    let bodies = outside.bodies();
    assert!(
        bodies[3].ends_with("&pre-authorized_code=CANARY-code&tx_code=493536"),
        "{}",
        bodies[3]
    );
    let body: Value = serde_json::from_str(&bodies[5]).unwrap();
    assert_eq!(body["credential_configuration_id"], "licence");
    let proof = jose::verify(body["proofs"]["jwt"][0].as_str().unwrap(), &[jwk]).unwrap();
    assert_eq!(
        (&proof.claims["aud"], &proof.claims["nonce"]),
        (&json!(ISSUER), &json!("nonce-1"))
    );
    // The code is used up: what is kept is used, by another instance as well.
    let again = world.made(Some(&offer(ISSUER)), Some(&holder)).unwrap();
    let token = world
        .issue_at(&*again, &Nobody::answering(Vec::new()), NOW)
        .unwrap();
    assert_eq!(shown(&token).matches('~').count(), 2);
}

#[test]
fn an_offer_leads_nowhere_but_to_the_declared_issuer() {
    let world = World::new(Format::SdJwt);
    let check = |offer: &str, replies: Vec<Value>| {
        let issuer = world.made(Some(offer), None).unwrap();
        let replies = replies
            .iter()
            .map(|one| reply(200, &one.to_string()))
            .collect();
        let outside = Nobody::answering(replies);
        let failed = world.issue_at(&*issuer, &outside, NOW).err();
        assert!(matches!(failed, Some(NotIssued::Dead(_))), "{failed:?}");
        assert!(
            outside
                .asked()
                .iter()
                .all(|line| line.contains(" https://issuer.test/"))
        );
    };
    check(&offer("https://evil.test"), Vec::new());
    check(
        "openid-credential-offer://?credential_offer_uri=https%3A%2F%2Fevil.test%2F",
        Vec::new(),
    );
    check(
        "openid-credential-offer://?credential_offer=nonsense",
        Vec::new(),
    );
    let place = |host: &str| format!("https://{host}.test/x");
    let about = |whose: &str, host: &str| json!({ "credential_issuer": whose, "credential_endpoint": place(host) });
    let server =
        |whose: &str, host: &str| json!({ "issuer": whose, "token_endpoint": place(host) });
    let evil = "https://evil.test";
    check(&offer(ISSUER), vec![about(evil, "issuer")]);
    check(
        &offer(ISSUER),
        vec![about(ISSUER, "evil"), server(ISSUER, "issuer")],
    );
    check(
        &offer(ISSUER),
        vec![about(ISSUER, "issuer"), server(ISSUER, "evil")],
    );
    check(
        &offer(ISSUER),
        vec![
            about(ISSUER, "issuer"),
            server(evil, "issuer"),
            server(evil, "issuer"),
        ],
    );
    let mut other = about(ISSUER, "issuer");
    other["authorization_servers"] = json!([evil]);
    check(&offer(ISSUER), vec![other]);
}
