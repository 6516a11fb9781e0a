//! The arguments of `exeat bridge`, which git calls inside a sandbox and nobody else.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Bridge {
    /// Stands in for gpg, as `gpg.program` of git
    Gpg(Bridged),
    /// Stands in for ssh-keygen, as `gpg.ssh.program` of git
    Ssh(Bridged),
}

#[derive(Debug, Args)]
pub(crate) struct Bridged {
    /// The tool that signs
    #[arg(long, value_name = "URL")]
    pub(crate) url: String,
    /// What git said
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<String>,
}
