//! Metadata of authorization servers and resources: whatever it says, it speaks for one identifier and leads to declared hosts.
#![cfg_attr(fuzzing, no_main)]

use exeat_custody::oauth::{Metadata, ProtectedResource};
use exeat_types::Origin;

const ISSUER: &str = "https://as.example/tenant";

pub(crate) fn run(bytes: &[u8]) {
    let Ok(origin) = Origin::parse("https://as.example") else {
        return;
    };
    let allowed = [origin];
    let named = format!("\"{ISSUER}\"");
    let speaks = |what: &str| {
        bytes
            .windows(what.len())
            .any(|window| window == what.as_bytes())
    };
    if Metadata::read(bytes, ISSUER, &allowed).is_ok() {
        // Without escapes the identifier stands there as it is.
        assert!(bytes.contains(&b'\\') || speaks(&named));
        // With no host declared nothing is left to lead to.
        assert!(Metadata::read(bytes, ISSUER, &[]).is_err());
        assert!(Metadata::read(bytes, "https://as.example/other", &allowed).is_err());
    }
    if let Ok(read) = ProtectedResource::read(bytes, "https://api.example/mcp", &allowed) {
        assert!(
            read.issuer
                .to_ascii_lowercase()
                .starts_with("https://as.example")
        );
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
