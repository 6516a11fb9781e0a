//! SD-JWTs: what is shown is a part of what was given, and nothing is shown that was not asked for.
#![cfg_attr(fuzzing, no_main)]

use exeat_custody::{entitlement::SdJwt, jose::members};

/// Takes the first line for the issuer's claims, and the rest for the credential.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (claims, credential) = text.split_once('\n').unwrap_or(("{}", text));
    let Ok(claims) = serde_json::from_str(claims) else {
        return;
    };
    let Ok(sd_jwt) = SdJwt::read(credential) else {
        return;
    };
    let Ok(resolved) = sd_jwt.resolve(&members(claims)) else {
        return;
    };
    assert_eq!(sd_jwt.present(&resolved, &[]), format!("{}~", sd_jwt.jwt()));
    assert_eq!(sd_jwt.present(&resolved, &["*".to_owned()]), credential);
    for name in resolved.claims.keys() {
        let shown = sd_jwt.present(&resolved, std::slice::from_ref(name));
        assert!(
            shown
                .split('~')
                .all(|part| credential.split('~').any(|one| one == part))
        );
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
