//! The arguments of `exeat preset`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Preset {
    /// Every provider that is known, and where its keys are looked for
    List,
    /// What a preset adds: credential, tools and rules, as texts to copy
    Show {
        /// Its name
        name: String,
    },
}
