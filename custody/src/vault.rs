//! The vault: secrets sealed in one file.
//!
//! Every secret has its own key, which is wrapped by a key derived from the master key, so that changing the master key
//! rewraps keys and touches no secret. A MAC over the list of records shows a removed record or one that was put back to
//! an older version. What does not verify is never overwritten. An old copy of the whole file cannot be told from the
//! newest by the file alone.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use exeat_types::{Digest, Sealer, Secret, Timestamp, canonical_json, random_bytes};
use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::{Error, MasterKey, custody::check_size, file, seal::AesSealer};

const FORMAT: u32 = 1;
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A file of sealed secrets.
pub struct Vault {
    path: PathBuf,
    keys: Keys,
    records: Records,
    /// What the file held when it was last read or written; `None` when there was no file.
    on_disk: Option<Digest>,
}

/// One secret of the vault, without the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultEntry {
    /// Its name.
    pub name: String,
    /// Counts how often it was set or removed.
    pub version: u32,
    /// When this version was set.
    pub created: Timestamp,
}

type Records = BTreeMap<String, Record>;

/// One secret as it lies in the file. A removed one keeps its version, so that no version is ever used twice.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Record {
    version: u32,
    created: Timestamp,
    content: Option<Content>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Content {
    /// The record's own key, wrapped.
    key: String,
    /// The secret, sealed under that key.
    sealed: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Stored {
    format: u32,
    /// The fingerprint of the master key.
    key: String,
    records: Records,
    mac: String,
}

struct Keys {
    wrap: Arc<dyn Sealer>,
    list: Secret,
    fingerprint: String,
}

impl Keys {
    fn of(master: &MasterKey) -> Self {
        let list = master.derive("vault list");
        Self {
            wrap: master.sealer("vault"),
            list,
            fingerprint: master.fingerprint(),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the MAC is keyed with it")]
    fn list_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.list.open())
    }

    fn seal(&self, name: &str, version: u32, secret: &Secret) -> Result<Content, Error> {
        let key = Secret::new(random_bytes::<32>()?.to_vec());
        let content = self.wrap_key(name, version, &key)?;
        let sealed = seal(&AesSealer::new(key), &place("vault", name, version), secret)?;
        Ok(Content {
            key: content,
            sealed,
        })
    }

    fn wrap_key(&self, name: &str, version: u32, key: &Secret) -> Result<String, Error> {
        seal(&*self.wrap, &place("vault-key", name, version), key)
    }

    /// The record's own key, or `None` when it was tampered with.
    fn unwrap_key(&self, name: &str, version: u32, content: &Content) -> Option<Secret> {
        let wrapped = BASE64_STANDARD.decode(&content.key).ok()?;
        self.wrap
            .open(&place("vault-key", name, version), &wrapped)
            .ok()
    }

    fn open(&self, name: &str, version: u32, content: &Content) -> Option<Secret> {
        let sealer = AesSealer::new(self.unwrap_key(name, version, content)?);
        let sealed = BASE64_STANDARD.decode(&content.sealed).ok()?;
        sealer.open(&place("vault", name, version), &sealed).ok()
    }
}

fn place(kind: &str, name: &str, version: u32) -> String {
    format!("{kind}|{name}|{version}")
}

#[expect(clippy::disallowed_methods, reason = "the vault seals the secret")]
fn seal(sealer: &dyn Sealer, place: &str, secret: &Secret) -> Result<String, Error> {
    Ok(BASE64_STANDARD.encode(sealer.seal(place, secret.open())?))
}

impl Vault {
    /// Opens the vault and verifies every record; an absent file is an empty vault. One under an earlier master key is put
    /// under the one in force.
    ///
    /// # Errors
    /// When the file is open to others, damaged (naming the record), or sealed under another key. It is left as it is.
    pub fn open(path: &Path, master: &MasterKey) -> Result<Self, Error> {
        let keys = Keys::of(master);
        let path = path.to_owned();
        let Some(bytes) = file::read(&path, FILE_BYTES_MAX)? else {
            return Ok(Self {
                path,
                keys,
                records: Records::new(),
                on_disk: None,
            });
        };
        let not_a = |problem| Error::NotA {
            what: "vault",
            path: path.clone(),
            problem,
        };
        let stored: Stored = serde_json::from_slice(&bytes).map_err(|e| not_a(e.to_string()))?;
        if stored.format != FORMAT {
            return Err(not_a(format!(
                "expected format {FORMAT}, got {}",
                stored.format
            )));
        }
        if stored.key != keys.fingerprint {
            // The key was rotated since; what is left to do is done here.
            let earlier = master.earlier(&stored.key);
            let earlier = earlier.ok_or_else(|| Error::WrongKey { path: path.clone() })?;
            let mut vault = Self::open(&path, earlier)?;
            vault.rewrap(master)?;
            return Ok(vault);
        }
        for (name, record) in &stored.records {
            let content = record.content.as_ref();
            if content.is_some_and(|content| keys.open(name, record.version, content).is_none()) {
                return Err(Error::RecordDamaged {
                    path,
                    name: name.clone(),
                });
            }
        }
        let mac = BASE64_STANDARD.decode(&stored.mac).unwrap_or_default();
        let list = canonical_json(&stored.records)?;
        if hmac::verify(&keys.list_key(), &list, &mac).is_err() {
            return Err(Error::ListChanged { path });
        }
        Ok(Self {
            path,
            keys,
            records: stored.records,
            on_disk: Some(Digest::of(&bytes)),
        })
    }

    /// Stores a secret under a name and answers its version.
    ///
    /// # Errors
    /// When the name or the size of the secret is not acceptable, or the file cannot be written; then nothing changes.
    pub fn set(&mut self, name: &str, secret: &Secret, now: Timestamp) -> Result<u32, Error> {
        check_name(name)?;
        check_size(name, secret)?;
        let version = self.next_version(name)?;
        let content = Some(self.keys.seal(name, version, secret)?);
        let mut records = self.records.clone();
        records.insert(
            name.to_owned(),
            Record {
                version,
                created: now,
                content,
            },
        );
        self.replace(records)?;
        Ok(version)
    }

    /// The secret of this name and its version.
    ///
    /// # Errors
    /// When there is none, or it was removed.
    pub fn get(&self, name: &str) -> Result<(Secret, u32), Error> {
        let absent = || Error::SecretAbsent {
            name: name.to_owned(),
            store: "the vault",
        };
        let record = self.records.get(name).ok_or_else(absent)?;
        let revoked = || Error::SecretRevoked {
            name: name.to_owned(),
            store: "the vault",
        };
        let content = record.content.as_ref().ok_or_else(revoked)?;
        let damaged = || Error::RecordDamaged {
            path: self.path.clone(),
            name: name.to_owned(),
        };
        let secret = self
            .keys
            .open(name, record.version, content)
            .ok_or_else(damaged)?;
        Ok((secret, record.version))
    }

    /// Every secret that is held, by name.
    pub fn list(&self) -> Vec<VaultEntry> {
        let held = self
            .records
            .iter()
            .filter(|(_, record)| record.content.is_some());
        let entry = |(name, record): (&String, &Record)| VaultEntry {
            name: name.clone(),
            version: record.version,
            created: record.created,
        };
        held.map(entry).collect()
    }

    /// The version of every secret that is held.
    pub fn versions(&self) -> BTreeMap<&str, u32> {
        let held = self
            .records
            .iter()
            .filter(|(_, record)| record.content.is_some());
        held.map(|(name, record)| (name.as_str(), record.version))
            .collect()
    }

    /// Removes a secret.
    ///
    /// # Errors
    /// When there is none of this name, or the file cannot be written; then nothing changes.
    pub fn remove(&mut self, name: &str, now: Timestamp) -> Result<(), Error> {
        if !self.versions().contains_key(name) {
            return Err(Error::SecretAbsent {
                name: name.to_owned(),
                store: "the vault",
            });
        }
        let version = self.next_version(name)?;
        let mut records = self.records.clone();
        records.insert(
            name.to_owned(),
            Record {
                version,
                created: now,
                content: None,
            },
        );
        self.replace(records)
    }

    /// Changes the master key: every record's own key is wrapped anew, in one step.
    ///
    /// # Errors
    /// When the file cannot be written; then the old key stays in force.
    pub fn rewrap(&mut self, master: &MasterKey) -> Result<(), Error> {
        let keys = Keys::of(master);
        let mut records = self.records.clone();
        for (name, record) in &mut records {
            let Some(content) = &mut record.content else {
                continue;
            };
            let damaged = || Error::RecordDamaged {
                path: self.path.clone(),
                name: name.clone(),
            };
            let key = self
                .keys
                .unwrap_key(name, record.version, content)
                .ok_or_else(damaged)?;
            content.key = keys.wrap_key(name, record.version, &key)?;
        }
        let old = std::mem::replace(&mut self.keys, keys);
        self.replace(records).inspect_err(|_| self.keys = old)
    }

    fn next_version(&self, name: &str) -> Result<u32, Error> {
        let version = self.records.get(name).map_or(0, |record| record.version);
        let spent = || exeat_types::Malformed::new("secret version", "no version is left");
        Ok(version.checked_add(1).ok_or_else(spent)?)
    }

    /// Makes the records durable, then current.
    fn replace(&mut self, records: Records) -> Result<(), Error> {
        let now_on_disk = file::read(&self.path, FILE_BYTES_MAX)?.map(|bytes| Digest::of(&bytes));
        if now_on_disk != self.on_disk {
            return Err(Error::ChangedMeanwhile {
                path: self.path.clone(),
            });
        }
        let mac = hmac::sign(&self.keys.list_key(), &canonical_json(&records)?);
        let mac = BASE64_STANDARD.encode(mac.as_ref());
        let stored = Stored {
            format: FORMAT,
            key: self.keys.fingerprint.clone(),
            records,
            mac,
        };
        let wrong = |e: serde_json::Error| Error::NotA {
            what: "vault",
            path: self.path.clone(),
            problem: e.to_string(),
        };
        let bytes = serde_json::to_vec_pretty(&stored).map_err(wrong)?;
        file::replace(&self.path, &bytes)?;
        self.on_disk = Some(Digest::of(&bytes));
        self.records = stored.records;
        Ok(())
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("path", &self.path)
            .field("versions", &self.versions())
            .finish_non_exhaustive()
    }
}

/// Names are short and plain, with `/` and `.` to group them.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_./".contains(c);
    let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if first && name.len() <= 128 && name.chars().all(plain) {
        return Ok(());
    }
    let rule = "expected at most 128 lower-case letters, digits, `-`, `_`, `.` and `/`, beginning with a letter or digit";
    Err(exeat_types::Malformed::new("secret name", rule).into())
}

#[cfg(test)]
mod tests;
