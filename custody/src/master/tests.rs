//! The master key, wherever it is kept.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::keyring::tests::FakeKeyring;

const CHEAP: Cost = Cost {
    memory_kib: 8,
    passes: 1,
    lanes: 1,
};

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

fn master(byte: u8) -> MasterKey {
    MasterKey::of(Secret::new(vec![byte; KEY_LEN])).unwrap()
}

#[test]
fn a_passphrase_yields_the_same_key_again_and_a_wrong_one_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let header = folder.path().join("master.json");
    let made =
        MasterKey::create_with_passphrase(&header, &secret("CANARY-master-1"), CHEAP).unwrap();
    let read = MasterKey::from_passphrase(&header, &secret("CANARY-master-1")).unwrap();
    assert_eq!(made.fingerprint(), read.fingerprint());
    let wrong = MasterKey::from_passphrase(&header, &secret("CANARY-master-2")).unwrap_err();
    assert!(matches!(wrong, Error::WrongPassphrase { .. }), "{wrong}");
    let again = MasterKey::create_with_passphrase(&header, &secret("CANARY-master-1"), CHEAP);
    assert!(
        matches!(
            again,
            Err(Error::File {
                action: "write",
                ..
            })
        ),
        "an existing key is never replaced"
    );
    let text = fs::read_to_string(&header).unwrap();
    assert!(!text.contains("CANARY"), "{text}");
    for damaged in [
        "{}",
        "",
        &text.replace("argon2id", "md5"),
        &text.replace(": 8,", ": 4294967295,"),
    ] {
        file::replace(&header, damaged.as_bytes()).unwrap();
        let problem = MasterKey::from_passphrase(&header, &secret("CANARY-master-1")).unwrap_err();
        assert!(
            matches!(
                problem,
                Error::NotA {
                    what: "master key header",
                    ..
                }
            ),
            "{problem}"
        );
    }
}

#[test]
fn the_key_of_an_older_folder_is_what_its_passphrase_yields() {
    // proves RFC 9106 by the argon2 crate, with the header as it was written then
    let folder = tempfile::tempdir().unwrap();
    let header = folder.path().join("master.json");
    let text = r#"{"format": 1, "kdf": "argon2id", "memory-kib": 8, "passes": 1, "lanes": 1, "salt": "AAECAwQFBgcICQoLDA0ODw==", "key": "KEY"}"#;
    let params = argon2::Params::new(8, 1, 1, Some(KEY_LEN)).unwrap();
    let argon = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let mut key = vec![0; KEY_LEN];
    let salt: Vec<u8> = (0..16).collect();
    argon
        .hash_password_into(b"CANARY-master-4", &salt, &mut key)
        .unwrap();
    let expected = MasterKey::of(Secret::new(key)).unwrap().fingerprint();
    file::replace(&header, text.replace("KEY", &expected).as_bytes()).unwrap();
    let read = MasterKey::from_passphrase(&header, &secret("CANARY-master-4")).unwrap();
    assert_eq!(read.fingerprint(), expected);
    let wrong = MasterKey::from_passphrase(&header, &secret("CANARY-master-5")).unwrap_err();
    assert!(matches!(wrong, Error::WrongPassphrase { .. }), "{wrong}");
    read.change_passphrase(&header, &secret("CANARY-master-5"), CHEAP)
        .unwrap();
    let changed = MasterKey::from_passphrase(&header, &secret("CANARY-master-5")).unwrap();
    assert_eq!(changed.fingerprint(), expected, "the key stays");
    assert!(MasterKey::from_passphrase(&header, &secret("CANARY-master-4")).is_err());
}

#[test]
fn a_key_file_is_made_once_and_read_only_when_nobody_else_can_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master.key");
    assert!(matches!(
        MasterKey::from_key_file(&path),
        Err(Error::File { action: "read", .. })
    ));
    let made = MasterKey::create_key_file(&path).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        MasterKey::from_key_file(&path).unwrap().fingerprint(),
        made.fingerprint()
    );
    assert!(MasterKey::create_key_file(&path).is_err());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let problem = MasterKey::from_key_file(&path).unwrap_err().to_string();
    assert!(problem.contains("chmod 600"), "{problem}");
    file::replace(&path, b"CANARY-too-short").unwrap();
    let problem = MasterKey::from_key_file(&path).unwrap_err().to_string();
    assert!(
        problem.ends_with("is not a master key file: expected 32 bytes, got 16"),
        "{problem}"
    );
}

#[test]
fn a_keyring_keeps_the_key() {
    let keyring = FakeKeyring::default();
    assert!(matches!(
        MasterKey::from_keyring(&keyring, "master"),
        Err(Error::SecretAbsent { .. })
    ));
    let made = MasterKey::create_in_keyring(&keyring, "master").unwrap();
    let read = MasterKey::from_keyring(&keyring, "master").unwrap();
    assert_eq!(made.fingerprint(), read.fingerprint());
    assert!(matches!(
        MasterKey::create_in_keyring(&keyring, "master"),
        Err(Error::Keyring { .. })
    ));
    keyring.write("other", &secret("CANARY-not-a-key")).unwrap();
    let problem = MasterKey::from_keyring(&keyring, "other")
        .unwrap_err()
        .to_string();
    assert!(
        problem.contains("`other` is not a master key") && !problem.contains("CANARY"),
        "{problem}"
    );
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test compares derived keys")]
fn derived_keys_are_those_of_rfc_5869_and_differ_by_purpose() {
    // proves RFC 5869 section 2, against an implementation that is not ours
    struct Len;
    impl ring::hkdf::KeyType for Len {
        fn len(&self) -> usize {
            32
        }
    }
    let salt = ring::hkdf::Salt::new(ring::hkdf::HKDF_SHA256, b"exeat master key 1");
    let mut expected = [0u8; 32];
    let extracted = salt.extract(&[7; 32]);
    extracted
        .expand(&[b"purpose"], Len)
        .unwrap()
        .fill(&mut expected)
        .unwrap();
    assert_eq!(master(7).derive("purpose").open(), expected);
    assert!(!master(7).derive("other").matches(&expected));
    assert!(!master(8).derive("purpose").matches(&expected));
}

#[test]
fn what_is_sealed_opens_only_whole_in_its_place_and_under_its_key() {
    let sealer = master(1).sealer("captures");
    let sealed = sealer.seal("call-1", b"CANARY-master-3").unwrap();
    assert!(
        sealer
            .open("call-1", &sealed)
            .unwrap()
            .matches(b"CANARY-master-3")
    );
    assert!(
        sealer
            .seal("call-1", b"")
            .is_ok_and(|empty| sealer.open("call-1", &empty).unwrap().is_empty())
    );
    assert_ne!(
        sealed,
        sealer.seal("call-1", b"CANARY-master-3").unwrap(),
        "nonces differ"
    );
    assert!(!sealed.windows(6).any(|window| window == b"CANARY"));
    assert!(sealer.open("call-2", &sealed).is_err());
    assert!(master(1).sealer("ledger").open("call-1", &sealed).is_err());
    assert!(
        master(2)
            .sealer("captures")
            .open("call-1", &sealed)
            .is_err()
    );
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(sealer.open("call-1", &changed).is_err(), "{at}");
        assert!(sealer.open("call-1", &sealed[..at]).is_err(), "{at}");
    }
}

#[test]
fn the_key_is_not_shown() {
    insta::assert_snapshot!(format!("{:?}", master(3)), @r#"MasterKey { fingerprint: "1dee63ca1f3d88cd", .. }"#);
}

#[test]
fn after_a_rotation_both_keys_open_all_until_it_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("earlier.json");
    let opens =
        |master: &MasterKey, sealed: &[u8]| master.sealer("captures").open("p", sealed).is_ok();
    let first = MasterKey::generate().unwrap();
    let old = first
        .sealer("captures")
        .seal("p", b"CANARY-master-6")
        .unwrap();
    let second = first.succeed(&path).unwrap();
    let newer = second
        .sealer("captures")
        .seal("p", b"CANARY-master-7")
        .unwrap();
    // Cut off here: whichever key is kept opens what it must.
    assert!(opens(&second, &old) && opens(&second, &newer));
    assert!(
        !opens(&first, &newer),
        "the old key does not open what is new"
    );
    let third = second.succeed(&path).unwrap();
    third.settle(&path).unwrap();
    let again = MasterKey::of(third.key.duplicate()).unwrap();
    assert!(!opens(&again, &old), "the file is what leads there");
    let again = again.with_earlier(&path).unwrap();
    assert!(opens(&again, &old) && opens(&again, &newer));
    let lone = second.with_earlier(&path).unwrap();
    assert!(
        !opens(&lone, &old),
        "settled: nothing in the file is under the old key"
    );
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains("CANARY"));
    file::replace(
        &path,
        text.replace(&first.fingerprint(), "0123456789abcdef")
            .as_bytes(),
    )
    .unwrap();
    assert!(
        again.with_earlier(&path).is_err(),
        "a changed list opens nothing"
    );
}
