//! A command that runs: waiting for its end, ending it, and passing signals on.

use std::{
    io::{self, Read as _, Write as _},
    net::Shutdown,
    sync::Arc,
    time::Duration,
};

use crate::{Error, Signal, channel::Channel, error::system, start::Stage};

/// A command that runs in its sandbox. Dropping it kills everything inside.
pub struct Running(pub(crate) Stage);

impl Running {
    /// A way to pass signals on while another thread waits.
    pub fn signals(&self) -> Signals {
        Signals(Arc::clone(&self.0.channel))
    }

    /// Waits for the command to end, but not for longer than this: then everything inside is killed, and there is no status.
    /// Blocks.
    ///
    /// # Errors
    /// When the sandbox itself cannot be waited for, or somebody killed it.
    pub fn wait_for(mut self, time: Duration) -> Result<Option<i32>, Error> {
        self.0
            .channel
            .set_timeout(Some(time.max(Duration::from_millis(1))))?;
        let mut stream = self.0.channel.stream();
        let ended = loop {
            match stream.read(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => break false,
                // Stage one closes its side as it ends, and says nothing before that.
                Ok(_) | Err(_) => break true,
            }
        };
        if !ended {
            return Ok(None);
        }
        let mut child = self.0.child.take().ok_or(Error::Gone)?;
        let status = child.wait().map_err(system("wait for the sandbox"))?;
        status.code().map(Some).ok_or(Error::Gone)
    }

    /// A way to end the command while another thread waits.
    pub fn ender(&self) -> Ender {
        Ender(Arc::clone(&self.0.channel))
    }

    /// Waits for the command to end: its exit status, or 128 and the number of the signal that ended it. Blocks.
    ///
    /// # Errors
    /// When the sandbox itself cannot be waited for, or somebody killed it.
    pub fn wait(mut self) -> Result<i32, Error> {
        let mut child = self.0.child.take().ok_or(Error::Gone)?;
        let status = child.wait().map_err(system("wait for the sandbox"))?;
        status.code().ok_or(Error::Gone)
    }
}

/// Ends a command, and everything inside its sandbox, when it is dropped.
pub struct Ender(Arc<Channel>);

impl Drop for Ender {
    fn drop(&mut self) {
        if let Err(error) = self.0.stream().shutdown(Shutdown::Write) {
            tracing::trace!(%error, "the sandbox has ended already");
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// Passes signals on to a command.
#[derive(Clone)]
pub struct Signals(Arc<Channel>);

impl Signals {
    /// Sends one signal; that the command has ended is no error.
    ///
    /// # Errors
    /// When the control socket fails otherwise.
    pub fn send(&self, signal: Signal) -> Result<(), Error> {
        match self.0.stream().write_all(&[signal.number()]) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(system("pass a signal on")),
        }
    }
}
