//! Parts of the kernel that are shared with the world outside and pay no heed to namespaces.

use std::{fs::File, os::fd::AsFd as _};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::{
    Check,
    syscalls::{Call, Outcome, attempt, foreign_door},
};

/// Socket families that reach other machines, other processes or odd corners of the kernel. Those that a kernel does not
/// know are refused by it.
const FAMILIES: [(&str, i32, i32); 13] = [
    ("AF_ALG", libc::AF_ALG, libc::SOCK_SEQPACKET),
    ("AF_APPLETALK", libc::AF_APPLETALK, libc::SOCK_DGRAM),
    ("AF_BLUETOOTH", libc::AF_BLUETOOTH, libc::SOCK_RAW),
    ("AF_CAN", libc::AF_CAN, libc::SOCK_RAW),
    ("AF_IEEE802154", libc::AF_IEEE802154, libc::SOCK_DGRAM),
    ("AF_KEY", libc::AF_KEY, libc::SOCK_RAW),
    ("AF_LLC", libc::AF_LLC, libc::SOCK_STREAM),
    ("AF_NFC", libc::AF_NFC, libc::SOCK_SEQPACKET),
    ("AF_PPPOX", libc::AF_PPPOX, libc::SOCK_STREAM),
    ("AF_RDS", libc::AF_RDS, libc::SOCK_SEQPACKET),
    ("AF_TIPC", libc::AF_TIPC, libc::SOCK_STREAM),
    ("AF_X25", libc::AF_X25, libc::SOCK_SEQPACKET),
    ("AF_XDP", libc::AF_XDP, libc::SOCK_RAW),
];
/// Netlink protocols other than routing: audit, netfilter, device events, generic, crypto.
const NETLINKS: [(&str, i32); 5] = [
    ("NETLINK_AUDIT", libc::NETLINK_AUDIT),
    ("NETLINK_NETFILTER", libc::NETLINK_NETFILTER),
    ("NETLINK_KOBJECT_UEVENT", libc::NETLINK_KOBJECT_UEVENT),
    ("NETLINK_GENERIC", libc::NETLINK_GENERIC),
    ("NETLINK_CRYPTO", libc::NETLINK_CRYPTO),
];

/// Tries all of them.
pub(super) fn probe() -> Vec<Check> {
    let mut checks = sockets();
    checks.extend(system_calls());
    checks.extend([foreign(), typing()]);
    checks
}

/// Sockets that lead past the network namespace, or into parts of the kernel that no command needs.
fn sockets() -> Vec<Check> {
    let (stream, datagram, raw) = (libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW);
    let four = |kind, protocol| Call::socket(libc::AF_INET, kind, protocol);
    let six = |kind, protocol| Call::socket(libc::AF_INET6, kind, protocol);
    let plain = |family, kind| Call::socket(family, kind, 0);
    let echoes = |kind| {
        [
            ("IPv4", four(kind, libc::IPPROTO_ICMP)),
            ("IPv6", six(kind, libc::IPPROTO_ICMPV6)),
        ]
    };
    let [echo, echo_six] = echoes(raw);
    let any = ("any protocol", four(raw, libc::IPPROTO_RAW));
    let kinds = |family| {
        [
            ("stream", plain(family, stream)),
            ("datagram", plain(family, datagram)),
            ("raw", plain(family, raw)),
        ]
    };
    let families = FAMILIES.map(|(name, family, kind)| (name, plain(family, kind)));
    let netlink = |protocol| Call::socket(libc::AF_NETLINK, raw, protocol);
    vec![
        check("icmp-raw", [echo, echo_six, any]),
        check("icmp-ping", echoes(datagram)),
        check("vsock", kinds(libc::AF_VSOCK)),
        check("packet-sockets", kinds(libc::AF_PACKET)),
        check("socket-families", families),
        check(
            "netlink",
            NETLINKS.map(|(name, protocol)| (name, netlink(protocol))),
        ),
    ]
}

fn system_calls() -> Vec<Check> {
    vec![
        check("io-uring", [("io_uring_setup", Call::io_uring_setup())]),
        check(
            "kernel-keyrings",
            [
                ("keyctl", Call::keyctl()),
                ("add_key", Call::add_key()),
                ("request_key", Call::request_key()),
            ],
        ),
        check("bpf", [("bpf", Call::bpf())]),
        check(
            "perf-events",
            [("perf_event_open", Call::perf_event_open())],
        ),
        check("userfaultfd", [("userfaultfd", Call::userfaultfd())]),
        check("mount", [("mount", Call::mount())]),
        check(
            "new-namespaces",
            [
                ("unshare", Call::unshare_user()),
                ("clone", Call::clone_user()),
                ("clone3", Call::clone3_user()),
            ],
        ),
    ]
}

/// Open when any of the calls is not refused.
pub(super) fn check<const N: usize>(id: &str, calls: [(&str, Call); N]) -> Check {
    let tried = calls.map(|(name, call)| (name, attempt(&[call])));
    judge(id, &tried)
}

fn judge(id: &str, tried: &[(&str, Outcome)]) -> Check {
    let mut said = Vec::new();
    let mut found = Vec::new();
    for (name, outcome) in tried {
        match outcome.refusal() {
            Ok(refusal) if said.contains(&refusal) => {}
            Ok(refusal) => said.push(refusal),
            Err(other) => found.push(format!("{name}: {other}")),
        }
    }
    Check::of(id, &found, said.join(", "))
}

/// The doors of other architectures, through which a filter that knows only this one would not look. Where the kernel has
/// no such door, the instruction ends the process.
fn foreign() -> Check {
    let i386 = match foreign_door() {
        Outcome::Killed(libc::SIGSEGV) => Outcome::Failed(rustix::io::Errno::NOSYS),
        other => other,
    };
    let mut tried = vec![("i386", i386)];
    if cfg!(target_arch = "x86_64") {
        let x32 = Call::socket_x32(libc::AF_VSOCK, libc::SOCK_STREAM);
        tried.push(("x32", attempt(&[x32])));
    }
    judge("foreign-system-calls", &tried)
}

/// Types into a terminal that the process leads, as somebody who shares a terminal with its operator would.
fn typing() -> Check {
    let id = "terminal-injection";
    let terminal = || -> rustix::io::Result<(rustix::fd::OwnedFd, File)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let controller = openpt(flags)?;
        grantpt(&controller)?;
        unlockpt(&controller)?;
        let name = ptsname(&controller, Vec::new())?;
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
        let terminal = rustix::fs::open(name, flags, rustix::fs::Mode::empty())?;
        Ok((controller, terminal.into()))
    };
    let (_controller, terminal) = match terminal() {
        Ok(both) => both,
        Err(error) => return Check::open(id, format!("no terminal to try it on: {error}")),
    };
    let lead = || [Call::setsid(), Call::take_terminal(terminal.as_fd())];
    let [session, own] = lead();
    let typed = attempt(&[session, own, Call::type_a_key(terminal.as_fd())]);
    let [session, own] = lead();
    let pasted = attempt(&[session, own, Call::paste(terminal.as_fd())]);
    judge(id, &[("TIOCSTI", typed), ("TIOCLINUX", pasted)])
}
