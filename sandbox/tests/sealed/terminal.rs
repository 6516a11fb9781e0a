//! A pseudo-terminal plays the operator's terminal.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Command, Stdio},
};

use exeat_sandbox::{Sandbox, Streams};
use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use crate::outside::{me, plan};

pub(crate) fn a_terminal_is_relayed() {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = open(
        &name,
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .unwrap();
    let size = Winsize {
        ws_row: 31,
        ws_col: 97,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&slave, size).unwrap();
    let script = "test -t 0 && test -t 1 && stty size; echo ready; read line; echo got $line; \
                  trap 'echo caught; exit 5' INT; echo again; read line";
    let copy = || -> OwnedFd { slave.try_clone().unwrap() };
    let mut plan = plan("sh", &["-c", script]);
    plan.streams = Streams {
        stdin: copy(),
        stdout: copy(),
        stderr: copy(),
    };
    let (_listeners, prepared) = Sandbox::start(plan).unwrap();
    let running = prepared.go(Vec::new(), Vec::new()).unwrap();
    let mut screen = Screen {
        master: File::from(master),
        text: String::new(),
    };
    screen.wait_for("ready");
    assert!(screen.text.contains("31 97"), "{}", screen.text);
    screen.master.write_all(b"hello\r").unwrap();
    screen.wait_for("again");
    assert!(screen.text.contains("got hello"), "{}", screen.text);
    // Control-C is a byte outside, where the terminal is raw, and a signal inside.
    assert!(
        !tcgetattr(&slave)
            .unwrap()
            .local_modes
            .contains(LocalModes::ISIG)
    );
    screen.master.write_all(&[3]).unwrap();
    screen.wait_for("caught");
    assert_eq!(running.wait().unwrap(), 5);
    assert!(
        tcgetattr(&slave)
            .unwrap()
            .local_modes
            .contains(LocalModes::ISIG),
        "the terminal is restored"
    );
}

pub(crate) fn a_stopped_command_stops_the_job() {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let copy = || Stdio::from(slave.try_clone().unwrap());
    // A shell that controls jobs, with this terminal as its own.
    let mut shell = Command::new("setsid");
    let shell = shell
        .args(["--ctty", "bash", "--norc", "--noprofile", "-i"])
        .env("PS1", "");
    let mut shell = shell
        .stdin(copy())
        .stdout(copy())
        .stderr(copy())
        .spawn()
        .unwrap();
    let mut screen = Screen {
        master: File::from(master),
        text: String::new(),
    };
    let script = "echo begun; read line; echo got $line; sleep 0.1; exit 9";
    screen.type_line(&format!("'{}' run sh -c '{script}'", me()));
    screen.wait_for("begun");
    assert!(!has_signals(&slave), "the operator's terminal is raw");
    screen.master.write_all(&[26]).unwrap();
    screen.wait_until("Stopped");
    screen.type_line("echo $((40 + 2))");
    screen.wait_for("42");
    // In the background it waits for its terminal like any other job.
    screen.type_line("bg; echo $((50 + 3))");
    screen.wait_for("53");
    screen.type_line("fg; echo status $?");
    screen.type_line("hello");
    screen.wait_for("got hello");
    screen.wait_for("status 9");
    screen.type_line("exit");
    shell.wait().unwrap();
}

/// Whether control characters of a terminal are signals: not when it is raw.
fn has_signals(terminal: &OwnedFd) -> bool {
    tcgetattr(terminal)
        .unwrap()
        .local_modes
        .contains(LocalModes::ISIG)
}

struct Screen {
    master: File,
    text: String,
}

impl Screen {
    fn type_line(&mut self, text: &str) {
        self.master
            .write_all(format!("{text}\r").as_bytes())
            .unwrap();
    }

    /// Reads until a word stands on a line of its own, as the output of the command and not as its echo.
    fn wait_for(&mut self, word: &str) {
        self.wait_until(&format!("{word}\r\n"));
    }

    /// Reads until a text stands somewhere.
    fn wait_until(&mut self, text: &str) {
        while !self.text.contains(text) {
            let mut buffer = [0; 1024];
            let length = self.master.read(&mut buffer).unwrap();
            self.text
                .push_str(&String::from_utf8_lossy(buffer.get(..length).unwrap()));
        }
    }
}
