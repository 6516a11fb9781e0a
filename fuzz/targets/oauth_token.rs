//! Answers of token endpoints: read or refused, and never printed.
#![cfg_attr(fuzzing, no_main)]

use exeat_custody::oauth::TokenReply;

const TOKEN: &str = "CANARY-fuzz-token";

/// The bytes stand beside a token in the answer. Who writes the token into another field has it printed there.
pub(crate) fn run(bytes: &[u8]) {
    let written = bytes
        .windows(TOKEN.len())
        .any(|window| window == TOKEN.as_bytes());
    if written || bytes.contains(&b'\\') {
        return;
    }
    let mut answer =
        format!("{{\"access_token\":\"{TOKEN}\",\"refresh_token\":\"{TOKEN}\",").into_bytes();
    answer.extend_from_slice(bytes);
    for answer in [bytes, &answer] {
        match TokenReply::read(answer) {
            Ok(reply) => assert!(!format!("{reply:?}").contains(TOKEN)),
            Err(why) => assert!(!why.contains(TOKEN)),
        }
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
