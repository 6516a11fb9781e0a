//! Ceremonies with an authenticator that we did not write, and everything that may not hold in them.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use exeat_types::{AgentId, ApprovalId, Digest, Timestamp};
use passkey::{
    authenticator::{Authenticator, UiHint, UserCheck, UserValidationMethod},
    crypto::{iana::Algorithm, rust_crypto::RustCryptoBackend},
    types::{
        Passkey,
        ctap2::{Aaguid, Ctap2Error, get_assertion, make_credential},
        webauthn,
    },
};
use proptest::prelude::*;

use super::*;
use crate::approval::{Enrolment, Extent, Vote};

/// What the browser asked the authenticator for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    ForUser,
    ForTouch,
}

/// A person at a device.
struct Person {
    verified: bool,
}

#[async_trait::async_trait]
impl UserValidationMethod for Person {
    type PasskeyItem = Passkey;

    async fn check_user<'a>(
        &self,
        _hint: UiHint<'a, Passkey>,
        presence: bool,
        _verification: bool,
    ) -> Result<UserCheck, Ctap2Error> {
        Ok(UserCheck {
            presence,
            verification: self.verified,
        })
    }

    fn is_verification_enabled(&self) -> Option<bool> {
        Some(true)
    }

    fn is_presence_enabled(&self) -> bool {
        true
    }
}

pub(crate) fn relying() -> Relying {
    Relying {
        rp_id: "localhost".to_owned(),
        origin: "http://localhost:8089".to_owned(),
    }
}

/// An authenticator with one key, and the browser before it.
pub(crate) struct Device {
    authenticator: Authenticator<Option<Passkey>, Person, RustCryptoBackend>,
    pub(crate) registered: Registered,
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

fn client_data(kind: &str, challenge: &Digest) -> String {
    format!(
        "{{\"type\":\"{kind}\",\"challenge\":\"{}\",\"origin\":\"{}\",\"crossOrigin\":false}}",
        encode(challenge.as_bytes()),
        relying().origin
    )
}

fn made(
    algorithm: Algorithm,
) -> (
    Authenticator<Option<Passkey>, Person, RustCryptoBackend>,
    Registration,
    Digest,
) {
    let person = Person { verified: true };
    let mut authenticator =
        Authenticator::new(Aaguid::new_empty(), None, person, RustCryptoBackend);
    authenticator.set_make_credentials_with_signature_counter(true);
    let challenge = Digest::of(b"fresh");
    let client = client_data("webauthn.create", &challenge);
    let request = make_credential::Request {
        client_data_hash: Digest::of(client.as_bytes()).as_bytes().to_vec().into(),
        rp: make_credential::PublicKeyCredentialRpEntity {
            id: relying().rp_id,
            name: None,
        },
        user: webauthn::PublicKeyCredentialUserEntity {
            id: vec![1; 16].into(),
            display_name: "Ada".to_owned(),
            name: "ada".to_owned(),
        },
        pub_key_cred_params: vec![webauthn::PublicKeyCredentialParameters {
            ty: webauthn::PublicKeyCredentialType::PublicKey,
            alg: algorithm,
        }],
        exclude_list: None,
        extensions: None,
        options: make_credential::Options {
            rk: true,
            up: true,
            uv: true,
        },
        pin_auth: None,
        pin_protocol: None,
    };
    let response = block_on(authenticator.make_credential(request)).unwrap();
    let registration = Registration {
        attestation: encode(&response.as_webauthn_bytes()),
        client_data: encode(client.as_bytes()),
    };
    (authenticator, registration, challenge)
}

impl Device {
    pub(crate) fn new() -> Self {
        Self::with(Algorithm::ES256)
    }

    fn with(algorithm: Algorithm) -> Self {
        let (authenticator, registration, challenge) = made(algorithm);
        let registered = register(&registration, &challenge, &relying()).unwrap();
        Self {
            authenticator,
            registered,
        }
    }

    pub(crate) fn sign(&mut self, challenge: &Digest) -> Assertion {
        self.sign_as(&client_data("webauthn.get", challenge), Asked::ForUser)
    }

    fn sign_as(&mut self, client: &str, asked: Asked) -> Assertion {
        let uv = asked == Asked::ForUser;
        let request = get_assertion::Request {
            rp_id: relying().rp_id,
            client_data_hash: Digest::of(client.as_bytes()).as_bytes().to_vec().into(),
            allow_list: None,
            extensions: None,
            options: get_assertion::Options { up: true, uv },
            pin_auth: None,
            pin_protocol: None,
        };
        let response = block_on(self.authenticator.get_assertion(request)).unwrap();
        Assertion {
            authenticator_data: encode(&response.auth_data.to_vec()),
            client_data: encode(client.as_bytes()),
            key: self.registered.key.clone(),
            signature: encode(&response.signature),
        }
    }

    /// Its enrolment, by nobody else.
    pub(crate) fn enrolment(&self, user: &str) -> Enrolment {
        Enrolment {
            device: Some("laptop".to_owned()),
            key: self.registered.key.clone(),
            origin: Some(relying().origin),
            public_key: Some(self.registered.public_key.to_string()),
            rp_id: Some(relying().rp_id),
            user: user.to_owned(),
            vouched: None,
        }
    }

    /// Vouches for a change.
    pub(crate) fn vouch(&mut self, user: &str, enrolment: &mut Enrolment, nonce: u8) {
        let nonce = Nonce::new([nonce; 32]);
        let signed = self.sign(&Vouch { enrolment, nonce }.digest());
        enrolment.vouched = Some(Box::new(Vote {
            assertion: Some(signed),
            extent: None,
            nonce: Some(nonce.to_string()),
            user: user.to_owned(),
        }));
    }
}

fn challenge() -> Challenge {
    Challenge {
        agent: AgentId::new("claude").unwrap(),
        approval: ApprovalId::new("apr-1").unwrap(),
        digest: Digest::of(b"request"),
        extent: Extent::Once,
        expires: Timestamp::from_millis(1_800_000_000_000),
        nonce: Nonce::new([1; 32]),
    }
}

#[track_caller]
fn refused(verdict: Result<Verified, crate::Error>, words: &str) {
    let problem = verdict.unwrap_err().to_string();
    assert!(problem.contains(words), "{problem}");
}

#[test]
fn keys_of_each_algorithm_are_enrolled_and_sign() {
    for algorithm in [Algorithm::ES256, Algorithm::EdDSA] {
        let mut device = Device::with(algorithm);
        let signed = device.sign(&challenge().digest());
        let key = PublicKey::parse(&device.registered.public_key.to_string()).unwrap();
        let verified = verify(&key, &signed, &challenge().digest(), &relying()).unwrap();
        assert!(verified.sign_count > 0);
    }
}

#[test]
fn any_other_grant_is_not_what_was_signed() {
    let mut device = Device::new();
    let signed = device.sign(&challenge().digest());
    let others = [
        Challenge {
            agent: AgentId::new("other").unwrap(),
            ..challenge()
        },
        Challenge {
            approval: ApprovalId::new("apr-2").unwrap(),
            ..challenge()
        },
        Challenge {
            digest: Digest::of(b"changed"),
            ..challenge()
        },
        Challenge {
            extent: Extent::Uses(2),
            ..challenge()
        },
        Challenge {
            expires: Timestamp::from_millis(1_800_000_000_001),
            ..challenge()
        },
        Challenge {
            nonce: Nonce::new([2; 32]),
            ..challenge()
        },
    ];
    for other in others {
        let verdict = verify(
            &device.registered.public_key,
            &signed,
            &other.digest(),
            &relying(),
        );
        refused(verdict, "another challenge");
    }
}

#[test]
fn another_site_another_page_and_another_key_are_refused() {
    let mut device = Device::new();
    let digest = challenge().digest();
    let signed = device.sign(&digest);
    let key = &device.registered.public_key;
    let elsewhere = Relying {
        rp_id: "elsewhere".to_owned(),
        ..relying()
    };
    refused(verify(key, &signed, &digest, &elsewhere), "another site");
    let port = Relying {
        origin: "http://localhost:9999".to_owned(),
        ..relying()
    };
    refused(verify(key, &signed, &digest, &port), "another origin");
    let other = Device::new();
    let verdict = verify(&other.registered.public_key, &signed, &digest, &relying());
    refused(verdict, "not by this key");
}

#[test]
fn what_the_browser_says_has_to_be_right() {
    let mut device = Device::new();
    let digest = challenge().digest();
    let text = encode(digest.as_bytes());
    let origin = relying().origin;
    let good = format!("\"challenge\":\"{text}\",\"origin\":\"{origin}\"");
    let table = [
        (
            format!("{{\"type\":\"webauthn.create\",{good}}}"),
            "another purpose",
        ),
        (
            format!("{{\"type\":\"webauthn.get\",{good},\"crossOrigin\":true}}"),
            "within a page",
        ),
        (
            format!("{{\"type\":\"webauthn.get\",{good},\"crossOrigin\":\"false\"}}"),
            "within a page",
        ),
        (
            format!("{{\"type\":\"webauthn.get\",{good},\"topOrigin\":\"{origin}\"}}"),
            "within a page",
        ),
        (
            format!("{{\"type\":\"webauthn.get\",{good},\"type\":\"webauthn.get\"}}"),
            "not JSON",
        ),
        (
            format!("{{\"type\":\"webauthn.get\",\"origin\":\"{origin}\"}}"),
            "another challenge",
        ),
        (
            format!(
                "{{\"type\":\"webauthn.get\",\"challenge\":\"{text}=\",\"origin\":\"{origin}\"}}"
            ),
            "another challenge",
        ),
        (
            format!(
                "{{\"type\":\"webauthn.get\",\"challenge\":\"{text}\",\"origin\":\"{origin}/\"}}"
            ),
            "another origin",
        ),
    ];
    for (client, words) in table {
        let signed = device.sign_as(&client, Asked::ForUser);
        refused(
            verify(&device.registered.public_key, &signed, &digest, &relying()),
            words,
        );
    }
    let client =
        format!("{{\"type\":\"webauthn.get\",{good},\"other_keys_can_be_added_here\":\"x\"}}");
    let signed = device.sign_as(&client, Asked::ForUser);
    verify(&device.registered.public_key, &signed, &digest, &relying()).unwrap();
}

#[test]
fn a_signature_without_user_verification_is_refused() {
    let mut device = Device::new();
    let digest = challenge().digest();
    let signed = device.sign_as(&client_data("webauthn.get", &digest), Asked::ForTouch);
    let bytes = URL_SAFE_NO_PAD.decode(&signed.authenticator_data).unwrap();
    if bytes[32] & 4 == 0 {
        refused(
            verify(&device.registered.public_key, &signed, &digest, &relying()),
            "not verified",
        );
    }
    let mut without = device.sign(&digest);
    for (bit, words) in [(4u8, "not verified"), (1, "nobody was present")] {
        let mut bytes = URL_SAFE_NO_PAD.decode(&signed.authenticator_data).unwrap();
        bytes[32] |= 5;
        bytes[32] &= !bit;
        without.authenticator_data = encode(&bytes);
        refused(
            verify(&device.registered.public_key, &without, &digest, &relying()),
            words,
        );
    }
}

#[test]
fn every_changed_bit_of_an_assertion_is_refused() {
    let mut device = Device::new();
    let digest = challenge().digest();
    let signed = device.sign(&digest);
    let fields: [fn(&mut Assertion) -> &mut String; 3] = [
        |signed| &mut signed.authenticator_data,
        |signed| &mut signed.client_data,
        |signed| &mut signed.signature,
    ];
    for field in fields {
        let bytes = URL_SAFE_NO_PAD.decode(field(&mut signed.clone())).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let mut other = signed.clone();
            *field(&mut other) = encode(&changed);
            let verdict = verify(&device.registered.public_key, &other, &digest, &relying());
            assert!(verdict.is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            let mut other = signed.clone();
            *field(&mut other) = encode(&bytes[..cut]);
            verify(&device.registered.public_key, &other, &digest, &relying()).unwrap_err();
        }
        for text in [
            format!("{}=", field(&mut signed.clone())),
            "A".repeat(100_000),
        ] {
            let mut other = signed.clone();
            *field(&mut other) = text;
            verify(&device.registered.public_key, &other, &digest, &relying()).unwrap_err();
        }
    }
}

#[test]
fn a_registration_is_checked_like_a_signature() {
    let (_, registration, challenge) = made(Algorithm::ES256);
    let fresh = register(&registration, &challenge, &relying()).unwrap();
    assert_eq!(
        PublicKey::from_cose(fresh.public_key.cose()).unwrap(),
        fresh.public_key
    );
    assert_eq!(fresh.public_key.fingerprint().len(), 24);
    register(&registration, &Digest::of(b"other"), &relying()).unwrap_err();
    let elsewhere = Relying {
        rp_id: "elsewhere".to_owned(),
        ..relying()
    };
    register(&registration, &challenge, &elsewhere).unwrap_err();
    let swapped = Registration {
        attestation: registration.client_data.clone(),
        client_data: registration.attestation.clone(),
    };
    register(&swapped, &challenge, &relying()).unwrap_err();
    let bytes = URL_SAFE_NO_PAD.decode(&registration.attestation).unwrap();
    for cut in 0..bytes.len() {
        let short = Registration {
            attestation: encode(&bytes[..cut]),
            ..registration.clone()
        };
        register(&short, &challenge, &relying()).unwrap_err();
    }
    let long = Registration {
        attestation: encode(&[bytes.as_slice(), &[0]].concat()),
        ..registration
    };
    register(&long, &challenge, &relying()).unwrap_err();
}

#[test]
fn keys_are_added_and_removed_only_by_a_key_that_is_there() {
    let (mut first, mut second, third) = (Device::new(), Device::new(), Device::new());
    let at = Timestamp::from_millis(0);
    let mut keys = Keys::default();
    keys.apply(&first.enrolment("ada"), at).unwrap();
    let mut enrolment = second.enrolment("ada");
    keys.apply(&enrolment, at).unwrap_err();
    second.vouch("ada", &mut enrolment, 1);
    keys.apply(&enrolment, at).unwrap_err();
    first.vouch("bob", &mut enrolment, 1);
    keys.apply(&enrolment, at).unwrap_err();
    first.vouch("ada", &mut enrolment, 1);
    let mut renamed = enrolment.clone();
    renamed.device = Some("phone".to_owned());
    keys.apply(&renamed, at).unwrap_err();
    keys.apply(&enrolment, at).unwrap();
    keys.apply(&enrolment, at).unwrap_err();
    let mut again = third.enrolment("bob");
    first.vouch("ada", &mut again, 1);
    keys.apply(&again, at).unwrap_err();
    let removal = |device: &Device| Enrolment {
        public_key: None,
        ..device.enrolment("ada")
    };
    let mut gone = removal(&first);
    keys.apply(&gone, at).unwrap_err();
    second.vouch("ada", &mut gone, 2);
    keys.apply(&gone, at).unwrap();
    assert_eq!(keys.iter().count(), 1);
    let mut last = removal(&second);
    second.vouch("ada", &mut last, 3);
    keys.apply(&last, at).unwrap_err();
    let mut back = first.enrolment("ada");
    second.vouch("ada", &mut back, 4);
    keys.apply(&back, at).unwrap_err();
    let signed = first.sign(&challenge().digest());
    keys.check(&signed, &challenge().digest()).unwrap_err();
}

#[test]
fn nobody_adds_a_key_in_the_name_of_somebody_who_has_one() {
    let (mut ada, mut bob, second, planted) =
        (Device::new(), Device::new(), Device::new(), Device::new());
    let at = Timestamp::from_millis(0);
    let mut keys = Keys::default();
    keys.apply(&ada.enrolment("ada"), at).unwrap();
    let mut fresh = bob.enrolment("bob");
    ada.vouch("ada", &mut fresh, 1);
    keys.apply(&fresh, at).unwrap();
    let mut wrong = planted.enrolment("bob");
    ada.vouch("ada", &mut wrong, 2);
    keys.apply(&wrong, at).unwrap_err();
    let mut right = second.enrolment("bob");
    bob.vouch("bob", &mut right, 3);
    keys.apply(&right, at).unwrap();
    assert_eq!(keys.iter().count(), 3);
}

#[test]
fn a_fingerprint_is_long_enough_that_nobody_finds_another_key_with_it() {
    let key = Device::new().enrolment("ada").public_key.unwrap();
    let print = PublicKey::parse(&key).unwrap().fingerprint();
    assert_eq!(print.len(), 5 * 4 + 4, "{print}");
}

#[test]
fn a_key_of_another_origin_does_not_join() {
    let (mut first, second) = (Device::new(), Device::new());
    let mut keys = Keys::default();
    keys.apply(&first.enrolment("ada"), Timestamp::from_millis(0))
        .unwrap();
    let mut enrolment = second.enrolment("ada");
    enrolment.origin = Some("http://localhost:1".to_owned());
    first.vouch("ada", &mut enrolment, 1);
    keys.apply(&enrolment, Timestamp::from_millis(0))
        .unwrap_err();
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let text = encode(&bytes);
        let _key = PublicKey::parse(&text);
        let registration = Registration { attestation: text.clone(), client_data: text };
        prop_assert!(register(&registration, &Digest::of(b""), &relying()).is_err());
    }
}
