//! The three calls that Rust cannot prove safe. Nothing else in this crate is `unsafe`.

use std::{
    ffi::OsStr,
    fs, io,
    os::fd::{FromRawFd as _, OwnedFd, RawFd},
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
