//! Empty places that stand, for the time of a run, where a command must not make something.
//!
//! Nothing can be mounted where nothing is. So the outer side makes an empty folder or file, which the sandbox then
//! closes, and whoever is the last that stands on it removes it, if it is as it was made. What is made bears a mark, by
//! which others know it: the sticky bit, which nobody sets on an empty file or folder of such a name. INVARIANT: nothing
//! is removed that does not bear it or was not made here, and nothing through a path: the folder it lies in is held.

use std::{
    fs,
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    },
    path::Path,
    thread,
};

use rustix::{
    fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, mkdirat, openat, statat, unlinkat},
    io::Errno,
    process::geteuid,
};

use crate::{
    error::{Error, path as at},
    kept::Reserve,
    start::Access,
};

/// How often a place is tried that another sandbox removes at the same moment. A command could lock one for long; it
/// delays nobody, but as nothing stands there for sure, nothing else starts.
const TRIES_MAX: usize = 1024;

/// Places that are held; those that were made for sandboxes go with the last one.
pub(crate) struct Reserved(Vec<Held>);

struct Held {
    spot: Spot,
    reserve: Reserve,
    /// Locked for sharing, so that no sandbox removes what another one needs.
    lock: fs::File,
    /// Made for a sandbox: by this one, or by one before it.
    ours: bool,
}

/// A name in a folder that is held, wherever that is moved.
struct Spot {
    parent: OwnedFd,
    name: std::ffi::OsString,
}

impl Reserved {
    /// Makes and holds places. One whose folder does not exist, or may not be changed by this user, needs none.
    pub(crate) fn hold(places: Vec<Reserve>) -> Result<Self, Error> {
        let mut held = Vec::new();
        for place in places {
            let path = place.path().to_path_buf();
            held.extend(hold(place).map_err(at("reserve", path))?);
        }
        Ok(Self(held))
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        for held in self.0.drain(..).rev() {
            let alone = flock(&held.lock, FlockOperation::NonBlockingLockExclusive).is_ok();
            if !held.ours || !alone {
                continue;
            }
            let released = match held.remove() {
                Ok(true) => Ok(()),
                Ok(false) => held.unmark(),
                Err(error) => {
                    tracing::debug!(%error, "a reserved place is in use");
                    held.unmark()
                }
            };
            if let Err(error) = released {
                tracing::debug!(%error, "a reserved place keeps its mark");
            }
        }
    }
}

impl Held {
    /// Removes what is locked, if that still stands there as it was made; false if it does not.
    fn remove(&self) -> io::Result<bool> {
        let flags = match &self.reserve {
            Reserve::Folder(_) | Reserve::Private(_) => AtFlags::REMOVEDIR,
            Reserve::File(_, content) if holds(&self.lock, content)? => AtFlags::empty(),
            Reserve::File(..) => return Ok(false),
        };
        if !self.spot.has(&self.lock)? {
            return Ok(false);
        }
        unlinkat(&self.spot.parent, &self.spot.name, flags)?;
        Ok(true)
    }

    /// It is somebody's by now: no later sandbox takes it for its own.
    fn unmark(&self) -> io::Result<()> {
        let mode = self.lock.metadata()?.mode() & 0o7777 & !libc::S_ISVTX;
        self.lock.set_permissions(fs::Permissions::from_mode(mode))
    }
}

impl Reserve {
    fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Private(path) | Self::File(path, _) => path,
        }
    }

    fn make(&self, spot: &Spot) -> io::Result<()> {
        let (parent, name) = (&spot.parent, &spot.name);
        let private = Mode::RUSR | Mode::WUSR;
        match self {
            Self::Folder(_) => Ok(mkdirat(
                parent,
                name,
                Mode::SVTX | Mode::RWXU | Mode::RWXG | Mode::RWXO,
            )?),
            Self::Private(_) => Ok(mkdirat(parent, name, Mode::SVTX | Mode::RWXU)?),
            Self::File(_, content) => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let file = openat(parent, name, flags, Mode::SVTX | private)?;
                fs::File::from(file).write_all(content.as_bytes())
            }
        }
    }

    /// Whether this is what was made for a sandbox before. What is in it is looked at when it is removed.
    fn is_marked(&self, found: &fs::Metadata) -> bool {
        let is_kind = match self {
            Self::Folder(_) | Self::Private(_) => found.is_dir(),
            Self::File(..) => found.is_file(),
        };
        is_kind && found.mode() & libc::S_ISVTX != 0 && found.uid() == geteuid().as_raw()
    }
}

impl Spot {
    /// Nothing where no folder is, and where a link leads: that is not ours to change.
    fn of(path: &Path) -> io::Result<Option<Self>> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(None);
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let parent = match openat(CWD, folder, flags, Mode::empty()) {
            Err(Errno::LOOP) => return Ok(None),
            Err(error) if is_refused(&error.into()) => return Ok(None),
            other => other?,
        };
        let shown = format!("/proc/self/fd/{}", parent.as_fd().as_raw_fd());
        let is_straight = fs::read_link(shown)? == folder;
        Ok(is_straight.then(|| Self {
            parent,
            name: name.to_owned(),
        }))
    }

    /// Whether this very file stands there.
    fn has(&self, file: &fs::File) -> io::Result<bool> {
        let there = match statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(false),
            other => other?,
        };
        let held = file.metadata()?;
        Ok((there.st_dev, there.st_ino) == (held.dev(), held.ino()))
    }
}

fn hold(reserve: Reserve) -> io::Result<Option<Held>> {
    let Some(spot) = Spot::of(reserve.path())? else {
        return Ok(None);
    };
    for _ in 0..TRIES_MAX {
        let made = match reserve.make(&spot) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) if is_refused(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        // What stands there may be anything by now; a pipe would wait for its other end.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let lock = match openat(&spot.parent, &spot.name, flags, Mode::empty()) {
            Ok(lock) => fs::File::from(lock),
            Err(Errno::NOENT) => continue,
            // A link, a socket.
            Err(Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(error) if is_refused(&error.into()) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let found = lock.metadata()?;
        if !found.is_dir() && !found.is_file() {
            return Ok(None);
        }
        if flock(&lock, FlockOperation::NonBlockingLockShared).is_err() {
            thread::yield_now();
            continue;
        }
        if spot.has(&lock)? {
            let ours = made || reserve.is_marked(&found);
            return Ok(Some(Held {
                spot,
                reserve,
                lock,
                ours,
            }));
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// Whether this is all a file says.
fn holds(file: &fs::File, content: &str) -> io::Result<bool> {
    let found = file.metadata()?;
    if !found.is_file() || u64::try_from(content.len()) != Ok(found.len()) {
        return Ok(false);
    }
    let mut bytes = vec![0; content.len()];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes == content.as_bytes())
}

/// Whoever may not make it here may not make it inside either.
fn is_refused(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(
        error.kind(),
        PermissionDenied | ReadOnlyFilesystem | NotFound | NotADirectory
    )
}

/// Makes what the operator named and what does not exist: the state of an agent that runs for the first time.
pub(crate) fn make_missing(access: &Access) -> Result<(), Error> {
    for path in &access.write {
        if path.exists() {
            continue;
        }
        let made = if path.extension().is_some_and(|ending| ending == "json") {
            let parent = path.parent().map_or(Ok(()), fs::create_dir_all);
            parent.and_then(|()| make_file(path, "{}\n"))
        } else {
            fs::create_dir_all(path)
        };
        made.map_err(at("make", path))?;
    }
    Ok(())
}

fn make_file(path: &Path, content: &str) -> io::Result<()> {
    let mut options = fs::File::options();
    let options = options.write(true).create_new(true).mode(0o600);
    options.open(path)?.write_all(content.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(folder: &Path) -> Vec<Reserve> {
        vec![
            Reserve::Folder(folder.join("folder")),
            Reserve::File(folder.join("file"), ".\n"),
        ]
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_place_goes_with_the_last_that_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let folder = fs::canonicalize(folder.path()).unwrap();
        let first = Reserved::hold(place(&folder)).unwrap();
        assert_eq!(names(&folder), ["file", "folder"]);
        drop(first);
        assert_eq!(names(&folder), Vec::<String>::new());
        let first = Reserved::hold(place(&folder)).unwrap();
        let second = Reserved::hold(place(&folder)).unwrap();
        drop(first);
        assert_eq!(
            names(&folder),
            ["file", "folder"],
            "the second stands on it"
        );
        drop(second);
        assert_eq!(names(&folder), Vec::<String>::new(), "and removes it");
    }

    #[test]
    fn only_the_very_thing_that_was_made_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let folder = fs::canonicalize(folder.path()).unwrap();
        let (home, moved) = (folder.join("home"), folder.join("moved"));
        fs::create_dir(&home).unwrap();
        let held = Reserved::hold(place(&home)).unwrap();
        fs::rename(&home, &moved).unwrap();
        fs::create_dir_all(home.join("folder")).unwrap();
        fs::write(home.join("file"), ".\n").unwrap();
        drop(held);
        assert_eq!(names(&moved), Vec::<String>::new());
        assert_eq!(names(&home), ["file", "folder"], "what came to its path");

        let held = Reserved::hold(place(&moved)).unwrap();
        fs::remove_file(moved.join("file")).unwrap();
        let pipe = Mode::RUSR | Mode::WUSR;
        rustix::fs::mkfifoat(CWD, moved.join("file"), pipe).unwrap();
        fs::rename(moved.join("folder"), moved.join("aside")).unwrap();
        fs::create_dir(moved.join("folder")).unwrap();
        drop(held);
        assert_eq!(names(&moved), ["aside", "file", "folder"]);
        let held = Reserved::hold(place(&moved)).unwrap();
        assert_eq!(held.0.len(), 1, "a pipe is left alone");
        drop(held);
        assert_eq!(names(&moved), ["aside", "file", "folder"]);
    }

    #[test]
    fn what_was_there_or_is_used_stays() {
        let folder = tempfile::tempdir().unwrap();
        let folder = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir(folder.join("folder")).unwrap();
        let held = Reserved::hold(place(&folder)).unwrap();
        fs::write(folder.join("file"), "changed").unwrap();
        drop(held);
        assert_eq!(names(&folder), ["file", "folder"]);
        let mode = fs::metadata(folder.join("file")).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o600, "nothing tells it from others");
    }

    #[test]
    fn nothing_is_made_behind_a_link_or_where_no_folder_is() {
        let folder = tempfile::tempdir().unwrap();
        let folder = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir(folder.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", folder.join("link")).unwrap();
        drop(Reserved::hold(place(&folder.join("link"))).unwrap());
        let held = Reserved::hold(place(&folder.join("missing"))).unwrap();
        assert!(held.0.is_empty());
        assert_eq!(names(&folder.join("elsewhere")), Vec::<String>::new());
    }
}
