//! Texts that git would have signed: what parses is a whole commit or tag that a rule can speak of, and nothing can be put
//! in front of it or made of it by a signature of its own.
#![cfg_attr(fuzzing, no_main)]

use exeat_policy::git::{ObjectKind, parse_object};

/// Parses the bytes as an object.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(object) = parse_object(bytes) else {
        return;
    };
    let start: &[u8] = match object.kind {
        ObjectKind::Commit => b"tree ",
        ObjectKind::Tag => b"object ",
    };
    assert!(bytes.starts_with(start) && !bytes.contains(&0));
    assert!([40, 64].contains(&object.points_to.len()));
    let head = bytes.windows(2).position(|pair| pair == b"\n\n");
    let (head, _) = bytes.split_at(head.unwrap_or_default());
    assert!(!head.windows(8).any(|seen| seen == b"\ngpgsig "));
    assert!(!object.subject.chars().any(char::is_control));
    assert!(parse_object(&[b"x", bytes].concat()).is_err());
    assert!(parse_object(&[start, bytes].concat()).is_err());
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
