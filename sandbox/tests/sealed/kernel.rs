//! What of the kernel a command may use: the table in `syscalls.rs`, tried from inside.

use std::{io, os::unix::net::UnixStream};

use crate::{Test, outside::seal};

pub(crate) const TESTS: [Test; 3] = [
    ("refused_system_calls_fail_as_agreed", refused_calls_fail),
    (
        "only_sockets_that_lead_to_the_gate_exist",
        only_known_sockets,
    ),
    (
        "another_machines_system_calls_end_the_process",
        other_interfaces,
    ),
];

const CALLS: &str = "\
clone3 38\nopenat2 38\nio_uring_setup 38\nnewer 38\nx32 38\nsetns 1\nunshare 1\nclone 1\nkeyctl 1\nadd_key 1\nbpf 1\n\
perf_event_open 1\nuserfaultfd 1\nmount 1\nopen_by_handle_at 1\nchroot 1\nTIOCSTI 1\nTIOCSTI with high bits 1\n\
TIOCLINUX 1\npersonality 1\nno randomisation 0\nsyslog 1\nunshare files 0\n";

const SOCKETS: &str = "\
unix 0\ninet stream 0\ninet6 datagram 0\nnetlink route 0\ninet raw 93\nicmp datagram 93\ninet6 raw 93\nsctp 93\n\
netlink audit 93\nvsock 97\npacket 97\nalg 97\nbluetooth 97\nxdp 97\nwith high bits 97\npair unix 0\npair tipc 97\n";

fn refused_calls_fail() {
    assert_eq!(seal(&["probe", "calls"]).text, CALLS);
}

fn only_known_sockets() {
    assert_eq!(seal(&["probe", "socket-kinds"]).text, SOCKETS);
}

fn other_interfaces() {
    if cfg!(target_arch = "x86_64") {
        assert_eq!(seal(&["probe", "old-interface"]).code, 128 + libc::SIGSYS);
    }
}

/// The number of the error of a call, 0 when it worked.
#[expect(unsafe_code, reason = "the calls have no other interface")]
fn call(number: libc::c_long, arguments: [u64; 4]) -> i32 {
    let [first, second, third, fourth] = arguments;
    // SAFETY: the callers pass numbers and null pointers only; what the kernel would read of them is refused before.
    let result = unsafe { libc::syscall(number, first, second, third, fourth, 0_u64, 0_u64) };
    if result < 0 {
        io::Error::last_os_error().raw_os_error().unwrap_or(-1)
    } else {
        0
    }
}

const NEW_USER: u64 = 0x1000_0000;
const HIGH: u64 = 1 << 32;

/// The probe: refused calls, and the error of each.
pub(crate) fn calls() {
    let number = |constant: u64| [constant, 0, 0, 0];
    let none = [0; 4];
    let all: [(&str, libc::c_long, [u64; 4]); 23] = [
        ("clone3", libc::SYS_clone3, none),
        ("openat2", libc::SYS_openat2, none),
        ("io_uring_setup", libc::SYS_io_uring_setup, none),
        ("newer", 470, none),
        ("x32", 0x4000_0000 | libc::SYS_getpid, none),
        ("setns", libc::SYS_setns, none),
        ("unshare", libc::SYS_unshare, number(NEW_USER)),
        ("clone", libc::SYS_clone, number(NEW_USER | HIGH)),
        ("keyctl", libc::SYS_keyctl, none),
        ("add_key", libc::SYS_add_key, none),
        ("bpf", libc::SYS_bpf, none),
        ("perf_event_open", libc::SYS_perf_event_open, none),
        ("userfaultfd", libc::SYS_userfaultfd, none),
        ("mount", libc::SYS_mount, none),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, none),
        ("chroot", libc::SYS_chroot, none),
        ("TIOCSTI", libc::SYS_ioctl, [0, 0x5412, 0, 0]),
        (
            "TIOCSTI with high bits",
            libc::SYS_ioctl,
            [0, 0x5412 | HIGH, 0, 0],
        ),
        ("TIOCLINUX", libc::SYS_ioctl, [0, 0x541c, 0, 0]),
        ("personality", libc::SYS_personality, number(0x0040_0000)),
        (
            "no randomisation",
            libc::SYS_personality,
            number(0x0004_0000),
        ),
        ("syslog", libc::SYS_syslog, [3, 0, 0, 0]),
        ("unshare files", libc::SYS_unshare, number(0x400)),
    ];
    for (name, number, arguments) in all {
        println!("{name} {}", call(number, arguments));
    }
}

/// The probe: kinds of sockets, and the error of each.
pub(crate) fn socket_kinds() {
    let all: [(&str, [u64; 3]); 15] = [
        ("unix", [1, 1, 0]),
        ("inet stream", [2, 1, 6]),
        ("inet6 datagram", [10, 2 | 0x80000, 0]),
        ("netlink route", [16, 3, 0]),
        ("inet raw", [2, 3, 1]),
        ("icmp datagram", [2, 2, 1]),
        ("inet6 raw", [10, 3 | 0x800, 58]),
        ("sctp", [2, 1, 132]),
        ("netlink audit", [16, 3, 9]),
        ("vsock", [40, 1, 0]),
        ("packet", [17, 3, 0]),
        ("alg", [38, 5, 0]),
        ("bluetooth", [31, 3, 0]),
        ("xdp", [44, 3, 0]),
        ("with high bits", [40 | HIGH, 1, 0]),
    ];
    for (name, [family, kind, protocol]) in all {
        println!(
            "{name} {}",
            call(libc::SYS_socket, [family, kind, protocol, 0])
        );
    }
    println!("pair unix {}", i32::from(UnixStream::pair().is_err()));
    println!("pair tipc {}", call(libc::SYS_socketpair, [30, 1, 0, 0]));
}

/// The probe: the system call of 32-bit programs.
#[expect(unsafe_code, reason = "there is no other way to make this call")]
pub(crate) fn old_interface() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: number 20 of the old interface is `getpid`, which touches no memory; `rax` is given back.
    unsafe {
        std::arch::asm!("int 0x80", inout("rax") 20_u64 => _, options(nostack));
    }
}
