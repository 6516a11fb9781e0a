//! The devices inside: those that every program expects, those that compute, and terminals of its own.
//!
//! Disks, serial lines, network tunnels and cameras stay outside.

use std::{ffi::CStr, fs, os::unix::fs::symlink, path::Path};

use rustix::mount::{MountFlags, mount, mount_bind_recursive, mount_move, mount_remount};

use crate::{
    error::{Error, path as at},
    mounts::{closed, file, folder},
};

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

/// A small `/dev`: harmless devices, those that compute, and terminals, shared memory and queues of its own.
pub(crate) fn replace() -> Result<(), Error> {
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
