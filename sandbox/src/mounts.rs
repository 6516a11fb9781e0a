//! The filesystem inside: the one outside, closed but where the command may write, with everything covered that it must
//! not read and through which another process would listen.
//!
//! This is the first wall; Landlock is the second (`confine.rs`). Every failure ends the start. Devices are in
//! `devices.rs`.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change, mount_remount},
    process::getuid,
};

use crate::{
    devices,
    environment::FILES,
    error::{Error, path as at},
    hidden,
    kept::{Kept, kept},
    narrow,
    order::{Order, Spread},
    roots::Roots,
    system_roots,
    tree::{Tree, close, close_all, pin},
};

const RUN: &str = "/run";
/// A link to the former almost everywhere.
const VAR_RUN: &str = "/var/run";
pub(crate) const RESOLV_CONF: &str = "/etc/resolv.conf";
/// What covers a file: an empty one that cannot be written.
pub(crate) const NO_FILE: &str = "/run/exeat/.nothing/file";
/// What covers a folder.
pub(crate) const NO_FOLDER: &str = "/run/exeat/.nothing/folder";
/// Names of folders in `/tmp` in which agents, terminals and displays keep their sockets.
const SOCKET_FOLDERS: [&str; 6] = [".X11-unix", ".ICE-unix", "ssh-", "tmux-", "gpg-", "dbus-"];
const TMP_ENTRIES_MAX: usize = 65_536;
/// Parts of `/proc` that the user `root` may change without any capability.
const PROC_READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// What the mounts leave open, for the second wall.
pub(crate) struct Walls {
    /// Where the command may write.
    pub(crate) roots: Vec<PathBuf>,
    /// What it must not read.
    pub(crate) hidden: Vec<PathBuf>,
}

/// Builds the mounts in the mount namespace of this process. `sockets` are those that others have bound.
pub(crate) fn build(order: &Order, sockets: &[PathBuf], uid: u32) -> Result<Walls, Error> {
    let roots = Roots::find(&order.access);
    let mut hidden = hidden::credentials(&order.access);
    hidden.extend(order.hide.iter().cloned());
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(at("make private", "/"))?;
    let resolv_conf = fs::canonicalize(RESOLV_CONF).ok();
    let copy = |root: &PathBuf| Ok((root.clone(), Tree::copy(root)?, Kind::of(root)));
    let open: Vec<_> = roots
        .paths()
        .iter()
        .map(copy)
        .collect::<Result<_, Error>>()?;
    close_all()?;
    replace_run(uid)?;
    write_files(&order.files)?;
    for (root, tree, kind) in open {
        stand_in_run(&root, kind)?;
        tree.attach(&root)?;
    }
    // What lay in `/run` is gone, unless the command works there.
    let gone = |path: &PathBuf| path.starts_with(RUN) && !roots.contain(path);
    for path in hidden.iter().filter(|path| !gone(path)) {
        cover(path)?;
    }
    cover_sockets(sockets)?;
    for path in sockets_in_tmp(Path::new("/tmp"))? {
        cover(&path)?;
    }
    if fs::symlink_metadata(VAR_RUN).is_ok_and(|found| found.is_dir()) {
        cover(Path::new(VAR_RUN))?;
    }
    let Kept { pinned, closed } = kept(&order.access, &roots)?;
    pinned.iter().try_for_each(|path| pin(path))?;
    closed.iter().try_for_each(|path| close(path))?;
    if let Some(target) = resolv_conf {
        replace_resolv_conf(&target)?;
    }
    system_roots::replace()?;
    devices::replace()?;
    Ok(Walls {
        roots: roots.paths().to_vec(),
        hidden,
    })
}

/// Folders are covered by folders, everything else by files.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Folder,
    File,
}

impl Kind {
    pub(crate) fn of(path: &Path) -> Self {
        if path.is_dir() {
            Self::Folder
        } else {
            Self::File
        }
    }
}

/// A root in `/run` needs a place there again.
fn stand_in_run(root: &Path, kind: Kind) -> Result<(), Error> {
    if !root.starts_with(RUN) || root.exists() {
        return Ok(());
    }
    match kind {
        Kind::Folder => folder(root),
        Kind::File => {
            root.parent().map_or(Ok(()), folder)?;
            file(root, &[])
        }
    }
}

/// Mounts the process namespace's own view, from inside it. How many processes there can be is said while it is open.
pub(crate) fn mount_proc(spread: Spread) -> Result<(), Error> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None).map_err(at("mount", "/proc"))?;
    if spread == Spread::Bounded {
        narrow::bound_processes()?;
    }
    if !getuid().is_root() {
        // Covering any part of it would forbid the command to make process namespaces of its own.
        return Ok(());
    }
    for name in PROC_READ_ONLY {
        let path = Path::new("/proc").join(name);
        if path.exists() {
            mount_bind(&path, &path).map_err(at("bind", &path))?;
            read_only(&path)?;
        }
    }
    Ok(())
}

/// Hides those of these sockets that can be seen here.
pub(crate) fn cover_sockets(sockets: &[PathBuf]) -> Result<(), Error> {
    let is_socket = |path: &&PathBuf| {
        fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
    };
    sockets
        .iter()
        .filter(is_socket)
        .try_for_each(|path| cover(path))
}

/// Hides one path behind an empty folder or an empty file.
pub(crate) fn cover(path: &Path) -> Result<(), Error> {
    let kind = match fs::metadata(path) {
        Err(error) if is_nothing(&error) => return Ok(()),
        other => other.map_err(at("hide", path))?.file_type(),
    };
    let nothing = if kind.is_dir() { NO_FOLDER } else { NO_FILE };
    mount_bind(nothing, path).map_err(at("hide", path))
}

/// Nothing is there, or nothing that this user could see, and so the command cannot either.
fn is_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
}

/// The sockets that other programs keep in a shared folder for temporary files, as far as their places are known.
fn sockets_in_tmp(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(at("list", folder))?,
    };
    let mut found = Vec::new();
    for entry in entries.take(TMP_ENTRIES_MAX) {
        let entry = entry.map_err(at("list", folder))?;
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        let name = entry.file_name();
        let known = name
            .to_str()
            .is_some_and(|name| SOCKET_FOLDERS.iter().any(|start| name.starts_with(start)));
        if kind.is_socket() || (kind.is_dir() && known) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// An empty `/run`, which hides the sockets of every service, with the folders that programs expect there.
fn replace_run(uid: u32) -> Result<(), Error> {
    let links = links_in(Path::new(RUN))?;
    mount("tmpfs", RUN, "tmpfs", closed(), Some(c"mode=0755,size=64m"))
        .map_err(at("cover", RUN))?;
    for (path, target) in links {
        symlink(target, &path).map_err(at("link", &path))?;
    }
    let user = format!("{RUN}/user/{uid}");
    for (path, mode) in [
        ("/run/lock", 0o1777),
        (user.as_str(), 0o700),
        (FILES, 0o755),
    ] {
        folder(Path::new(path))?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(at("open", path))?;
    }
    Ok(())
}

/// Symbolic links directly in a folder: some systems keep the way to their programs there.
fn links_in(folder: &Path) -> Result<Vec<(PathBuf, PathBuf)>, Error> {
    let mut links = Vec::new();
    for entry in fs::read_dir(folder).map_err(at("list", folder))? {
        let path = entry.map_err(at("list", folder))?.path();
        if let Ok(target) = fs::read_link(&path) {
            links.push((path, target));
        }
    }
    Ok(links)
}

/// The files that the caller wants inside, on a file system of their own that is closed afterwards.
pub(crate) fn write_files(files: &[(PathBuf, Vec<u8>)]) -> Result<(), Error> {
    mount(
        "tmpfs",
        FILES,
        "tmpfs",
        closed(),
        Some(c"mode=0755,size=64m"),
    )
    .map_err(at("mount", FILES))?;
    let resolv_conf = (
        Path::new(FILES).join("resolv.conf"),
        b"nameserver 127.0.0.1\n".to_vec(),
    );
    for (path, content) in files.iter().chain(std::iter::once(&resolv_conf)) {
        if path.parent() != Some(Path::new(FILES)) || path.file_name().is_none() {
            return Err(Error::FileOutside { path: path.clone() });
        }
        file(path, content)?;
        let mode = if content.starts_with(b"#!") {
            0o555
        } else {
            0o444
        };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(at("open", path))?;
    }
    folder(Path::new(NO_FOLDER))?;
    file(Path::new(NO_FILE), &[])?;
    mount_remount(FILES, closed() | MountFlags::RDONLY, c"").map_err(at("close", FILES))
}

pub(crate) fn replace_resolv_conf(target: &Path) -> Result<(), Error> {
    let ours = Path::new(FILES).join("resolv.conf");
    if target.starts_with(RUN) {
        // Where it pointed to is covered, so the file is put there again.
        if let Some(parent) = target.parent() {
            folder(parent)?;
        }
        return fs::copy(&ours, target)
            .map(drop)
            .map_err(at("write", target));
    }
    mount_bind(&ours, target).map_err(at("cover", target))
}

fn read_only(path: &Path) -> Result<(), Error> {
    let flags = closed() | MountFlags::NOEXEC | MountFlags::BIND | MountFlags::RDONLY;
    mount_remount(path, flags, c"").map_err(at("close", path))
}

pub(crate) fn folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(at("create", path))
}

pub(crate) fn file(path: &Path, content: &[u8]) -> Result<(), Error> {
    fs::write(path, content).map_err(at("write", path))
}

pub(crate) fn closed() -> MountFlags {
    MountFlags::NOSUID | MountFlags::NODEV
}
