//! Telling somebody outside what the head is, so that cutting the tail or rewriting all of it can be noticed.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::fs::OFlags;

/// How long a command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Where checkpoints go, at most once a minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anchor {
    /// A file that is replaced; on another disk, or one that is copied away.
    File(PathBuf),
    /// A program and its arguments; it reads the checkpoint from its standard input.
    Command(Vec<String>),
}

impl Anchor {
    /// Hands over a checkpoint. May block as long as a command may take.
    pub(crate) fn push(&self, note: &str) -> io::Result<()> {
        match self {
            Self::File(path) => replace(path, note),
            Self::Command(argv) => run(argv, note),
        }
    }

    /// The checkpoint that was anchored last, if this anchor can say.
    pub(crate) fn last(&self) -> io::Result<Option<String>> {
        match self {
            Self::File(path) => match fs::read_to_string(path) {
                Ok(note) => Ok(Some(note)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(e),
            },
            Self::Command(_) => Ok(None),
        }
    }
}

fn replace(path: &Path, note: &str) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let fresh = PathBuf::from(name);
    // SECURITY: whatever lies there, a link to somewhere else even, is not written to.
    match fs::remove_file(&fresh) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).map_err(io::Error::other)?;
    let mut file = options.custom_flags(no_follow).open(&fresh)?;
    file.write_all(note.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

fn run(argv: &[String], note: &str) -> io::Result<()> {
    let missing = || io::Error::new(io::ErrorKind::InvalidInput, "no command");
    let (program, arguments) = argv.split_first().ok_or_else(missing)?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut input) = child.stdin.take()
        && let Err(e) = input.write_all(note.as_bytes())
        && e.kind() != io::ErrorKind::BrokenPipe
    {
        child.kill()?;
        child.wait()?;
        return Err(e);
    }
    finish(child)
}

/// Waits for the command in a thread of its own, as there is no other way to wait with a limit.
fn finish(mut child: Child) -> io::Result<()> {
    let pid = rustix::process::Pid::from_child(&child);
    let (send, receive) = mpsc::channel();
    let waiter = thread::spawn(move || send.send(child.wait()).is_ok());
    let outcome = receive.recv_timeout(COMMAND_TIMEOUT);
    if outcome.is_err() {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    }
    let joined = waiter.join();
    match outcome.map(|status| status.map(|status| status.success())) {
        Ok(Ok(true)) if joined.is_ok() => Ok(()),
        Ok(Ok(_)) => Err(io::Error::other("the command failed")),
        Ok(Err(e)) => Err(e),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the command took too long",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    #[test]
    fn a_link_that_lies_in_wait_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let [path, fresh, other] =
            ["note", "note.new", "other"].map(|name| folder.path().join(name));
        fs::write(&other, "mine").unwrap();
        symlink(&other, &fresh).unwrap();
        let anchor = Anchor::File(path.clone());
        anchor.push("a checkpoint").unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
        assert_eq!(anchor.last().unwrap().unwrap(), "a checkpoint");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    }
}
