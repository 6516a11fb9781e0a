//! The arguments of commands about receipts.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use exeat_types::{AgentId, CallId, Timestamp};

#[derive(Debug, Subcommand)]
pub(crate) enum Receipt {
    /// The newest receipts
    List(Filter),
    /// One receipt in full
    Show {
        /// Its id
        id: CallId,
    },
    /// The public key that verifies receipts; keep it somewhere else than the export
    Key,
    /// Check an export offline: every record, every signature, exactly one outcome for each call
    #[command(after_help = "\
Example:
  exeat receipt key > receipts.key
  exeat receipt export --out receipts.jsonl
  exeat receipt verify receipts.jsonl --key receipts.key --anchor checkpoint.txt

Exit status 0 proven, 1 broken, 3 right as far as it goes, but without an anchor nothing proves that it ends there.")]
    Verify(Verify),
    /// Write receipts and checkpoints for offline verification
    Export {
        /// The file; standard output when absent
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        filter: Filter,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Filter {
    /// Of this agent
    #[arg(long)]
    pub(crate) agent: Option<AgentId>,
    /// Of this tool; `github.*` means every tool below `github`
    #[arg(long)]
    pub(crate) tool: Option<String>,
    /// From this moment, such as 2026-01-31T12:00:00Z
    #[arg(long)]
    pub(crate) since: Option<Timestamp>,
    /// Before this moment
    #[arg(long)]
    pub(crate) until: Option<Timestamp>,
    /// Only refused calls
    #[arg(long)]
    pub(crate) refused: bool,
    /// At most so many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The export
    pub(crate) file: PathBuf,
    /// The gate's public key, from somewhere the export did not come from
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// A checkpoint that was anchored elsewhere
    #[arg(long, value_name = "FILE")]
    pub(crate) anchor: Option<PathBuf>,
}
