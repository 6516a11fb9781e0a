//! The data folder: one gate's state, private to one user, locked by one process at a time.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::env;

/// How long a command waits for a gate that is about to end.
pub(crate) const ENDING_GATE: Duration = Duration::from_secs(35);

/// Longest path that fits a socket address on every Linux.
const SOCKET_PATH_BYTES_MAX: usize = 100;

/// A folder for a gate that is soon gone, with its configuration.
///
/// SECURITY: in the state folder, as a sandbox of somebody else may write to `/tmp`, but never there.
///
/// # Errors
/// When there is no home, or the state folder cannot be made or is open to others.
pub(crate) fn passing(prefix: &str) -> anyhow::Result<tempfile::TempDir> {
    let state = env::state_folder().context("there is no home for a folder to work in")?;
    let state = DataFolder::open(&state)?;
    let mut builder = tempfile::Builder::new();
    let made = builder.prefix(prefix).tempdir_in(state.path());
    made.with_context(|| format!("cannot make a folder in `{}`", state.path().display()))
}

/// A folder that exists, belongs to us and is closed to others.
#[derive(Debug, Clone)]
pub(crate) struct DataFolder(PathBuf);

impl DataFolder {
    /// Opens the folder, making it if it is not there.
    ///
    /// # Errors
    /// When it cannot be made, or somebody else could look into it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("cannot make the data folder `{shown}`"))?;
        let path = path
            .canonicalize()
            .with_context(|| format!("cannot open the data folder `{shown}`"))?;
        let facts = path
            .metadata()
            .with_context(|| format!("cannot open the data folder `{shown}`"))?;
        if facts.uid() != rustix::process::geteuid().as_raw() {
            bail!("the data folder `{shown}` belongs to another user");
        }
        if facts.mode() & 0o077 != 0 {
            bail!("the data folder `{shown}` is open to others; close it with `chmod 700 {shown}`");
        }
        Ok(Self(path))
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The gate's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("exeat.sock")
    }

    /// What a gate in the background writes.
    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("gate.log")
    }

    /// Takes the folder for this process, waiting a while for a holder that is about to end.
    ///
    /// # Errors
    /// When another process keeps it; the message names that process.
    pub(crate) fn lock(&self, patience: Duration) -> anyhow::Result<FolderLock> {
        let mut file = self.lock_file("lock")?;
        if !locked_within(&file, patience)? {
            let mut holder = String::new();
            file.read_to_string(&mut holder)
                .context("cannot read who holds the data folder")?;
            let shown = self.0.display();
            bail!(
                "another gate (process {}) already works on `{shown}`",
                holder.trim()
            );
        }
        let mut lock = FolderLock(file);
        lock.sign()?;
        Ok(lock)
    }

    /// Takes over the lock of a process that hands it over, by a copy of its descriptor.
    ///
    /// # Errors
    /// When the descriptor is of another file, or does not hold the lock.
    pub(crate) fn adopt_lock(&self, held: OwnedFd) -> anyhow::Result<FolderLock> {
        let (here, held) = (self.lock_file("lock")?, File::from(held));
        let (ours, theirs) = (here.metadata()?, held.metadata()?);
        if (ours.dev(), ours.ino()) != (theirs.dev(), theirs.ino()) {
            bail!("the lock that was handed over is that of another data folder");
        }
        if !locked_within(&held, Duration::ZERO)? {
            bail!("the lock that was handed over is not held");
        }
        Ok(FolderLock(held))
    }

    /// Waits until no other process is about to start a gate here, and keeps others from it while held.
    ///
    /// # Errors
    /// When the file cannot be made or locked.
    pub(crate) fn lock_for_starting(&self) -> anyhow::Result<FolderLock> {
        let file = self.lock_file("starting")?;
        flock(&file, FlockOperation::LockExclusive).context("cannot wait for a starting gate")?;
        Ok(FolderLock(file))
    }

    fn lock_file(&self, name: &str) -> anyhow::Result<File> {
        let path = self.0.join(name);
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        options
            .open(&path)
            .with_context(|| format!("cannot open `{}`", path.display()))
    }

    /// Calls back with a path to `path` in this folder that is short enough for a socket address.
    ///
    /// # Errors
    /// Those of the callback, and when the folder cannot be opened.
    pub(crate) fn with_short_path<T>(
        &self,
        path: &Path,
        act: impl FnOnce(&Path) -> io::Result<T>,
    ) -> io::Result<T> {
        if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return act(path);
        }
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::other("a socket needs a name"))?;
        let folder = File::open(&self.0)?;
        act(&Path::new("/proc/self/fd")
            .join(folder.as_raw_fd().to_string())
            .join(name))
    }
}

/// Writes a whole file that only its owner can read; after a crash it has the old content or the new one.
///
/// # Errors
/// When it cannot be written, made durable or put in place.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path
        .parent()
        .ok_or_else(|| io::Error::other("a file needs a folder"))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = folder.join(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    File::open(folder)?.sync_all()
}

/// Whether the lock could be had in time.
fn locked_within(file: &File, patience: Duration) -> anyhow::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => return Ok(true),
        Err(Errno::WOULDBLOCK) if patience.is_zero() => return Ok(false),
        Err(Errno::WOULDBLOCK) => {}
        Err(problem) => return Err(problem).context("cannot lock the data folder"),
    }
    // The lock belongs to the open file, so a copy of the descriptor takes it for us. A thread that waits in vain ends
    // with the process.
    let copy = file
        .try_clone()
        .context("cannot wait for the data folder")?;
    let (sender, receiver) = mpsc::channel();
    std::thread::Builder::new()
        .name("lock".to_owned())
        .spawn(move || {
            let locked = flock(&copy, FlockOperation::LockExclusive).is_ok();
            sender.send(locked).unwrap_or_default();
        })
        .context("cannot wait for the data folder")?;
    Ok(receiver.recv_timeout(patience).unwrap_or(false))
}

/// The folder is taken while this lives.
#[derive(Debug)]
pub(crate) struct FolderLock(File);

impl FolderLock {
    /// Writes down that this process has the folder.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn sign(&mut self) -> anyhow::Result<()> {
        self.0
            .set_len(0)
            .and_then(|()| self.0.rewind())
            .context("cannot write the lock file")?;
        writeln!(self.0, "{}", std::process::id()).context("cannot write the lock file")
    }

    /// A copy of the descriptor, for a process that takes over: the folder stays taken as long as either lives.
    ///
    /// # Errors
    /// When no descriptor is to be had.
    pub(crate) fn copy(&self) -> anyhow::Result<OwnedFd> {
        let copy = self.0.as_fd().try_clone_to_owned();
        copy.context("cannot copy the lock of the data folder")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_who_has_the_folder() {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&place.path().join("data")).unwrap();
        let held = folder.lock(Duration::ZERO).unwrap();
        let refused = folder.lock(Duration::ZERO).unwrap_err().to_string();
        assert!(
            refused.contains(&format!("process {}", std::process::id())),
            "{refused}"
        );
        let (patient, waited) = (folder.clone(), mpsc::channel());
        let waiting = std::thread::spawn(move || {
            waited.0.send(()).unwrap();
            patient.lock(ENDING_GATE).map(drop)
        });
        waited.1.recv().unwrap();
        drop(held);
        waiting.join().unwrap().unwrap();
        folder.lock(Duration::ZERO).unwrap();
    }

    #[test]
    fn a_lock_that_was_handed_over_holds_when_the_first_holder_is_gone() {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&place.path().join("data")).unwrap();
        let first = folder.lock(Duration::ZERO).unwrap();
        let stranger = File::open(folder.path().join("lock")).unwrap();
        assert!(folder.adopt_lock(stranger.into()).is_err());
        let second = folder.adopt_lock(first.copy().unwrap()).unwrap();
        drop(first);
        assert!(folder.lock(Duration::ZERO).is_err());
        drop(second);
        let other = DataFolder::open(&place.path().join("other")).unwrap();
        let held = folder.lock(Duration::ZERO).unwrap();
        assert!(other.adopt_lock(held.copy().unwrap()).is_err());
    }

    #[test]
    fn a_private_file_is_replaced_whole_and_closed_to_others() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("key");
        write_private(&path, b"first, and longer").unwrap();
        write_private(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_others_can_read_is_refused() {
        let place = tempfile::tempdir().unwrap();
        std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let refused = DataFolder::open(place.path()).unwrap_err().to_string();
        assert!(refused.contains("chmod 700"), "{refused}");
    }

    #[test]
    fn a_deep_folder_still_has_a_socket() {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&place.path().join("deep/".repeat(30))).unwrap();
        let bind = |short: &Path| std::os::unix::net::UnixListener::bind(short);
        folder.with_short_path(&folder.socket(), bind).unwrap();
        assert!(folder.socket().exists());
    }
}
