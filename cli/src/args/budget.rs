//! Arguments of `exeat budget`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Budget {
    /// Every budget of policy.toml: its limit, what is used of it, and when it begins anew
    #[command(after_help = "\
Example:
  exeat budget list
  exeat --json budget list

RESERVED is set aside for calls that are open, HELD for calls of which nobody knows how they ended.")]
    List,
    /// Set a lower limit while the gate runs, or take it back
    #[command(after_help = "\
Example:
  exeat budget set claude/spend/day \"1.50 USD\"
  exeat budget set claude/calls/hour 20
  exeat budget set claude/spend/day none

This can only tighten: no budget gets more than policy.toml says, and to raise it you raise it
there. What is set here holds until it is set to `none`, also when the gate is started again.")]
    Set {
        /// Which, as `exeat budget list` names it
        #[arg(value_name = "NAME")]
        budget: String,
        /// The limit, such as `1.50 USD`, `10 MB` or `200`; `none` for what policy.toml says
        #[arg(value_name = "LIMIT")]
        limit: String,
    },
}
