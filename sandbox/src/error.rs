//! Everything that can go wrong between a plan and a running command.

use std::{io, path::PathBuf};

/// Why a sandbox did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("could not {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A system call on a path failed.
    #[error("could not {action} `{}`", path.display())]
    Path {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The kernel refuses to make the namespaces.
    #[error(
        "this system refuses user namespaces; help: look at the sysctls `kernel.unprivileged_userns_clone`, \
         `kernel.apparmor_restrict_unprivileged_userns` and `user.max_user_namespaces`"
    )]
    Namespaces(#[source] io::Error),
    /// The command does not start.
    #[error("could not run `{program}`")]
    Command {
        /// The program as given.
        program: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A plan without a command.
    #[error("expected a command to run")]
    NoCommand,
    /// A file that would lie outside the folder for such files.
    #[error("expected a name directly in `{}`, got `{}`", crate::FILES, path.display())]
    FileOutside {
        /// The path that was given.
        path: PathBuf,
    },
    /// Capabilities were left although all were dropped.
    #[error("the kernel kept capabilities that were dropped")]
    StillPrivileged,
    /// The sandbox was made, but the command does not start in it: shells exit with 127 then.
    #[error("{problem}")]
    NotRun {
        /// The stage's words.
        problem: String,
    },
    /// A stage reported what went wrong.
    #[error("the sandbox could not be made: {problem}")]
    Inside {
        /// The stage's words.
        problem: String,
    },
    /// The other end of the control socket is gone.
    #[error("the sandbox ended without a word")]
    Gone,
    /// The other end of the control socket said something else than agreed.
    #[error("the sandbox stages do not understand each other")]
    Protocol,
}

impl Error {
    /// An error and all its causes in one line, for the other end of the control socket.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// Names what was tried when a system call fails.
pub(crate) fn system<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Error {
    move |error| Error::System {
        action,
        source: error.into(),
    }
}

/// Names what was tried on which path when a system call fails.
pub(crate) fn path<E: Into<io::Error>>(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(E) -> Error {
    move |error| Error::Path {
        action,
        path: path.into(),
        source: error.into(),
    }
}
