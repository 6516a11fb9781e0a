//! Canonical JSON: what is read once is written in one form, and reading that gives the same value.
#![cfg_attr(fuzzing, no_main)]

use exeat_types::{canonical_json, unique_json};

/// Reads the bytes as JSON and writes them back.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(value) = unique_json(bytes) else {
        return;
    };
    let Ok(written) = canonical_json(&value) else {
        return;
    };
    let again = unique_json(&written).and_then(|again| canonical_json(&again));
    assert!(again.is_ok_and(|again| again == written));
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
