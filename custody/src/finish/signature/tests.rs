//! The examples of RFC 9421 appendix B.2, and of Web Bot Auth.

use bytes::Bytes;
use exeat_types::{Origin, Secret};
use http::{HeaderMap, Method};
use serde_json::json;

use super::*;
use crate::{SoftwareSigner, signer::verifies};

/// The seconds at which the examples were signed.
const THEN: u64 = 1_618_884_473;

/// The request of appendix B.2, without `Host` and `Content-Length`.
fn example(then: impl FnOnce(&mut Draft<'_>)) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("content-type", "application/json"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let body = Bytes::from_static(b"{\"hello\": \"world\"}");
    let mut target = "/foo?param=Value&Pet=dog".to_owned();
    let mut draft = Draft {
        method: &Method::POST,
        origin: &Origin::parse("https://example.com").unwrap(),
        target: &mut target,
        headers: &mut headers,
        body: DraftBody::Whole(&body),
        now: Timestamp::from_millis(THEN * 1000),
    };
    then(&mut draft);
    headers
}

fn declared(label: &str, components: &[&str], key_id: &str) -> MessageSignature {
    MessageSignature {
        components: components.iter().map(|one| one.parse().unwrap()).collect(),
        label: label.to_owned(),
        key_id: Some(key_id.to_owned()),
        tag: None,
        lifetime: Duration::ZERO,
        nonce: Nonce::Absent,
        agent: None,
        encoding: KeyEncoding::Base64,
    }
}

fn ed25519() -> Arc<dyn Signer> {
    let key = "MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF";
    let key = Secret::new(STANDARD.decode(key).unwrap());
    Arc::new(SoftwareSigner::from_key(&key).unwrap())
}

fn signing(declared: MessageSignature, key: Key) -> Signing {
    let key_id = declared.key_id.clone().unwrap_or_default();
    Signing {
        declared,
        key,
        key_id,
    }
}

#[track_caller]
fn check(signing: &Signing, input: &str, signature: &str) {
    let headers = example(|draft| signing.finish(draft).unwrap());
    assert_eq!(headers[SIGNATURE_INPUT], input);
    assert_eq!(headers[SIGNATURE], signature);
}

#[test]
fn signatures_are_those_of_the_published_examples() {
    // proves RFC 9421 appendix B.2.5
    let secret = Secret::new(
        b"uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
            .to_vec(),
    );
    let shared = Key::Shared(shared(&secret, KeyEncoding::Base64).unwrap());
    let components = ["date", "@authority", "content-type"];
    check(
        &signing(
            declared("sig-b25", &components, "test-shared-secret"),
            shared,
        ),
        "sig-b25=(\"date\" \"@authority\" \"content-type\");created=1618884473;keyid=\"test-shared-secret\"",
        "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:",
    );
    // proves RFC 9421 appendix B.2.6
    let components = [
        "date",
        "@method",
        "@path",
        "@authority",
        "content-type",
        "content-length",
    ];
    check(
        &signing(
            declared("sig-b26", &components, "test-key-ed25519"),
            Key::Own(ed25519()),
        ),
        "sig-b26=(\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \"content-length\");created=1618884473;keyid=\"test-key-ed25519\"",
        "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:",
    );
}

#[test]
fn every_derived_component_is_written_as_the_standard_says() {
    // proves RFC 9421 section 2.2
    let components = [
        "@method",
        "@target-uri",
        "@authority",
        "@scheme",
        "@request-target",
        "@path",
        "@query",
        "@query-param;name=\"Pet\"",
        "content-digest",
        "x-absent",
    ];
    let signing = signing(declared("s", &components, "k"), Key::Own(ed25519()));
    assert!(signing.needs_body());
    let mut text = String::new();
    example(|draft| {
        signing.finish(draft).unwrap();
        text = base::write(&signing.declared.components, draft, ";created=1")
            .unwrap()
            .text;
    });
    let expect = [
        "\"@method\": POST",
        "\"@target-uri\": https://example.com/foo?param=Value&Pet=dog",
        "\"@authority\": example.com",
        "\"@scheme\": https",
        "\"@request-target\": /foo?param=Value&Pet=dog",
        "\"@path\": /foo",
        "\"@query\": ?param=Value&Pet=dog",
        "\"@query-param\";name=\"Pet\": dog",
        "\"content-digest\": sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:",
        "\"@signature-params\": (\"@method\" \"@target-uri\" \"@authority\" \"@scheme\" \"@request-target\" \"@path\" \"@query\" \"@query-param\";name=\"Pet\" \"content-digest\");created=1",
    ];
    assert_eq!(text, expect.join("\n"));
}

#[test]
fn web_bot_auth_says_who_calls_whom_and_never_twice_the_same() {
    let signer = ed25519();
    let jwk = Jwk::of(&*signer).unwrap();
    assert_eq!(
        jwk.thumbprint(),
        "poqkLGiymh_W0uP6PZFw-dvez3QJT5SolqXBCW38r0U"
    );
    let id = "bot".parse().unwrap();
    let material = Material {
        id: &id,
        secret: None,
        signer: Some(&signer),
    };
    let kind = MessageSignature::web_bot_auth("https://bot.test".to_owned());
    let made = kind.make(material).unwrap();
    assert_eq!(made.headers, [SIGNATURE, SIGNATURE_INPUT, SIGNATURE_AGENT]);
    let signing = signing(
        MessageSignature {
            key_id: Some(jwk.thumbprint()),
            ..kind
        },
        Key::Own(signer),
    );
    let mut base = String::new();
    let headers = example(|draft| {
        signing.sign(draft, Some("AAAA".to_owned())).unwrap();
        let params = signing.params(draft.now, Some("AAAA".to_owned()));
        base = base::write(&signing.declared.components, draft, &params)
            .unwrap()
            .text;
    });
    assert_eq!(headers[SIGNATURE_AGENT], "sig1=\"https://bot.test\"");
    let params = "(\"@authority\" \"signature-agent\";key=\"sig1\");created=1618884473;expires=1618884533;keyid=\"poqkLGiymh_W0uP6PZFw-dvez3QJT5SolqXBCW38r0U\";alg=\"ed25519\";nonce=\"AAAA\";tag=\"web-bot-auth\"";
    assert_eq!(headers[SIGNATURE_INPUT], format!("sig1={params}"));
    assert_eq!(
        base,
        format!(
            "\"@authority\": example.com\n\"signature-agent\";key=\"sig1\": \"https://bot.test\"\n\"@signature-params\": {params}"
        )
    );
    let signature = headers[SIGNATURE].to_str().unwrap();
    let signature = signature
        .strip_prefix("sig1=:")
        .unwrap()
        .strip_suffix(':')
        .unwrap();
    let signature = STANDARD.decode(signature).unwrap();
    let public = ed25519();
    assert!(verifies(
        Algorithm::EdDsa,
        public.public_key(),
        base.as_bytes(),
        &signature
    ));
    let twice =
        [(), ()].map(|()| example(|draft| signing.finish(draft).unwrap())[SIGNATURE].clone());
    assert_ne!(twice[0], twice[1]);
}

#[test]
fn the_directory_names_keys_by_their_thumbprint() {
    let jwk = Jwk::of(&*ed25519()).unwrap();
    assert_eq!(
        serde_json::Value::Object(directory(&[jwk])),
        json!({ "keys": [{
            "crv": "Ed25519", "kty": "OKP", "x": "JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs",
            "kid": "poqkLGiymh_W0uP6PZFw-dvez3QJT5SolqXBCW38r0U", "use": "sig",
        }] })
    );
}

#[test]
fn what_cannot_be_signed_refuses() {
    let signing_of =
        |component: &str| signing(declared("s", &[component], "k"), Key::Own(ed25519()));
    let streamed = |component: &str| {
        let mut failed = None;
        example(|draft| {
            draft.body = DraftBody::Streamed;
            failed = signing_of(component).finish(draft).err();
        });
        failed
    };
    assert!(matches!(
        streamed("content-digest"),
        Some(NotIssued::Signer(_))
    ));
    assert!(matches!(
        streamed("content-length"),
        Some(NotIssued::Signer(_))
    ));
    assert_eq!(streamed("@method"), None);
    let mut failed = None;
    example(|draft| {
        draft.target.push_str("&Pet=cat");
        failed = signing_of("@query-param;name=\"Pet\"").finish(draft).err();
    });
    assert!(matches!(failed, Some(NotIssued::Signer(_))));
    for wrong in [
        "@status",
        "host",
        "Date",
        "a b",
        "signature",
        "@query-param",
        "",
    ] {
        assert!(wrong.parse::<Component>().is_err(), "{wrong}");
    }
}
