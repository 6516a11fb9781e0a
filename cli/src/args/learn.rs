//! The arguments of `exeat learn`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use exeat_types::AgentId;

#[derive(Debug, Args)]
pub(crate) struct Learn {
    /// Only of this agent
    #[arg(long)]
    pub(crate) agent: Option<AgentId>,
    /// Calls of this time: a number and s, m, h or d
    #[arg(long, default_value = "7d", value_parser = super::secrets::life)]
    pub(crate) since: Duration,
    /// A new file for the proposal; standard output when absent
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}
