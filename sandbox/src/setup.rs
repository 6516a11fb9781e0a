//! Stage one: makes the namespaces, the network and the mounts, starts stage two in them, and stands between it and the
//! caller until the command has ended.
//!
//! It stays outside the new process namespace, so the command cannot see it. When the caller goes away, stage two is
//! killed, and with it everything inside.

use std::{
    fs,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, process::ExitStatusExt as _},
    },
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
};

use rustix::process::{getgid, getuid};
use tokio::runtime::Builder;

use crate::{
    Error, INIT, Listeners, between,
    channel::Channel,
    error::{path, system},
    hidden, mounts, narrow,
    order::Order,
    privileges,
    start::{FAILED, NOT_RUN, READY, STARTED},
    sys,
    terminal::Terminal,
};

/// The table of unix sockets of this network namespace.
const SOCKETS: &str = "/proc/net/unix";

/// Runs stage one; the code to exit with is that of the command.
pub(crate) fn run() -> ExitCode {
    let channel = match sys::close_inherited().and_then(|()| Channel::from_stdin()) {
        Ok(channel) => channel,
        Err(_nobody_to_tell) => return ExitCode::FAILURE,
    };
    match prepare(&channel) {
        Ok(Some(stage)) => finish(channel, stage),
        Ok(None) => ExitCode::FAILURE,
        Err(error) => report(&channel, &error),
    }
}

/// Tells the other side what went wrong; if that fails too, it is gone and nobody wants to know.
pub(crate) fn report(channel: &Channel, error: &Error) -> ExitCode {
    let word = if matches!(error, Error::Command { .. }) {
        NOT_RUN
    } else {
        FAILED
    };
    match channel.send(&[word, &error.chain()], &[]) {
        Ok(()) | Err(_) => ExitCode::FAILURE,
    }
}

/// Stage two with the command running in it.
struct Started {
    init: Child,
    control: Channel,
    terminal: Option<Terminal>,
}

/// None when stage two has reported an error, which was passed on.
fn prepare(channel: &Channel) -> Result<Option<Started>, Error> {
    let (_, streams) = channel.receive()?;
    let mut streams: [OwnedFd; 3] = streams.try_into().map_err(|_count| Error::Protocol)?;
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    // Other network namespaces have other tables.
    let sockets = fs::read_to_string(SOCKETS).map_err(path("read", SOCKETS))?;
    let sockets = hidden::bound_sockets(&sockets);
    sys::unshare()?;
    map_ids(uid, gid)?;
    privileges::protect_process()?;
    let listeners = Listeners::make()?;
    channel.send(&[READY], &listeners.descriptors())?;
    drop(listeners);
    let order = Order::receive(channel)?;
    let walls = match &order.narrow {
        Some(narrow) => narrow::build(&order, narrow, &sockets)?,
        None => mounts::build(&order, &sockets, uid)?,
    };
    let terminal = Terminal::replace(&mut streams)?;
    let (init, control) = start_init()?;
    // Nothing of what follows needs a capability.
    privileges::drop_all()?;
    control.send(
        &[order.workdir.as_os_str().as_bytes()],
        &streams.each_ref().map(|stream| stream.as_fd()),
    )?;
    drop(streams);
    let argv: Vec<_> = order
        .argv
        .iter()
        .map(|argument| argument.as_bytes())
        .collect();
    control.send(&argv, &[])?;
    let env = order
        .env
        .iter()
        .flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    control.send(&env.collect::<Vec<_>>(), &[])?;
    for paths in [&walls.roots, &walls.hidden] {
        let paths = paths.iter().map(|path| path.as_os_str().as_bytes());
        control.send(&paths.collect::<Vec<_>>(), &[])?;
    }
    control.send(&[order.spread().word()], &[])?;
    let (reply, _) = control.receive()?;
    channel.send(&reply, &[])?;
    let started = reply == [STARTED.as_bytes()];
    Ok(started.then_some(Started {
        init,
        control,
        terminal,
    }))
}

/// Inside, the user is who they are outside, and nobody else exists.
fn map_ids(uid: u32, gid: u32) -> Result<(), Error> {
    let write = |name: &str, content: String| {
        let file = format!("/proc/self/{name}");
        fs::write(&file, content).map_err(path("write", file))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{uid} {uid} 1"))?;
    write("gid_map", format!("{gid} {gid} 1"))
}

fn start_init() -> Result<(Child, Channel), Error> {
    let (control, theirs) = Channel::pair()?;
    privileges::lend()?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(INIT)
        .env_clear()
        .stdin(theirs)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let init = command.spawn().map_err(path("run", "/proc/self/exe"))?;
    Ok((init, control))
}

/// Waits for the command, relaying its terminal meanwhile. No thread is made here: the kernel forbids threads to a process
/// whose children live in another process namespace.
fn finish(channel: Channel, stage: Started) -> ExitCode {
    let Started {
        mut init,
        control,
        terminal,
    } = stage;
    let runtime = Builder::new_current_thread().enable_all().build();
    let ended = runtime
        .map_err(system("start the event loop"))
        .and_then(|runtime| {
            runtime.block_on(between::watch(
                channel,
                control,
                &mut init,
                terminal.as_ref(),
            ))
        });
    // The operator's terminal is as it was before anybody hears of the end.
    drop(terminal);
    kill(&mut init, ended).map_or(ExitCode::FAILURE, code)
}

/// The status of stage two, which is killed unless it has ended by itself.
fn kill(init: &mut Child, ended: Result<ExitStatus, Error>) -> Result<ExitStatus, Error> {
    ended.or_else(|_gone| {
        init.kill()
            .and_then(|()| init.wait())
            .map_err(system("end the sandbox"))
    })
}

/// The command's code as a shell would give it.
pub(crate) fn code(status: ExitStatus) -> ExitCode {
    let signal = || {
        status
            .signal()
            .map_or(1, |signal| signal.saturating_add(128))
    };
    let code = status.code().unwrap_or_else(signal);
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}
