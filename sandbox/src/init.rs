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
            process::{CommandExt as _, ExitStatusExt as _},
        },
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode, ExitStatus},
};

use rustix::{
    process::{
        Pid, Signal, WaitOptions, chdir, ioctl_tiocsctty, kill_process, kill_process_group, setsid,
        wait,
    },
    termios::{isatty, tcgetpgrp, tcsetpgrp},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

use crate::{
    Error,
    between::stream,
    channel::Channel,
    confine::confine,
    error::{path, system},
    filter, mounts,
    order::{Spread, pairs},
    privileges,
    setup::{code, report},
    start::{self, STARTED, STOPPED},
};

/// Runs stage two; the code to exit with is that of the command.
pub(crate) fn run() -> ExitCode {
    let Ok(control) = Channel::from_stdin() else {
        return ExitCode::FAILURE;
    };
    let started = seal(&control).and_then(|inside| {
        let runtime = Builder::new_current_thread().enable_all().build();
        Ok((inside, runtime.map_err(system("start the event loop"))?))
    });
    match started {
        Ok((inside, runtime)) => runtime.block_on(live(control, inside)),
        Err(error) => report(&control, &error),
    }
}

/// Finishes the sandbox from the inside, down to no privileges, and says what to run.
fn seal(control: &Channel) -> Result<Inside, Error> {
    let (workdir, streams) = control.receive()?;
    let (argv, _) = control.receive()?;
    let (env, _) = control.receive()?;
    let paths = || -> Result<Vec<PathBuf>, Error> {
        let (list, _) = control.receive()?;
        Ok(list
            .into_iter()
            .map(|path| OsString::from_vec(path).into())
            .collect())
    };
    let (roots, hidden) = (paths()?, paths()?);
    let (word, _) = control.receive()?;
    let [word] = <[Vec<u8>; 1]>::try_from(word).map_err(|_count| Error::Protocol)?;
    let [workdir] = <[Vec<u8>; 1]>::try_from(workdir).map_err(|_count| Error::Protocol)?;
    let streams: [OwnedFd; 3] = streams.try_into().map_err(|_count| Error::Protocol)?;
    // SECURITY: a session of its own, so that no signal to a process group and no terminal reaches across.
    setsid().map_err(system("start a session"))?;
    let terminal = streams.iter().find(|stream| isatty(stream));
    let terminal = terminal.map(OwnedFd::try_clone).transpose();
    let terminal = terminal.map_err(system("take the terminal"))?;
    if let Some(terminal) = &terminal {
        ioctl_tiocsctty(terminal).map_err(system("take the terminal"))?;
    }
    mounts::mount_proc(Spread::from_word(&word)?)?;
    let workdir = Path::new(OsStr::from_bytes(&workdir));
    chdir(workdir).map_err(path("enter", workdir))?;
    privileges::drop_all()?;
    privileges::protect_process()?;
    confine(&roots, &hidden)?;
    filter::apply()?;
    let mut argv = argv.into_iter().map(OsString::from_vec);
    let mut command = Command::new(argv.next().ok_or(Error::NoCommand)?);
    let env = pairs(env)?
        .into_iter()
        .map(|pair| pair.map(OsString::from_vec));
    command
        .args(argv)
        .process_group(0)
        .env_clear()
        .envs(env.map(|[name, value]| (name, value)));
    let [stdin, stdout, stderr] = streams;
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    Ok(Inside { command, terminal })
}

async fn live(control: Channel, inside: Inside) -> ExitCode {
    let child = signal(SignalKind::child()).map_err(system("watch the command"));
    let started = child.and_then(|child| Ok((child, inside.start()?)));
    let (mut child, command) = match started {
        Ok(started) => started,
        Err(error) => return report(&control, &error),
    };
    let told = control.send(&[STARTED], &[]);
    let Ok(mut control) = told.and_then(|()| stream(control)) else {
        return ExitCode::FAILURE;
    };
    loop {
        match command.reap() {
            Some(Change::Ended(status)) => return code(status),
            Some(Change::Stopped) if control.write_u8(STOPPED).await.is_err() => {
                return ExitCode::FAILURE;
            }
            Some(Change::Stopped) | None => {}
        }
        tokio::select! {
            _ = child.recv() => {}
            byte = control.read_u8() => match byte {
                Ok(number) => command.deliver(number),
                Err(_closed) => return ExitCode::FAILURE,
            },
        }
    }
}

/// The command before it runs, and its terminal.
struct Inside {
    command: Command,
    terminal: Option<OwnedFd>,
}

impl Inside {
    /// Starts the command as the job in the foreground of the terminal.
    fn start(mut self) -> Result<Job, Error> {
        let program = self.command.get_program().to_string_lossy().into_owned();
        let spawned = self
            .command
            .spawn()
            .map_err(|source| Error::Command { program, source })?;
        let process = Pid::from_child(&spawned);
        if let Some(terminal) = &self.terminal {
            tcsetpgrp(terminal, process).map_err(system("hand the terminal over"))?;
        }
        // The other streams are closed with the plan of the command, so that their readers see its end.
        Ok(Job {
            process,
            terminal: self.terminal,
        })
    }
}

/// What became of the command.
enum Change {
    Ended(ExitStatus),
    /// At its terminal, by the user.
    Stopped,
}

/// The command: a process group of its own, as a shell would make it, so that it can be stopped and continued.
struct Job {
    process: Pid,
    terminal: Option<OwnedFd>,
}

impl Job {
    /// Takes the status of every process that has changed; the command's, when it is among them.
    fn reap(&self) -> Option<Change> {
        let mut change = None;
        while let Ok(Some((process, status))) = wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            if process != self.process {
                continue;
            }
            change = match status.stopping_signal() {
                None => Some(Change::Ended(ExitStatus::from_raw(status.as_raw()))),
                Some(signal) => self.stopped(signal),
            };
        }
        change
    }

    /// A command that touched the terminal before it had it goes on.
    fn stopped(&self, signal: i32) -> Option<Change> {
        let terminal = self.terminal.as_ref()?;
        let touched = [Signal::TTIN, Signal::TTOU]
            .map(Signal::as_raw)
            .contains(&signal);
        if touched && tcgetpgrp(terminal).is_ok_and(|group| group == self.process) {
            sent(kill_process_group(self.process, Signal::CONT));
            return None;
        }
        Some(Change::Stopped)
    }

    fn deliver(&self, number: u8) {
        let all = |signal| kill_process_group(self.process, signal);
        sent(match start::Signal::from_number(number) {
            Some(start::Signal::Interrupt) => all(Signal::INT),
            Some(start::Signal::Quit) => all(Signal::QUIT),
            Some(start::Signal::Continue) => all(Signal::CONT),
            Some(start::Signal::Hangup) => kill_process(self.process, Signal::HUP),
            Some(start::Signal::Terminate) => kill_process(self.process, Signal::TERM),
            None => Ok(()),
        });
    }
}

fn sent(result: rustix::io::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a signal came too late");
    }
}
