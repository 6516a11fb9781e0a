//! Which system calls a command is refused, and why: the one table.
//!
//! Everything else passes. What this table cannot know, because it came to the kernel later, is refused as a whole
//! ([`NEWEST`]). `filter.rs` turns it into a program for the kernel.

use libc::{
    AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, CLONE_NEWUSER, IPPROTO_TCP, IPPROTO_UDP, O_CREAT,
    S_ISUID, SOCK_DGRAM, SOCK_STREAM, TIOCLINUX, TIOCSETD, TIOCSTI, c_long,
};

/// The newest system call that was looked at (Linux 6.18). Later numbers do not exist inside, and those of the x32
/// interface, which are far above, do not either.
pub(crate) const NEWEST: c_long = 469;

/// How a refused call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    /// `EPERM`: it may not be done.
    NotPermitted,
    /// `ENOSYS`: callers know another way.
    NotThere,
    /// `EAFNOSUPPORT`: there is no such network.
    NoFamily,
    /// `EPROTONOSUPPORT`: there is no such protocol.
    NoProtocol,
}

/// Calls that are refused whatever their arguments are: numbers, how, and why.
pub(crate) const REFUSED: &[(&[c_long], Refusal, &str)] = &[
    (
        &[libc::SYS_clone3],
        Refusal::NotThere,
        "its flags lie in memory, out of a filter's sight; callers fall back to clone",
    ),
    (
        &[libc::SYS_openat2],
        Refusal::NotThere,
        "its mode lies in memory and may set the user of a program; callers fall back to openat",
    ),
    (
        &[
            libc::SYS_io_uring_setup,
            libc::SYS_io_uring_enter,
            libc::SYS_io_uring_register,
        ],
        Refusal::NotThere,
        "does what the filter refuses without a system call",
    ),
    (
        &[libc::SYS_setns],
        Refusal::NotPermitted,
        "enters namespaces of others",
    ),
    (
        &[libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key],
        Refusal::NotPermitted,
        "keys of the kernel belong to the user, not to the sandbox",
    ),
    (
        &[
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
        ],
        Refusal::NotPermitted,
        "large parts of the kernel, and the tools of most attacks on it",
    ),
    (
        &[
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_chroot,
            libc::SYS_open_tree,
            libc::SYS_move_mount,
            libc::SYS_fsopen,
            libc::SYS_fsconfig,
            libc::SYS_fsmount,
            libc::SYS_fspick,
            libc::SYS_mount_setattr,
            OPEN_TREE_ATTR,
        ],
        Refusal::NotPermitted,
        "mounts are the first wall around the filesystem",
    ),
    (
        &[
            libc::SYS_open_by_handle_at,
            libc::SYS_name_to_handle_at,
            libc::SYS_fanotify_init,
        ],
        Refusal::NotPermitted,
        "files without their paths",
    ),
    (
        &[
            libc::SYS_kexec_load,
            KEXEC_FILE_LOAD,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_delete_module,
            libc::SYS_reboot,
            libc::SYS_swapon,
            libc::SYS_swapoff,
            libc::SYS_acct,
            libc::SYS_quotactl,
            libc::SYS_quotactl_fd,
            libc::SYS_nfsservctl,
            libc::SYS_settimeofday,
            libc::SYS_clock_settime,
            libc::SYS_sethostname,
            libc::SYS_setdomainname,
            libc::SYS_vhangup,
        ],
        Refusal::NotPermitted,
        "the machine is not the command's",
    ),
    (
        &[libc::SYS_syslog, libc::SYS_lookup_dcookie],
        Refusal::NotPermitted,
        "the kernel's log tells of other processes and of addresses",
    ),
    #[cfg(target_arch = "x86_64")]
    (
        &[libc::SYS_iopl, libc::SYS_ioperm],
        Refusal::NotPermitted,
        "ports of the hardware",
    ),
    #[cfg(target_arch = "x86_64")]
    (
        &[libc::SYS_uselib, libc::SYS__sysctl, libc::SYS_sysfs],
        Refusal::NotThere,
        "nobody calls them any more",
    ),
];

// Not in every libc; the numbers are those of all new system calls on every machine.
const OPEN_TREE_ATTR: c_long = 467;
#[cfg(target_arch = "x86_64")]
const KEXEC_FILE_LOAD: c_long = 320;
#[cfg(not(target_arch = "x86_64"))]
const KEXEC_FILE_LOAD: c_long = 294;

/// What an argument must be for a refusal. Only its lower half counts, as the kernel reads no more of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Is {
    /// This value.
    Equal(u32),
    /// Any other than this value.
    Other(u32),
    /// These bits of it are so.
    Bits(u32, u32),
}

/// A refusal by arguments: the call, how it fails, and what each named argument must be, all of them.
pub(crate) struct Conditional {
    pub(crate) call: c_long,
    pub(crate) refusal: Refusal,
    pub(crate) arguments: Vec<(u8, Is)>,
}

/// Calls that are refused for their arguments.
pub(crate) fn conditional() -> Vec<Conditional> {
    let mut rules = Vec::new();
    let mut refuse = |call, refusal, arguments: &[(u8, Is)]| {
        rules.push(Conditional {
            call,
            refusal,
            arguments: arguments.to_vec(),
        });
    };
    // In a user namespace of its own the command would have every capability, and most of the kernel to attack.
    let user = Is::Bits(bits(CLONE_NEWUSER), bits(CLONE_NEWUSER));
    for call in [libc::SYS_clone, libc::SYS_unshare] {
        refuse(call, Refusal::NotPermitted, &[(0, user)]);
    }
    // Typing into a terminal for its user, and line disciplines that nobody looks after.
    for request in [TIOCSTI, TIOCLINUX, TIOCSETD] {
        if let Ok(request) = u32::try_from(request) {
            refuse(
                libc::SYS_ioctl,
                Refusal::NotPermitted,
                &[(1, Is::Equal(request))],
            );
        }
    }
    // Other personalities open old holes on purpose; debuggers switch randomisation off.
    let personalities = PERSONALITIES.map(|known| (0, Is::Other(known)));
    refuse(libc::SYS_personality, Refusal::NotPermitted, &personalities);
    for (call, mode) in MODES {
        refuse(*call, Refusal::NotPermitted, &[(*mode, SET_USER)]);
    }
    for (call, flags) in CREATORS {
        for creates in [bits(O_CREAT), TEMPORARY] {
            let mode = flags.saturating_add(1);
            let creates = (*flags, Is::Bits(creates, creates));
            refuse(*call, Refusal::NotPermitted, &[creates, (mode, SET_USER)]);
        }
    }
    rules.extend(sockets());
    rules
}

/// Sockets: the families that lead to the gate or stay inside, streams and datagrams of them, TCP and UDP.
fn sockets() -> Vec<Conditional> {
    let call = libc::SYS_socket;
    let other = |family| (0, Is::Other(bits(family)));
    let families = [AF_UNIX, AF_NETLINK, AF_INET, AF_INET6].map(other).to_vec();
    let mut rules = vec![
        Conditional {
            call,
            refusal: Refusal::NoFamily,
            arguments: families,
        },
        Conditional {
            call: libc::SYS_socketpair,
            refusal: Refusal::NoFamily,
            arguments: vec![other(AF_UNIX)],
        },
        // Of netlink only what tells the addresses of this network.
        Conditional {
            call,
            refusal: Refusal::NoProtocol,
            arguments: vec![(0, Is::Equal(bits(AF_NETLINK))), (2, Is::Other(0))],
        },
    ];
    let known = [bits(SOCK_STREAM), bits(SOCK_DGRAM)];
    let kinds = (0..=SOCKET_KINDS).filter(|kind| !known.contains(kind));
    let kinds = kinds.map(|kind| vec![(1, Is::Bits(SOCKET_KINDS, kind))]);
    let protocols = [0, bits(IPPROTO_TCP), bits(IPPROTO_UDP)].map(|known| (2, Is::Other(known)));
    for refused in kinds.chain([protocols.to_vec()]) {
        for family in [AF_INET, AF_INET6] {
            let family = (0, Is::Equal(bits(family)));
            rules.push(Conditional {
                call,
                refusal: Refusal::NoProtocol,
                arguments: [family]
                    .into_iter()
                    .chain(refused.iter().copied())
                    .collect(),
            });
        }
    }
    rules
}

/// The bits of a socket's type that are no flags.
const SOCKET_KINDS: u32 = 0xf;
/// `PER_LINUX`, `PER_LINUX32`, both with `UNAME26`, `ADDR_NO_RANDOMIZE`, and the question which one it is.
const PERSONALITIES: [u32; 6] = [0, 8, 0x2_0000, 0x2_0008, 0x4_0000, u32::MAX];
/// A program that runs as its owner, whoever starts it: the command could leave one behind for others to start.
const SET_USER: Is = Is::Bits(S_ISUID, S_ISUID);
/// `O_TMPFILE` without `O_DIRECTORY`.
const TEMPORARY: u32 = 0o20_000_000;

/// Calls that set the mode of a file, and which argument it is.
const MODES: &[(c_long, u8)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, 1),
    (libc::SYS_fchmod, 1),
    (libc::SYS_fchmodat, 2),
    (FCHMODAT2, 2),
    (libc::SYS_mknodat, 2),
];
const FCHMODAT2: c_long = 452;

/// Calls that may make a file, and which argument holds their flags; the mode follows.
const CREATORS: &[(c_long, u8)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, 1),
    (libc::SYS_openat, 2),
];

/// A constant of C, whose sign does not matter.
fn bits(constant: libc::c_int) -> u32 {
    constant.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_call_is_known_and_stands_once() {
        let mut seen = HashSet::new();
        for (numbers, _, reason) in REFUSED {
            assert!(!reason.is_empty() && !numbers.is_empty());
            for number in *numbers {
                assert!((0..=NEWEST).contains(number), "{number}");
                assert!(seen.insert(*number), "{number} stands twice");
            }
        }
        for rule in conditional() {
            assert!(
                !seen.contains(&rule.call),
                "{} is refused anyway",
                rule.call
            );
            assert!(rule.arguments.iter().all(|(index, _)| *index < 6));
        }
    }
}
