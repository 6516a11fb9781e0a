//! The master key: one key from which every other key of the gate is derived.
//!
//! Each purpose has its own key (HKDF), so that no two uses meet. The key itself never leaves this folder. It is kept in one
//! of several ways, and can be kept in another without anything that is sealed under it having to change: in a file or in
//! the keyring as it is (here), under a passphrase (`passphrase.rs`), by a TPM (`tpm.rs`), or by a PKCS#11 token
//! (`token.rs`).

mod earlier;
mod passphrase;
#[cfg(test)]
mod tests;
#[cfg(feature = "pkcs11")]
mod token;
#[cfg(feature = "tpm")]
mod tpm;

use std::{fmt, path::Path, sync::Arc};

use exeat_types::{Sealer, Secret, random_bytes};
use ring::hmac;

use crate::{Error, Keyring, file, placeholder::hex, seal::AesSealer};

pub use passphrase::Cost;

const KEY_LEN: usize = 32;
/// Largest file that holds a master key in any form.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The master key of one gate.
pub struct MasterKey {
    /// INVARIANT: 32 bytes.
    key: Secret,
    /// Those before it; they have none before them.
    earlier: Vec<Self>,
}

impl MasterKey {
    /// A new key, which is kept nowhere yet.
    ///
    /// # Errors
    /// When the operating system yields no random bytes.
    pub fn generate() -> Result<Self, Error> {
        let key = Secret::new(random_bytes::<KEY_LEN>()?.to_vec());
        Ok(Self {
            key,
            earlier: Vec::new(),
        })
    }

    /// Makes a new key and writes it to a file that only its owner can read.
    ///
    /// # Errors
    /// As [`MasterKey::keep_in_file`].
    pub fn create_key_file(path: &Path) -> Result<Self, Error> {
        let master = Self::generate()?;
        master.keep_in_file(path)?;
        Ok(master)
    }

    /// Writes the key to a new file that only its owner can read.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    #[expect(clippy::disallowed_methods, reason = "the key is written down")]
    pub fn keep_in_file(&self, path: &Path) -> Result<(), Error> {
        file::create(path, self.key.open())
    }

    /// Reads the key from its file.
    ///
    /// # Errors
    /// When the file is absent, open to others, or does not hold exactly one key.
    pub fn from_key_file(path: &Path) -> Result<Self, Error> {
        let bytes = read(path)?;
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
    /// As [`MasterKey::keep_in_keyring`].
    pub fn create_in_keyring(keyring: &dyn Keyring, name: &str) -> Result<Self, Error> {
        let master = Self::generate()?;
        master.keep_in_keyring(keyring, name)?;
        Ok(master)
    }

    /// Stores the key in a keyring under this name.
    ///
    /// # Errors
    /// When the keyring fails, or holds another such entry already.
    #[expect(
        clippy::disallowed_methods,
        reason = "it is compared with what the keyring has"
    )]
    pub fn keep_in_keyring(&self, keyring: &dyn Keyring, name: &str) -> Result<(), Error> {
        match keyring.read(name)? {
            Some(same) if self.key.matches(same.open()) => Ok(()),
            Some(_other) => Err(Error::Keyring {
                action: "store",
                problem: format!("there is an entry `{name}` already"),
            }),
            None => keyring.write(name, &self.key),
        }
    }

    /// Stores the key in a keyring under this name, in place of another.
    ///
    /// # Errors
    /// When the keyring fails.
    pub fn replace_in_keyring(&self, keyring: &dyn Keyring, name: &str) -> Result<(), Error> {
        keyring.write(name, &self.key)
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
        let earlier = Vec::new();
        (key.len() == KEY_LEN).then_some(Self { key, earlier })
    }

    /// The same, if it has this fingerprint.
    #[cfg(any(feature = "pkcs11", feature = "tpm"))]
    fn of_fingerprint(key: Secret, fingerprint: &str, path: &Path) -> Result<Self, Error> {
        let master = Self::of(key).filter(|master| master.fingerprint() == fingerprint);
        master.ok_or_else(|| Error::NotA {
            what: "kept master key",
            path: path.to_owned(),
            problem: "it holds another key than it says".to_owned(),
        })
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

    /// What seals for one purpose, and opens what this key or an earlier one sealed.
    pub fn sealer(&self, purpose: &str) -> Arc<dyn Sealer> {
        let purpose = format!("seal|{purpose}");
        let earlier = self.earlier.iter().map(|key| key.derive(&purpose));
        Arc::new(AesSealer::new(self.derive(&purpose)).after(earlier))
    }

    /// Seals a key of the gate under its name, as [`MasterKey::sealer`] for `keys` opens it.
    ///
    /// # Errors
    /// When there are no random bytes.
    #[expect(clippy::disallowed_methods, reason = "the key is sealed")]
    pub fn seal_key(&self, name: &str, key: &Secret) -> Result<Vec<u8>, Error> {
        Ok(self.sealer("keys").seal(name, key.open())?)
    }

    /// The earlier key of this fingerprint.
    pub(crate) fn earlier(&self, fingerprint: &str) -> Option<&Self> {
        let mut earlier = self.earlier.iter();
        earlier.find(|key| key.fingerprint() == fingerprint)
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

/// The bytes of a file that must be there.
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let absent = || Error::File {
        action: "read",
        path: path.to_owned(),
        source: std::io::Error::from(std::io::ErrorKind::NotFound),
    };
    file::read(path, FILE_BYTES_MAX)?.ok_or_else(absent)
}
