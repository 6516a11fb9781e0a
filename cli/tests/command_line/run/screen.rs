//! A pseudo-terminal that plays the operator's.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Child, Command},
};

use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, openpt, ptsname, unlockpt},
};

/// A command at a terminal.
pub(super) struct Screen {
    master: File,
    child: Child,
    /// Everything that was shown so far.
    pub(super) text: String,
}

impl Screen {
    /// Runs a command with all its streams at a terminal of its own.
    pub(super) fn run(mut command: Command) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = open(&name, flags, Mode::empty()).unwrap();
        let copy = || -> OwnedFd { slave.try_clone().unwrap() };
        let child = command.stdin(copy()).stdout(copy()).stderr(copy()).spawn();
        let child = child.unwrap();
        // Only the child and its children hold the other side from here on: when they end, so does reading.
        drop((command, slave));
        Self {
            master: File::from(master),
            child,
            text: String::new(),
        }
    }

    /// Waits until something is shown.
    #[track_caller]
    pub(super) fn wait_for(&mut self, what: &str) {
        while !self.text.contains(what) {
            assert!(self.read(), "waited in vain for `{what}`:\n{}", self.text);
        }
    }

    /// Types a line, once something is shown, and forgets what was shown.
    #[track_caller]
    pub(super) fn answer(&mut self, question: &str, answer: &str) {
        self.wait_for(question);
        self.text.clear();
        self.master
            .write_all(format!("{answer}\n").as_bytes())
            .unwrap();
    }

    /// Waits for the end; returns the status.
    pub(super) fn end(mut self) -> (i32, String) {
        while self.read() {}
        let status = self.child.wait().unwrap();
        (status.code().unwrap(), self.text)
    }

    fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        // The end of the last one at the other side is an error, not an end.
        match self.master.read(&mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(length) => {
                let read = buffer.get(..length).unwrap_or_default();
                self.text.push_str(&String::from_utf8_lossy(read));
                true
            }
        }
    }
}
