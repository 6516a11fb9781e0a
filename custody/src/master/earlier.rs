//! Earlier master keys: sealed under the one in force, so that what was sealed under them still opens.
//!
//! The file leads from the new key to the old ones before the new one is kept anywhere, so a rotation that is cut off at any
//! moment leaves either key with all it needs.

use std::path::Path;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use super::{FILE_BYTES_MAX, MasterKey};
use crate::{Error, file};

const FORMAT: u32 = 1;
const PURPOSE: &str = "earlier";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Kept {
    format: u32,
    keys: Vec<Sealed>,
}

/// One earlier key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sealed {
    /// The fingerprint of the key that it is sealed under.
    under: String,
    /// Its own fingerprint.
    key: String,
    sealed: String,
}

impl MasterKey {
    /// The same key with the earlier ones that this file holds for it; without the file there are none.
    ///
    /// # Errors
    /// When the file is open to others or damaged.
    pub fn with_earlier(mut self, path: &Path) -> Result<Self, Error> {
        let sealer = self.sealer(PURPOSE);
        self.earlier.clear();
        let own = self.fingerprint();
        for one in read(path)?.into_iter().filter(|one| one.under == own) {
            let sealed = BASE64_STANDARD.decode(&one.sealed);
            let sealed = sealed.map_err(|e| damaged(path, &e.to_string()))?;
            let key = Self::of(sealer.open(&one.key, &sealed)?);
            let key = key.filter(|key| key.fingerprint() == one.key);
            let wrong = || damaged(path, "it holds another key than it says");
            self.earlier.push(key.ok_or_else(wrong)?);
        }
        Ok(self)
    }

    /// A new key that opens whatever this one opens. The file leads both to all earlier keys; keep the new key, then
    /// [`MasterKey::settle`].
    ///
    /// # Errors
    /// When there are no random bytes, or the file cannot be written.
    pub fn succeed(&self, path: &Path) -> Result<Self, Error> {
        let new = Self::generate()?;
        let own = self.fingerprint();
        let mut keys: Vec<Sealed> = read(path)?;
        keys.retain(|one| one.under == own);
        for earlier in std::iter::once(self).chain(&self.earlier) {
            keys.push(new.seal_earlier(earlier)?);
        }
        write(path, keys)?;
        new.with_earlier(path)
    }

    /// Leaves in the file what this key needs.
    ///
    /// # Errors
    /// When the file cannot be written; then it holds more than it must.
    pub fn settle(&self, path: &Path) -> Result<(), Error> {
        let own = self.fingerprint();
        let mut keys = read(path)?;
        keys.retain(|one| one.under == own);
        write(path, keys)
    }

    #[expect(clippy::disallowed_methods, reason = "the earlier key is sealed")]
    fn seal_earlier(&self, earlier: &Self) -> Result<Sealed, Error> {
        let key = earlier.fingerprint();
        let sealed = self.sealer(PURPOSE).seal(&key, earlier.key.open())?;
        Ok(Sealed {
            under: self.fingerprint(),
            key,
            sealed: BASE64_STANDARD.encode(sealed),
        })
    }
}

fn read(path: &Path) -> Result<Vec<Sealed>, Error> {
    let Some(bytes) = file::read(path, FILE_BYTES_MAX)? else {
        return Ok(Vec::new());
    };
    let kept: Kept = serde_json::from_slice(&bytes).map_err(|e| damaged(path, &e.to_string()))?;
    if kept.format != FORMAT {
        return Err(damaged(path, "expected format 1"));
    }
    Ok(kept.keys)
}

fn write(path: &Path, keys: Vec<Sealed>) -> Result<(), Error> {
    let kept = Kept {
        format: FORMAT,
        keys,
    };
    let text = serde_json::to_vec_pretty(&kept).map_err(|e| damaged(path, &e.to_string()))?;
    file::replace(path, &text)
}

fn damaged(path: &Path, problem: &str) -> Error {
    Error::NotA {
        what: "list of earlier master keys",
        path: path.to_owned(),
        problem: problem.to_owned(),
    }
}
