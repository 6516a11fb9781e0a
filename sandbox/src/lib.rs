//! `exeat run`: a command sealed in namespaces whose every network path ends at the gate.
//!
//! [`Sandbox::start`] runs the calling program again as *stage one* ([`SETUP`]), which makes the namespaces and passes
//! listeners out, and that runs it once more as *stage two* ([`INIT`]), the first process of the new process namespace,
//! which drops every privilege and runs the command. A binary that starts sandboxes must call [`enter`] before anything
//! else. The crate decides nothing about traffic and never resolves a name outside. What is sealed here: network, names,
//! processes, System V and POSIX IPC, capabilities, runtime sockets under `/run` and the paths it is told to hide. What is
//! not: the rest of the filesystem (Landlock) and the system call surface (seccomp). Read `setup.rs` next.

mod account;
mod agents;
mod between;
mod channel;
mod confine;
mod devices;
mod dns;
pub mod doctor;
mod environment;
mod error;
mod filter;
mod hidden;
mod init;
mod kept;
mod mounts;
mod narrow;
mod network;
mod order;
mod privileges;
mod repository;
mod reserve;
mod resolver;
mod roots;
mod running;
mod setup;
mod start;
mod sys;
mod syscalls;
mod system_roots;
mod terminal;
mod tree;

use std::{ffi::OsString, process::ExitCode};

pub use account::account_home;
pub use agents::state_folders;
pub use confine::{Gap, gaps};
pub use dns::{Synthetic, answer};
pub use environment::{FILES, scrub, variables};
pub use error::Error;
pub use hidden::{AGENT_LOGINS, CREDENTIALS, sockets};
pub use kept::{kept_in_home, kept_in_project};
pub use narrow::Narrow;
pub use network::{EXPLICIT_PORT, Listeners};
pub use privileges::{lock_memory, protect_process};
pub use resolver::Resolver;
pub use running::{Ender, Running, Signals};
pub use start::{Access, Plan, Prepared, Sandbox, Signal, Streams, ToolPlan};
pub use system_roots::BUNDLE;

/// The hidden argument that makes the program stage one.
pub const SETUP: &str = "__sandbox-setup";
/// The hidden argument that makes the program stage two.
pub const INIT: &str = "__sandbox-init";

/// Runs a stage if the arguments name one. Call it first in `main`, before any thread or file is opened, with the
/// arguments of the process, and leave `main` with the code it returns.
pub fn enter(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let stage = arguments.into_iter().nth(1)?;
    if stage == SETUP {
        Some(setup::run())
    } else if stage == INIT {
        Some(init::run())
    } else {
        None
    }
}
