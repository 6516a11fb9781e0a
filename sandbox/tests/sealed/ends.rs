//! How a sandbox ends: with its command, with a signal, or with its caller; and why it may not begin.

use std::{
    ffi::OsString,
    fs,
    io::{self, BufRead as _, BufReader, Read as _},
    process::{Command, ExitCode, Stdio},
};

use exeat_sandbox::{Error, Running, Sandbox, Signal};
use rustix::process::{Pid, getuid, kill_process};

use crate::{
    Test,
    outside::{me, piped, plan, seal_with},
};

pub(crate) const TESTS: [Test; 6] = [
    (
        "nobody_looks_into_a_protected_process",
        nobody_looks_into_a_protected_process,
    ),
    ("the_exit_status_is_that_of_the_command", exit_statuses_pass),
    ("signals_reach_the_command", signals_reach_the_command),
    (
        "everything_inside_ends_with_the_command",
        everything_ends_with_the_command,
    ),
    (
        "everything_inside_ends_with_the_caller",
        everything_ends_with_the_caller,
    ),
    ("what_cannot_start_says_why", what_cannot_start_says_why),
];

fn exit_statuses_pass() {
    for (script, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -KILL $$", 137),
        ("kill -TERM $$", 143),
    ] {
        assert_eq!(seal_with("sh", &["-c", script]).code, code, "{script}");
    }
}

fn signals_reach_the_command() {
    for (signal, code) in [
        (Signal::Terminate, 15),
        (Signal::Interrupt, 2),
        (Signal::Hangup, 1),
        (Signal::Quit, 3),
    ] {
        let (reader, plan) = piped(plan(&me(), &["probe", "catch"]));
        let (_listeners, prepared) = Sandbox::start(plan).unwrap();
        let running = prepared.go(Vec::new(), Vec::new()).unwrap();
        let mut lines = BufReader::new(reader).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "waiting");
        running.signals().send(signal).unwrap();
        assert_eq!(running.wait().unwrap(), code);
    }
}

fn everything_ends_with_the_command() {
    // The pipe would stay open for as long as the orphan lives.
    let sealed = seal_with(
        "sh",
        &["-c", "(sleep 600 &) ; (setsid sleep 600 &) ; echo done"],
    );
    assert_eq!((sealed.text.as_str(), sealed.code), ("done\n", 0));
    // Orphans are reaped while the command runs.
    let sealed = seal_with(
        "sh",
        &[
            "-c",
            "i=0; while [ $i -lt 20 ]; do (true &); i=$((i+1)); done; sleep 0.2; \
        for p in /proc/[0-9]*; do grep -s '^State:.Z' $p/status; done; echo end",
        ],
    );
    assert_eq!(sealed.text, "end\n");
}

fn everything_ends_with_the_caller() {
    let mut caller = Command::new(me());
    caller
        .args(["run", "sh", "-c", "echo waiting; sleep 600"])
        .stdout(Stdio::piped());
    let mut caller = caller.spawn().unwrap();
    let mut output = BufReader::new(caller.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "waiting\n");
    kill_process(Pid::from_child(&caller), rustix::process::Signal::KILL).unwrap();
    caller.wait().unwrap();
    // The end of the pipe comes only when the command and the shell inside are gone.
    assert_eq!(output.read_to_end(&mut Vec::new()).unwrap(), 0);
    // The same for a sandbox that is dropped.
    let (mut reader, sleep) = piped(plan("sleep", &["600"]));
    let (_listeners, prepared) = Sandbox::start(sleep).unwrap();
    drop(prepared.go(Vec::new(), Vec::new()).unwrap());
    assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), 0);
    // And for one that was made but never ran.
    let (_reader, plan) = piped(plan("true", &[]));
    drop(Sandbox::start(plan).unwrap());
}

fn what_cannot_start_says_why() {
    let start = |plan| {
        Sandbox::start(plan).and_then(|(_listeners, prepared)| prepared.go(Vec::new(), Vec::new()))
    };
    #[track_caller]
    fn check(result: Result<Running, Error>, expect: &str) {
        let error = result.err().expect("it started");
        let text = error.to_string();
        assert!(text.contains(expect), "{text}");
    }
    check(
        start(plan("no-such-program", &[])),
        "could not run `no-such-program`: No such file or directory",
    );
    assert!(matches!(
        start(plan("/etc/passwd", &[])),
        Err(Error::NotRun { .. })
    ));
    let mut nowhere = plan("true", &[]);
    nowhere.workdir = "/no/such/folder".into();
    check(
        start(nowhere),
        "could not enter `/no/such/folder`: No such file or directory",
    );
    let mut nothing = plan("true", &[]);
    nothing.argv = Vec::new();
    check(start(nothing), "expected a command to run");
    let mut other = plan("true", &[]);
    other.exe = "/bin/true".into();
    check(start(other), "the sandbox ended without a word");
    for path in [
        "/etc/passwd",
        "/run/exeat/../x",
        "/run/exeat/a/b",
        "/run/exeat",
        "relative",
    ] {
        let (_listeners, prepared) = Sandbox::start(plan("true", &[])).unwrap();
        let files = vec![(path.into(), Vec::new())];
        check(
            prepared.go(Vec::<(OsString, OsString)>::new(), files),
            "expected a name directly in `/run/exeat`",
        );
    }
}

fn nobody_looks_into_a_protected_process() {
    let mut child = Command::new(me());
    let child = child
        .arg("protect")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let file = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", child.id()));
    let limits = file("limits").unwrap();
    let cores = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert!(
        cores.split_whitespace().skip(4).take(2).eq(["0", "0"]),
        "{cores}"
    );
    // Root may look at everything; the same user may not.
    assert_eq!(file("environ").is_err(), !getuid().is_root());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

/// The role `protect`: a process that holds secrets, until its input ends.
pub(crate) fn protect() -> ExitCode {
    exeat_sandbox::protect_process().unwrap();
    println!("protected");
    io::stdin().read_to_string(&mut String::new()).unwrap();
    ExitCode::SUCCESS
}
