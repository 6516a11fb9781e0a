//! The arguments of `exeat serve`.

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Check and stop: the same report as `exeat check`
    #[arg(long)]
    pub(crate) check: bool,
    /// How log lines look; the variable `EXEAT_LOG` filters them, such as `EXEAT_LOG=debug`
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log: LogFormat,
    /// Started by `exeat run --policy`: the rules, instead of the configured ones
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) policy: Option<std::path::PathBuf>,
    /// Started by a gate that this one replaces, in this version of what they say to each other
    #[arg(long, hide = true, value_name = "VERSION")]
    pub(crate) upgrade: Option<u32>,
    /// Started by `exeat run`: say `ready` on standard output, end when unused
    #[arg(long, hide = true)]
    pub(crate) background: bool,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For reading
    Text,
    /// One JSON object a line
    Json,
}
