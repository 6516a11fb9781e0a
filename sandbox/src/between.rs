//! Stage one while the command runs: it passes signals on, relays the terminal, and stops and continues with the command
//! as one job of the operator's shell.

use std::{
    process::{Child, ExitStatus},
    time::Duration,
};

use rustix::process::{Signal as Kill, kill_current_process_group};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    pin,
    signal::unix::{Signal as News, SignalKind, signal},
    time::sleep,
};

use crate::{
    Error,
    channel::Channel,
    error::system,
    start::{STOPPED, Signal},
    terminal::Terminal,
};

/// How often a job in the background looks whether it is in the foreground again: nobody tells it.
const FOREGROUND_INTERVAL: Duration = Duration::from_millis(200);

/// Relays until stage two ends; an error when the caller goes away first.
pub(crate) async fn watch(
    caller: Channel,
    inner: Channel,
    init: &mut Child,
    terminal: Option<&Terminal>,
) -> Result<ExitStatus, Error> {
    let Some(terminal) = terminal else {
        return stand_between(caller, inner, init, None).await;
    };
    terminal.enter()?;
    let between = stand_between(caller, inner, init, Some(terminal));
    pin!(between);
    tokio::select! {
        ended = &mut between => {
            terminal.drain().await;
            ended
        }
        relayed = terminal.relay() => {
            relayed?;
            between.await
        }
    }
}

/// Passes signals on until stage two ends.
async fn stand_between(
    caller: Channel,
    inner: Channel,
    init: &mut Child,
    terminal: Option<&Terminal>,
) -> Result<ExitStatus, Error> {
    let mut caller = stream(caller)?;
    let (mut said, mut told) = stream(inner)?.into_split();
    let mut signals = Signals::listen()?;
    let mut resize = listen(SignalKind::window_change())?;
    let mut speaks = true;
    loop {
        if let Some(status) = init.try_wait().map_err(system("watch the sandbox"))? {
            return Ok(status);
        }
        let passed = tokio::select! {
            byte = caller.read_u8() => Some(byte.map_err(|_closed| Error::Gone)?),
            byte = said.read_u8(), if speaks => match byte {
                Ok(STOPPED) => stop(terminal)?,
                Ok(_) => None,
                Err(_ended) => {
                    speaks = false;
                    None
                }
            },
            signal = signals.next() => signal.map(Signal::number),
            () = resized(&mut resize, terminal) => None,
            entered = foreground(terminal) => {
                entered?;
                None
            }
        };
        if let Some(number) = passed
            && let Err(error) = told.write_u8(number).await
        {
            // Stage two has ended; its status comes with the next round.
            tracing::debug!(%error, "a signal came too late");
        }
    }
}

/// Stops the job that the operator's shell knows, as the command has been stopped, and goes on when the shell says so.
fn stop(terminal: Option<&Terminal>) -> Result<Option<u8>, Error> {
    let Some(terminal) = terminal.filter(|terminal| terminal.has_keyboard()) else {
        return Ok(None);
    };
    terminal.leave();
    // Without a shell above that knows of jobs the kernel ignores this, and the command just goes on.
    kill_current_process_group(Kill::TSTP).map_err(system("stop"))?;
    terminal.enter()?;
    Ok(Some(Signal::Continue.number()))
}

/// Takes the terminal once the shell has put the job into the foreground.
async fn foreground(terminal: Option<&Terminal>) -> Result<(), Error> {
    match terminal.filter(|terminal| terminal.waits()) {
        Some(terminal) => {
            sleep(FOREGROUND_INTERVAL).await;
            terminal.enter()
        }
        None => std::future::pending().await,
    }
}

async fn resized(news: &mut News, terminal: Option<&Terminal>) {
    let came = news.recv().await;
    if let (Some(()), Some(terminal)) = (came, terminal) {
        terminal.resize();
    }
}

/// What the kernel tells this process.
struct Signals {
    child: News,
    hangup: News,
    terminate: News,
    interrupt: News,
    quit: News,
}

impl Signals {
    fn listen() -> Result<Self, Error> {
        Ok(Self {
            child: listen(SignalKind::child())?,
            hangup: listen(SignalKind::hangup())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
        })
    }

    /// The next signal for the command; none when a child has changed.
    async fn next(&mut self) -> Option<Signal> {
        tokio::select! {
            _ = self.child.recv() => None,
            _ = self.hangup.recv() => Some(Signal::Hangup),
            _ = self.terminate.recv() => Some(Signal::Terminate),
            _ = self.interrupt.recv() => Some(Signal::Interrupt),
            _ = self.quit.recv() => Some(Signal::Quit),
        }
    }
}

fn listen(kind: SignalKind) -> Result<News, Error> {
    signal(kind).map_err(system("watch the sandbox"))
}

/// The control socket for single bytes, once the messages are done.
pub(crate) fn stream(channel: Channel) -> Result<UnixStream, Error> {
    let stream = channel.into_stream();
    stream
        .set_nonblocking(true)
        .map_err(system("watch the control socket"))?;
    UnixStream::from_std(stream).map_err(system("watch the control socket"))
}
