//! Asks for the passphrase over the master key: `EXEAT_PASSPHRASE`, or a terminal.

use std::{
    io::{self, IsTerminal as _},
    os::unix::ffi::OsStringExt as _,
};

use anyhow::{Context as _, bail};
use exeat_types::Secret;

use crate::{env, ui};

/// Whether the passphrase exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    /// It is made up at this moment.
    New,
    /// It was made up before.
    Known,
}

/// Reads the passphrase; a new one is asked for twice.
///
/// # Errors
/// When there is neither variable nor terminal, or the two answers differ.
pub(crate) fn read(age: Age) -> anyhow::Result<Secret> {
    if let Some(given) = env::variable("EXEAT_PASSPHRASE") {
        return Ok(Secret::new(given.into_vec()));
    }
    if !io::stdin().is_terminal() {
        bail!("the passphrase is asked for at a terminal; without one, set EXEAT_PASSPHRASE");
    }
    if age == Age::New {
        ui::read_new_secret("new passphrase").context("cannot read the passphrase")
    } else {
        ui::read_secret("passphrase").context("cannot read the passphrase")
    }
}
