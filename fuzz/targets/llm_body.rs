//! Requests to language models: whatever passes where the provider may do nothing names no tool of its, and passes again.
#![cfg_attr(fuzzing, no_main)]

use exeat_policy::{Api, LlmRules, ProviderTools};

/// Judges the bytes as a body of every API, refusing and trimming.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(body) = exeat_types::unique_json(bytes) else {
        return;
    };
    for (_, api) in Api::NAMED {
        let rules = |provider_tools| LlmRules {
            api,
            provider_tools,
            allow: Vec::new(),
        };
        let (mut denied, mut trimmed) = (body.clone(), body.clone());
        let passed = rules(ProviderTools::Deny).examine(&mut denied);
        if rules(ProviderTools::Trim).examine(&mut trimmed).is_ok() {
            // What is left after trimming passes where nothing is allowed, and is trimmed no further.
            let mut again = trimmed.clone();
            assert!(rules(ProviderTools::Deny).examine(&mut again).is_ok());
            assert_eq!(again, trimmed);
        } else {
            assert!(passed.is_err());
        }
        if passed.is_ok() {
            assert_eq!(denied, body);
        }
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
