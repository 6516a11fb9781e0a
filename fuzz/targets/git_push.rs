//! Bodies of `git push`: whatever parses names its refs, and cutting or adding a byte is noticed when a pack is there.
#![cfg_attr(fuzzing, no_main)]

use exeat_policy::git::parse_push;

/// Parses the bytes as a request body.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(push) = parse_push(bytes) else { return };
    for update in &push.updates {
        assert!(!update.name.is_empty() && update.old.len() == update.new.len());
    }
    assert_eq!(parse_push(bytes).ok(), Some(push));
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
