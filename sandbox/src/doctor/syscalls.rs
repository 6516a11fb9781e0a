//! System calls that a sealed process must not be able to make, each tried in a process of its own, so that whatever it
//! does ends with that process.
//!
//! Nothing outside this file is `unsafe` for the doctor's sake. Constructors fill in numbers and buffers; [`attempt`]
//! makes the calls.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use libc::{c_int, c_long};
use rustix::{
    io::Errno,
    process::{Pid, WaitOptions, waitpid},
};

/// What came of a system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It did what it is for.
    Worked,
    /// It failed.
    Failed(Errno),
    /// The process was killed by this signal.
    Killed(i32),
    /// It could not be tried, for this reason.
    Untried(String),
}

impl Outcome {
    /// How it was refused; an error with what happened otherwise.
    pub(super) fn refusal(&self) -> Result<String, String> {
        match self {
            Self::Failed(errno) if REFUSALS.contains(errno) => {
                Ok(io::Error::from(*errno).to_string())
            }
            Self::Killed(libc::SIGSYS) => Ok("killed by the system call filter".to_owned()),
            Self::Killed(signal) => Err(format!("ended by signal {signal}")),
            Self::Failed(errno) => Err(format!("reached the kernel: {}", io::Error::from(*errno))),
            Self::Worked => Err("worked".to_owned()),
            Self::Untried(reason) => Err(format!("could not be tried: {reason}")),
        }
    }
}

/// Errors that say no, as opposed to errors that say how.
const REFUSALS: [Errno; 8] = [
    Errno::PERM,
    Errno::ACCESS,
    Errno::NOSYS,
    Errno::AFNOSUPPORT,
    Errno::PROTONOSUPPORT,
    Errno::SOCKTNOSUPPORT,
    Errno::NOENT,
    Errno::SRCH,
];

/// One system call, with the buffers that its arguments point to.
pub(super) struct Call {
    number: c_long,
    arguments: [usize; 6],
    _buffers: Vec<Vec<u8>>,
}

impl Call {
    fn plain(number: c_long, arguments: [usize; 6]) -> Self {
        Self {
            number,
            arguments,
            _buffers: Vec::new(),
        }
    }

    /// `arguments` gets the address of each buffer, in order.
    fn with<const N: usize>(
        number: c_long,
        mut buffers: [Vec<u8>; N],
        arguments: impl FnOnce([usize; N]) -> [usize; 6],
    ) -> Self {
        let addresses = buffers
            .each_mut()
            .map(|buffer| buffer.as_mut_ptr().expose_provenance());
        Self {
            number,
            arguments: arguments(addresses),
            _buffers: Vec::from(buffers),
        }
    }

    pub(super) fn socket(family: c_int, kind: c_int, protocol: c_int) -> Self {
        let arguments = [word(family), word(kind), word(protocol), 0, 0, 0];
        Self::plain(libc::SYS_socket, arguments)
    }

    /// The same call by the number of the x32 interface, where there is one.
    pub(super) fn socket_x32(family: c_int, kind: c_int) -> Self {
        const X32: c_long = 0x4000_0000;
        Self::plain(
            libc::SYS_socket | X32,
            [word(family), word(kind), 0, 0, 0, 0],
        )
    }

    pub(super) fn io_uring_setup() -> Self {
        Self::with(libc::SYS_io_uring_setup, [vec![0; 120]], |[params]| {
            [1, params, 0, 0, 0, 0]
        })
    }

    /// Asks for the session keyring, which outlives namespaces.
    pub(super) fn keyctl() -> Self {
        const GET_KEYRING_ID: usize = 0;
        Self::plain(libc::SYS_keyctl, [GET_KEYRING_ID, word(-3), 1, 0, 0, 0])
    }

    /// Adds a key to the keyring of the process, which ends with it.
    pub(super) fn add_key() -> Self {
        let buffers = [
            b"user\0".to_vec(),
            b"exeat-doctor\0".to_vec(),
            b"x".to_vec(),
        ];
        Self::with(libc::SYS_add_key, buffers, |[kind, name, payload]| {
            [kind, name, payload, 1, word(-2), 0]
        })
    }

    pub(super) fn request_key() -> Self {
        let buffers = [b"user\0".to_vec(), b"exeat-doctor\0".to_vec()];
        Self::with(libc::SYS_request_key, buffers, |[kind, name]| {
            [kind, name, 0, 0, 0, 0]
        })
    }

    /// An array map with one element.
    pub(super) fn bpf() -> Self {
        const MAP_CREATE: usize = 0;
        let mut attributes = vec![0; 128];
        for (at, value) in [2_u32, 4, 4, 1].into_iter().enumerate() {
            put(&mut attributes, at * 4, value);
        }
        Self::with(libc::SYS_bpf, [attributes], |[attributes]| {
            [MAP_CREATE, attributes, 128, 0, 0, 0]
        })
    }

    /// Counts processor time of this process, without the kernel's.
    pub(super) fn perf_event_open() -> Self {
        const SOFTWARE: u32 = 1;
        const EXCLUDE_KERNEL_AND_HYPERVISOR: u32 = 0b110_0000;
        let mut attributes = vec![0; 112];
        put(&mut attributes, 0, SOFTWARE);
        put(&mut attributes, 4, 112);
        put(&mut attributes, 40, EXCLUDE_KERNEL_AND_HYPERVISOR);
        Self::with(libc::SYS_perf_event_open, [attributes], |[attributes]| {
            [attributes, 0, word(-1), word(-1), 0, 0]
        })
    }

    pub(super) fn userfaultfd() -> Self {
        const USER_MODE_ONLY: usize = 1;
        Self::plain(libc::SYS_userfaultfd, [USER_MODE_ONLY, 0, 0, 0, 0, 0])
    }

    pub(super) fn unshare_user() -> Self {
        Self::plain(
            libc::SYS_unshare,
            [word(libc::CLONE_NEWUSER), 0, 0, 0, 0, 0],
        )
    }

    pub(super) fn clone_user() -> Self {
        let flags = word(libc::CLONE_NEWUSER | libc::SIGCHLD);
        Self::plain(libc::SYS_clone, [flags, 0, 0, 0, 0, 0])
    }

    pub(super) fn clone3_user() -> Self {
        let mut arguments = vec![0; 88];
        put(
            &mut arguments,
            0,
            u32::try_from(libc::CLONE_NEWUSER).unwrap_or_default(),
        );
        put(
            &mut arguments,
            32,
            u32::try_from(libc::SIGCHLD).unwrap_or_default(),
        );
        Self::with(libc::SYS_clone3, [arguments], |[arguments]| {
            [arguments, 88, 0, 0, 0, 0]
        })
    }

    pub(super) fn setns(namespace: BorrowedFd<'_>) -> Self {
        Self::plain(
            libc::SYS_setns,
            [word(namespace.as_raw_fd()), 0, 0, 0, 0, 0],
        )
    }

    /// Attaches without stopping; the end of the process detaches.
    pub(super) fn ptrace_seize(process: u32) -> Self {
        const SEIZE: usize = 0x4206;
        Self::plain(libc::SYS_ptrace, [SEIZE, number(process), 0, 0, 0, 0])
    }

    /// Asks for one byte at an address that no process has: allowed, it fails on the address.
    pub(super) fn process_vm_readv(process: u32) -> Self {
        let mut one_byte_at_zero = vec![0; 16];
        put(&mut one_byte_at_zero, size_of::<usize>(), 1);
        Self::with(
            libc::SYS_process_vm_readv,
            [one_byte_at_zero],
            |[vector]| [number(process), vector, 1, vector, 1, 0],
        )
    }

    /// Asks whether a signal could be sent.
    pub(super) fn kill(process: u32) -> Self {
        Self::plain(libc::SYS_kill, [number(process), 0, 0, 0, 0, 0])
    }

    pub(super) fn pidfd_open(process: u32) -> Self {
        Self::plain(libc::SYS_pidfd_open, [number(process), 0, 0, 0, 0, 0])
    }

    /// Mounts an empty file system over `/mnt`, in the namespace of the process that tries it.
    pub(super) fn mount() -> Self {
        let buffers = [b"tmpfs\0".to_vec(), b"/mnt\0".to_vec()];
        Self::with(libc::SYS_mount, buffers, |[kind, target]| {
            [kind, target, kind, 0, 0, 0]
        })
    }

    pub(super) fn setsid() -> Self {
        Self::plain(libc::SYS_setsid, [0; 6])
    }

    /// A terminal request whose argument is a number.
    fn ioctl(terminal: BorrowedFd<'_>, request: libc::Ioctl, argument: usize) -> Self {
        let request = usize::try_from(request).unwrap_or_default();
        let arguments = [word(terminal.as_raw_fd()), request, argument, 0, 0, 0];
        Self::plain(libc::SYS_ioctl, arguments)
    }

    pub(super) fn take_terminal(terminal: BorrowedFd<'_>) -> Self {
        Self::ioctl(terminal, libc::TIOCSCTTY, 0)
    }

    /// Puts a character into the input of the terminal, as if somebody had typed it.
    pub(super) fn type_a_key(terminal: BorrowedFd<'_>) -> Self {
        let terminal = word(terminal.as_raw_fd());
        let request = usize::try_from(libc::TIOCSTI).unwrap_or_default();
        Self::with(libc::SYS_ioctl, [b"x".to_vec()], |[key]| {
            [terminal, request, key, 0, 0, 0]
        })
    }

    /// Pastes the selection of a console.
    pub(super) fn paste(terminal: BorrowedFd<'_>) -> Self {
        const PASTE_SELECTION: u8 = 3;
        let terminal = word(terminal.as_raw_fd());
        let request = usize::try_from(libc::TIOCLINUX).unwrap_or_default();
        Self::with(libc::SYS_ioctl, [vec![PASTE_SELECTION; 8]], |[code]| {
            [terminal, request, code, 0, 0, 0]
        })
    }
}

/// Makes the calls one after the other in a child process: all but the last have to work, the last is what is tried.
pub(super) fn attempt(calls: &[Call]) -> Outcome {
    in_child(|| {
        let mut result = 0;
        for call in calls {
            result = syscall(call);
            if result < 0 {
                break;
            }
        }
        result
    })
}

/// Asks for a vsock by the door of another processor architecture, which a filter for this one would not see.
pub(super) fn foreign_door() -> Outcome {
    in_child(foreign_socket)
}

/// Runs `act` in a child process and tells how that ended.
#[expect(
    unsafe_code,
    reason = "there is no safe way to fork, and nothing less keeps a system call from this process"
)]
fn in_child(act: impl FnOnce() -> c_long) -> Outcome {
    // SAFETY: the child makes system calls and ends; it neither allocates nor takes a lock nor runs a destructor.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let code = match act() {
            // An address that cannot be read was reached, which is what was asked.
            result if result >= 0 || result == -c_long::from(libc::EFAULT) => 0,
            error => c_int::try_from(error.saturating_neg()).unwrap_or(libc::EINVAL),
        };
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(code) }
    }
    let Some(child) = Pid::from_raw(child).filter(|_| child > 0) else {
        return Outcome::Untried("no process could be started".to_owned());
    };
    match waitpid(Some(child), WaitOptions::empty()) {
        Ok(Some((_, status))) => match (status.exit_status(), status.terminating_signal()) {
            (Some(0), _) => Outcome::Worked,
            (Some(code), _) => Outcome::Failed(Errno::from_raw_os_error(code)),
            (None, Some(signal)) => Outcome::Killed(signal),
            (None, None) => Outcome::Untried("the process did not end".to_owned()),
        },
        other => Outcome::Untried(format!("the process was lost: {other:?}")),
    }
}

/// The result, or the negative error number.
#[expect(
    unsafe_code,
    reason = "the calls have no safe interface, as they are for no good"
)]
fn syscall(call: &Call) -> c_long {
    let [a, b, c, d, e, f] = call.arguments;
    // SAFETY: number and arguments come from the constructors above; buffers live as long as the call and are as long as
    // the kernel reads and writes for it. The process does nothing else afterwards.
    let result = unsafe { libc::syscall(call.number, a, b, c, d, e, f) };
    if result >= 0 {
        return result;
    }
    let errno = io::Error::last_os_error().raw_os_error();
    -c_long::from(errno.unwrap_or(libc::EINVAL))
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the other door is a machine instruction")]
fn foreign_socket() -> c_long {
    const SOCKET_I386: i32 = 359;
    let result: i32;
    // SAFETY: the i386 `socket` call takes three numbers and touches no memory; the registers it changes are named.
    unsafe {
        core::arch::asm!(
            "xchg {family:r}, rbx",
            "int 0x80",
            "xchg {family:r}, rbx",
            family = inout(reg) i64::from(libc::AF_VSOCK) => _,
            inlateout("eax") SOCKET_I386 => result,
            in("ecx") libc::SOCK_STREAM,
            in("edx") 0,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    c_long::from(result)
}

/// Other architectures have no second door that could be tried from here.
#[cfg(not(target_arch = "x86_64"))]
fn foreign_socket() -> c_long {
    -c_long::from(libc::ENOSYS)
}

/// A number as the register holds it, sign extended.
fn word(number: c_int) -> usize {
    isize::try_from(number).map_or(0, isize::cast_unsigned)
}

fn number(number: u32) -> usize {
    usize::try_from(number).unwrap_or_default()
}

fn put(buffer: &mut [u8], at: usize, value: u32) {
    if let Some(place) = buffer.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>) {
        *place = value.to_ne_bytes();
    }
}
