//! The arguments of `exeat run`.

use std::path::PathBuf;

use clap::Args;
use exeat_types::AgentId;

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Who the command is; the configuration's only agent, or the name of the program, when absent
    #[arg(long)]
    pub(crate) agent: Option<AgentId>,
    #[command(flatten)]
    pub(crate) hold: HoldFlags,
    /// The rules of this run, instead of the configured ones
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// More that the command may change, besides the project; may stand several times
    #[arg(long, value_name = "PATH")]
    pub(crate) write: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) keys: KeyFlags,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<std::ffi::OsString>,
}

/// How the command is held; as the rules say when neither stands.
#[derive(Debug, Args)]
pub(crate) struct HoldFlags {
    /// Only what rules allow, no questions, and no start while a check of `exeat doctor` is open
    #[arg(long, conflicts_with = "observe")]
    pub(crate) strict: bool,
    /// For 7 days, let through and record what needs no credential and no rule forbids
    #[arg(long)]
    pub(crate) observe: bool,
}

/// What is answered about keys that are found in the environment.
#[derive(Debug, Args)]
pub(crate) struct KeyFlags {
    /// Take every key found in the environment into custody, and install its preset
    #[arg(long, conflicts_with = "no")]
    pub(crate) yes: bool,
    /// Take no key into custody; the command gets none of them
    #[arg(long)]
    pub(crate) no: bool,
}
