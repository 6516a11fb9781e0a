//! Agent tokens: nothing that this key did not sign is a claim, in a token and in a header.
#![cfg_attr(fuzzing, no_main)]

use exeat_custody::token::TokenKey;
use exeat_types::Secret;

/// Checks the bytes as a header's value and as a token.
pub(crate) fn run(bytes: &[u8]) {
    let key = TokenKey::new(&Secret::new(b"CANARY-fuzz-token-key-0123456789".to_vec()));
    assert!(key.check_header(bytes).is_none());
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(key.check(text).is_none());
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
