//! The process environment, read here and nowhere else.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// A variable that is set to something.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the environment"
)]
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Every variable, for a command that is run in a sandbox.
pub(crate) fn all() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

/// Where state is kept when nobody says otherwise: `$XDG_STATE_HOME/exeat`, or `~/.local/state/exeat`.
pub(crate) fn state_folder() -> Option<PathBuf> {
    base_folder("XDG_STATE_HOME", ".local/state")
}

/// Where the configuration is when it is not in the working folder: `$XDG_CONFIG_HOME/exeat`, or `~/.config/exeat`.
pub(crate) fn config_folder() -> Option<PathBuf> {
    base_folder("XDG_CONFIG_HOME", ".config")
}

fn base_folder(name: &str, below_home: &str) -> Option<PathBuf> {
    let named = variable(name)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let base = named.or_else(|| Some(Path::new(&variable("HOME")?).join(below_home)))?;
    Some(base.join("exeat"))
}
