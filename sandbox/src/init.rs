//! Stage two: process 1 of the new process namespace. It drops every privilege, runs the command, reaps what is orphaned
//! and ends with the command; the kernel then ends everything else inside.
//!
//! The command can see this process, so it holds nothing worth taking: no environment, no secret, no capability.

use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::OwnedFd,
        unix::{
            ffi::{OsStrExt as _, OsStringExt as _},
            process::ExitStatusExt as _,
        },
    },
    path::Path,
    process::{Command, ExitCode, ExitStatus},
};

use rustix::{
    process::{
        self, DumpableBehavior, Pid, WaitOptions, chdir, ioctl_tiocsctty,
        kill_current_process_group, kill_process, set_dumpable_behavior, setsid, wait,
    },
    termios::isatty,
};
use tokio::{
    io::AsyncReadExt as _,
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

use crate::{
    Error,
    channel::Channel,
    error::{path, system},
    mounts, privileges,
    setup::{code, report, stream},
    start::{STARTED, Signal, pairs},
};

/// Runs stage two; the code to exit with is that of the command.
pub(crate) fn run() -> ExitCode {
    let Ok(control) = Channel::from_stdin() else {
        return ExitCode::FAILURE;
    };
    let started = seal(&control).and_then(|command| {
        let runtime = Builder::new_current_thread().enable_all().build();
        Ok((command, runtime.map_err(system("start the event loop"))?))
    });
    match started {
        Ok((command, runtime)) => runtime.block_on(live(control, command)),
        Err(error) => report(&control, &error),
    }
}

/// Finishes the sandbox from the inside, down to no privileges, and says what to run.
fn seal(control: &Channel) -> Result<Command, Error> {
    let (workdir, streams) = control.receive()?;
    let (argv, _) = control.receive()?;
    let (env, _) = control.receive()?;
    let [workdir] = <[Vec<u8>; 1]>::try_from(workdir).map_err(|_count| Error::Protocol)?;
    let streams: [OwnedFd; 3] = streams.try_into().map_err(|_count| Error::Protocol)?;
    // SECURITY: a session of its own, so that no signal to a process group and no terminal reaches across.
    setsid().map_err(system("start a session"))?;
    if let Some(terminal) = streams.iter().find(|stream| isatty(stream)) {
        ioctl_tiocsctty(terminal).map_err(system("take the terminal"))?;
    }
    mounts::mount_proc()?;
    let workdir = Path::new(OsStr::from_bytes(&workdir));
    chdir(workdir).map_err(path("enter", workdir))?;
    privileges::drop_all()?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(system("forbid tracing"))?;
    let mut argv = argv.into_iter().map(OsString::from_vec);
    let mut command = Command::new(argv.next().ok_or(Error::NoCommand)?);
    let env = pairs(env)?
        .into_iter()
        .map(|pair| pair.map(OsString::from_vec));
    command
        .args(argv)
        .env_clear()
        .envs(env.map(|[name, value]| (name, value)));
    let [stdin, stdout, stderr] = streams;
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    Ok(command)
}

async fn live(control: Channel, mut command: Command) -> ExitCode {
    let program = command.get_program().to_string_lossy().into_owned();
    let child = signal(SignalKind::child()).map_err(system("watch the command"));
    let started = child.and_then(|child| {
        let spawned = command
            .spawn()
            .map_err(|source| Error::Command { program, source })?;
        Ok((child, Pid::from_child(&spawned)))
    });
    // The command's streams are closed here, so that their readers see the end when the command ends.
    drop(command);
    let (mut child, pid) = match started {
        Ok(started) => started,
        Err(error) => return report(&control, &error),
    };
    let told = control.send(&[STARTED], &[]);
    let Ok(mut control) = told.and_then(|()| stream(control)) else {
        return ExitCode::FAILURE;
    };
    loop {
        if let Some(status) = reap(pid) {
            return code(status);
        }
        tokio::select! {
            _ = child.recv() => {}
            byte = control.read_u8() => match byte {
                Ok(number) => deliver(number, pid),
                Err(_closed) => return ExitCode::FAILURE,
            },
        }
    }
}

/// Takes the status of every process that has ended; the command's, when it is among them.
fn reap(command: Pid) -> Option<ExitStatus> {
    let mut found = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == command {
            found = Some(ExitStatus::from_raw(status.as_raw()));
        }
    }
    found
}

fn deliver(number: u8, command: Pid) {
    let sent = match Signal::from_number(number) {
        Some(Signal::Interrupt) => kill_current_process_group(process::Signal::INT),
        Some(Signal::Quit) => kill_current_process_group(process::Signal::QUIT),
        Some(Signal::Hangup) => kill_process(command, process::Signal::HUP),
        Some(Signal::Terminate) => kill_process(command, process::Signal::TERM),
        None => Ok(()),
    };
    if let Err(error) = sent {
        tracing::debug!(%error, "a signal came too late");
    }
}
