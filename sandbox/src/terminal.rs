//! A terminal of its own for the command, relayed to the one outside.
//!
//! The command never holds the outer terminal, so it can neither read what is typed elsewhere nor push input into it.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, Write as _},
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags, open},
    io::{ioctl_fionbio, read, write},
    process::getpgrp,
    pty::{OpenptFlags, openpt, ptsname, unlockpt},
    termios::{
        OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize,
        tcsetattr, tcsetwinsize,
    },
};
use tokio::{io::Interest, sync::Notify, time::timeout};

use crate::{
    error::{Error, system},
    sys::watched,
};

/// How long the last output of a command may take to be shown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The two ends that a relay joins.
pub(crate) struct Terminal {
    outer: File,
    master: OwnedFd,
    keyboard: Option<OwnedFd>,
    raw: RefCell<Option<Raw>>,
    entered: Notify,
}

impl Terminal {
    /// Replaces each of the standard streams that is a terminal by one new terminal; none when no stream is one.
    pub(crate) fn replace(streams: &mut [OwnedFd; 3]) -> Result<Option<Self>, Error> {
        Self::make(streams).map_err(system("make a terminal"))
    }

    fn make(streams: &mut [OwnedFd; 3]) -> io::Result<Option<Self>> {
        let [stdin, stdout, stderr] = &*streams;
        let Some(outer) = [stdout, stderr, stdin]
            .into_iter()
            .find(|stream| isatty(stream))
        else {
            return Ok(None);
        };
        let outer = outer.try_clone()?;
        let keyboard = isatty(stdin).then(|| stdin.try_clone()).transpose()?;
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        ioctl_fionbio(&master, true)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let slave = open(
            &name,
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        tcsetattr(&slave, OptionalActions::Now, &tcgetattr(&outer)?)?;
        for stream in streams.iter_mut().filter(|stream| isatty(stream)) {
            *stream = slave.try_clone()?;
        }
        let terminal = Self {
            outer: outer.into(),
            master,
            keyboard,
            raw: RefCell::new(None),
            entered: Notify::new(),
        };
        terminal.resize();
        Ok(Some(terminal))
    }

    /// Gives the inner terminal the size of the outer one.
    pub(crate) fn resize(&self) {
        if let Ok(size) = tcgetwinsize(&self.outer)
            && let Err(error) = tcsetwinsize(&self.master, size)
        {
            tracing::debug!(%error, "the terminal could not be resized");
        }
    }

    /// Makes the outer terminal raw, unless this job is in the background, and gives the inner one its size.
    pub(crate) fn enter(&self) -> Result<(), Error> {
        if let Some(keyboard) = self.keyboard.as_ref().filter(|keyboard| is_ours(keyboard)) {
            let raw = Raw::set(keyboard).map_err(system("prepare the terminal"))?;
            self.raw.replace(Some(raw));
            self.entered.notify_one();
            self.resize();
        }
        Ok(())
    }

    /// Makes the outer terminal what it was.
    pub(crate) fn leave(&self) {
        drop(self.raw.take());
    }

    /// Whether something is typed here.
    pub(crate) const fn has_keyboard(&self) -> bool {
        self.keyboard.is_some()
    }

    /// Whether it has to be entered yet.
    pub(crate) fn waits(&self) -> bool {
        self.has_keyboard() && self.raw.borrow().is_none()
    }

    /// Copies in both directions until the command's side is closed.
    pub(crate) async fn relay(&self) -> Result<(), Error> {
        let copied = tokio::try_join!(self.output(), self.input());
        copied.map(drop).map_err(system("relay the terminal"))
    }

    /// Copies what is left of the output once the command has ended.
    pub(crate) async fn drain(&self) {
        if let Err(error) = timeout(DRAIN_TIMEOUT, self.output()).await {
            tracing::debug!(%error, "the last output was not taken in time");
        }
    }

    async fn output(&self) -> io::Result<()> {
        let master = watched(self.master.try_clone()?, Interest::READABLE)?;
        let mut buffer = vec![0u8; 16 * 1024];
        loop {
            let mut ready = master.readable().await?;
            let length = match ready.try_io(|master| Ok(read(master, &mut buffer)?)) {
                Err(_would_block) => continue,
                // The last process that held the other side has closed it.
                Ok(Ok(0) | Err(_)) => return Ok(()),
                Ok(Ok(length)) => length,
            };
            // The outer terminal blocks when it is slow: it is shared, so it is not ours to change.
            (&self.outer).write_all(buffer.get(..length).unwrap_or_default())?;
        }
    }

    async fn input(&self) -> io::Result<()> {
        let Some(keyboard) = &self.keyboard else {
            return Ok(());
        };
        let keyboard = watched(keyboard.try_clone()?, Interest::READABLE)?;
        let master = watched(self.master.try_clone()?, Interest::WRITABLE)?;
        let mut buffer = vec![0u8; 4096];
        loop {
            while self.waits() {
                self.entered.notified().await;
            }
            let mut ready = keyboard.readable().await?;
            // What is typed while the job is in the background is not for it.
            if self.waits() {
                continue;
            }
            let Ok(typed) = ready.try_io(|keyboard| typed(keyboard.get_ref(), &mut buffer)) else {
                continue;
            };
            let mut rest = buffer.get(..typed?).unwrap_or_default();
            while !rest.is_empty() {
                let mut ready = master.writable().await?;
                if let Ok(written) = ready.try_io(|master| Ok(write(master, rest)?)) {
                    rest = rest.get(written?..).unwrap_or_default();
                }
            }
        }
    }
}

/// Whether this job may use a terminal: it is in the foreground, or no shell has put it anywhere.
fn is_ours(terminal: &OwnedFd) -> bool {
    tcgetpgrp(terminal).map_or(true, |group| group == getpgrp())
}

/// Reads what was typed. The raw terminal never blocks and says 0 instead ([`Raw::set`]).
fn typed(keyboard: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    match read(keyboard, buffer)? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        length => Ok(length),
    }
}

/// A terminal in raw mode, restored on drop.
struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    fn set(terminal: impl AsFd) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        raw.special_codes[SpecialCodeIndex::VMIN] = 0;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        // What was typed ahead is for the command too.
        tcsetattr(&terminal, OptionalActions::Now, &raw)?;
        Ok(Self {
            terminal: terminal.as_fd().try_clone_to_owned()?,
            before,
        })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(&self.terminal, OptionalActions::Drain, &self.before) {
            tracing::debug!(%error, "the terminal could not be restored");
        }
    }
}
