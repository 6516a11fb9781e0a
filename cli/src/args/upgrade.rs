//! The arguments of `exeat upgrade`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    /// The program that takes over; the one that runs this command, when absent
    #[arg(long, value_name = "FILE")]
    pub(crate) binary: Option<PathBuf>,
}
