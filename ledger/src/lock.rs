//! One gate per folder: the folder itself is locked, so that deleting a lock file opens nothing.
//!
//! The lock belongs to the open file, not to the process: a copy of its descriptor holds it too, which is how one process
//! hands it to the next without a moment in which nobody has it.

use std::{
    fs::{self, File},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::Error;

const NAME: &str = "holder";

/// Held as long as the ledger is open; the system lets go of it when the process dies.
pub(crate) struct FolderLock {
    folder: File,
    path: PathBuf,
    /// Another process has a copy, and would lose its lock if this one unlocked.
    is_shared: bool,
}

impl FolderLock {
    /// Takes the lock, or names the process that has it.
    pub(crate) fn take(folder: &Path) -> Result<Self, Error> {
        let file = File::open(folder).map_err(Error::disk("open the ledger's folder"))?;
        lock(&file, folder)?;
        let lock = Self {
            folder: file,
            path: folder.to_owned(),
            is_shared: false,
        };
        lock.sign()?;
        Ok(lock)
    }

    /// Takes over a lock that another process holds, by a copy of its descriptor.
    pub(crate) fn adopt(folder: &Path, held: OwnedFd) -> Result<Self, Error> {
        let file = File::from(held);
        let wrong = || Error::disk("open the ledger's folder");
        let (there, here) = (
            fs::metadata(folder).map_err(wrong())?,
            file.metadata().map_err(wrong())?,
        );
        if (there.dev(), there.ino()) != (here.dev(), here.ino()) {
            let problem = format!("it lies elsewhere than in `{}`", folder.display());
            return Err(Error::NotHandedOver { problem });
        }
        // Through a copy of the locked descriptor this always succeeds, and through any other one it must not.
        lock(&file, folder)?;
        Ok(Self {
            folder: file,
            path: folder.to_owned(),
            is_shared: true,
        })
    }

    /// Writes down which process has the lock.
    pub(crate) fn sign(&self) -> Result<(), Error> {
        let pid = std::process::id().to_string();
        fs::write(self.path.join(NAME), pid).map_err(Error::disk("lock the ledger's folder"))
    }

    /// A copy for the process that takes over.
    pub(crate) fn copy(&self) -> Result<OwnedFd, Error> {
        let copy = self.folder.as_fd().try_clone_to_owned();
        copy.map_err(Error::disk("copy the lock of the ledger's folder"))
    }

    /// Lets go of it without unlocking, as another process has it.
    pub(crate) fn give(mut self) {
        self.is_shared = true;
    }
}

fn lock(file: &File, folder: &Path) -> Result<(), Error> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let pid = fs::read_to_string(folder.join(NAME)).unwrap_or_default();
            let pid = if pid.is_empty() {
                "unknown".to_owned()
            } else {
                pid
            };
            Err(Error::Locked {
                folder: folder.to_owned(),
                pid,
            })
        }
        Err(e) => Err(Error::disk("lock the ledger's folder")(e.into())),
    }
}

impl Drop for FolderLock {
    /// Closing the file alone would not do: a process that is just being started may hold a copy of it for a moment.
    fn drop(&mut self) {
        if self.is_shared {
            return;
        }
        if let Err(error) = flock(&self.folder, FlockOperation::Unlock) {
            tracing::warn!(error = %error, "the ledger's folder could not be unlocked");
        }
    }
}
