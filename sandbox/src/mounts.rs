//! The filesystem inside: the one outside, with everything covered through which another process would listen.
//!
//! It covers; it does not confine: what the user may read and write outside, the command may inside, but for the paths
//! that are hidden. Every failure ends the start.

use std::{
    ffi::CStr,
    fs, io,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use rustix::{
    mount::{
        MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change,
        mount_move, mount_remount,
    },
    process::getuid,
};

use crate::{
    environment::FILES,
    error::{Error, path as at},
};

const RUN: &str = "/run";
/// A link to the former almost everywhere.
const VAR_RUN: &str = "/var/run";
const DEV: &str = "/dev";
/// Devices that every program expects.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// How the names of devices begin that only compute.
const COMPUTERS: [&str; 4] = ["dri", "kfd", "nvidia", "accel"];
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Names of folders in `/tmp` in which agents, terminals and displays keep their sockets.
const SOCKET_FOLDERS: [&str; 6] = [".X11-unix", ".ICE-unix", "ssh-", "tmux-", "gpg-", "dbus-"];
const TMP_ENTRIES_MAX: usize = 65_536;
/// Parts of `/proc` that the user `root` may change without any capability.
const PROC_READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// Builds the mounts in the mount namespace of this process.
pub(crate) fn build(hide: &[PathBuf], files: &[(PathBuf, Vec<u8>)], uid: u32) -> Result<(), Error> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(at("make private", "/"))?;
    for path in hide {
        cover(path)?;
    }
    for path in sockets_in_tmp(Path::new("/tmp"))? {
        cover(&path)?;
    }
    if fs::symlink_metadata(VAR_RUN).is_ok_and(|found| found.is_dir()) {
        cover(Path::new(VAR_RUN))?;
    }
    let resolv_conf = fs::canonicalize(RESOLV_CONF).ok();
    replace_run(uid)?;
    write_files(files)?;
    if let Some(target) = resolv_conf {
        replace_resolv_conf(&target)?;
    }
    replace_devices()?;
    freeze_sys()
}

/// Mounts the process namespace's own view, from inside it.
pub(crate) fn mount_proc() -> Result<(), Error> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None).map_err(at("mount", "/proc"))?;
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

/// Hides one path: a folder becomes empty, anything else becomes `/dev/null`.
fn cover(path: &Path) -> Result<(), Error> {
    let kind = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(at("hide", path))?.file_type(),
    };
    if kind.is_dir() {
        let flags = closed() | MountFlags::NOEXEC | MountFlags::RDONLY;
        mount("tmpfs", path, "tmpfs", flags, Some(c"mode=0755,size=4k")).map_err(at("hide", path))
    } else {
        mount_bind("/dev/null", path).map_err(at("hide", path))
    }
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
fn write_files(files: &[(PathBuf, Vec<u8>)]) -> Result<(), Error> {
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
        fs::set_permissions(path, fs::Permissions::from_mode(0o444)).map_err(at("open", path))?;
    }
    mount_remount(FILES, closed() | MountFlags::RDONLY, c"").map_err(at("close", FILES))
}

fn replace_resolv_conf(target: &Path) -> Result<(), Error> {
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

/// A small `/dev`: harmless devices, those that compute, and terminals, shared memory and queues of its own. Disks, serial
/// lines, network tunnels and cameras stay outside.
fn replace_devices() -> Result<(), Error> {
    let quiet = MountFlags::NOSUID | MountFlags::NOEXEC;
    let staged = Path::new("/run/dev");
    let fresh = |name: &str, kind: &'static str, flags: MountFlags, options: &CStr| {
        let path = staged.join(name);
        folder(&path)?;
        mount(kind, &path, kind, flags, Some(options)).map_err(at("mount", path))
    };
    fresh("", "tmpfs", quiet, c"mode=0755,size=1m")?;
    for entry in fs::read_dir(DEV).map_err(at("list", DEV))? {
        let source = entry.map_err(at("list", DEV))?.path();
        let name = source
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if DEVICES.contains(&name) || COMPUTERS.iter().any(|start| name.starts_with(start)) {
            let target = staged.join(name);
            if source.is_dir() {
                folder(&target)?
            } else {
                file(&target, &[])?
            }
            mount_bind_recursive(&source, &target).map_err(at("keep", &source))?;
        }
    }
    fresh(
        "pts",
        "devpts",
        quiet,
        c"newinstance,ptmxmode=0666,mode=0620",
    )?;
    fresh("shm", "tmpfs", closed(), c"mode=1777")?;
    if Path::new("/dev/mqueue").is_dir() {
        fresh("mqueue", "mqueue", closed() | MountFlags::NOEXEC, c"")?;
    }
    for (name, target) in DEVICE_LINKS {
        let path = staged.join(name);
        symlink(target, &path).map_err(at("link", path))?;
    }
    let read_only = quiet | MountFlags::BIND | MountFlags::RDONLY;
    mount_remount(staged, read_only, c"").map_err(at("close", DEV))?;
    mount_move(staged, DEV).map_err(at("cover", DEV))?;
    fs::remove_dir(staged).map_err(at("remove", staged))
}

/// Control groups and kernel settings can be read, not changed.
fn freeze_sys() -> Result<(), Error> {
    let mounts =
        fs::read_to_string("/proc/self/mountinfo").map_err(at("read", "/proc/self/mountinfo"))?;
    for point in mounts.lines().filter_map(|line| line.split(' ').nth(4)) {
        let inside = point == "/sys" || point.starts_with("/sys/");
        // What another mount lies over cannot be reached, by the command neither.
        if inside && Path::new(point).exists() {
            read_only(Path::new(point))?;
        }
    }
    Ok(())
}

fn read_only(path: &Path) -> Result<(), Error> {
    let flags = closed() | MountFlags::NOEXEC | MountFlags::BIND | MountFlags::RDONLY;
    mount_remount(path, flags, c"").map_err(at("close", path))
}

fn folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(at("create", path))
}

fn file(path: &Path, content: &[u8]) -> Result<(), Error> {
    fs::write(path, content).map_err(at("write", path))
}

fn closed() -> MountFlags {
    MountFlags::NOSUID | MountFlags::NODEV
}
