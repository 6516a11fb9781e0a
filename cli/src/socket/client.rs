//! A command's end of the socket. It blocks, as a command does one thing and waits for it.

use std::{
    ffi::OsString,
    fs::OpenOptions,
    io::{self, BufRead as _, BufReader, Read as _},
    net::Shutdown,
    os::{
        fd::BorrowedFd,
        unix::{fs::OpenOptionsExt as _, net::UnixStream},
    },
    process::{ChildStdout, Command, Stdio},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    answer::{Answer, Failure},
    protocol::Request,
    rights, server,
};
use crate::folder::{DataFolder, FolderLock};

/// A gate must answer an ordinary request within this time.
const REPLY_TIMEOUT: Duration = Duration::from_secs(120);
/// A gate must say its last words within this time.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(10);
/// A gate that is started in the background must listen within this time.
const START_TIMEOUT: Timespec = Timespec {
    tv_sec: 60,
    tv_nsec: 0,
};

/// A connection to a gate, good for one request.
pub(crate) struct Client {
    stream: UnixStream,
    within: Option<Within>,
}

impl Client {
    /// Connects to the gate of a folder, or says that none runs.
    ///
    /// # Errors
    /// When there is a gate that cannot be reached.
    pub(crate) fn connect(folder: &DataFolder) -> anyhow::Result<Option<Self>> {
        let path = folder.socket();
        match folder.with_short_path(&path, |short| UnixStream::connect(short)) {
            Ok(stream) => Ok(Some(Self {
                stream,
                within: None,
            })),
            Err(problem) => match problem.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
                _ => Err(problem)
                    .with_context(|| format!("cannot reach the gate at `{}`", path.display())),
            },
        }
    }

    /// Talks to a gate inside this process, which holds the folder's locks until the conversation ends.
    ///
    /// # Errors
    /// When the operating system has no socket or thread for it.
    pub(crate) fn within(
        runtime: tokio::runtime::Runtime,
        answer: Arc<dyn Answer>,
        locks: [FolderLock; 2],
    ) -> anyhow::Result<Self> {
        let (ours, theirs) = UnixStream::pair().context("cannot make a socket")?;
        theirs
            .set_nonblocking(true)
            .context("cannot make a socket")?;
        let thread = std::thread::Builder::new()
            .name("gate".to_owned())
            .spawn(move || {
                let talk = async {
                    let stream = tokio::net::UnixStream::from_std(theirs)?;
                    server::converse(stream, &*answer, &CancellationToken::new()).await
                };
                if let Err(error) = runtime.block_on(talk) {
                    tracing::debug!(%error, "the conversation broke off");
                }
                // Whatever the gate still has to write is written before another process may take the folder.
                drop(answer);
                drop(runtime);
                drop(locks);
            })
            .context("cannot start a thread")?;
        Ok(Self {
            stream: ours,
            within: Some(Within {
                thread: Some(thread),
            }),
        })
    }

    /// Sends the request and returns what comes back, piece by piece.
    ///
    /// # Errors
    /// When the gate goes away.
    pub(crate) fn ask(
        self,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> anyhow::Result<Replies> {
        let lasting = matches!(
            request,
            Request::Tail { .. }
                | Request::Past(_)
                | Request::Connect { .. }
                | Request::Attach(_)
                | Request::ReceiptExport(_)
                | Request::Upgrade { .. }
        );
        let limit = if lasting { None } else { Some(REPLY_TIMEOUT) };
        self.stream
            .set_read_timeout(limit)
            .context("cannot talk to the gate")?;
        let mut line = serde_json::to_vec(request).context("cannot write the request")?;
        line.push(b'\n');
        rights::send(&self.stream, &line, descriptors).context("the gate went away")?;
        Ok(Replies {
            lines: BufReader::new(self.stream),
            _within: self.within,
        })
    }

    /// Sends a request that has one answer.
    ///
    /// # Errors
    /// What the gate says, or that it went away.
    pub(crate) fn one<T: DeserializeOwned>(
        self,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> anyhow::Result<T> {
        let mut replies = self.ask(request, descriptors)?;
        let item = replies
            .next()
            .ok_or_else(|| anyhow!("the gate gave no answer"))??;
        let item = serde_json::from_value(item).context("cannot read the gate's answer")?;
        for more in replies {
            more?;
        }
        Ok(item)
    }

    /// Sends a request that has any number of answers.
    ///
    /// # Errors
    /// What the gate says, or that it went away.
    pub(crate) fn all<T: DeserializeOwned>(self, request: &Request) -> anyhow::Result<Vec<T>> {
        let read = |item: anyhow::Result<Value>| {
            item.and_then(|item| {
                serde_json::from_value(item).context("cannot read the gate's answer")
            })
        };
        self.ask(request, &[])?.map(read).collect()
    }
}

/// What the gate answers. The request lasts as long as this lives.
pub(crate) struct Replies {
    lines: BufReader<UnixStream>,
    _within: Option<Within>,
}

impl Replies {
    /// Says that nothing more is wanted, and returns what the gate has to say at the end, if anything.
    ///
    /// # Errors
    /// When the gate has gone away, or says something else.
    pub(crate) fn last_words<T: DeserializeOwned>(mut self) -> anyhow::Result<Option<T>> {
        let stream = self.lines.get_ref();
        stream
            .shutdown(Shutdown::Write)
            .and_then(|()| stream.set_read_timeout(Some(LAST_WORDS_TIMEOUT)))
            .context("the gate went away")?;
        let last = self.next().transpose()?;
        last.map(serde_json::from_value)
            .transpose()
            .context("cannot read the gate's answer")
    }

    fn read(&mut self) -> anyhow::Result<Option<Value>> {
        let mut line = String::new();
        self.lines
            .read_line(&mut line)
            .context("the gate did not answer")?;
        let Ok(Value::Object(mut reply)) = serde_json::from_str(&line) else {
            bail!("the gate broke off");
        };
        if let Some(item) = reply.remove("item") {
            return Ok(Some(item));
        }
        match reply.remove("error") {
            Some(error) => {
                let failure: Failure =
                    serde_json::from_value(error).context("cannot read the gate's answer")?;
                Err(failure.into())
            }
            None => Ok(None),
        }
    }
}

impl Iterator for Replies {
    type Item = anyhow::Result<Value>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// A gate inside this process.
struct Within {
    thread: Option<JoinHandle<()>>,
}

impl Drop for Within {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the gate inside this process panicked");
        }
    }
}

/// Connects to the gate of a folder, starting one in the background if none runs. Of several processes that try at once,
/// one starts it and the others wait for that.
///
/// # Errors
/// When the gate cannot be reached or does not start; the message carries what it said.
pub(crate) fn connect_or_start(
    folder: &DataFolder,
    arguments: &[OsString],
) -> anyhow::Result<Client> {
    if let Some(client) = Client::connect(folder)? {
        return Ok(client);
    }
    let starting = folder.lock_for_starting()?;
    if let Some(client) = Client::connect(folder)? {
        return Ok(client);
    }
    start(folder, arguments)?;
    let client = Client::connect(folder)?;
    drop(starting);
    client.ok_or_else(|| {
        anyhow!(
            "the gate started and ended again; its log is `{}`",
            folder.log().display()
        )
    })
}

/// Starts a gate that outlives this process. Its standard output is a pipe: `ready` on it means that it listens.
fn start(folder: &DataFolder, arguments: &[OsString]) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let log = options
        .open(folder.log())
        .context("cannot open the gate's log")?;
    let before = log.metadata().context("cannot open the gate's log")?.len();
    let program = std::env::current_exe().context("cannot find the program itself")?;
    let mut child = Command::new(program)
        .arg("serve")
        .arg("--background")
        .arg("--data")
        .arg(folder.path())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("cannot start the gate")?;
    let said = child
        .stdout
        .take()
        .ok_or_else(|| anyhow!("cannot listen to the gate"))?;
    if wait_for_ready(said)? {
        return Ok(());
    }
    let status = child.wait().context("cannot wait for the gate")?;
    let log = std::fs::read(folder.log()).unwrap_or_default();
    let from = usize::try_from(before).unwrap_or_default();
    let said = String::from_utf8_lossy(log.get(from..).unwrap_or_default())
        .trim()
        .to_owned();
    bail!("the gate did not start ({status})\n{said}");
}

/// Whether the gate said that it listens, as opposed to ending.
fn wait_for_ready(mut said: ChildStdout) -> anyhow::Result<bool> {
    let mut text = Vec::new();
    loop {
        let waiting = poll(
            &mut [PollFd::new(&said, PollFlags::IN)],
            Some(&START_TIMEOUT),
        );
        if waiting.context("cannot listen to the gate")? == 0 {
            bail!(
                "the gate did not start within {} seconds",
                START_TIMEOUT.tv_sec
            );
        }
        let mut chunk = [0_u8; 64];
        let read = said.read(&mut chunk).context("cannot listen to the gate")?;
        text.extend_from_slice(chunk.get(..read).unwrap_or_default());
        if text.ends_with(b"ready\n") {
            return Ok(true);
        }
        if read == 0 {
            return Ok(false);
        }
    }
}
