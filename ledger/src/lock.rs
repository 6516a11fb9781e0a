//! One gate per folder: the folder itself is locked, so that deleting a lock file opens nothing.

use std::{
    fs::{self, File},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use crate::Error;

const NAME: &str = "holder";

/// Held as long as the ledger is open; the system lets go of it when the process dies.
pub(crate) struct FolderLock {
    folder: File,
}

impl FolderLock {
    /// Takes the lock, or names the process that has it.
    pub(crate) fn take(folder: &Path) -> Result<Self, Error> {
        let file = File::open(folder).map_err(Error::disk("open the ledger's folder"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let pid = fs::read_to_string(folder.join(NAME)).unwrap_or_default();
                let pid = if pid.is_empty() {
                    "unknown".to_owned()
                } else {
                    pid
                };
                return Err(Error::Locked {
                    folder: folder.to_owned(),
                    pid,
                });
            }
            Err(e) => return Err(Error::disk("lock the ledger's folder")(e.into())),
        }
        let pid = std::process::id().to_string();
        fs::write(folder.join(NAME), pid).map_err(Error::disk("lock the ledger's folder"))?;
        Ok(Self { folder: file })
    }
}

impl Drop for FolderLock {
    /// Closing the file alone would not do: a process that is just being started may hold a copy of it for a moment.
    fn drop(&mut self) {
        if let Err(error) = flock(&self.folder, FlockOperation::Unlock) {
            tracing::warn!(error = %error, "the ledger's folder could not be unlocked");
        }
    }
}
