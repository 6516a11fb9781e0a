//! Multipart bodies that are written anew: once written they stay as they are, and the parts are those that came.
#![cfg_attr(fuzzing, no_main)]

// Built in by itself when fuzzing: the rest of the pipeline would only be slow to instrument.
#[cfg(not(fuzzing))]
use exeat_pipeline::{is_multipart, rewrite};
#[cfg(fuzzing)]
#[path = "../../pipeline/src/approval/multipart.rs"]
#[allow(dead_code, unused_imports, reason = "only its writer is called here")]
mod multipart;
#[cfg(fuzzing)]
use multipart::{is_multipart, rewrite};

/// Takes the first line for the content type, and the rest for the body.
pub(crate) fn run(bytes: &[u8]) {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let (kind, body) = bytes.split_at(end);
    let (Ok(kind), Some(body)) = (std::str::from_utf8(kind), body.get(1..)) else {
        return;
    };
    let Some(written) = rewrite(kind, body) else {
        return;
    };
    assert_eq!(is_multipart(kind), is_multipart(&written.content_type));
    assert_eq!(
        rewrite(&written.content_type, &written.body),
        Some(written.clone())
    );
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
