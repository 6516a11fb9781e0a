//! The arguments of `exeat doctor`.

use clap::Args;
use exeat_types::AgentId;

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Whose sandbox; may be left out when the configuration has one agent
    #[arg(long)]
    pub(crate) agent: Option<AgentId>,
}
