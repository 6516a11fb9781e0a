//! `WWW-Authenticate`: bounded, in lower case where case does not matter, and the same when fields are split.
#![cfg_attr(fuzzing, no_main)]

use exeat_custody::oauth::challenges;
use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};

/// Each line is one field.
pub(crate) fn run(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(64) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(WWW_AUTHENTICATE, value);
        }
    }
    let read = challenges(&headers);
    assert!(read.len() <= 16);
    for challenge in &read {
        assert!(!challenge.scheme.is_empty() && challenge.params.len() <= 32);
        assert_eq!(challenge.scheme, challenge.scheme.to_ascii_lowercase());
        for scope in challenge.scopes() {
            assert!(!scope.contains([' ', '"', '\\']) && scope.is_ascii() && !scope.is_empty());
        }
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
