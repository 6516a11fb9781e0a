//! The arguments of commands about approvals, and about agents as a whole.

use clap::{Args, Subcommand};
use exeat_types::{AgentId, ApprovalId};

#[derive(Debug, Subcommand)]
pub(crate) enum Approval {
    /// What waits for a human, and what was answered within a day
    List,
    /// One question: exactly what would be sent
    #[command(after_help = "\
Letters that a terminal would hide or reorder are shown as <U+202E>. The body is complete.")]
    Show {
        /// Which, as `exeat approval list` names it
        id: ApprovalId,
    },
    /// Grant it; only where a rule says `by = "local"`, and never for an agent that is not sealed
    #[command(after_help = "\
Example:
  exeat approval show ID
  exeat approval approve ID
  exeat approval approve ID --uses 3

The grant is bound to this very request: one that differs asks again. Without an option it is good
for one call. A rule with `by = \"passkey\"` is answered in the console only.")]
    Approve(Approving),
    /// Refuse it; the agent may not ask for the same again for a while
    Deny {
        /// Which, as `exeat approval list` names it
        id: ApprovalId,
        /// Pause the agent as well, until `exeat agent resume`
        #[arg(long)]
        pause: bool,
    },
    /// Take back what is left of a grant
    Revoke {
        /// Which, as `exeat approval list` names it
        id: ApprovalId,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Approving {
    /// Which, as `exeat approval list` names it
    pub(crate) id: ApprovalId,
    /// For so many equal calls, as far as the rule offers
    #[arg(long, value_name = "N", conflicts_with = "until")]
    pub(crate) uses: Option<std::num::NonZeroU32>,
    /// For equal calls within this time, as far as the rule offers: 30m, 8h
    #[arg(long, value_name = "TIME", value_parser = super::secrets::life)]
    pub(crate) until: Option<std::time::Duration>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Agent {
    /// Every agent, and which are paused
    List,
    /// Refuse whatever an agent asks for, and cut what it has open
    #[command(
        after_help = "Example:\n  exeat agent pause claude\n\nIt stays so over restarts, until `exeat agent resume`."
    )]
    Pause {
        /// Which, as `exeat agent list` names it
        agent: AgentId,
    },
    /// Let an agent go on
    Resume {
        /// Which, as `exeat agent list` names it
        agent: AgentId,
    },
}
