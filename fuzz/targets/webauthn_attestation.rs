//! Attestation objects and the keys in them: whatever is taken for a new key can be written and read again.
#![cfg_attr(fuzzing, no_main)]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use exeat_ledger::passkey::{PublicKey, Registration, Relying, register};
use exeat_types::Digest;

/// Takes an attestation object as it is; the client data is right.
pub(crate) fn run(bytes: &[u8]) {
    let challenge = Digest::of(b"challenge");
    let relying = Relying {
        rp_id: "localhost".to_owned(),
        origin: "http://localhost:8089".to_owned(),
    };
    let client = format!(
        "{{\"type\":\"webauthn.create\",\"challenge\":\"{}\",\"origin\":\"{}\"}}",
        URL_SAFE_NO_PAD.encode(challenge.as_bytes()),
        relying.origin
    );
    let registration = Registration {
        attestation: URL_SAFE_NO_PAD.encode(bytes),
        client_data: URL_SAFE_NO_PAD.encode(client),
    };
    if let Ok(fresh) = register(&registration, &challenge, &relying) {
        let again = PublicKey::from_cose(fresh.public_key.cose());
        assert_eq!(again.ok(), Some(fresh.public_key));
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
