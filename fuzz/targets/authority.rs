//! Hosts, authorities and origins: what parses prints a form that parses to the same value.
#![cfg_attr(fuzzing, no_main)]

use exeat_types::{Authority, Host, Origin};

/// Parses the bytes as each of the three.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(host) = Host::parse(text) {
        assert!(Host::parse(&host.to_string()).is_ok_and(|again| again == host));
    }
    if let Ok(authority) = Authority::parse(text) {
        let port = authority
            .port
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        let printed = format!("{}{port}", authority.host);
        assert!(Authority::parse(&printed).is_ok_and(|again| again == authority));
    }
    if let Ok(origin) = Origin::parse(text) {
        assert!(Origin::parse(&origin.to_string()).is_ok_and(|again| again == origin));
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
