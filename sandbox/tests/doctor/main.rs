//! The probes of `exeat doctor`, where everything must be closed and where nearly everything must be open: inside a
//! sandbox, and in a bare network namespace without any route, so that nothing could leave if a seal failed.
//!
//! This program is everything in turn: the tests, the stages of a sandbox, and the command inside that tries to get out.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test program with a main of its own"
)]

mod world;

use std::{
    env, fs, io,
    os::unix::fs::PermissionsExt as _,
    process::{Command, ExitCode},
};

use exeat_sandbox::doctor::{DOCTOR, Errand, State, descriptors, probe};
use rustix::process::getuid;
use world::World;

/// What a bare namespace leaves open for everybody, so that a probe which finds it closed there proves nothing.
const OPEN: [&str; 31] = [
    "loopback-tcp",
    "loopback-udp",
    "unix-abstract",
    "unix-sockets",
    "tcp-ipv4",
    "tcp-ipv6",
    "tcp-ports",
    "udp",
    "quic",
    "dns-over-tls",
    "dns-udp",
    "dns-tcp",
    "vsock",
    "netlink",
    "io-uring",
    "kernel-keyrings",
    "new-namespaces",
    "namespaces",
    "privileges",
    "proc",
    "proc-gate",
    "signal-gate",
    "data-folder",
    "credentials",
    "kept-files",
    "environment",
    "ptrace-gate",
    "setns",
    "icmp-raw",
    "packet-sockets",
    "userfaultfd",
];

fn main() -> ExitCode {
    if let Some(code) = exeat_sandbox::enter(env::args_os()) {
        return code;
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [role] if *role == DOCTOR => probe_and_print(),
        ["sealed"] => finish(&[(
            "everything_is_closed_inside_a_sandbox",
            everything_is_closed,
        )]),
        ["bare"] => finish(&[("what_is_open_is_found_open", what_is_open_is_found)]),
        _ => run_tests(),
    }
}

/// Each test in a network namespace without a route, as whoever runs the tests and as an ordinary user.
fn run_tests() -> ExitCode {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("doctor");
    fs::copy(env::current_exe().unwrap(), &copy).unwrap();
    let mut failed = 0;
    let users: &[&[&str]] = if getuid().is_root() {
        &[
            &[],
            &[
                "setpriv",
                "--reuid",
                "12345",
                "--regid",
                "12345",
                "--clear-groups",
            ],
        ]
    } else {
        &[&[]]
    };
    for user in users {
        for role in ["sealed", "bare"] {
            let script = "ip link set lo up && exec \"$0\" \"$1\"";
            let words = user.iter().copied();
            // The capabilities are those of a user namespace of its own; they are what a sandbox has to take away.
            let cut = ["unshare", "-n", "--map-current-user", "--keep-caps"];
            let inside = ["sh", "-c", script, copy.to_str().unwrap(), role];
            let mut words = words.chain(cut).chain(inside);
            let mut command = Command::new(words.next().unwrap());
            let status = command.args(words).current_dir("/tmp").status();
            failed += u32::from(!status.unwrap().success());
        }
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {verdict}. {failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A test by its name; an error says what is wrong.
type Test = (&'static str, fn() -> Result<(), String>);

fn finish(tests: &[Test]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for (name, test) in tests {
        let result = test();
        let word = if result.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} (uid {}) ... {word}", getuid().as_raw());
        if let Err(problem) = result {
            println!("{problem}");
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn everything_is_closed() -> Result<(), String> {
    let world = World::make();
    let checks = world.seal();
    assert!(checks.len() > 30, "{checks:?}");
    let open: Vec<String> = checks
        .iter()
        .filter(|check| check.state == State::Open)
        .map(|check| format!("{}: {}", check.id, check.detail))
        .collect();
    let reached = world.reached();
    if open.is_empty() && reached.is_empty() {
        return Ok(());
    }
    Err(format!(
        "open: {}\nreached: {}",
        open.join("\n"),
        reached.join(", ")
    ))
}

fn what_is_open_is_found() -> Result<(), String> {
    let world = World::make();
    let checks = world.unsealed();
    let wrong: Vec<String> = checks
        .iter()
        .filter(|check| OPEN.contains(&check.id.as_str()) && check.state == State::Closed)
        .map(|check| format!("{} is closed: {}", check.id, check.detail))
        .collect();
    let unknown: Vec<&str> = OPEN
        .into_iter()
        .filter(|id| !checks.iter().any(|check| check.id == *id))
        .collect();
    let reached = world.reached();
    if wrong.is_empty() && unknown.is_empty() && reached.len() >= 5 {
        return Ok(());
    }
    Err(format!(
        "{}\nunknown {unknown:?}, reached {reached:?}",
        wrong.join("\n")
    ))
}

/// The role of the command.
fn probe_and_print() -> ExitCode {
    let inherited = descriptors();
    let mut errand: Errand = serde_json::from_reader(io::stdin()).unwrap();
    errand.environment = env::vars().collect();
    println!(
        "{}",
        serde_json::to_string(&probe(&errand, &inherited)).unwrap()
    );
    ExitCode::SUCCESS
}
