//! The outer side: starts stage one, takes the listeners, hands over the order, waits for the end.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Read as _},
    net::Shutdown,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::termios::isatty;

use crate::{
    Error, Listeners, Narrow, SETUP,
    channel::Channel,
    environment::APPENDED,
    error::{path, system},
    kept,
    order::Order,
    reserve::{Reserved, make_missing},
    roots::Roots,
    running::Running,
};

/// How long a stage may take for one step.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long it may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// What to run, and where.
pub struct Plan {
    /// The command and its arguments.
    pub argv: Vec<OsString>,
    /// Its whole environment; nothing is inherited. See [`crate::scrub`].
    pub env: Vec<(OsString, OsString)>,
    /// Paths that shall be empty inside: the gate's data folder, folders with sockets. What does not exist is skipped.
    pub hide: Vec<PathBuf>,
    /// What the command may change.
    pub access: Access,
    /// The working folder.
    pub workdir: PathBuf,
    /// The program that calls [`crate::enter`]; `/proc/self/exe` is this one.
    pub exe: PathBuf,
    /// Where its input comes from and its output goes.
    pub streams: Streams,
}

/// A tool to run: a command that an operator declared and an agent asked for.
pub struct ToolPlan {
    /// The command and its arguments.
    pub argv: Vec<OsString>,
    /// Its whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Paths that shall be empty inside, whatever is granted: the gate's data folder.
    pub hide: Vec<PathBuf>,
    /// What it may see and change.
    pub narrow: Narrow,
    /// What decides over it and never changes, whatever is granted: configuration, rules, programs of tools.
    pub keep: Vec<PathBuf>,
    /// The working folder, as it is called inside.
    pub workdir: PathBuf,
    /// The program that calls [`crate::enter`]; `/proc/self/exe` is this one.
    pub exe: PathBuf,
    /// Where its input comes from and its output goes: no terminals.
    pub streams: Streams,
}

/// What the command may change; the rest of the filesystem can only be read, and credentials not even that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The home folder, whose known credentials are covered and whose start-up files never change.
    pub home: Option<PathBuf>,
    /// The folder that the command works on. The home folder, or one above it, is no project: nothing in it can be changed.
    pub project: PathBuf,
    /// More that may be changed, named by the operator, and the agent's own state ([`crate::state_folders`]). What does
    /// not exist is made.
    pub write: Vec<PathBuf>,
    /// What decides over the command and never changes, whatever else may: configuration, rules, tools, the gate itself.
    pub keep: Vec<PathBuf>,
}

/// The standard streams of the command. Those that are terminals are relayed through a new one.
pub struct Streams {
    /// Standard input.
    pub stdin: OwnedFd,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
}

impl Streams {
    /// The streams of this process.
    ///
    /// # Errors
    /// When one of them is closed.
    pub fn inherit() -> Result<Self, Error> {
        let own = |stream: io::Result<OwnedFd>| stream.map_err(system("take the standard streams"));
        Ok(Self {
            stdin: own(io::stdin().as_fd().try_clone_to_owned())?,
            stdout: own(io::stdout().as_fd().try_clone_to_owned())?,
            stderr: own(io::stderr().as_fd().try_clone_to_owned())?,
        })
    }
}

/// A signal that can be passed on to the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// `SIGHUP`, for the command itself.
    Hangup,
    /// `SIGINT`, for the command and its children, as a terminal would send it.
    Interrupt,
    /// `SIGQUIT`, for the command and its children.
    Quit,
    /// `SIGTERM`, for the command itself.
    Terminate,
    /// `SIGCONT`, for the command and its children.
    Continue,
}

impl Signal {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Hangup => 1,
            Self::Interrupt => 2,
            Self::Quit => 3,
            Self::Terminate => 15,
            Self::Continue => 18,
        }
    }

    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Hangup),
            2 => Some(Self::Interrupt),
            3 => Some(Self::Quit),
            15 => Some(Self::Terminate),
            18 => Some(Self::Continue),
            _ => None,
        }
    }
}

/// Starts sandboxes.
pub struct Sandbox;

impl Sandbox {
    /// Makes the namespaces and the listeners inside them. The command does not run before [`Prepared::go`]; dropping
    /// what is returned ends the sandbox. May block for a moment.
    ///
    /// # Errors
    /// When there is no command, the system refuses namespaces, or a step of the making fails.
    pub fn start(plan: Plan) -> Result<(Listeners, Prepared), Error> {
        if plan.argv.is_empty() {
            return Err(Error::NoCommand);
        }
        let mut stage = Stage::spawn(&plan.exe, &plan.streams)?;
        make_missing(&plan.access)?;
        let roots = Roots::find(&plan.access);
        stage.reserved = Reserved::hold(kept::reserved(&plan.access, &roots)?)?;
        let Plan {
            argv,
            env,
            hide,
            access,
            workdir,
            exe: _,
            streams,
        } = plan;
        let listeners = stage.take_listeners(&streams)?;
        let order = Order {
            argv,
            env,
            hide,
            access,
            workdir,
            files: Vec::new(),
            narrow: None,
        };
        Ok((listeners, Prepared { stage, order }))
    }

    /// Makes the sandbox of a tool, which sees nothing of the filesystem but what was granted. Where nobody serves the
    /// listeners, drop them: every connection inside is refused then. May block for a moment.
    ///
    /// # Errors
    /// When there is no command, or the system refuses namespaces.
    pub fn start_tool(plan: ToolPlan) -> Result<(Listeners, Prepared), Error> {
        if plan.argv.is_empty() {
            return Err(Error::NoCommand);
        }
        let mut stage = Stage::spawn(&plan.exe, &plan.streams)?;
        stage.reserved = Reserved::hold(kept::deciding_places(&plan.keep, &plan.narrow.write))?;
        let listeners = stage.take_listeners(&plan.streams)?;
        let order = Order {
            argv: plan.argv,
            env: plan.env,
            hide: plan.hide,
            access: Access {
                home: None,
                project: PathBuf::from("/"),
                write: Vec::new(),
                keep: plan.keep,
            },
            workdir: plan.workdir,
            files: Vec::new(),
            narrow: Some(plan.narrow),
        };
        Ok((listeners, Prepared { stage, order }))
    }
}

/// A sandbox that is made, with nothing running in it.
pub struct Prepared {
    stage: Stage,
    order: Order,
}

impl Prepared {
    /// Runs the command, with more variables (which win) and with files that lie in [`crate::FILES`] inside.
    ///
    /// # Errors
    /// When a mount fails, a file would lie elsewhere, or the command does not start.
    pub fn go(
        self,
        env: Vec<(OsString, OsString)>,
        files: Vec<(PathBuf, Vec<u8>)>,
    ) -> Result<Running, Error> {
        let Self { stage, mut order } = self;
        let env: Vec<_> = env
            .into_iter()
            .map(|(name, value)| {
                let value = appended(&order.env, &name, value);
                (name, value)
            })
            .collect();
        order
            .env
            .retain(|(name, _)| !env.iter().any(|(newer, _)| newer == name));
        order.env.extend(env);
        order.files = files;
        order.send(&stage.channel)?;
        let (reply, _) = stage.channel.receive()?;
        expect(&reply, STARTED)?;
        Ok(Running(stage))
    }
}

/// The value of a variable, behind its former one where both count.
fn appended(env: &[(OsString, OsString)], name: &OsStr, value: OsString) -> OsString {
    let former = env.iter().find(|(known, _)| known == name);
    match former.filter(|_| APPENDED.iter().any(|appended| name == *appended)) {
        Some((_, former)) => [former.as_os_str(), OsStr::new(" "), &value]
            .into_iter()
            .collect(),
        None => value,
    }
}

/// Stage one and the way to talk to it.
pub(crate) struct Stage {
    pub(crate) child: Option<Child>,
    pub(crate) channel: Arc<Channel>,
    /// Given back once the sandbox has ended.
    reserved: Reserved,
}

impl Stage {
    /// Starts stage one.
    fn spawn(exe: &Path, streams: &Streams) -> Result<Self, Error> {
        let (channel, theirs) = Channel::pair()?;
        channel.set_timeout(Some(STEP_TIMEOUT))?;
        let mut command = Command::new(exe);
        command
            .arg(SETUP)
            .env_clear()
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if !isatty(&streams.stdin) {
            // Signals from the keyboard reach the command by one way only: this process passes them on.
            command.process_group(0);
        }
        let child = command.spawn().map_err(path("run", exe))?;
        Ok(Self {
            child: Some(child),
            channel: Arc::new(channel),
            reserved: Reserved::hold(Vec::new())?,
        })
    }

    /// Hands the streams over, and takes the listeners that were made inside.
    fn take_listeners(&self, streams: &Streams) -> Result<Listeners, Error> {
        let all = [&streams.stdin, &streams.stdout, &streams.stderr].map(|stream| stream.as_fd());
        self.channel.send::<&[u8]>(&[], &all)?;
        let (reply, descriptors) = self.channel.receive()?;
        expect(&reply, READY)?;
        Listeners::from_descriptors(descriptors)
    }
}

impl Drop for Stage {
    /// Closes the control socket, upon which the stages end and stage one closes its side, and reaps it.
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let mut stream = self.channel.stream();
        let closed = stream.shutdown(Shutdown::Write);
        let closed = closed.and_then(|()| stream.set_read_timeout(Some(END_TIMEOUT)));
        let closed = closed.and_then(|()| stream.read(&mut [0]));
        let ended = child.kill().and_then(|()| child.wait());
        tracing::debug!(?closed, ?ended, "the sandbox was closed");
    }
}

/// The byte by which stage two says that the command was stopped at its terminal.
pub(crate) const STOPPED: u8 = 19;
/// Says that the listeners come with this message.
pub(crate) const READY: &str = "ready";
/// Says that the command runs.
pub(crate) const STARTED: &str = "started";
/// Precedes the text of an error.
pub(crate) const FAILED: &str = "failed";
/// Precedes the text of an error that is about the command.
pub(crate) const NOT_RUN: &str = "not run";

fn expect(reply: &[Vec<u8>], word: &str) -> Result<(), Error> {
    let problem = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    match reply {
        [only] if only == word.as_bytes() => Ok(()),
        [first, text] if first == FAILED.as_bytes() => Err(Error::Inside {
            problem: problem(text),
        }),
        [first, text] if first == NOT_RUN.as_bytes() => Err(Error::NotRun {
            problem: problem(text),
        }),
        _ => Err(Error::Protocol),
    }
}
