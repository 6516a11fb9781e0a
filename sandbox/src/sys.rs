//! The calls that Rust cannot prove safe. Nothing else that runs in a sandbox is `unsafe`.

use std::{
    ffi::OsStr,
    fs, io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
    ptr,
};

use rustix::thread::{UnshareFlags, unshare_unsafe};
use tokio::io::{Interest, unix::AsyncFd};

use crate::error::{Error, system};

/// Moves this process into new user, network, mount, process, IPC and host name namespaces.
#[expect(
    unsafe_code,
    reason = "the call is unsafe for the sake of `CLONE_FILES`, which is not asked for"
)]
pub(crate) fn unshare() -> Result<(), Error> {
    let flags = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS;
    // SAFETY: without `FILES` no thread loses sight of another's file descriptors.
    unsafe { unshare_unsafe(flags) }.map_err(|error| Error::Namespaces(error.into()))
}

/// Closes every file descriptor but the standard three: whatever a shell left open must not reach the command.
/// To be called first thing in a stage, before it owns any descriptor.
#[expect(
    unsafe_code,
    reason = "descriptors that nobody owns can be closed only by number"
)]
pub(crate) fn close_inherited() -> Result<(), Error> {
    let read = system("list open files");
    let entries = fs::read_dir("/proc/self/fd").map_err(read)?;
    let number = |name: &OsStr| name.to_str().and_then(|name| name.parse::<RawFd>().ok());
    // The listing's own descriptor is closed once the iterator is consumed, so the numbers are checked afterwards.
    let open: Vec<RawFd> = entries
        .flatten()
        .filter_map(|entry| number(&entry.file_name()))
        .filter(|&fd| fd > 2)
        .collect();
    for fd in open {
        if fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok() {
            // SAFETY: this stage has opened nothing yet, so no owner of this open descriptor exists in the process.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    Ok(())
}

/// Waits for a descriptor without blocking; inside a runtime.
#[expect(
    unsafe_code,
    reason = "the call is unsafe for types that may close or swap their descriptor"
)]
pub(crate) fn watched(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, and the same one, for as long as it lives; the `AsyncFd` owns it.
    unsafe { AsyncFd::register_with_interest(descriptor, interest) }.map_err(Into::into)
}

/// Makes a mount and all mounts below it read-only at once.
#[expect(unsafe_code, reason = "no library offers the call")]
pub(crate) fn set_read_only(tree: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path is a string with its end, the attributes are a structure of the size that is told, and both
    // outlive the call, which writes to neither.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The version of Landlock that the kernel offers, if it does.
#[expect(
    unsafe_code,
    reason = "no library tells the version without confining the process"
)]
pub(crate) fn landlock_version() -> Option<u32> {
    let question: libc::c_uint = 1;
    // SAFETY: with this flag (`LANDLOCK_CREATE_RULESET_VERSION`) the call takes no memory and makes nothing.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            ptr::null::<libc::c_void>(),
            0_usize,
            question,
        )
    };
    u32::try_from(version).ok().filter(|version| *version > 0)
}
