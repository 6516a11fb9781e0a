//! The arguments of commands about credentials that a person grants.

use clap::{Args, Subcommand};
use exeat_types::CredentialId;

#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// The credential, as `[credentials.NAME]` declares it
    pub(crate) name: CredentialId,
    /// Ask for this scope besides those that are declared; `exeat connection list` shows what was lacking
    #[arg(long = "scope", value_name = "SCOPE")]
    pub(crate) scopes: Vec<String>,
    /// Print the URL and open nothing
    #[arg(long)]
    pub(crate) no_browser: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Disconnect {
    /// The credential
    pub(crate) name: CredentialId,
    /// Forget it here even if its issuer cannot be told
    #[arg(long)]
    pub(crate) forget: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Connection {
    /// What was granted: issuer, scopes, expiry and state
    List {
        /// Ask each issuer whether it still holds
        #[arg(long)]
        ask: bool,
    },
}
