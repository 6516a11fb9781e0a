//! Status lists: whatever an issuer packs, a list is bounded, and every place in it has a status of its own width.
#![cfg_attr(fuzzing, no_main)]

use exeat_custody::entitlement::StatusList;

/// Takes the first byte for the width, and the rest for the list in either form.
pub(crate) fn run(bytes: &[u8]) {
    let Some((width, rest)) = bytes.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    let bits = u64::from(*width);
    if let Ok(list) = StatusList::token(bits, text) {
        check(&list, bits);
    }
    if let Ok(list) = StatusList::bitstring(text) {
        check(&list, 1);
    }
}

fn check(list: &StatusList, bits: u64) {
    for index in [0, 1, 7, 8, 131_071, 1 << 20, u64::MAX / 8, u64::MAX] {
        if let Some(status) = list.at(index) {
            assert!(u64::from(status) < 1 << bits, "{status} in {bits} bits");
        }
    }
    assert_eq!(list.at(u64::MAX), None);
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
