//! The published examples, and what is no token here.

use exeat_types::Secret;
use serde_json::json;

use super::*;
use crate::SoftwareSigner;

const ES256_TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

#[expect(clippy::needless_pass_by_value, reason = "a row reads better")]
fn jwk(value: Value) -> Jwk {
    Jwk::read(&value).unwrap()
}

fn es256() -> Value {
    json!({
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })
}

fn ed25519() -> Arc<dyn Signer> {
    let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
    Arc::new(SoftwareSigner::from_seed(&Secret::new(seed.unwrap())).unwrap())
}

#[test]
fn thumbprints_are_those_of_the_published_examples() {
    // proves RFC 7638 section 3.1, RFC 8037 appendix A.3, RFC 9449 section 5
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let rsa =
        jwk(json!({ "kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29" }));
    assert_eq!(
        rsa.thumbprint(),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
    assert_eq!(rsa.kid(), Some("2011-04-29"));
    let own = Jwk::of(&*ed25519()).unwrap();
    assert_eq!(
        own.thumbprint(),
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
    let dpop = jwk(json!({
        "kty": "EC", "crv": "P-256",
        "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
        "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
    }));
    assert_eq!(
        dpop.thumbprint(),
        "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
    );
}

#[test]
fn a_published_token_verifies_with_its_key_and_no_other() {
    // proves RFC 7515 appendix A.3
    let verified = verify(ES256_TOKEN, &[jwk(es256())]).unwrap();
    assert_eq!(verified.claims["iss"], "joe");
    let mut other = es256();
    other["x"] = json!("l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs");
    assert!(verify(ES256_TOKEN, &[jwk(other)]).is_err());
    assert!(verify(ES256_TOKEN, &[Jwk::of(&*ed25519()).unwrap()]).is_err());
    assert!(verify(ES256_TOKEN, &[]).is_err());
}

#[test]
fn what_is_signed_verifies_and_what_was_changed_does_not() {
    let signer = ed25519();
    let header = members(json!({ "typ": "JWT", "kid": "one" }));
    let claims = members(json!({ "iss": "exeat", "n": 1 }));
    let token = jwt(&signer, header, &claims).unwrap();
    let key = Jwk::of(&*signer).unwrap();
    let verified = verify(&token, &[jwk(es256()), key.clone()]).unwrap();
    assert_eq!(verified.claims, claims);
    assert_eq!(
        (
            verified.header["alg"].clone(),
            verified.header["kid"].clone()
        ),
        (json!("EdDSA"), json!("one"))
    );
    let (head, signature) = token.rsplit_once('.').unwrap();
    let changed = head.replace('.', ".e");
    for wrong in [
        format!("{changed}.{signature}"),
        format!("{head}."),
        head.to_owned(),
        format!("{token}.x"),
        String::new(),
    ] {
        assert!(
            verify(&wrong, std::slice::from_ref(&key)).is_err(),
            "{wrong}"
        );
    }
    let critical = members(json!({ "crit": ["exp"], "exp": 1 }));
    let token = jwt(&signer, critical, &claims).unwrap();
    assert_eq!(
        verify(&token, &[key]).unwrap_err(),
        "has an extension that must be understood"
    );
}

#[test]
fn no_signature_and_a_secret_as_key_are_nothing_here() {
    let claims = URL_SAFE_NO_PAD.encode(r#"{"iss":"joe"}"#);
    for alg in ["none", "HS256", "ES384", "PS256"] {
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": alg }).to_string());
        for signature in ["", "AAAA"] {
            assert!(verify(&format!("{header}.{claims}.{signature}"), &[jwk(es256())]).is_err());
        }
    }
}

#[test]
fn a_signer_that_is_gone_says_so_itself() {
    struct Gone;
    impl Signer for Gone {
        fn algorithm(&self) -> Algorithm {
            Algorithm::Es256
        }
        fn public_key(&self) -> &[u8] {
            &[]
        }
        fn sign(&self, _: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
            Err(DeviceFailure("the device is gone"))
        }
    }
    let gone: Arc<dyn Signer> = Arc::new(Gone);
    let failed = jwt(&gone, Members::new(), &Members::new()).unwrap_err();
    assert_eq!(failed, DeviceFailure("the device is gone"));
    assert!(Jwk::of(&*gone).is_err());
}

#[test]
fn private_and_foreign_keys_are_refused() {
    for (member, value) in [
        ("d", json!("AAAA")),
        ("kty", json!("oct")),
        ("crv", json!("P-384")),
        ("x", json!("AAAA")),
    ] {
        let mut key = es256();
        key[member] = value;
        assert!(Jwk::read(&key).is_err(), "{member}");
    }
    assert_eq!(
        Jwk::read_all(&json!({ "keys": [es256(), es256()] }))
            .unwrap()
            .len(),
        2
    );
    assert!(Jwk::read_all(&json!({ "keys": [] })).is_err());
}
