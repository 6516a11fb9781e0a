//! The master key: one key from which every other key of the gate is derived, and where it comes from.
//!
//! Each purpose has its own key (HKDF), so that no two uses meet. The key itself never leaves this file.

use std::{fmt, path::Path, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use exeat_types::{Sealer, Secret, random_bytes};
use ring::hmac;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{Error, Keyring, file, placeholder::hex, seal::AesSealer};

const KEY_LEN: usize = 32;
const SALT_LEN: usize = 16;
const HEADER_FORMAT: u32 = 1;
/// What a header file may ask of this machine before it is called damaged.
const MEMORY_KIB_MAX: u32 = 4 * 1024 * 1024;

/// The master key of one gate.
pub struct MasterKey {
    /// INVARIANT: 32 bytes.
    key: Secret,
}

/// What deriving the key from a passphrase costs (Argon2id, RFC 9106).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for Cost {
    /// 64 MiB and three passes: RFC 9106 section 4, the second recommended setting, in one lane.
    fn default() -> Self {
        Self {
            memory_kib: 64 * 1024,
            passes: 3,
            lanes: 1,
        }
    }
}

/// What is written beside the data, so that the passphrase yields the same key again. Nothing in it is secret.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Header {
    format: u32,
    kdf: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
    /// The fingerprint of the key, so that a wrong passphrase is told from a damaged vault.
    key: String,
}

impl MasterKey {
    /// Derives a new key from a passphrase and writes the header file that is needed to derive it again.
    ///
    /// # Errors
    /// When the header file exists or cannot be written, or this machine lacks the memory.
    pub fn create_with_passphrase(
        header: &Path,
        passphrase: &Secret,
        cost: Cost,
    ) -> Result<Self, Error> {
        let salt = random_bytes::<SALT_LEN>()?;
        let master = Self::stretch(passphrase, &salt, cost)?;
        let text = Header {
            format: HEADER_FORMAT,
            kdf: "argon2id".to_owned(),
            memory_kib: cost.memory_kib,
            passes: cost.passes,
            lanes: cost.lanes,
            salt: BASE64_STANDARD.encode(salt),
            key: master.fingerprint(),
        };
        let text =
            serde_json::to_vec_pretty(&text).map_err(|e| not_a_header(header, e.to_string()))?;
        file::create(header, &text)?;
        Ok(master)
    }

    /// Derives the key from its passphrase and the header file.
    ///
    /// # Errors
    /// When the header file is absent, open to others or damaged, or the passphrase is wrong.
    pub fn from_passphrase(header: &Path, passphrase: &Secret) -> Result<Self, Error> {
        let text = file::read(header, 4096)?.ok_or_else(|| absent(header))?;
        let wrong = |problem: String| not_a_header(header, problem);
        let parsed: Header = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
        if parsed.format != HEADER_FORMAT || parsed.kdf != "argon2id" {
            return Err(wrong(format!(
                "expected format {HEADER_FORMAT} with `argon2id`"
            )));
        }
        if parsed.memory_kib > MEMORY_KIB_MAX || parsed.passes > 1000 || parsed.lanes > 64 {
            return Err(wrong("its cost is beyond what was ever written".to_owned()));
        }
        let salt = BASE64_STANDARD
            .decode(&parsed.salt)
            .map_err(|e| wrong(e.to_string()))?;
        let cost = Cost {
            memory_kib: parsed.memory_kib,
            passes: parsed.passes,
            lanes: parsed.lanes,
        };
        let master = Self::stretch(passphrase, &salt, cost)?;
        if master.fingerprint() != parsed.key {
            return Err(Error::WrongPassphrase {
                path: header.to_owned(),
            });
        }
        Ok(master)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the key is derived from the passphrase"
    )]
    fn stretch(passphrase: &Secret, salt: &[u8], cost: Cost) -> Result<Self, Error> {
        let wrong = |e: argon2::Error| Error::PassphraseCost(e.to_string());
        let params = argon2::Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(KEY_LEN))
            .map_err(wrong)?;
        let argon =
            argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let mut key = vec![0u8; KEY_LEN];
        argon
            .hash_password_into(passphrase.open(), salt, &mut key)
            .map_err(wrong)?;
        Ok(Self {
            key: Secret::new(key),
        })
    }

    /// Makes a new key and writes it to a file that only its owner can read.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn create_key_file(path: &Path) -> Result<Self, Error> {
        let key = Zeroizing::new(random_bytes::<KEY_LEN>()?);
        file::create(path, key.as_slice())?;
        Ok(Self {
            key: Secret::new(key.to_vec()),
        })
    }

    /// Reads the key from its file.
    ///
    /// # Errors
    /// When the file is absent, open to others, or does not hold exactly one key.
    pub fn from_key_file(path: &Path) -> Result<Self, Error> {
        let bytes = file::read(path, 4096)?.ok_or_else(|| absent(path))?;
        let problem = format!("expected {KEY_LEN} bytes, got {}", bytes.len());
        let what = "master key file";
        Self::of(Secret::new(bytes)).ok_or_else(|| Error::NotA {
            what,
            path: path.to_owned(),
            problem,
        })
    }

    /// Makes a new key and stores it in a keyring under this name.
    ///
    /// # Errors
    /// When the keyring fails, or holds such an entry already.
    pub fn create_in_keyring(keyring: &dyn Keyring, name: &str) -> Result<Self, Error> {
        if keyring.read(name)?.is_some() {
            let problem = format!("there is an entry `{name}` already");
            return Err(Error::Keyring {
                action: "store",
                problem,
            });
        }
        let key = Secret::new(random_bytes::<KEY_LEN>()?.to_vec());
        keyring.write(name, &key)?;
        Ok(Self { key })
    }

    /// Reads the key from a keyring.
    ///
    /// # Errors
    /// When the keyring fails, or has no such entry, or the entry is not a key.
    pub fn from_keyring(keyring: &dyn Keyring, name: &str) -> Result<Self, Error> {
        let absent = || Error::SecretAbsent {
            name: name.to_owned(),
            store: "the keyring",
        };
        let key = keyring.read(name)?.ok_or_else(absent)?;
        let problem = format!("entry `{name}` is not a master key of {KEY_LEN} bytes");
        Self::of(key).ok_or(Error::Keyring {
            action: "read",
            problem,
        })
    }

    fn of(key: Secret) -> Option<Self> {
        (key.len() == KEY_LEN).then_some(Self { key })
    }

    /// The key for one purpose: 32 bytes of HKDF-SHA256.
    ///
    /// # Spec
    /// RFC 5869 section 2, with one block of output.
    #[expect(
        clippy::disallowed_methods,
        reason = "every key is derived from the master key"
    )]
    pub fn derive(&self, purpose: &str) -> Secret {
        let salt = hmac::Key::new(hmac::HMAC_SHA256, b"exeat master key 1");
        let extracted = hmac::sign(&salt, self.key.open());
        let mut expand =
            hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, extracted.as_ref()));
        expand.update(purpose.as_bytes());
        expand.update(&[1]);
        Secret::new(expand.sign().as_ref().to_vec())
    }

    /// What seals and opens for one purpose.
    pub fn sealer(&self, purpose: &str) -> Arc<dyn Sealer> {
        Arc::new(AesSealer::new(self.derive(&format!("seal|{purpose}"))))
    }

    /// A name for this key that tells nothing about it.
    #[expect(
        clippy::disallowed_methods,
        reason = "the fingerprint is a derived value that is meant to be shown"
    )]
    pub fn fingerprint(&self) -> String {
        hex(self.derive("fingerprint").open())
            .chars()
            .take(16)
            .collect()
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey")
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

fn absent(path: &Path) -> Error {
    let source = std::io::Error::from(std::io::ErrorKind::NotFound);
    Error::File {
        action: "read",
        path: path.to_owned(),
        source,
    }
}

fn not_a_header(path: &Path, problem: String) -> Error {
    Error::NotA {
        what: "master key header",
        path: path.to_owned(),
        problem,
    }
}

#[cfg(test)]
mod tests {
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
        MasterKey {
            key: Secret::new(vec![byte; KEY_LEN]),
        }
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
            let problem =
                MasterKey::from_passphrase(&header, &secret("CANARY-master-1")).unwrap_err();
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
}
