//! Assertions of passkeys: nothing that is not signed by the key holds, and a key that is read is written the same.
#![cfg_attr(fuzzing, no_main)]

use exeat_ledger::{
    Assertion,
    passkey::{PublicKey, Relying, verify},
};
use exeat_types::Digest;

/// Takes four lines: the key, then what was signed; all in base64url.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut lines = text.splitn(4, '\n').map(str::to_owned);
    let mut line = || lines.next().unwrap_or_default();
    let Ok(key) = PublicKey::parse(&line()) else {
        return;
    };
    assert_eq!(PublicKey::parse(&key.to_string()).ok().as_ref(), Some(&key));
    let assertion = Assertion {
        authenticator_data: line(),
        client_data: line(),
        key: String::new(),
        signature: line(),
    };
    let relying = Relying {
        rp_id: "localhost".to_owned(),
        origin: "http://localhost:8089".to_owned(),
    };
    // Nobody can have signed this challenge.
    let verdict = verify(&key, &assertion, &Digest::of(bytes), &relying);
    assert!(verdict.is_err());
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
