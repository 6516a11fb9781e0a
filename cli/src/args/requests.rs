//! The arguments of commands about capability requests.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use exeat_types::{AgentId, ApprovalId};

#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// Which agent it is for
    #[arg(long)]
    pub(crate) agent: AgentId,
    /// What it is to be able to do
    pub(crate) kind: AskKind,
    /// With which tools: a name, or an API and `.*`; for `custom` the name of one
    pub(crate) resource: String,
    /// For how long: a number and s, m, h or d
    #[arg(long = "for", default_value = "1h", value_parser = super::secrets::life, value_name = "TIME")]
    pub(crate) time: Duration,
    /// What it is for; whoever answers reads it
    #[arg(long)]
    pub(crate) why: Option<String>,
    /// Only where an argument has this value, `name=value`; repeatable
    #[arg(long = "where", value_name = "NAME=VALUE")]
    pub(crate) filters: Vec<String>,
    /// Only calls that add something
    #[arg(long)]
    pub(crate) append_only: bool,
    /// The greatest value of the argument `amount`, for `transact`
    #[arg(long, required_if_eq("kind", "transact"))]
    pub(crate) max_value: Option<u64>,
    /// The value of the argument `currency`, for `transact`
    #[arg(long)]
    pub(crate) currency: Option<String>,
}

/// The kinds of capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AskKind {
    /// Look at something
    Read,
    /// Change something, and look at it
    Write,
    /// Move something of value
    Transact,
    /// Destroy something
    Delete,
    /// Call one tool
    Custom,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Grant {
    /// Requests and grants, those that wait first
    List,
    /// Grant a request, or less than it asks for
    #[command(after_help = "\
Example:
  exeat grant approve g-0123456789abcdef0123 --for 30m

Only for agents with `granted-by = \"local\"` that are sealed; every other request is granted with
a passkey, in the console. Nothing is granted for longer, or wider, than it was asked for.")]
    Approve {
        /// Which, as `exeat grant list` names it
        id: ApprovalId,
        /// For a shorter time than was asked for
        #[arg(long = "for", value_parser = super::secrets::life, value_name = "TIME")]
        time: Option<Duration>,
        /// Only this one of its capabilities, counted from 1; repeatable
        #[arg(long = "only", value_name = "N")]
        only: Vec<usize>,
        /// Yes, it may move value or destroy something
        #[arg(long)]
        confirm: bool,
    },
    /// Say no: the agent may ask again after 1, then 4, then 24 hours
    Deny {
        /// Which, as `exeat grant list` names it
        id: ApprovalId,
    },
    /// Take a grant back, at once
    Revoke {
        /// Which, as `exeat grant list` names it
        id: ApprovalId,
    },
}
