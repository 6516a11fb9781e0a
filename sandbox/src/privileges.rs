//! Capabilities: lent to stage two for two mounts and the bounding set, then gone for good.

use rustix::{
    io::Errno,
    mm::{MlockAllFlags, mlockall},
    process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
        configure_capability_in_ambient_set, no_new_privs, remove_capability_from_bounding_set,
        set_capabilities, set_no_new_privs,
    },
};

use crate::error::{Error, system};

/// What stage two needs before it drops everything: to mount `/proc` and to shrink the bounding set.
const LENT: [CapabilitySet; 2] = [CapabilitySet::SYS_ADMIN, CapabilitySet::SETPCAP];

/// Forbids other processes of this user to trace this one, to read its memory and environment, and to get a core of it.
/// For every process that holds secrets or decides: call it first.
///
/// # Errors
/// When the kernel refuses.
pub fn protect_process() -> Result<(), Error> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(system("forbid tracing"))?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).map_err(system("forbid cores"))
}

/// Keeps the memory of this process out of swap, where the operating system lets it: with `CAP_IPC_LOCK`, or when the limit
/// on locked memory is unlimited. Pages are locked as they are touched, so nothing grows by it. Says whether it is so.
///
/// # Errors
/// When the kernel refuses what its limits allow.
pub fn lock_memory() -> Result<bool, Error> {
    let failed = || system("lock memory");
    let sets = capabilities(None).map_err(failed())?;
    let unlimited = getrlimit(Resource::Memlock).current.is_none();
    // Under a limit, a process with locked memory is refused its next page.
    if !unlimited && !sets.effective.contains(CapabilitySet::IPC_LOCK) {
        return Ok(false);
    }
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(all).map_err(failed())?;
    Ok(true)
}

/// Makes the lent capabilities survive the next exec, which otherwise clears them for every user but root.
pub(crate) fn lend() -> Result<(), Error> {
    let failed = || system("pass capabilities on");
    let mut sets = capabilities(None).map_err(failed())?;
    sets.inheritable = LENT.into_iter().collect();
    set_capabilities(None, sets).map_err(failed())?;
    for capability in LENT {
        configure_capability_in_ambient_set(capability, true).map_err(failed())?;
    }
    Ok(())
}

/// Drops every capability from every set and forbids getting any back by exec.
pub(crate) fn drop_all() -> Result<(), Error> {
    let failed = || system("drop capabilities");
    set_no_new_privs(true).map_err(failed())?;
    clear_ambient_capability_set().map_err(failed())?;
    for bit in 0..64 {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            Ok(()) => {}
            // The first number that the kernel does not know ends the list.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(failed()(error)),
        }
    }
    let none = CapabilitySet::empty();
    let nothing = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    set_capabilities(None, nothing).map_err(failed())?;
    let left = capabilities(None).map_err(failed())?;
    // SECURITY: what the kernel says is checked, not what was asked of it.
    if left != nothing || !no_new_privs().map_err(failed())? {
        return Err(Error::StillPrivileged);
    }
    Ok(())
}
