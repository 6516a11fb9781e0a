//! The arguments of commands about the console: the passkeys that sign in there and approve.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Console {
    /// Print a one-time code with which a browser enrols a passkey
    #[command(after_help = "\
Example:
  exeat console enroll
  exeat console enroll --user bob

The first passkey is taken in at once. A later one waits until somebody who has one confirms it in
the console: what could type this command could otherwise approve for itself.")]
    Enroll {
        /// Whose passkey it will be; where a rule wants two people, it counts by this name
        #[arg(long, default_value = "operator")]
        user: String,
    },
    /// The passkeys that may approve
    Devices,
    /// Take a passkey away: prints where to confirm it, as another passkey has to sign for that
    #[command(after_help = "Example:\n  exeat console forget 3fa9-01c7")]
    Forget {
        /// Its fingerprint, as `exeat console devices` prints it
        fingerprint: String,
    },
}
