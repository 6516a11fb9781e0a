//! GraphQL bodies: whatever is read names its fields, says the same again, and an added mutation never goes unnoticed.
#![cfg_attr(fuzzing, no_main)]

use exeat_policy::graphql::{Detail, parse};

/// Reads the bytes as a request body, and as the document of one.
pub(crate) fn run(bytes: &[u8]) {
    let first = parse(bytes, Detail::Fields);
    assert_eq!(first, parse(bytes, Detail::Fields));
    if let Ok(asked) = &first {
        assert!(!asked.fields.is_empty() && asked.fields.is_subset(&asked.selects));
        assert!(asked.count >= 1 && asked.depth >= 1);
    }
    if let Ok(one) = parse(bytes, Detail::Arguments) {
        assert!(one.count == 1 && one.arguments.is_some());
    }
    let Ok(document) = std::str::from_utf8(bytes) else {
        return;
    };
    let request = serde_json::json!({"query": document}).to_string();
    let Ok(asked) = parse(request.as_bytes(), Detail::Fields) else {
        return;
    };
    let rider =
        serde_json::json!({"query": format!("{document}\nmutation ExeatRider {{ exeatRider }}")});
    if let Ok(both) = parse(rider.to_string().as_bytes(), Detail::Fields) {
        assert!(both.fields.contains("exeatRider") && asked.fields.is_subset(&both.fields));
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
