//! The side that is replaced: start the new program, hand it everything, and go on serving when that fails.

use std::{
    collections::BTreeMap,
    fs,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::{fs::MetadataExt as _, net::UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use exeat_ledger::{HandOver, Ledger};
use exeat_pipeline::Stilled;
use exeat_types::Clock;

use super::{Channel, HAND_OVER, Moved, PREPARING, TAKING, Word};
use crate::{args::LogFormat, folder::FolderLock, gate::Life, socket::Status};

/// How a gate was started, and so how the next one is.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// The configuration.
    pub(crate) config: PathBuf,
    /// The rules that the command line named instead of the configured ones.
    pub(crate) rules: Option<PathBuf>,
    /// The data folder.
    pub(crate) data: PathBuf,
    /// How log lines look.
    pub(crate) log: LogFormat,
    /// How long it lives.
    pub(crate) life: Life,
}

/// What a gate has to give.
pub(crate) struct Giving<'a> {
    /// The program that takes over.
    pub(crate) program: &'a Path,
    /// How it is started.
    pub(crate) terms: &'a Terms,
    /// The lock of the data folder.
    pub(crate) lock: &'a FolderLock,
    /// The ledger, and the clock it works with.
    pub(crate) ledger: &'a Ledger,
    pub(crate) clock: &'a dyn Clock,
    /// The sockets the gate listens on.
    pub(crate) sockets: &'a BTreeMap<String, OwnedFd>,
    /// Has no issuer asked any more.
    pub(crate) issuers: &'a dyn Fn() -> anyhow::Result<Stilled>,
    /// Gathers the sandboxes it serves, each with its descriptors.
    pub(crate) sandboxes: &'a dyn Fn() -> anyhow::Result<Vec<(Moved, Vec<OwnedFd>)>>,
}

/// What came of it: another gate serves.
pub(crate) struct Given {
    /// What it still has to say to this one.
    pub(crate) channel: Channel,
    /// The new gate, as it says.
    pub(crate) status: Status,
    /// For how long nothing could be recorded.
    pub(crate) stood: Duration,
}

/// Replaces this gate. Blocks.
///
/// # Errors
/// When the new program does not come to serve; then this gate has everything it had before.
pub(crate) fn give(giving: &Giving<'_>) -> anyhow::Result<Given> {
    check(giving.program)?;
    let (channel, theirs) = Channel::pair()?;
    let mut program = Program(start(giving, theirs)?);
    channel.patience(Some(PREPARING))?;
    let prepared = prepare(giving, &channel, &mut program);
    prepared.inspect_err(|_problem| program.end())?;
    channel.patience(Some(TAKING))?;
    // SECURITY: refresh tokens serve once. From here on only one of the two gates may ask for tokens.
    let stilled = (giving.issuers)().inspect_err(|_problem| program.end())?;

    let began = giving.clock.monotonic();
    let given = giving
        .ledger
        .hand_over()
        .context("cannot hand the ledger over");
    let given = given.inspect_err(|_problem| program.end())?;
    let records = match hand(giving, &channel, &given, &mut program) {
        Ok(records) => records,
        Err(problem) => return Err(take_back(given, &mut program, problem)),
    };
    let serving = channel.say(&Word::Go {}, &[]).and_then(|()| {
        let word = program.hears(&channel)?;
        let Word::Serving(status) = word else {
            return Err(unexpected(&word));
        };
        Ok(status)
    });
    let status = match serving {
        Ok(status) => status,
        Err(problem) => return Err(take_back(given, &mut program, problem)),
    };
    stilled.for_good();
    given.complete(records).context("handing the ledger over")?;
    let stood = giving.clock.monotonic().saturating_sub(began);
    channel.patience(None)?;
    program.leave_alone();
    Ok(Given {
        channel,
        status,
        stood,
    })
}

/// Ends the new program, and then writes again where its journal ends. SECURITY: it may be any program, so that it has
/// written nothing is not taken for granted.
fn take_back(given: HandOver, program: &mut Program, problem: anyhow::Error) -> anyhow::Error {
    program.end();
    match given.reopen() {
        Ok(()) => problem,
        Err(error) => problem.context(format!("the ledger did not come back: {error}")),
    }
}

/// Up to the point where the new program knows all that can be known while this one still writes.
fn prepare(giving: &Giving<'_>, channel: &Channel, program: &mut Program) -> anyhow::Result<()> {
    let word = program.hears(channel)?;
    let Word::Hello {
        hand_over,
        records,
        version,
    } = word
    else {
        return Err(unexpected(&word));
    };
    if hand_over != HAND_OVER || records != exeat_ledger::VERSION {
        let ours = env!("CARGO_PKG_VERSION");
        bail!(
            "version {version} keeps its data differently than {ours}; stop the gate and start the new one"
        );
    }
    channel.say(&Word::Look(giving.ledger.end().into()), &[])?;
    match program.hears(channel)? {
        Word::Prepared {} => Ok(()),
        other => Err(unexpected(&other)),
    }
}

/// Hands everything over while nothing is written, and returns this end of the stream of records.
fn hand(
    giving: &Giving<'_>,
    channel: &Channel,
    given: &HandOver,
    program: &mut Program,
) -> anyhow::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair().context("cannot make a socket pair")?;
    let take = Word::Take {
        records: given.records(),
        pid: std::process::id(),
        life: giving.terms.life,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let (folder, ledger) = (giving.lock.copy()?, given.lock()?);
    channel.say(&take, &[folder.as_fd(), ledger.as_fd(), theirs.as_fd()])?;
    for (name, socket) in giving.sockets {
        let name = name.clone();
        channel.say(&Word::Socket { name }, &[socket.as_fd()])?;
    }
    for (sandbox, descriptors) in (giving.sandboxes)()? {
        let descriptors: Vec<BorrowedFd<'_>> = descriptors
            .iter()
            .map(|descriptor| descriptor.as_fd())
            .collect();
        channel.say(&Word::Sandbox(sandbox), &descriptors)?;
    }
    channel.say(&Word::All {}, &[])?;
    match program.hears(channel)? {
        Word::Ready {} => Ok(ours),
        other => Err(unexpected(&other)),
    }
}

/// SECURITY: what takes over gets the keys to everything, so nobody else may be able to write it.
fn check(program: &Path) -> anyhow::Result<()> {
    let shown = program.display();
    let facts = fs::metadata(program).with_context(|| format!("cannot find `{shown}`"))?;
    let ours = rustix::process::geteuid().as_raw();
    if !facts.is_file() {
        bail!("`{shown}` is not a program");
    }
    if facts.uid() != 0 && facts.uid() != ours {
        bail!("`{shown}` belongs to another user");
    }
    if facts.mode() & 0o022 != 0 {
        bail!("`{shown}` can be changed by other users; close it with `chmod go-w {shown}`");
    }
    Ok(())
}

fn start(giving: &Giving<'_>, theirs: OwnedFd) -> anyhow::Result<Child> {
    let terms = giving.terms;
    let log = match terms.log {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    let mut command = Command::new(giving.program);
    command
        .args(["serve", "--log", log, "--upgrade"])
        .arg(HAND_OVER.to_string())
        .arg("--config")
        .arg(&terms.config)
        .arg("--data")
        .arg(&terms.data);
    if let Some(rules) = &terms.rules {
        command.arg("--policy").arg(rules);
    }
    command.stdin(theirs).stdout(Stdio::null());
    let shown = giving.program.display();
    command
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))
}

/// The new program, until it is on its own.
struct Program(Child);

impl Program {
    /// The next word; that it failed, or ended, is an error.
    fn hears(&mut self, channel: &Channel) -> anyhow::Result<Word> {
        match channel.hear()? {
            Some((Word::Failed { problem }, _)) => bail!("the new program refused: {problem}"),
            Some((word, _)) => Ok(word),
            None => {
                let status = self.0.wait().context("cannot wait for the new program")?;
                bail!("the new program ended before it was ready ({status})")
            }
        }
    }

    /// Ends it, so that it writes nothing any more.
    fn end(&mut self) {
        // It may have ended by itself.
        self.0.kill().unwrap_or_default();
        if let Err(error) = self.0.wait() {
            tracing::error!(%error, "the new program could not be waited for");
        }
    }

    /// It goes on when this process ends. Its end in between is collected, as nobody else would.
    fn leave_alone(mut self) {
        let waiting = std::thread::Builder::new()
            .name("successor".to_owned())
            .spawn(move || self.0.wait());
        if let Err(error) = waiting {
            tracing::debug!(%error, "no thread waits for the new gate");
        }
    }
}

fn unexpected(word: &Word) -> anyhow::Error {
    anyhow!("the new program says something unexpected: {word:?}")
}

/// The absolute path of a program that a client named.
pub(crate) fn absolute(program: &Path) -> anyhow::Result<PathBuf> {
    program
        .canonicalize()
        .with_context(|| format!("cannot find `{}`", program.display()))
}
