//! The master key under a passphrase: wrapped by a key that Argon2id makes of it. In older folders the key is what Argon2id
//! makes; those still open.

use std::path::Path;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use exeat_types::{Sealer as _, Secret, random_bytes};
use serde::{Deserialize, Serialize};

use super::{KEY_LEN, MasterKey, read};
use crate::{Error, file, seal::AesSealer};

const SALT_LEN: usize = 16;
/// The key is what the passphrase yields.
const DERIVED: u32 = 1;
/// The key is wrapped by what the passphrase yields.
const WRAPPED: u32 = 2;
const PLACE: &str = "master key";
/// What a header file may ask of this machine before it is called damaged.
const MEMORY_KIB_MAX: u32 = 4 * 1024 * 1024;

/// What deriving a key from a passphrase costs (Argon2id, RFC 9106).
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

/// What is written beside the data. Nothing in it is of use without the passphrase.
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wrapped: Option<String>,
}

impl MasterKey {
    /// Makes a new key and keeps it under a passphrase.
    ///
    /// # Errors
    /// As [`MasterKey::keep_with_passphrase`].
    pub fn create_with_passphrase(
        header: &Path,
        passphrase: &Secret,
        cost: Cost,
    ) -> Result<Self, Error> {
        let master = Self::generate()?;
        master.keep_with_passphrase(header, passphrase, cost)?;
        Ok(master)
    }

    /// Writes the key, wrapped under a passphrase, to a new file.
    ///
    /// # Errors
    /// When the file exists or cannot be written, or this machine lacks the memory.
    pub fn keep_with_passphrase(
        &self,
        header: &Path,
        passphrase: &Secret,
        cost: Cost,
    ) -> Result<(), Error> {
        file::create(header, &self.wrapped(header, passphrase, cost)?)
    }

    /// Puts another passphrase in the place of the one in this file, in one step.
    ///
    /// # Errors
    /// When the file cannot be written, or this machine lacks the memory; then the old passphrase stays.
    pub fn change_passphrase(
        &self,
        header: &Path,
        passphrase: &Secret,
        cost: Cost,
    ) -> Result<(), Error> {
        file::replace(header, &self.wrapped(header, passphrase, cost)?)
    }

    #[expect(clippy::disallowed_methods, reason = "the key is wrapped")]
    fn wrapped(&self, header: &Path, passphrase: &Secret, cost: Cost) -> Result<Vec<u8>, Error> {
        let salt = random_bytes::<SALT_LEN>()?;
        let wrapping = AesSealer::new(stretch(passphrase, &salt, cost)?);
        let text = Header {
            format: WRAPPED,
            kdf: "argon2id".to_owned(),
            memory_kib: cost.memory_kib,
            passes: cost.passes,
            lanes: cost.lanes,
            salt: BASE64_STANDARD.encode(salt),
            key: self.fingerprint(),
            wrapped: Some(BASE64_STANDARD.encode(wrapping.seal(PLACE, self.key.open())?)),
        };
        serde_json::to_vec_pretty(&text).map_err(|e| damaged(header, e.to_string()))
    }

    /// The key of a passphrase and the header file.
    ///
    /// # Errors
    /// When the header file is absent, open to others or damaged, or the passphrase is wrong.
    pub fn from_passphrase(header: &Path, passphrase: &Secret) -> Result<Self, Error> {
        let text = read(header)?;
        let wrong = |problem: String| damaged(header, problem);
        let parsed: Header = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
        if parsed.kdf != "argon2id" {
            return Err(wrong("expected `argon2id`".to_owned()));
        }
        if parsed.memory_kib > MEMORY_KIB_MAX || parsed.passes > 1000 || parsed.lanes > 64 {
            return Err(wrong("its cost is beyond what was ever written".to_owned()));
        }
        let bytes = |text: &str| {
            let decoded = BASE64_STANDARD.decode(text);
            decoded.map_err(|e| wrong(e.to_string()))
        };
        let cost = Cost {
            memory_kib: parsed.memory_kib,
            passes: parsed.passes,
            lanes: parsed.lanes,
        };
        let stretched = stretch(passphrase, &bytes(&parsed.salt)?, cost)?;
        let key = match (parsed.format, &parsed.wrapped) {
            (DERIVED, None) => Some(stretched),
            (WRAPPED, Some(wrapped)) => {
                let wrapped = bytes(wrapped)?;
                AesSealer::new(stretched).open(PLACE, &wrapped).ok()
            }
            _ => return Err(wrong(format!("expected format {WRAPPED} or {DERIVED}"))),
        };
        let master = key.and_then(Self::of);
        let master = master.filter(|master| master.fingerprint() == parsed.key);
        master.ok_or_else(|| Error::WrongPassphrase {
            path: header.to_owned(),
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a key is derived from the passphrase"
)]
fn stretch(passphrase: &Secret, salt: &[u8], cost: Cost) -> Result<Secret, Error> {
    let wrong = |e: argon2::Error| Error::PassphraseCost(e.to_string());
    let params = argon2::Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(KEY_LEN))
        .map_err(wrong)?;
    let argon = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let mut key = vec![0u8; KEY_LEN];
    let hashed = argon.hash_password_into(passphrase.open(), salt, &mut key);
    // Owned before the answer is looked at, so that it is wiped in any case.
    let key = Secret::new(key);
    hashed.map_err(wrong)?;
    Ok(key)
}

fn damaged(path: &Path, problem: String) -> Error {
    Error::NotA {
        what: "master key header",
        path: path.to_owned(),
        problem,
    }
}
