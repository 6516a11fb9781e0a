//! Asks for the passphrase over the master key: `EXEAT_PASSPHRASE` (`EXEAT_NEW_PASSPHRASE` for the next one), or a
//! terminal.

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
    /// It takes the place of one that was made up before.
    Next,
}

/// Reads the passphrase; a new one is asked for twice.
///
/// # Errors
/// When there is neither variable nor terminal, or the two answers differ.
pub(crate) fn read(age: Age) -> anyhow::Result<Secret> {
    let name = match age {
        Age::New | Age::Known => "EXEAT_PASSPHRASE",
        Age::Next => "EXEAT_NEW_PASSPHRASE",
    };
    if let Some(given) = env::variable(name) {
        return Ok(Secret::new(given.into_vec()));
    }
    if !io::stdin().is_terminal() {
        bail!("the passphrase is asked for at a terminal; without one, set {name}");
    }
    let read = match age {
        Age::New | Age::Next => ui::read_new_secret("new passphrase"),
        Age::Known => ui::read_secret("passphrase"),
    };
    read.context("cannot read the passphrase")
}
