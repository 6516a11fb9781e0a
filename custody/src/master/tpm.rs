//! The master key, sealed by a TPM: the file it lies in opens with that one chip alone, whoever copies it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{MasterKey, read};
use crate::{
    Error, file,
    signer::tpm::chip::{Blob, Chip},
};

const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sealed {
    format: u32,
    /// The fingerprint of the key.
    key: String,
    object: Blob,
}

impl MasterKey {
    /// Has a TPM seal the key, into a new file.
    ///
    /// # Errors
    /// When the TPM refuses, or the file exists or cannot be written.
    pub fn keep_in_tpm(&self, path: &Path, tcti: &str) -> Result<(), Error> {
        let object = Chip::connect(tcti).and_then(|mut chip| chip.seal(&self.key));
        let sealed = Sealed {
            format: FORMAT,
            key: self.fingerprint(),
            object: object.map_err(refused)?,
        };
        let text = serde_json::to_vec_pretty(&sealed).map_err(|e| damaged(path, &e.to_string()))?;
        file::create(path, &text)
    }

    /// Has the TPM open the file again.
    ///
    /// # Errors
    /// When the file is absent, open to others or damaged, or the TPM is not there or not the one that sealed it.
    pub fn from_tpm(path: &Path, tcti: &str) -> Result<Self, Error> {
        let sealed = read(path)?;
        let sealed: Sealed =
            serde_json::from_slice(&sealed).map_err(|e| damaged(path, &e.to_string()))?;
        if sealed.format != FORMAT {
            return Err(damaged(path, "expected format 1"));
        }
        let key = Chip::connect(tcti).and_then(|mut chip| chip.unseal(&sealed.object));
        Self::of_fingerprint(key.map_err(refused)?, &sealed.key, path)
    }
}

fn refused(problem: String) -> Error {
    Error::MasterDevice { problem }
}

fn damaged(path: &Path, problem: &str) -> Error {
    Error::NotA {
        what: "master key that a TPM sealed",
        path: path.to_owned(),
        problem: problem.to_owned(),
    }
}
